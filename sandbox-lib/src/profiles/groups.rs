//! Syscalls that several roles need, grouped by the feature that needs them.

use libc as c;

use crate::rule::{
    Check::{Bits, Is, IsLong, OwnPid},
    Rule, any, when,
};

const fn long(value: i32) -> u64 {
    // Flags and commands of the kernel's interface are small and positive.
    value.unsigned_abs() as u64
}

/// Namespaces that a new thread may not ask for.
const NEW_NAMESPACES: u64 = long(
    c::CLONE_NEWNS
        | c::CLONE_NEWUTS
        | c::CLONE_NEWIPC
        | c::CLONE_NEWUSER
        | c::CLONE_NEWPID
        | c::CLONE_NEWNET
        | c::CLONE_NEWCGROUP,
);

/// Memory, clocks, random numbers, threads, leaving.
pub(crate) const RUNTIME: &[Rule] = &[
    any(c::SYS_brk, "heap"),
    when(c::SYS_mmap, &[&[Bits(2, long(c::PROT_EXEC), 0)]], "heap and thread stacks, never executable"),
    when(c::SYS_mprotect, &[&[Bits(2, long(c::PROT_EXEC), 0)]], "guard pages, never executable"),
    any(c::SYS_munmap, "heap and thread stacks"),
    any(c::SYS_mremap, "growing large buffers"),
    any(c::SYS_madvise, "giving memory back"),
    any(c::SYS_futex, "locks"),
    any(c::SYS_set_robust_list, "locks of a new thread"),
    any(c::SYS_rseq, "per-processor data of a new thread"),
    when(
        c::SYS_clone,
        &[&[Bits(0, long(c::CLONE_THREAD) | NEW_NAMESPACES, long(c::CLONE_THREAD))]],
        "threads, never processes",
    ),
    when(c::SYS_prctl, &[&[Is(0, long(c::PR_SET_NAME))]], "names of threads"),
    // By the thread's own number, which no filter can know; it changes nothing.
    any(
        c::SYS_sched_getaffinity,
        "a new thread asks the C library where its stack ends, for the handler of overflows",
    ),
    any(c::SYS_sched_yield, "locks"),
    any(c::SYS_clock_gettime, "time"),
    any(c::SYS_clock_nanosleep, "pauses"),
    any(c::SYS_getrandom, "ids, nonces, keys"),
    any(c::SYS_getpid, "log lines, fork checks of the cryptography library"),
    any(c::SYS_gettid, "panics"),
    any(c::SYS_geteuid, "SQLite and the cryptography library ask who they are"),
    any(c::SYS_rt_sigaction, "the handler of stack overflows"),
    any(c::SYS_rt_sigprocmask, "starting threads"),
    any(c::SYS_rt_sigreturn, "returning from a signal"),
    any(c::SYS_sigaltstack, "the stack of that handler"),
    when(c::SYS_tgkill, &[&[OwnPid(0)]], "abort"),
    any(c::SYS_restart_syscall, "waiting after a stop and continue"),
    any(c::SYS_exit, "ending a thread"),
    any(c::SYS_exit_group, "ending"),
];

/// Socketpairs and pipes that were handed over, and the log.
pub(crate) const CHANNELS: &[Rule] = &[
    any(c::SYS_read, "reading what was handed over"),
    any(c::SYS_write, "writing to what was handed over, the log"),
    any(c::SYS_writev, "writing to what was handed over"),
    any(c::SYS_close, "closing"),
    any(c::SYS_recvmsg, "messages with fds"),
    any(c::SYS_recvfrom, "reading sockets"),
    when(c::SYS_sendmsg, &[&[Bits(2, long(c::MSG_FASTOPEN), 0)]], "messages with fds, never connecting"),
    when(
        c::SYS_sendto,
        &[&[Bits(3, long(c::MSG_FASTOPEN), 0), IsLong(4, 0)]],
        "writing sockets, to the peer they have and never connecting",
    ),
    when(c::SYS_shutdown, &[&[Is(1, long(c::SHUT_WR))]], "saying that no more comes"),
    any(c::SYS_poll, "waiting"),
    when(
        c::SYS_fcntl,
        &[&[Is(1, long(c::F_SETFD))], &[Is(1, long(c::F_DUPFD_CLOEXEC))]],
        "close-on-exec, a second handle, a reserve for when all are used up",
    ),
    when(c::SYS_ioctl, &[&[Is(1, c::FIONBIO)]], "not blocking"),
    when(
        c::SYS_setsockopt,
        &[
            &[Is(1, long(c::SOL_SOCKET)), Is(2, long(c::SO_RCVTIMEO))],
            &[Is(1, long(c::SOL_SOCKET)), Is(2, long(c::SO_SNDTIMEO))],
        ],
        "deadlines on channels",
    ),
    when(
        c::SYS_getsockopt,
        &[
            &[Is(1, long(c::SOL_SOCKET)), Is(2, long(c::SO_ERROR))],
            &[Is(1, long(c::SOL_SOCKET)), Is(2, long(c::SO_TYPE))],
            &[Is(1, long(c::SOL_SOCKET)), Is(2, long(c::SO_DOMAIN))],
            &[Is(1, long(c::SOL_SOCKET)), Is(2, long(c::SO_ACCEPTCONN))],
        ],
        "errors of sockets, their kind",
    ),
];

