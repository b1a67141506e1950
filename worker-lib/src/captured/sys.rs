//! The calls themselves, as raw as an attacker makes them: numbers for fds, no library in between. Each returns 0 or the
//! errno, and undoes what it got.
#![allow(unsafe_code)]

use std::{ffi::CString, mem, os::fd::RawFd, ptr};

use libc::{c_int, c_long, c_void};

/// 0, or the errno of the call that returned this just now.
fn outcome(result: c_long) -> c_int {
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) } else { 0 }
}

/// The same for calls that return an fd, which is closed.
fn outcome_of_fd(result: c_long) -> c_int {
    let errno = outcome(result);
    if errno == 0 {
        // SAFETY: the number is of an fd that was made just now and that nothing else owns.
        unsafe { libc::syscall(libc::SYS_close, result) };
    }
    errno
}

fn path(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn option(fd: RawFd, name: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut length: libc::socklen_t = 4;
    // SAFETY: the kernel writes at most `length` octets, which is what `value` has.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    (result == 0).then_some(value)
}

pub(crate) fn is_inet(fd: RawFd) -> bool {
    matches!(option(fd, libc::SO_DOMAIN), Some(libc::AF_INET | libc::AF_INET6))
        && option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
}

pub(crate) fn is_listener(fd: RawFd) -> bool {
    option(fd, libc::SO_ACCEPTCONN) == Some(1)
}

pub(crate) fn open(name: &str, flags: c_int) -> c_int {
    let name = path(name);
    // SAFETY: the name ends with NUL and lives through the call.
    outcome_of_fd(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), flags, 0) })
}

pub(crate) fn look(name: &str) -> c_int {
    let name = path(name);
    // SAFETY: all zeros are a valid `stat`, which the kernel writes; the name ends with NUL and lives through the call.
    outcome(unsafe {
        let mut found: libc::stat = mem::zeroed();
        libc::syscall(libc::SYS_newfstatat, libc::AT_FDCWD, name.as_ptr(), &raw mut found, 0)
    })
}

pub(crate) fn create(name: &str) -> c_int {
    let name = path(name);
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    // SAFETY: the name ends with NUL and lives through the call.
    let errno = outcome_of_fd(unsafe {
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), flags, 0o600)
    });
    if errno == 0 {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, name.as_ptr(), 0) };
    }
    errno
}

pub(crate) fn socket(domain: c_int, kind: c_int) -> c_int {
    // SAFETY: numbers only.
    outcome_of_fd(unsafe { libc::syscall(libc::SYS_socket, domain, kind, 0) })
}

/// This port of 127.0.0.1.
fn address(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: 2,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

const ADDRESS_SIZE: c_int = 16;

pub(crate) fn connect(fd: RawFd, port: u16) -> c_int {
    let address = address(port);
    // SAFETY: the kernel reads `ADDRESS_SIZE` octets of the address, which lives through the call.
    let errno = outcome(unsafe { libc::syscall(libc::SYS_connect, fd, &raw const address, ADDRESS_SIZE) });
    // On its way out is out.
    if errno == libc::EINPROGRESS { 0 } else { errno }
}

pub(crate) fn disconnect(fd: RawFd) -> c_int {
    let address = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
    // SAFETY: as in `connect`; a `sockaddr` has 16 octets.
    outcome(unsafe { libc::syscall(libc::SYS_connect, fd, &raw const address, ADDRESS_SIZE) })
}

pub(crate) fn bind(fd: RawFd) -> c_int {
    // A family alone: any name, for a Unix socket.
    let family: libc::sa_family_t = 1;
    // SAFETY: the kernel reads the two octets of `family`.
    outcome(unsafe { libc::syscall(libc::SYS_bind, fd, &raw const family, 2) })
}

pub(crate) fn listen(fd: RawFd) -> c_int {
    // SAFETY: numbers only.
    outcome(unsafe { libc::syscall(libc::SYS_listen, fd, 0) })
}

pub(crate) fn bind_device(fd: RawFd) -> c_int {
    let device = c"lo";
    // SAFETY: the kernel reads the three octets of the name.
    outcome(unsafe {
        libc::syscall(libc::SYS_setsockopt, fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_ptr(), 3)
    })
}

pub(crate) fn shutdown(fd: RawFd, how: c_int) -> c_int {
    // SAFETY: numbers only.
    outcome(unsafe { libc::syscall(libc::SYS_shutdown, fd, how) })
}

pub(crate) fn fast_open(fd: RawFd, port: u16) -> c_int {
    let address = address(port);
    let octets = b"out";
    // SAFETY: the kernel reads the three octets and the address, which live through the call.
    let errno = outcome(unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            octets.as_ptr(),
            octets.len(),
            libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL,
            &raw const address,
            ADDRESS_SIZE,
        )
    });
    if errno == libc::EINPROGRESS { 0 } else { errno }
}

