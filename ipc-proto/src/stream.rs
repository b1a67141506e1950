//! Channels for processes that run on tokio.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    future::Future,
    io::{self, ErrorKind},
    marker::PhantomData,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, oneshot, watch},
};

use crate::{
    channel::{CallError, Channel, Violation},
    frame::{self, Frame, FrameReader, Kind},
    sys,
};

/// Requests that may wait for their answers on one channel, either way.
pub const MAX_IN_FLIGHT: usize = 4096;

/// Between tries to send where there is no descriptor left to wait with.
const SEND_AGAIN: Duration = Duration::from_millis(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a channel: what both sides need.
struct Socket {
    /// Waits for input only: nearly every frame is sent at once.
    fd: AsyncFd<UnixStream>,
    out: Mutex<Outbox>,
    /// Told when the outbox is no longer empty.
    more: Notify,
    /// Told when it is empty again.
    emptied: Notify,
}

#[derive(Default)]
struct Outbox {
    /// Not yet sent, oldest first: what is left of a frame, and its fds while none of it is sent.
    frames: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    closed: bool,
}

impl Socket {
    fn new(stream: UnixStream, hello: Vec<u8>) -> io::Result<Arc<Self>> {
        stream.set_nonblocking(true)?;
        let out = Mutex::new(Outbox { frames: VecDeque::from([(hello, Vec::new())]), closed: false });
        let fd = sys::register(stream, Interest::READABLE)?;
        Ok(Arc::new(Self { fd, out, more: Notify::new(), emptied: Notify::new() }))
    }

    /// Sends at once what the kernel takes, and leaves the rest to `write_all`. The outbox is bounded by the requests
    /// in flight.
    fn send(&self, octets: Vec<u8>, fds: Vec<OwnedFd>) {
        let mut out = lock(&self.out);
        if out.closed {
            return;
        }
        out.frames.push_back((octets, fds));
        if out.frames.len() == 1 && self.flush(&mut out).is_err() {
            out.closed = true;
        }
        if !out.frames.is_empty() || out.closed {
            drop(out);
            self.more.notify_one();
        }
    }

    /// Until the kernel takes no more.
    fn flush(&self, out: &mut Outbox) -> io::Result<()> {
        while let Some((octets, fds)) = out.frames.front_mut() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match sys::send(self.fd.get_ref(), octets, &borrowed) {
                Ok(sent) if sent < octets.len() => {
                    fds.clear();
                    octets.drain(..sent);
                }
                Ok(_) => drop(out.frames.pop_front()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Runs beside the reader: sends what `send` could not.
    async fn write_all(&self) -> io::Result<()> {
        loop {
            if self.send_waiting()? {
                self.emptied.notify_one();
                self.more.notified().await;
                continue;
            }
            // A handle of its own, as long as the peer is behind.
            let Ok(room) =
                self.fd.get_ref().try_clone().and_then(|handle| sys::register(handle, Interest::WRITABLE))
            else {
                tokio::time::sleep(SEND_AGAIN).await;
                continue;
            };
            loop {
                let mut ready = room.writable().await?;
                if self.send_waiting()? {
                    break;
                }
                ready.clear_ready();
            }
        }
    }

    /// Whether all of it is sent.
    fn send_waiting(&self) -> io::Result<bool> {
        let mut out = lock(&self.out);
        if out.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.flush(&mut out)?;
        Ok(out.frames.is_empty())
    }

    /// Whether something waits for the peer to read.
    fn unsent(&self) -> bool {
        !lock(&self.out).frames.is_empty()
    }

    /// Reads into `reader` once. `Ok(false)`: the peer is gone.
    async fn read(&self, reader: &mut FrameReader) -> io::Result<bool> {
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| sys::receive(fd.get_ref(), reader.space())) {
                Ok(Ok((octets, fds))) => {
                    reader.filled(octets, fds);
                    return Ok(octets > 0);
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

/// The asking end. Cloned freely; the channel lives until the peer goes or all clones are dropped.
pub struct Asker<C: Channel> {
    shared: Arc<Asking<C>>,
}

impl<C: Channel> Clone for Asker<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Channel> fmt::Debug for Asker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asker({:?})", C::ID)
    }
}

type Answer<C> = Result<(<C as Channel>::Reply, Vec<OwnedFd>), CallError>;

struct Asking<C: Channel> {
    socket: Arc<Socket>,
    waiting: Arc<Mutex<Waiting<C>>>,
    task: tokio::task::AbortHandle,
}

/// Requests without their answer. `ended` is set once, when the channel is over.
struct Waiting<C: Channel> {
    next_id: u64,
    answers: HashMap<u64, oneshot::Sender<Answer<C>>>,
    /// Asked and given up: their late answers are not violations.
    abandoned: HashSet<u64>,
    ended: Option<CallError>,
}

impl<C: Channel> Drop for Asking<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes a request out of the books when its caller stops waiting.
struct Forget<'a, C: Channel> {
    waiting: &'a Mutex<Waiting<C>>,
    id: u64,
}

impl<C: Channel> Drop for Forget<'_, C> {
    fn drop(&mut self) {
        let mut waiting = lock(self.waiting);
        if waiting.answers.remove(&self.id).is_some() {
            waiting.abandoned.insert(self.id);
        }
    }
}

impl<C: Channel> Asker<C> {
    /// Over this end of a channel; runs on the current runtime. `ended` is told the violation, if that is the end.
    pub fn start(
        stream: UnixStream,
        ended: impl FnOnce(Option<Violation>) + Send + 'static,
    ) -> io::Result<Self> {
        let socket = Socket::new(stream, frame::hello(C::ID))?;
        let waiting = Arc::new(Mutex::new(Waiting {
            next_id: 1,
            answers: HashMap::new(),
            abandoned: HashSet::new(),
            ended: None,
        }));
        let task = tokio::spawn({
            let (socket, waiting) = (Arc::clone(&socket), Arc::clone(&waiting));
            async move {
                let violation = tokio::select! {
                    end = read_answers(&socket, &waiting) => end,
                    _ = socket.write_all() => None,
                };
                let error = violation.map_or(CallError::PeerRestarted, CallError::Violation);
                lock(&socket.out).closed = true;
                let _ = socket.fd.get_ref().shutdown(std::net::Shutdown::Both);
                let answers = {
                    let mut waiting = lock(&waiting);
                    waiting.ended = Some(error);
                    std::mem::take(&mut waiting.answers)
                };
                for (_, answer) in answers {
                    let _ = answer.send(Err(error));
                }
                ended(violation);
            }
        })
        .abort_handle();
        Ok(Self { shared: Arc::new(Asking { socket, waiting, task }) })
    }

    /// Asks. Dropping the future forgets the request; its answer, should it come, is thrown away.
    pub async fn call(&self, request: &C::Request, fds: Vec<OwnedFd>) -> Answer<C> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut waiting = lock(&self.shared.waiting);
            if let Some(error) = waiting.ended {
                return Err(error);
            }
            if waiting.answers.len() + waiting.abandoned.len() >= MAX_IN_FLIGHT {
                return Err(CallError::Busy);
            }
            let id = waiting.next_id;
            let mut octets = Vec::with_capacity(256);
            frame::encode(Kind::Request, id, request, C::MAX_BODY, &mut octets)
                .map_err(|frame::TooLarge| CallError::TooLarge)?;
            waiting.next_id += 1;
            waiting.answers.insert(id, answer);
            self.shared.socket.send(octets, fds);
            id
        };
        let _forget = Forget { waiting: &self.shared.waiting, id };
        match tokio::time::timeout(C::DEADLINE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::PeerRestarted),
            Err(_) => Err(CallError::Deadline),
        }
    }
}

