//! What only the root process does with the kernel: namespaces, and the child's first steps. The only unsafe code here.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use ipc_proto::control::{CONTROL_FD, LOG_FD};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Everything a child needs between fork and exec, made before: the child allocates nothing.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The worker's binary, run by this fd.
    pub binary: BorrowedFd<'a>,
    /// The name in argv.
    pub name: &'a CString,
    /// Becomes [`CONTROL_FD`].
    pub control: BorrowedFd<'a>,
    /// Becomes [`LOG_FD`].
    pub log: BorrowedFd<'a>,
    /// Becomes fds 0 and 1.
    pub null: BorrowedFd<'a>,
    /// The network namespace to enter.
    pub network: Network<'a>,
    /// User and group of its own; `None`: stays who we are.
    pub user: Option<u32>,
    /// Soft and hard limits.
    pub limits: &'a [(libc::__rlimit_resource_t, u64)],
}

/// Where the child's sockets would live.
#[derive(Debug, Clone, Copy)]
pub enum Network<'a> {
    /// This prepared, empty one.
    Prepared(BorrowedFd<'a>),
    /// An empty one in a user namespace of its own (ordinary users).
    Own,
    /// Ours: the kernel allows nothing else.
    Shared,
}

/// A child and the fd that stands for it.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: u32,
    /// Readable when it ended; signals through it cannot hit another process.
    pub pidfd: OwnedFd,
}

/// Forks and runs the plan. The caller has one thread.
pub fn spawn(plan: &Plan<'_>) -> io::Result<Child> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeros is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(libc::CLONE_PIDFD.unsigned_abs());
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    // SAFETY: plain getpid.
    let parent = unsafe { libc::getpid() };
    // SAFETY: without CLONE_VM and without a stack this is fork. We have one thread, so the child's copy of memory is
    // consistent; it makes only system calls until exec.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        child(plan, parent);
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so it stored a new fd that only we know.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: u32::try_from(pid).unwrap_or(0), pidfd })
}

/// The child's way to exec: each step fails closed, with an exit code that names it.
fn child(plan: &Plan<'_>, parent: libc::pid_t) -> ! {
    let code = 200 + become_worker(plan, parent);
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// Returns the number of the step that failed.
fn become_worker(plan: &Plan<'_>, parent: libc::pid_t) -> i32 {
    let arguments = [plan.name.as_ptr(), ptr::null()];
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    // SAFETY: every pointer below is to memory of the plan or of this frame, which live until exec; all calls are
    // system calls, and nothing is allocated.
    unsafe {
        if libc::setsid() < 0 {
            return 1;
        }
        match plan.network {
            Network::Prepared(fd) if libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) != 0 => return 2,
            Network::Own if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) != 0 => return 2,
            Network::Prepared(_) | Network::Own | Network::Shared => {}
        }
        for (from, to) in [(plan.null, 0), (plan.null, 1), (plan.log, LOG_FD), (plan.control, CONTROL_FD)] {
            // The supervisor keeps its own fds above these.
            if libc::dup2(from.as_raw_fd(), to) < 0 {
                return 3;
            }
        }
        let first: libc::c_uint = CONTROL_FD.unsigned_abs() + 1;
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            return 4;
        }
        for (resource, limit) in plan.limits {
            let both = libc::rlimit { rlim_cur: *limit, rlim_max: *limit };
            if libc::setrlimit(*resource, &raw const both) != 0 {
                // Who may not raise a limit has a lower one already, and keeps it.
                let mut have: libc::rlimit = std::mem::zeroed();
                let lower = libc::getrlimit(*resource, &raw mut have) == 0 && have.rlim_max < *limit;
                have.rlim_cur = have.rlim_max;
                if !lower || libc::setrlimit(*resource, &raw const have) != 0 {
                    return 5;
                }
            }
        }
        if let Some(user) = plan.user {
            if libc::setgroups(0, ptr::null()) != 0 {
                return 6;
            }
            let mut capability = 0;
            while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
                capability += 1;
            }
            if libc::setresgid(user, user, user) != 0 || libc::setresuid(user, user, user) != 0 {
                return 7;
            }
        } else {
            // In a user namespace of its own the child has all capabilities of that namespace until exec; the bounding
            // set keeps them from coming back.
            let mut capability = 0;
            while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
                capability += 1;
            }
        }
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return 8;
        }
        // The parent may have died before the line above.
        if libc::getppid() != parent {
            return 9;
        }
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return 10;
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) != 0 {
            return 11;
        }
        libc::syscall(
            libc::SYS_execveat,
            plan.binary.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    12
}