pub(crate) fn sendmmsg(fd: RawFd) -> c_int {
    // SAFETY: no messages, so nothing is read.
    outcome(unsafe { libc::syscall(libc::SYS_sendmmsg, fd, ptr::null_mut::<c_void>(), 0, 0) })
}

/// Returns only if it fails.
pub(crate) fn exec(name: &str) -> c_int {
    let name = path(name);
    let arguments = [name.as_ptr(), ptr::null()];
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: name, arguments and environment end with NUL and null and live through the call.
    outcome(unsafe {
        libc::syscall(libc::SYS_execve, name.as_ptr(), arguments.as_ptr(), environment.as_ptr())
    })
}

/// Returns only if it fails.
pub(crate) fn memory_exec() -> c_int {
    let name = c"program";
    // SAFETY: the name ends with NUL.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), 0) };
    if fd < 0 {
        return outcome(fd);
    }
    let program = b"#!/bin/true\n";
    let arguments = [name.as_ptr(), ptr::null()];
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: the kernel reads the octets of `program`, then strings and arrays that end with NUL and null; the fd was
    // made above.
    let errno = outcome(unsafe {
        libc::syscall(libc::SYS_write, fd, program.as_ptr(), program.len());
        libc::syscall(
            libc::SYS_execveat,
            fd,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    });
    // SAFETY: the fd was made above and nothing else owns it.
    unsafe { libc::syscall(libc::SYS_close, fd) };
    errno
}

/// The child leaves at once.
fn outcome_of_child(result: c_long) -> c_int {
    if result == 0 {
        // SAFETY: numbers only; ends the child.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    }
    let errno = outcome(result);
    if errno == 0 {
        // SAFETY: null is allowed where the kernel would write.
        unsafe {
            let (status, usage) = (ptr::null_mut::<c_int>(), ptr::null_mut::<c_void>());
            libc::syscall(libc::SYS_wait4, result, status, 0, usage);
        }
    }
    errno
}

pub(crate) fn fork() -> c_int {
    // SAFETY: the child does nothing but leave.
    outcome_of_child(unsafe { libc::syscall(libc::SYS_fork) })
}

pub(crate) fn clone() -> c_int {
    // SAFETY: as fork: no shared memory, no new stack.
    outcome_of_child(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) })
}

pub(crate) fn ptrace(pid: c_int) -> c_int {
    // SAFETY: numbers only; tracing ends with this process.
    outcome(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0) })
}

pub(crate) fn kill(pid: c_int, signal: c_int) -> c_int {
    // SAFETY: numbers only.
    outcome(unsafe { libc::syscall(libc::SYS_kill, pid, signal) })
}

pub(crate) fn pidfd(pid: c_int) -> c_int {
    // SAFETY: numbers only.
    outcome_of_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

pub(crate) fn read_memory(pid: c_int) -> c_int {
    // Whole words: the kernel refuses flags with garbage in their upper half.
    let zero = 0_usize;
    let none = ptr::null::<libc::iovec>();
    // SAFETY: no ranges, so nothing is read or written.
    outcome(unsafe { libc::syscall(libc::SYS_process_vm_readv, pid, none, zero, none, zero, zero) })
}

pub(crate) fn prlimit(pid: c_int) -> c_int {
    // What every worker has already: the attack is that it may be set at all.
    let limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let old = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: the kernel reads `limit`, and null is allowed for the old one.
    outcome(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_CORE, &raw const limit, old) })
}

pub(crate) fn affinity(pid: c_int) -> c_int {
    let mask = u64::MAX;
    // SAFETY: the kernel reads the eight octets of `mask`.
    outcome(unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, pid, mem::size_of_val(&mask), &raw const mask)
    })
}

pub(crate) fn priority(pid: c_int) -> c_int {
    // SAFETY: numbers only.
    outcome(unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, pid, 0) })
}

pub(crate) fn mount(target: &str) -> c_int {
    let target = path(target);
    let kind = c"tmpfs";
    // SAFETY: all strings end with NUL and live through the call; null is allowed for the data.
    let errno = outcome(unsafe {
        let data = ptr::null::<c_void>();
        libc::syscall(libc::SYS_mount, kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, data)
    });
    if errno == 0 {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_umount2, target.as_ptr(), libc::MNT_DETACH) };
    }
    errno
}

