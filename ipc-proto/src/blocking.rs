//! Channels for processes without an async runtime: keyd, accountd, moxctl, the fronts' signing threads.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, ErrorKind},
    marker::PhantomData,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    channel::{CallError, Channel, Message, Violation},
    frame::{self, FrameReader, Kind},
    sys,
};

/// How long an answer may wait for its asker to read.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests given up whose answers may still come. An answerer that owes so many is asked no more.
const MAX_ABANDONED: usize = 4096;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes all of `octets`, the fds with the first of them.
fn send_all(stream: &UnixStream, octets: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut rest = octets;
    let mut with: &[_] = &borrowed;
    while !rest.is_empty() {
        match sys::send(stream, rest, with) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                with = &[];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The asking end: one request at a time, from any thread.
#[derive(Debug)]
pub struct Asker<C: Channel> {
    state: Mutex<Option<AskerState>>,
    channel: PhantomData<fn() -> C>,
}

#[derive(Debug)]
struct AskerState {
    stream: UnixStream,
    reader: FrameReader,
    next_id: u64,
    /// Asked and given up: their late answers are not violations.
    abandoned: HashSet<u64>,
}

impl<C: Channel> Asker<C> {
    /// Over this end of a channel.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(C::DEADLINE))?;
        send_all(&stream, &frame::hello(C::ID), &[])?;
        let reader = FrameReader::new(C::ID, C::MAX_BODY);
        let state = Mutex::new(Some(AskerState { stream, reader, next_id: 1, abandoned: HashSet::new() }));
        Ok(Self { state, channel: PhantomData })
    }

    /// Asks and waits for the answer. After `PeerRestarted` or a violation the channel is closed for good; an answer
    /// that comes after its deadline is thrown away.
    pub fn call(
        &self,
        request: &C::Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(C::Reply, Vec<OwnedFd>), CallError> {
        let mut slot = lock(&self.state);
        let Some(state) = slot.as_mut() else { return Err(CallError::PeerRestarted) };
        let result = state.call::<C>(request, &fds);
        match result {
            Ok(_) | Err(CallError::Dropped | CallError::TooLarge | CallError::Deadline | CallError::Busy) => {
            }
            Err(CallError::PeerRestarted | CallError::Violation(_)) => *slot = None,
        }
        result
    }
}

impl AskerState {
    fn call<C: Channel>(
        &mut self,
        request: &C::Request,
        fds: &[OwnedFd],
    ) -> Result<(C::Reply, Vec<OwnedFd>), CallError> {
        if self.abandoned.len() >= MAX_ABANDONED {
            return Err(CallError::Busy);
        }
        let deadline = Instant::now() + C::DEADLINE;
        let id = self.next_id;
        let mut octets = Vec::new();
        frame::encode(Kind::Request, id, request, C::MAX_BODY, &mut octets)
            .map_err(|frame::TooLarge| CallError::TooLarge)?;
        self.next_id += 1;
        // A request that was sent in part cannot be taken back: the channel is over, even if it was only slow.
        send_all(&self.stream, &octets, fds).map_err(|_| CallError::PeerRestarted)?;
        loop {
            match self.reader.next_frame()? {
                Some(frame) => {
                    let answer = match frame.kind {
                        Kind::Reply => Ok(frame.decode::<C::Reply>()?),
                        Kind::Dropped => Err(CallError::Dropped),
                        Kind::Hello | Kind::Request => return Err(Violation::Unexpected.into()),
                    };
                    if frame.id == id {
                        return answer.map(|reply| (reply, frame.fds));
                    }
                    if !self.abandoned.remove(&frame.id) {
                        return Err(Violation::Unexpected.into());
                    }
                }
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.abandoned.insert(id);
                        return Err(CallError::Deadline);
                    }
                    self.stream.set_read_timeout(Some(left)).map_err(|_| CallError::PeerRestarted)?;
                    match sys::receive(&self.stream, self.reader.space()) {
                        Ok((0, _)) => return Err(CallError::PeerRestarted),
                        Ok((octets, fds)) => self.reader.filled(octets, fds),
                        // The time-out of the socket: the deadline is looked at above.
                        Err(error)
                            if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                        Err(_) => return Err(CallError::PeerRestarted),
                    }
                }
            }
        }
    }
}