/// What a step of the child's way was, for the log.
#[must_use]
pub fn step_name(step: i32) -> &'static str {
    match step {
        1 => "setsid",
        2 => "network namespace",
        3 | 4 => "fds",
        5 => "resource limits",
        6 => "setgroups",
        7 => "user",
        8 | 9 => "parent-death signal",
        10 => "no_new_privs",
        11 => "signal mask",
        _ => "exec",
    }
}

/// Makes an empty network namespace and comes back: the fd of the new one.
pub fn empty_network() -> io::Result<OwnedFd> {
    let home = File::open("/proc/self/ns/net")?;
    // SAFETY: takes no pointers; we have one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into())?;
    let empty = File::open("/proc/self/ns/net");
    // SAFETY: takes no pointers.
    check(unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWNET) }.into())?;
    empty.map(OwnedFd::from)
}

/// Can this user make namespaces? Tried in a child.
pub fn own_network_works() -> bool {
    // SAFETY: one thread; the child makes one system call and leaves.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(i32::from(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) != 0)),
            -1 => false,
            pid => {
                let mut status = 0;
                libc::waitpid(pid, &raw mut status, 0) == pid && status == 0
            }
        }
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signal(i32),
}

/// Collects a child that ended; `None`: it still runs.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    // SAFETY: all zeros is a valid siginfo_t, and the kernel writes one into ours.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_raw_fd().unsigned_abs();
    // SAFETY: as above.
    let result = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG) };
    check(result.into())?;
    // SAFETY: waitid filled in the fields of a child's end, or left zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some(Ended::Exited(status)),
        (_, _) => Some(Ended::Signal(status)),
    })
}

/// Signals exactly this child.
pub fn signal(pidfd: BorrowedFd<'_>, signal: libc::c_int) {
    // SAFETY: no siginfo is given; a child that is gone is not an error that matters.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        );
    }
}

/// Keeps of root's capabilities only what the supervisor uses: change users (SETUID, SETGID), own directories (CHOWN,
/// FOWNER, DAC_OVERRIDE), namespaces (SYS_ADMIN), low ports (NET_BIND_SERVICE), signals (KILL), the bounding set
/// (SETPCAP), limits (SYS_RESOURCE).
pub fn keep_named_capabilities() -> io::Result<()> {
    /// CAP_CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_ADMIN, SYS_RESOURCE.
    const KEPT: [u32; 10] = [0, 1, 3, 5, 6, 7, 8, 10, 21, 24];
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    let mut capability = 0;
    // SAFETY: takes no pointers; ends at the first capability that the kernel does not know.
    while unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } >= 0 {
        if !KEPT.contains(&capability) {
            // SAFETY: takes no pointers.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into())?;
        }
        capability += 1;
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut have = [0u32; 6];
    // SAFETY: version 3 writes six words, which is what `have` has.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, have.as_mut_ptr()) })?;
    let [_, permitted, ..] = have;
    let kept = KEPT.iter().fold(0u32, |set, capability| set | 1 << capability) & permitted;
    // Effective, permitted, inheritable; then the same for capabilities from 32 up: none.
    let sets = [kept, kept, 0, 0, 0, 0];
    // SAFETY: version 3 reads six words, which is what `sets` has.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) }).map(|_| ())
}

/// Takes an fd that whoever started this process says it left open; `None`: it did not. Call before anything is opened.
pub fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: takes no pointers.
    if fd < 3 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, was so before this process opened anything, and is told to nobody but us.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes what whoever started this process left open. Call before anything is opened.
pub fn close_from(first: RawFd) {
    let Ok(first) = libc::c_uint::try_from(first.max(3)) else { return };
    // SAFETY: takes no pointers, and no fd from here on is anybody's in this process. It cannot fail with this range.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Lets a child of ours have at least so many descriptors.
pub fn raise_files(pid: u32, files: u64) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: all zeros is a valid rlimit, and the kernel reads or writes one. The pid is a child's that was not reaped.
    unsafe {
        let mut have: libc::rlimit = std::mem::zeroed();
        check(libc::prlimit(pid, libc::RLIMIT_NOFILE, ptr::null(), &raw mut have).into())?;
        if have.rlim_cur >= files {
            return Ok(());
        }
        let more = libc::rlimit { rlim_cur: files, rlim_max: files.max(have.rlim_max) };
        check(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const more, ptr::null_mut()).into()).map(|_| ())
    }
}

/// Whether a socket has octets to be read; none are.
pub fn has_input(socket: BorrowedFd<'_>) -> bool {
    let mut octets: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which lives in this frame.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut octets) }.into()).is_ok()
        && octets > 0
}

/// Moves an fd above those that children get; close-on-exec.
pub fn above_worker_fds(fd: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers; the result is a new fd that only we know.
    let raised = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 16) }.into())?;
    // SAFETY: just made.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(raised).unwrap_or(-1)) })
}