pub(crate) fn unshare() -> c_int {
    // SAFETY: numbers only.
    outcome(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER) })
}

pub(crate) fn set_uid(user: u32) -> c_int {
    // SAFETY: numbers only.
    outcome(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) })
}

pub(crate) fn chroot(directory: &str) -> c_int {
    let directory = path(directory);
    // SAFETY: the name ends with NUL and lives through the call.
    outcome(unsafe { libc::syscall(libc::SYS_chroot, directory.as_ptr()) })
}

pub(crate) fn io_uring() -> c_int {
    // `struct io_uring_params`.
    let mut parameters = [0_u8; 120];
    // SAFETY: the kernel reads and writes the 120 octets.
    outcome_of_fd(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })
}

pub(crate) fn executable_memory() -> c_int {
    const PAGE: usize = 4096;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory where the kernel likes it.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, writable, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return outcome(-1);
    }
    // SAFETY: the page is our own, made above, and nothing points into it.
    let errno =
        outcome(unsafe { libc::syscall(libc::SYS_mprotect, page, PAGE, libc::PROT_READ | libc::PROT_EXEC) });
    // SAFETY: as above.
    unsafe { libc::munmap(page, PAGE) };
    errno
}

pub(crate) fn send(fd: RawFd, octets: &[u8]) -> c_int {
    // Whoever holds the other end may not read.
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let nobody = ptr::null::<c_void>();
    // SAFETY: the kernel reads the octets, which live through the call; no address.
    outcome(unsafe { libc::syscall(libc::SYS_sendto, fd, octets.as_ptr(), octets.len(), flags, nobody, 0) })
}

pub(crate) fn send_fd(fd: RawFd, octets: &[u8], attached: RawFd) -> c_int {
    // One header with one fd: 16 octets and 4, padded to 8.
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fd: c_int,
        padding: c_int,
    }
    let mut control = Control {
        header: libc::cmsghdr { cmsg_len: 20, cmsg_level: libc::SOL_SOCKET, cmsg_type: libc::SCM_RIGHTS },
        fd: attached,
        padding: 0,
    };
    let mut part = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    // SAFETY: all zeros are a valid `msghdr`: null pointers and lengths of 0.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = mem::size_of::<Control>();
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the kernel reads what the message points to, all of which lives through the call.
    outcome(unsafe { libc::syscall(libc::SYS_sendmsg, fd, &raw const message, flags) })
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller made the fd and nothing else owns it.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// A file in memory with these octets; -1: not to be had.
pub(crate) fn memory_file(octets: &[u8], sealed: bool) -> RawFd {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: the name ends with NUL; the kernel reads the octets, which live through the call.
    unsafe {
        let fd = libc::memfd_create(c"message".as_ptr(), libc::MFD_ALLOW_SEALING);
        libc::write(fd, octets.as_ptr().cast(), octets.len());
        if sealed {
            libc::fcntl(fd, libc::F_ADD_SEALS, seals);
        }
        fd
    }
}

/// A file with these octets, removed again; -1: not to be had.
pub(crate) fn file(name: &str, octets: &[u8], writable: bool) -> RawFd {
    let name = path(name);
    // SAFETY: the name ends with NUL; the kernel reads it and the octets, which live through the calls; what is closed
    // was opened here.
    unsafe {
        let writer = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600);
        libc::write(writer, octets.as_ptr().cast(), octets.len());
        let fd = if writable {
            writer
        } else {
            let reader = libc::open(name.as_ptr(), libc::O_RDONLY);
            libc::close(writer);
            reader
        };
        libc::unlink(name.as_ptr());
        fd
    }
}

/// Maps one page of it, shared, to write; of what has an fd here only a file can be. (A TCP connection can be mapped to
/// read.)
pub(crate) fn map_file(fd: RawFd) -> c_int {
    const SIZE: usize = 4096;
    let nowhere = ptr::null_mut::<c_void>();
    // SAFETY: the kernel chooses where, and what it maps is let go of unread and unwritten.
    unsafe {
        let at = libc::mmap(nowhere, SIZE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0);
        if at == libc::MAP_FAILED {
            return outcome(-1);
        }
        libc::munmap(at, SIZE);
    }
    0
}

/// Writes where no memory is.
pub(crate) fn fault() {
    // SAFETY: none; the process ends here, which is what is wanted. The first page of addresses is never mapped.
    unsafe { ptr::without_provenance_mut::<u64>(8).write_volatile(0) };
}
