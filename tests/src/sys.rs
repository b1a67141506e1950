//! Kernels that lack something: system calls that answer as if they were not built in. The only unsafe code here.
#![allow(unsafe_code)]

use std::{io, mem::offset_of, os::unix::process::CommandExt, process::Command};

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    seccomp_data, sock_filter, sock_fprog,
};

/// A system call that the program and all it starts are refused.
#[derive(Debug, Clone, Copy)]
pub struct Absent {
    /// Its number.
    pub call: libc::c_long,
    /// Only with this first argument.
    pub first: Option<u32>,
    /// What it answers.
    pub errno: i32,
}

/// Starts the command without these system calls: a filter that is in force before its first instruction.
pub fn without<'c>(command: &'c mut Command, absent: &[Absent]) -> &'c mut Command {
    let filter = filter(absent);
    let before_exec = move || {
        let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
        // SAFETY: neither call allocates; the second reads `length` instructions that live in this closure.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure only makes two system calls, so it may run between fork and exec.
    unsafe { command.pre_exec(before_exec) }
}

/// Programs of tests are of the machine's own architecture, so numbers are not mixed up.
fn filter(absent: &[Absent]) -> Vec<sock_filter> {
    let code = |code: u32| u16::try_from(code).expect("an instruction");
    let statement = |what: u32, k: u32| sock_filter { code: code(what), jt: 0, jf: 0, k };
    let load = |offset: usize| statement(BPF_LD | BPF_W | BPF_ABS, u32::try_from(offset).expect("an offset"));
    // Goes on if it is so, else leaves out the next `otherwise` instructions.
    let equals = |k: u32, otherwise: u8| sock_filter {
        code: code(BPF_JMP | BPF_JEQ | BPF_K),
        jt: 0,
        jf: otherwise,
        k,
    };
    let mut program = Vec::new();
    for Absent { call, first, errno } in absent {
        let refuse = statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno.unsigned_abs());
        let number = u32::try_from(*call).expect("a system call's number");
        program.push(load(offset_of!(seccomp_data, nr)));
        match first {
            None => program.extend([equals(number, 1), refuse]),
            // The lower half of the argument: the machine is little-endian.
            Some(first) => program.extend([
                equals(number, 3),
                load(offset_of!(seccomp_data, args)),
                equals(*first, 1),
                refuse,
            ]),
        }
    }
    program.push(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    program
}

/// Takes what recvmsg(2) has just put into our table.
#[must_use]
pub fn received(fd: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has told its number to nobody else.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_call_is_absent_with_the_argument_that_was_named_and_there_with_others() {
        let mut python = Command::new("python3");
        let landlock = Absent { call: libc::SYS_landlock_create_ruleset, first: None, errno: libc::ENOSYS };
        let not = u32::try_from(libc::PR_GET_DUMPABLE).unwrap();
        let dumpable = Absent { call: libc::SYS_prctl, first: Some(not), errno: libc::EINVAL };
        let program = format!(
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.prctl({}, 0, 0, 0, 0), \
             libc.prctl({not}, 0, 0, 0, 0), ctypes.get_errno(), libc.syscall({}, 0, 0, 1), ctypes.get_errno())",
            libc::PR_GET_NO_NEW_PRIVS,
            libc::SYS_landlock_create_ruleset
        );
        let said = crate::client::run(without(python.args(["-c", &program]), &[dumpable, landlock]));
        let expected = format!("1 -1 {} -1 {}", libc::EINVAL, libc::ENOSYS);
        assert_eq!(said.trim(), expected);
    }
}