/// An asking end that is made anew whenever the other process restarts.
#[derive(Debug)]
pub struct Link<C: Channel> {
    current: Mutex<Option<Arc<Asker<C>>>>,
    changed: Condvar,
}

impl<C: Channel> Default for Link<C> {
    fn default() -> Self {
        Self { current: Mutex::new(None), changed: Condvar::new() }
    }
}

impl<C: Channel> Link<C> {
    /// Takes the new channel.
    pub fn set(&self, stream: UnixStream) -> io::Result<()> {
        let asker = Arc::new(Asker::new(stream)?);
        *lock(&self.current) = Some(asker);
        self.changed.notify_all();
        Ok(())
    }

    /// Asks over the channel of the moment, waiting for one at most as long as for an answer.
    pub fn call(
        &self,
        request: &C::Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(C::Reply, Vec<OwnedFd>), CallError> {
        let current = lock(&self.current);
        let (current, _) = self
            .changed
            .wait_timeout_while(current, C::DEADLINE, |current| current.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let asker = current.clone().ok_or(CallError::PeerRestarted)?;
        drop(current);
        let result = asker.call(request, fds);
        if matches!(result, Err(CallError::PeerRestarted | CallError::Violation(_))) {
            let mut current = lock(&self.current);
            if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, &asker)) {
                *current = None;
            }
        }
        result
    }
}

/// The answering end: requests come one by one, answers go in any order from any thread.
#[derive(Debug)]
pub struct Answerer<C: Channel> {
    reader: FrameReader,
    shared: Arc<Replies>,
    max_in_flight: usize,
    channel: PhantomData<fn() -> C>,
}

#[derive(Debug)]
struct Replies {
    stream: UnixStream,
    /// Requests taken and not yet answered; also serialises writing.
    in_flight: Mutex<usize>,
    fewer: Condvar,
}

/// A request and the duty to answer it.
#[derive(Debug)]
pub struct Question<C: Channel> {
    /// What is asked.
    pub request: C::Request,
    /// What came with it.
    pub fds: Vec<OwnedFd>,
    /// Where the answer goes.
    pub responder: Responder<C>,
}

/// Answers one request; dropped without an answer, the asker is told so.
#[derive(Debug)]
pub struct Responder<C: Channel> {
    id: u64,
    shared: Arc<Replies>,
    answered: bool,
    channel: PhantomData<fn() -> C>,
}

impl<C: Channel> Answerer<C> {
    /// Over this end of a channel, with at most `max_in_flight` unanswered requests: beyond, nothing is read.
    pub fn new(stream: UnixStream, max_in_flight: usize) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        send_all(&stream, &frame::hello(C::ID), &[])?;
        Ok(Self {
            reader: FrameReader::new(C::ID, C::MAX_BODY),
            shared: Arc::new(Replies { stream, in_flight: Mutex::new(0), fewer: Condvar::new() }),
            max_in_flight,
            channel: PhantomData,
        })
    }

    /// The next request. `Ok(None)`: the asker is gone. `Err`: it broke the rules, and the channel is closed.
    pub fn next_question(&mut self) -> Result<Option<Question<C>>, Violation> {
        let in_flight = lock(&self.shared.in_flight);
        let max = self.max_in_flight;
        drop(self.shared.fewer.wait_while(in_flight, |count| *count >= max));
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    let request = match frame.kind {
                        Kind::Request => frame.decode(),
                        Kind::Hello | Kind::Reply | Kind::Dropped => Err(Violation::Unexpected),
                    };
                    let (id, fds) = (frame.id, frame.fds);
                    let request = request.inspect_err(|_| self.shared.close())?;
                    *lock(&self.shared.in_flight) += 1;
                    let shared = Arc::clone(&self.shared);
                    let responder = Responder { id, shared, answered: false, channel: PhantomData };
                    return Ok(Some(Question { request, fds, responder }));
                }
                Ok(None) => match sys::receive(&self.shared.stream, self.reader.space()) {
                    Ok((0, _)) => return Ok(None),
                    Ok((octets, fds)) => self.reader.filled(octets, fds),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Ok(None),
                },
                Err(violation) => {
                    self.shared.close();
                    return Err(violation);
                }
            }
        }
    }
}

