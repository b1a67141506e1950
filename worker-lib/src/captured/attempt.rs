//! One line of an attack's script: `NUMBER VERB ARGUMENTS`. The verbs are the arms of [`Attempt::parse`].
//!
//! Where a line takes a socket, it is named by what it is: `listener` and `accepted` are the first of their kind among
//! this process's fds, `log` and `control` are those that every worker is born with, any other word is a channel's name.

use std::os::fd::RawFd;

use super::sys;

/// A channel that this process was handed.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// Its name, as `ChannelId` prints it.
    pub(crate) name: String,
    /// Its number here.
    pub(crate) fd: RawFd,
}

/// The result of a line that could not be tried, for want of what it names: no errno is negative.
pub(crate) const NOT_TRIED: i32 = -1;

/// Fd numbers that are looked through for a listener or an accepted connection.
const FDS_LOOKED_AT: RawFd = 1024;

/// What to try.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Open for reading.
    Open(String),
    /// Look at a file by its name.
    Look(String),
    /// Make a file; it is removed again.
    Create(String),
    /// Open a file that exists for writing.
    Append(String),
    /// A new socket: domain, type.
    Socket(i32, i32),
    /// Dissolve a socket's connection and, for TCP, connect it to this port here.
    Reconnect(RawFd, u16),
    /// Dissolve only.
    Disconnect(RawFd),
    /// Any address.
    Bind(RawFd),
    /// The same listener with no queue.
    Listen(RawFd),
    /// `SO_BINDTODEVICE`.
    BindDevice(RawFd),
    /// `how` of shutdown(2).
    Shutdown(RawFd, i32),
    /// End a listener and connect out of it with the first octets.
    FastOpen(RawFd, u16),
    /// sendmmsg(2), no messages.
    SendMany(RawFd),
    /// Run a program.
    Exec(String),
    /// Run a program from memory.
    MemoryExec,
    /// fork(2).
    Fork,
    /// clone(2), a process.
    Clone,
    /// Trace.
    Ptrace(i32),
    /// Signal.
    Kill(i32, i32),
    /// A handle to send signals by.
    Pidfd(i32),
    /// Another's memory, by process_vm_readv(2).
    ReadMemory(i32),
    /// Another's limits.
    Prlimit(i32),
    /// Another's processors.
    Affinity(i32),
    /// Another's priority.
    Priority(i32),
    /// A file system here.
    Mount(String),
    /// A user namespace.
    Unshare,
    /// Become this user.
    SetUid(u32),
    /// Become root of a directory.
    Chroot(String),
    /// io_uring.
    IoUring,
    /// Memory that is written, then executed.
    ExecutableMemory,
    /// A file that it holds, into memory; else one that it makes.
    MapFile { made: bool },
    /// Octets into a channel.
    Send(RawFd, Vec<u8>),
    /// Octets into a channel so many times, until it takes no more.
    Flood(RawFd, Vec<u8>, u32),
    /// Octets with an fd: the log's.
    SendFd(RawFd, Vec<u8>),
    /// What it names is not here.
    Missing,
}

impl Attempt {
    /// `None`: not such a line.
    pub(crate) fn parse(line: &str, held: &[Held]) -> Option<(u32, Self)> {
        let mut words = line.split_ascii_whitespace();
        let number = words.next()?.parse().ok()?;
        let verb = words.next()?;
        let arguments: Vec<&str> = words.collect();
        Some((number, Self::from_words(verb, &arguments, held)?))
    }

    fn from_words(verb: &str, arguments: &[&str], held: &[Held]) -> Option<Self> {
        let text = |at: usize| arguments.get(at).map(|word| (*word).to_owned());
        let number = |at: usize| arguments.get(at)?.parse::<i32>().ok();
        let port = |at: usize| arguments.get(at)?.parse::<u16>().ok();
        let octets = |at: usize| octets(arguments.get(at)?);
        // The first argument of most: a socket, which may not be here.
        let with_socket = |make: &dyn Fn(RawFd) -> Option<Self>| match find(arguments.first()?, held) {
            Some(fd) => make(fd),
            None => Some(Self::Missing),
        };
        match verb {
            "open" => Some(Self::Open(text(0)?)),
            "stat" => Some(Self::Look(text(0)?)),
            "create" => Some(Self::Create(text(0)?)),
            "append" => Some(Self::Append(text(0)?)),
            "socket" => Some(Self::Socket(number(0)?, number(1)?)),
            "reconnect" => with_socket(&|fd| Some(Self::Reconnect(fd, port(1)?))),
            "disconnect" => with_socket(&|fd| Some(Self::Disconnect(fd))),
            "bind" => with_socket(&|fd| Some(Self::Bind(fd))),
            "listen" => with_socket(&|fd| Some(Self::Listen(fd))),
            "bind-device" => with_socket(&|fd| Some(Self::BindDevice(fd))),
            "shutdown" => with_socket(&|fd| Some(Self::Shutdown(fd, number(1)?))),
            "fast-open" => with_socket(&|fd| Some(Self::FastOpen(fd, port(1)?))),
            "sendmmsg" => with_socket(&|fd| Some(Self::SendMany(fd))),
            "exec" => Some(Self::Exec(text(0)?)),
            "memory-exec" => Some(Self::MemoryExec),
            "fork" => Some(Self::Fork),
            "clone" => Some(Self::Clone),
            "ptrace" => Some(Self::Ptrace(number(0)?)),
            "kill" => Some(Self::Kill(number(0)?, number(1)?)),
            "pidfd" => Some(Self::Pidfd(number(0)?)),
            "read-memory" => Some(Self::ReadMemory(number(0)?)),
            "prlimit" => Some(Self::Prlimit(number(0)?)),
            "affinity" => Some(Self::Affinity(number(0)?)),
            "priority" => Some(Self::Priority(number(0)?)),
            "proc-mem" => Some(Self::Open(format!("/proc/{}/mem", number(0)?))),
            "proc-fd" => Some(Self::Open(format!("/proc/{}/fd", number(0)?))),
            "mount" => Some(Self::Mount(text(0)?)),
            "unshare" => Some(Self::Unshare),
            "setuid" => Some(Self::SetUid(arguments.first()?.parse().ok()?)),
            "chroot" => Some(Self::Chroot(text(0)?)),
            "io-uring" => Some(Self::IoUring),
            "executable-memory" => Some(Self::ExecutableMemory),
            "map-held-file" => Some(Self::MapFile { made: false }),
            "map-made-file" => Some(Self::MapFile { made: true }),
            "send" => with_socket(&|fd| Some(Self::Send(fd, octets(1)?))),
            "flood" => with_socket(&|fd| Some(Self::Flood(fd, octets(1)?, number(2)?.try_into().ok()?))),
            "send-fd" => with_socket(&|fd| Some(Self::SendFd(fd, octets(1)?))),
            _ => None,
        }
    }