async fn read_answers<C: Channel>(socket: &Socket, waiting: &Mutex<Waiting<C>>) -> Option<Violation> {
    let mut reader = FrameReader::new(C::ID, C::MAX_BODY);
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                if let Err(violation) = settle(frame, waiting) {
                    return Some(violation);
                }
            }
            Ok(None) => match socket.read(&mut reader).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return None,
            },
            Err(violation) => return Some(violation),
        }
    }
}

fn settle<C: Channel>(frame: Frame<'_>, waiting: &Mutex<Waiting<C>>) -> Result<(), Violation> {
    let answer = match frame.kind {
        Kind::Reply => Ok(frame.decode::<C::Reply>()?),
        Kind::Dropped => Err(CallError::Dropped),
        Kind::Hello | Kind::Request => return Err(Violation::Unexpected),
    };
    let mut waiting = lock(waiting);
    match waiting.answers.remove(&frame.id) {
        Some(caller) => {
            let _ = caller.send(answer.map(|reply| (reply, frame.fds)));
            Ok(())
        }
        None if waiting.abandoned.remove(&frame.id) => Ok(()),
        None => Err(Violation::Unexpected),
    }
}

/// An asking end that is made anew whenever the other process restarts.
pub struct Link<C: Channel> {
    current: watch::Sender<Option<Asker<C>>>,
}

impl<C: Channel> Default for Link<C> {
    fn default() -> Self {
        Self { current: watch::Sender::new(None) }
    }
}

impl<C: Channel> fmt::Debug for Link<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?})", C::ID)
    }
}

impl<C: Channel> Link<C> {
    /// Takes the new channel.
    pub fn set(
        &self,
        stream: UnixStream,
        ended: impl FnOnce(Option<Violation>) + Send + 'static,
    ) -> io::Result<()> {
        let asker = Asker::start(stream, ended)?;
        self.current.send_replace(Some(asker));
        Ok(())
    }