impl Replies {
    /// Both sides see the end; answers still due are lost, as with a process that died.
    fn close(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn answer(&self, octets: &[u8], fds: &[OwnedFd]) {
        let mut in_flight = lock(&self.in_flight);
        *in_flight = in_flight.saturating_sub(1);
        // An asker that does not read for seconds, or is gone, loses its answers; it sees the end of the channel.
        if send_all(&self.stream, octets, fds).is_err() {
            self.close();
        }
        self.fewer.notify_one();
    }
}

impl<C: Channel> Responder<C> {
    /// Answers.
    pub fn reply(mut self, reply: &C::Reply, fds: &[OwnedFd]) {
        self.answered = true;
        let mut octets = Vec::new();
        match frame::encode(Kind::Reply, self.id, reply, C::MAX_BODY, &mut octets) {
            Ok(()) => self.shared.answer(&octets, fds),
            Err(frame::TooLarge) => {
                tracing::error!(channel = ?C::ID, "a reply over its channel's bound was dropped");
                self.shared.answer(&frame::bare(Kind::Dropped, self.id), &[]);
            }
        }
    }
}

impl<C: Channel> Drop for Responder<C> {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.answer(&frame::bare(Kind::Dropped, self.id), &[]);
        }
    }
}

/// Reads the supervisor's orders from the control channel.
#[derive(Debug, Default)]
pub struct Orders {
    buffer: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Orders {
    /// Takes what can be read now, blocking or not as `stream` is. `Ok(false)`: the supervisor is gone.
    pub fn fill(&mut self, stream: &UnixStream) -> io::Result<bool> {
        let mut space = [0; 8192];
        let (octets, fds) = sys::receive(stream, &mut space)?;
        self.take(space.get(..octets).unwrap_or_default(), fds);
        Ok(octets > 0)
    }

    pub(crate) fn take(&mut self, octets: &[u8], fds: impl IntoIterator<Item = OwnedFd>) {
        self.buffer.extend_from_slice(octets);
        self.fds.extend(fds);
    }

    /// The next whole order: `u32 length | u8 fds | order`.
    pub fn next_order(&mut self) -> Result<Option<(crate::control::Order, Vec<OwnedFd>)>, Violation> {
        let Self { buffer, fds } = self;
        let Some((header, rest)) = buffer.split_first_chunk::<5>() else { return Ok(None) };
        let [l0, l1, l2, l3, count] = *header;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3]))
            .ok()
            .filter(|length| *length <= crate::control::MAX_ORDER)
            .ok_or(Violation::TooLarge { limit: crate::control::MAX_ORDER })?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let order: crate::control::Order = crate::codec::decode(body)?;
        let count = usize::from(count);
        if count != order.fd_count() || fds.len() < count {
            return Err(Violation::FdCount);
        }
        let with = fds.drain(..count).collect();
        buffer.drain(..5 + length);
        Ok(Some((order, with)))
    }
}

/// An order as it crosses; the fds go with its first octet.
pub fn encode_order(order: &crate::control::Order) -> Result<Vec<u8>, frame::TooLarge> {
    let mut octets = vec![0; 5];
    crate::codec::encode_to(order, &mut octets).ok_or(frame::TooLarge)?;
    let length = octets.len() - 5;
    if length > crate::control::MAX_ORDER {
        return Err(frame::TooLarge);
    }
    let length = u32::try_from(length).map_err(|_| frame::TooLarge)?;
    let count = u8::try_from(order.fd_count()).map_err(|_| frame::TooLarge)?;
    if let Some((header, _)) = octets.split_first_chunk_mut::<5>() {
        let [l0, l1, l2, l3] = length.to_le_bytes();
        *header = [l0, l1, l2, l3, count];
    }
    Ok(octets)
}

/// Sends what `encode_order` made; for the supervisor, whose streams do not block: `WouldBlock` means that nothing
/// was sent.
pub fn send_some(stream: &UnixStream, octets: &[u8], fds: &[OwnedFd]) -> io::Result<usize> {
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    sys::send(stream, octets, &borrowed)
}
