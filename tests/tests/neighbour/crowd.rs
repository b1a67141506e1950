//! Thousands of bad clients in one thread: nonblocking sockets in one epoll set, opened again whenever the server lets one
//! go, so that the crowd stays as large as it is.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket},
    },
};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

/// What a bad client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Connects, over TLS also shakes hands, and does nothing more.
    Idle,
    /// Sends an octet of this now and then; then from the beginning.
    Slow(&'static [u8]),
    /// Sends an octet of a TLS handshake now and then.
    SlowHandshake,
    /// Sends this over and over, as fast as it is taken.
    Flood(&'static [u8]),
}

/// How many clients of one kind, and where they go.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) habit: Habit,
    pub(crate) server: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) count: usize,
}

/// What the crowd came to.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Connected, and over TLS past the handshake, now: the idle and the slow ones.
    pub(crate) idle: AtomicUsize,
    pub(crate) slow: AtomicUsize,
    /// Octets that were taken from the slow ones, and from those that flood.
    pub(crate) dripped: AtomicU64,
    pub(crate) flooded: AtomicU64,
    /// Connections that the server ended.
    pub(crate) ended: AtomicU64,
}

/// A running crowd; gone when dropped.
pub(crate) struct Crowd {
    pub(crate) figures: Arc<Figures>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Crowd {
    /// Begins to connect.
    pub(crate) fn gather(kinds: Vec<Kind>) -> Self {
        let (figures, stop) = (Arc::new(Figures::default()), Arc::new(AtomicBool::new(false)));
        let run = Loop {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap(),
            clients: kinds
                .into_iter()
                .flat_map(|kind| std::iter::repeat_n(Arc::new(kind.clone()), kind.count))
                .map(Client::away)
                .collect(),
            figures: Arc::clone(&figures),
            turn: 0,
        };
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || run.until(&told));
        Self { figures, stop, thread: Some(thread) }
    }