    /// Whether there is a channel now.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        is_alive(&self.current.borrow())
    }

    /// Asks over the channel of the moment. While there is none (the other process is being restarted) it waits, at
    /// most as long as for an answer. A request that was under way when the other process died is not repeated:
    /// whether it took effect is for the caller to find out.
    pub async fn call(&self, request: &C::Request, fds: Vec<OwnedFd>) -> Answer<C> {
        let mut current = self.current.subscribe();
        let asker = {
            let alive = current.wait_for(is_alive);
            // What `wait_for` gives is a lock: it ends here, before the next await.
            match tokio::time::timeout(C::DEADLINE, alive).await {
                Ok(Ok(asker)) => asker.clone(),
                Ok(Err(_)) | Err(_) => None,
            }
        };
        match asker {
            Some(asker) => asker.call(request, fds).await,
            None => Err(CallError::PeerRestarted),
        }
    }
}

fn is_alive<C: Channel>(asker: &Option<Asker<C>>) -> bool {
    asker.as_ref().is_some_and(|asker| lock(&asker.shared.waiting).ended.is_none())
}

/// How an answering end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The asker is gone.
    Closed,
    /// It broke the rules.
    Violation(Violation),
}

/// Answers one request; dropped without an answer, the asker is told so.
pub struct Responder<C: Channel> {
    id: u64,
    socket: Arc<Socket>,
    in_flight: Arc<InFlight>,
    answered: bool,
    channel: PhantomData<fn() -> C>,
}

impl<C: Channel> fmt::Debug for Responder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Responder({:?}, {})", C::ID, self.id)
    }
}

#[derive(Default)]
struct InFlight {
    count: Mutex<usize>,
    fewer: Notify,
}

impl<C: Channel> Responder<C> {
    /// Answers.
    pub fn reply(mut self, reply: &C::Reply, fds: Vec<OwnedFd>) {
        self.answered = true;
        let mut octets = Vec::with_capacity(64);
        match frame::encode(Kind::Reply, self.id, reply, C::MAX_BODY, &mut octets) {
            Ok(()) => self.socket.send(octets, fds),
            Err(frame::TooLarge) => {
                tracing::error!(channel = ?C::ID, "a reply over its channel's bound was dropped");
                self.socket.send(frame::bare(Kind::Dropped, self.id).to_vec(), Vec::new());
            }
        }
    }
}

impl<C: Channel> Drop for Responder<C> {
    fn drop(&mut self) {
        if !self.answered {
            self.socket.send(frame::bare(Kind::Dropped, self.id).to_vec(), Vec::new());
        }
        let mut count = lock(&self.in_flight.count);
        *count = count.saturating_sub(1);
        drop(count);
        self.in_flight.fewer.notify_one();
    }
}

/// Serves the answering end until the channel is over. `handle` is called for each request in order and must not
/// block; it answers through the responder, now or from a task of its own.
pub fn serve<C: Channel>(
    stream: UnixStream,
    mut handle: impl FnMut(C::Request, Vec<OwnedFd>, Responder<C>) + Send,
) -> io::Result<impl Future<Output = End> + Send> {
    let socket = Socket::new(stream, frame::hello(C::ID))?;
    Ok(async move {
        let end = tokio::select! {
            end = read_requests(&socket, &mut handle) => end,
            _ = socket.write_all() => End::Closed,
        };
        lock(&socket.out).closed = true;
        let _ = socket.fd.get_ref().shutdown(std::net::Shutdown::Both);
        end
    })
}

async fn read_requests<C: Channel>(
    socket: &Arc<Socket>,
    handle: &mut (impl FnMut(C::Request, Vec<OwnedFd>, Responder<C>) + Send),
) -> End {
    let in_flight = Arc::new(InFlight::default());
    let mut reader = FrameReader::new(C::ID, C::MAX_BODY);
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) if frame.kind != Kind::Request => return End::Violation(Violation::Unexpected),
            Ok(Some(frame)) => match frame.decode::<C::Request>() {
                Ok(request) => {
                    *lock(&in_flight.count) += 1;
                    let responder = Responder {
                        id: frame.id,
                        socket: Arc::clone(socket),
                        in_flight: Arc::clone(&in_flight),
                        answered: false,
                        channel: PhantomData,
                    };
                    handle(request, frame.fds, responder);
                    // One asker's stream of requests leaves the others their turn.
                    tokio::task::coop::consume_budget().await;
                    // An asker that does not read its answers is not read either, so those that wait in memory are at
                    // most the answers to what is in flight.
                    loop {
                        if *lock(&in_flight.count) >= MAX_IN_FLIGHT {
                            in_flight.fewer.notified().await;
                        } else if socket.unsent() {
                            socket.emptied.notified().await;
                        } else {
                            break;
                        }
                    }
                }
                Err(violation) => return End::Violation(violation),
            },
            Ok(None) => match socket.read(&mut reader).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return End::Closed,
            },
            Err(violation) => return End::Violation(violation),
        }
    }
}