/// What the libraries ask to check themselves in builds with debug assertions.
#[cfg(debug_assertions)]
pub(crate) const CHECKS: &[Rule] = &[when(
    c::SYS_fcntl,
    &[&[Is(1, long(c::F_GETFD))], &[Is(1, long(c::F_GETFL))]],
    "is this fd open before it is closed, does it not block",
)];

/// Nothing in those that ship.
#[cfg(not(debug_assertions))]
pub(crate) const CHECKS: &[Rule] = &[];

/// tokio's event loop.
pub(crate) const EVENT_LOOP: &[Rule] = &[
    any(c::SYS_epoll_create1, "the event loop"),
    any(c::SYS_epoll_ctl, "the event loop"),
    any(c::SYS_epoll_wait, "the event loop"),
    any(c::SYS_eventfd2, "waking the event loop from another thread"),
];

/// Clients on listeners that were handed over.
pub(crate) const CLIENTS: &[Rule] = &[
    any(c::SYS_accept4, "connections, and who it is that connects"),
    when(
        c::SYS_setsockopt,
        &[
            &[Is(1, long(c::IPPROTO_TCP)), Is(2, long(c::TCP_NODELAY))],
            &[Is(1, long(c::IPPROTO_TCP)), Is(2, long(c::TCP_KEEPIDLE))],
            &[Is(1, long(c::IPPROTO_TCP)), Is(2, long(c::TCP_KEEPINTVL))],
            &[Is(1, long(c::IPPROTO_TCP)), Is(2, long(c::TCP_KEEPCNT))],
            &[Is(1, long(c::SOL_SOCKET)), Is(2, long(c::SO_KEEPALIVE))],
        ],
        "short delays, dead peers",
    ),
];

/// SQLite and message files in the role's own directory.
pub(crate) const FILES: &[Rule] = &[
    any(c::SYS_openat, "own files; Landlock says where"),
    any(c::SYS_pread64, "reading files at a place"),
    any(c::SYS_pwrite64, "writing files at a place"),
    any(c::SYS_lseek, "SQLite"),
    any(c::SYS_fsync, "250 means it is on disk"),
    any(c::SYS_fdatasync, "250 means it is on disk"),
    any(c::SYS_ftruncate, "SQLite's files and memory"),
    // Landlock does not mind them, so a path may be asked about wherever the user may pass.
    any(c::SYS_newfstatat, "sizes of files and of messages, journals of SQLite"),
    any(c::SYS_fstat, "the same, in newer C libraries"),
    any(c::SYS_statx, "sizes of files and of messages"),
    any(c::SYS_readlink, "SQLite resolves its own path"),
    any(c::SYS_getdents64, "leftovers of a crash"),
    any(c::SYS_unlink, "SQLite's journals, removed messages"),
    any(c::SYS_unlinkat, "removed messages"),
    any(c::SYS_rename, "a message gets its name when it is whole"),
    any(c::SYS_renameat, "a message gets its name when it is whole"),
    any(c::SYS_mkdirat, "directories of messages"),
    when(c::SYS_fcntl, &[&[Is(1, long(c::F_GETLK))], &[Is(1, long(c::F_SETLK))]], "SQLite's locks"),
];

/// Taking message files from below: memfds with their seals.
pub(crate) const SEALED_MESSAGES: &[Rule] = &[
    any(c::SYS_pread64, "reading a message at a place"),
    when(
        c::SYS_fcntl,
        &[&[Is(1, long(c::F_GET_SEALS))], &[Is(1, long(c::F_GETFL))]],
        "is the message sealed, was it opened for reading",
    ),
];