    /// 0: it was let through. Else the errno, or [`NOT_TRIED`].
    pub(crate) fn run(&self) -> i32 {
        match self {
            Self::Open(path) => sys::open(path, libc::O_RDONLY),
            Self::Look(path) => sys::look(path),
            Self::Create(path) => sys::create(path),
            Self::Append(path) => sys::open(path, libc::O_WRONLY | libc::O_APPEND),
            Self::Socket(domain, kind) => sys::socket(*domain, *kind),
            Self::Reconnect(fd, port) => match sys::disconnect(*fd) {
                0 => sys::connect(*fd, *port),
                errno => errno,
            },
            Self::Disconnect(fd) => sys::disconnect(*fd),
            Self::Bind(fd) => sys::bind(*fd),
            Self::Listen(fd) => sys::listen(*fd),
            Self::BindDevice(fd) => sys::bind_device(*fd),
            Self::Shutdown(fd, how) => sys::shutdown(*fd, *how),
            Self::FastOpen(fd, port) => {
                // Only a listener that was ended can connect; where ending is refused, the rest must be too.
                sys::shutdown(*fd, libc::SHUT_RDWR);
                sys::fast_open(*fd, *port)
            }
            Self::SendMany(fd) => sys::sendmmsg(*fd),
            Self::Exec(path) => sys::exec(path),
            Self::MemoryExec => sys::memory_exec(),
            Self::Fork => sys::fork(),
            Self::Clone => sys::clone(),
            Self::Ptrace(pid) => sys::ptrace(*pid),
            Self::Kill(pid, signal) => sys::kill(*pid, *signal),
            Self::Pidfd(pid) => sys::pidfd(*pid),
            Self::ReadMemory(pid) => sys::read_memory(*pid),
            Self::Prlimit(pid) => sys::prlimit(*pid),
            Self::Affinity(pid) => sys::affinity(*pid),
            Self::Priority(pid) => sys::priority(*pid),
            Self::Mount(path) => sys::mount(path),
            Self::Unshare => sys::unshare(),
            Self::SetUid(user) => sys::set_uid(*user),
            Self::Chroot(path) => sys::chroot(path),
            Self::IoUring => sys::io_uring(),
            Self::ExecutableMemory => sys::executable_memory(),
            Self::MapFile { made: false } => {
                if (0..FDS_LOOKED_AT).any(|fd| sys::map_file(fd) == 0) {
                    0
                } else {
                    NOT_TRIED
                }
            }
            Self::MapFile { made: true } => {
                let made = sys::memory_file(&[0], false);
                let errno = sys::map_file(made);
                sys::close(made);
                errno
            }
            Self::Send(fd, octets) => sys::send(*fd, octets),
            Self::Flood(fd, octets, times) => {
                (0..*times).map(|_| sys::send(*fd, octets)).find(|errno| *errno != 0).unwrap_or(0)
            }
            Self::SendFd(fd, octets) => sys::send_fd(*fd, octets, LOG_FD),
            Self::Missing => NOT_TRIED,
        }
    }
}

/// Where every worker finds its control channel and its log.
const CONTROL_FD: RawFd = 3;
pub(crate) const LOG_FD: RawFd = 2;

fn find(name: &str, held: &[Held]) -> Option<RawFd> {
    match name {
        "listener" => (0..FDS_LOOKED_AT).find(|fd| sys::is_inet(*fd) && sys::is_listener(*fd)),
        "accepted" => (0..FDS_LOOKED_AT).find(|fd| sys::is_inet(*fd) && !sys::is_listener(*fd)),
        "log" => Some(LOG_FD),
        "control" => Some(CONTROL_FD),
        channel => held.iter().rev().find(|held| held.name == channel).map(|held| held.fd),
    }
}

/// From hexadecimal digits; `-` is none.
pub(crate) fn octets(digits: &str) -> Option<Vec<u8>> {
    if digits == "-" {
        return Some(Vec::new());
    }
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
