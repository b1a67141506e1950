//! What a process asks of the kernel about itself: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::io;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// No core file, no ptrace, no /proc/PID access by processes of the same user.
pub fn become_undumpable() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).map(|_| ())
}

/// Read back.
#[must_use]
pub fn not_dumpable() -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 }
}

/// Read back.
#[must_use]
pub fn no_new_privs() -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// RLIMIT_CORE, read back.
#[must_use]
pub fn no_core_files() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: the kernel writes one rlimit into ours.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
    result == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0
}

/// No capability in the permitted, effective or inheritable set, and none to be had again: not in the bounding set or, for a
/// user who may not take it away there, not by any exec, since [`no_new_privs`] is set.
#[must_use]
pub fn no_capabilities() -> bool {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    /// _LINUX_CAPABILITY_VERSION_3: two words of effective, permitted, inheritable.
    const VERSION: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [u32::MAX; 6];
    // SAFETY: version 3 writes six words, which is what `sets` has; the header outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    // SAFETY: takes no pointers; asks about CAP_SYS_ADMIN.
    let bounding = unsafe { libc::prctl(libc::PR_CAPBSET_READ, 21, 0, 0, 0) };
    result == 0 && sets == [0; 6] && (bounding <= 0 || no_new_privs())
}

/// Installs a filter on this thread and all it will start; refusals go to the kernel's audit log.
pub fn install_filter(program: &[seccompiler::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::other("the filter is too long"))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    // SAFETY: `program` names `length` instructions that outlive the call, which only reads them; `sock_filter` has
    // the kernel's layout in both crates.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_LOG,
            &raw const program,
        )
    })
    .map(|_| ())
}

/// The process's name in `ps` and /proc/PID/comm: run by fd, it would be a number.
pub fn name_process(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the kernel reads at most 16 octets of a string that ends in NUL.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }.into()).map(|_| ())
}