    /// Ends it; a panic of its thread is one here.
    pub(crate) fn go(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One octet from each slow client in this time.
const ROUND: Duration = Duration::from_secs(1);
/// In so many parts.
const TURNS: usize = 20;
/// Connections that are opened in one turn: the crowd comes quickly, but not all in one instant.
const OPENED_AT_ONCE: usize = 250;

struct Loop {
    epoll: Epoll,
    clients: Vec<Client>,
    figures: Arc<Figures>,
    turn: usize,
}

struct Client {
    kind: Arc<Kind>,
    line: Option<Line>,
}

/// A connection.
struct Line {
    socket: std::net::TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// What a slow handshake still has to send.
    hello: Vec<u8>,
    sent: usize,
    /// It counts in the figures.
    there: bool,
    interest: EpollFlags,
}

impl Client {
    fn away(kind: Arc<Kind>) -> Self {
        Self { kind, line: None }
    }
}

impl Loop {
    fn until(mut self, stop: &AtomicBool) {
        let mut next = Instant::now();
        let mut events = vec![EpollEvent::empty(); 1024];
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                next = Instant::now() + ROUND / u32::try_from(TURNS).unwrap();
                self.take_turn();
            }
            let wait = next.saturating_duration_since(Instant::now()).as_millis();
            let wait = EpollTimeout::try_from(wait).unwrap();
            let count = match self.epoll.wait(&mut events, wait) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => panic!("epoll: {error}"),
            };
            for event in &events[..count] {
                self.serve(usize::try_from(event.data()).unwrap(), event.events());
            }
        }
    }

    /// Opens what is away, and has a part of the slow ones send their octet.
    fn take_turn(&mut self) {
        self.turn = (self.turn + 1) % TURNS;
        let mut opened = 0;
        for number in 0..self.clients.len() {
            if self.clients[number].line.is_none() && opened < OPENED_AT_ONCE {
                self.open(number);
                opened += 1;
            }
            if number % TURNS == self.turn {
                self.drip(number);
            }
        }
    }

    fn open(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let SocketAddr::V4(server) = client.kind.server else { panic!("loopback is 127.0.0.1") };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)
            .expect("a socket: raise the hard limit of open files (`ulimit -Hn`) to 8000 or more");
        match connect(socket.as_raw_fd(), &SockaddrIn::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            // No port is free at this instant: the next turn finds one.
            Err(Errno::EADDRNOTAVAIL) => return,
            Err(error) => panic!("{server}: {error}"),
        }
        let name = || ServerName::try_from("localhost").unwrap();
        let tls = client.kind.tls.clone();
        let mut tls = tls.map(|config| Box::new(ClientConnection::new(config, name()).unwrap()));
        let mut hello = Vec::new();
        if client.kind.habit == Habit::SlowHandshake {
            tls.take().expect("a handshake has a configuration").write_tls(&mut hello).unwrap();
        }
        // Writable: it is connected.
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        let socket = std::net::TcpStream::from(socket);
        self.epoll.add(&socket, EpollEvent::new(interest, u64::try_from(number).unwrap())).unwrap();
        client.line = Some(Line { socket, tls, hello, sent: 0, there: false, interest });
    }

    fn serve(&mut self, number: usize, flags: EpollFlags) {
        let Self { clients, epoll, figures, .. } = self;
        let Client { kind, line } = &mut clients[number];
        let Some(open) = line else { return };
        match open.advance(kind, flags, figures) {
            Ok(interest) => {
                if interest != open.interest {
                    open.interest = interest;
                    let mut event = EpollEvent::new(interest, u64::try_from(number).unwrap());
                    epoll.modify(open.socket.as_fd(), &mut event).unwrap();
                }
            }
            Err(_) => {
                figures.ended.fetch_add(1, Ordering::Relaxed);
                if let Some(count) = count(kind, figures).filter(|_| open.there) {
                    count.fetch_sub(1, Ordering::Relaxed);
                }
                // Closing it takes it out of the set.
                *line = None;
            }
        }
    }

    fn drip(&mut self, number: usize) {
        let Client { kind, line: Some(line) } = &mut self.clients[number] else { return };
        if !line.there {
            return;
        }
        let octet = match kind.habit {
            Habit::Slow(text) => text[line.sent % text.len()],
            // The last one is never sent.
            Habit::SlowHandshake if line.sent + 1 < line.hello.len() => line.hello[line.sent],
            Habit::SlowHandshake | Habit::Idle | Habit::Flood(_) => return,
        };
        let sent = match &mut line.tls {
            // Behind the handshake: what is wanted of the socket is known when it is not taken.
            Some(tls) => tls.writer().write(&[octet]).and_then(|_| tls.write_tls(&mut line.socket)),
            None => line.socket.write(&[octet]),
        };
        if sent.is_ok() {
            line.sent += 1;
            self.figures.dripped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn count<'f>(kind: &Kind, figures: &'f Figures) -> Option<&'f AtomicUsize> {
    match kind.habit {
        Habit::Idle => Some(&figures.idle),
        Habit::Slow(_) | Habit::SlowHandshake => Some(&figures.slow),
        Habit::Flood(_) => None,
    }
}

impl Line {
    /// Does what can be done; what it waits for. An error: it is over.
    fn advance(&mut self, kind: &Kind, flags: EpollFlags, figures: &Figures) -> io::Result<EpollFlags> {
        if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if flags.contains(EpollFlags::EPOLLIN) {
            self.take_in()?;
        }
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
                }
                Err(error) => return Err(error),
            }
        }
        let shaking = self.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        if !self.there && !shaking {
            self.there = true;
            if let Some(count) = count(kind, figures) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        let Habit::Flood(text) = kind.habit else { return Ok(EpollFlags::EPOLLIN) };
        if flags.contains(EpollFlags::EPOLLOUT) {
            match self.socket.write(&text[self.sent..]) {
                Ok(sent) => {
                    self.sent = (self.sent + sent) % text.len();
                    figures.flooded.fetch_add(u64::try_from(sent).unwrap(), Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT)
    }

    /// Whatever the server says is forgotten.
    fn take_in(&mut self) -> io::Result<()> {
        let mut space = [0; 4096];
        let read = match &mut self.tls {
            None => self.socket.read(&mut space),
            Some(tls) => tls.read_tls(&mut self.socket).and_then(|read| {
                let state = tls.process_new_packets().map_err(io::Error::other)?;
                if state.plaintext_bytes_to_read() > 0 {
                    let _ = tls.reader().read(&mut space)?;
                }
                Ok(read)
            }),
        };
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}
