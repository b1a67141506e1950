//! How a worker's end is to be understood: whose doing it was, and the one line that tells of it.

use std::{os::fd::AsFd, time::Duration};

use ipc_proto::control::PreviousEnd;

use crate::{
    instance::{FIRST_PAUSE, Instance, Who},
    log::Source,
    process::Process,
    start::StartError,
    stop::Phase,
    sys::{self, Ended},
};

/// Up for so long, a worker's crashes are forgotten.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Reads of what a worker said last: more than its socket holds.
const READS: usize = 1000;

/// Why the supervisor killed a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// It did not answer, or left its orders unread.
    Hung,
    /// It sent what its role never sends.
    Rules,
    /// keyd and authd both say that it broke the rules.
    Accused,
    /// It was told to stop and did not within the grace.
    Stop,
}

/// Of a worker that says why it ends (`worker_lib::EXIT_CONFIG`).
pub(crate) const FAULT: Ended = Ended::Exited(78);

/// What a panic of the main thread ends with (std's own).
const PANICKED: i32 = 101;

/// Signals that a process brings upon itself: faults, `abort` (which is how a failed allocation ends), limits.
pub(crate) const OWN_SIGNALS: [libc::c_int; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// What the next process of an account is told. A SIGKILL that was not ours is somebody's command, or the kernel's when
/// the host is out of memory, or the end of the supervisor: nothing that a message or session did.
pub(crate) fn previous(end: Ended, killed: Option<Killed>, sessions: bool) -> PreviousEnd {
    let own = match (end, killed) {
        (_, Some(Killed::Hung | Killed::Rules | Killed::Accused)) => true,
        (_, Some(Killed::Stop)) => false,
        (Ended::Exited(code), None) => code == PANICKED,
        (Ended::Signal(signal), None) => OWN_SIGNALS.contains(&signal),
    };
    if own { PreviousEnd::Crash { sessions } } else { PreviousEnd::Harmless }
}

/// In words.
fn describe(end: Ended, fault: Option<&str>) -> String {
    let how = match end {
        Ended::Exited(code @ 201..=212) => format!("did not start: {}", sys::step_name(code - 200)),
        Ended::Exited(code) => format!("exited with {code}"),
        Ended::Signal(signal) => format!("was ended by signal {signal}"),
    };
    match fault {
        // The exit code says no more than that there is a cause.
        Some(fault) if end == FAULT => fault.to_owned(),
        Some(fault) => format!("{how}; it said: {fault}"),
        None => how,
    }
}

impl Instance {
    /// A worker's pidfd says that it ended.
    pub(crate) fn ended(&mut self, who: Who) -> Result<(), StartError> {
        let Some(process) = self.process(who) else { return Ok(()) };
        let Ok(Some(end)) = sys::reap(process.child.pidfd.as_fd()) else { return Ok(()) };
        let (pid, role) = (process.child.pid, process.role);
        while let Some(line) = self.process_mut(who).and_then(Process::read_log) {
            let account = if let Who::Account(account) = who { Some(account) } else { None };
            self.log.line(Source { name: role.binary(), pid, account }, &line);
        }
        // What it said last still counts, and an account's process says something of each session.
        for _ in 0..READS {
            if !self.process(who).is_some_and(|process| sys::has_input(process.control.as_fd())) {
                break;
            }
            self.take_events(who)?;
        }
        self.attack_ended(who);
        let gone = match who {
            Who::Account(account) => {
                self.accounts.get_mut(&account).and_then(|account| account.process.take())
            }
            Who::Fixed(role) => self.fixed_mut(role).and_then(|fixed| fixed.process.take()),
        };
        let how = describe(end, gone.as_ref().and_then(|process| process.fault.as_deref()));
        let stopping = self.phase != Phase::Running;
        if matches!(who, Who::Fixed(_)) && !self.ready && !stopping {
            return Err(StartError::Worker { process: role.binary(), cause: how });
        }
        if end != Ended::Exited(0) || (!stopping && matches!(who, Who::Fixed(_))) {
            let level =
                if gone.as_ref().is_some_and(|process| process.fault.is_some()) { "ERROR" } else { "WARN" };
            let whose = gone.as_ref().and_then(|process| process.account);
            let whose = whose.map_or_else(String::new, |account| format!("/{account}"));
            self.log.own(level, &format!("{}{whose}[{pid}] {how}", role.binary()));
        }
        match who {
            Who::Account(account) => self.account_ended(account, end, gone),
            Who::Fixed(role) => {
                if let Some(fixed) = self.fixed_mut(role) {
                    fixed.restarts += u32::from(!stopping);
                    if gone.as_ref().is_some_and(|process| process.started.elapsed() > FORGIVEN) {
                        fixed.pause = FIRST_PAUSE;
                    }
                }
                if let Some(gone) = gone {
                    self.report_crash(role, end, gone.killed, gone.recorder.as_ref());
                }
                if !stopping {
                    self.come_back(role);
                    self.fixed_gone(role);
                    self.revive_listeners();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_says_of_its_end_hides_nothing_that_was_seen() {
        for (end, fault, expected) in [
            (Ended::Exited(78), Some("no room; make some"), "no room; make some"),
            (Ended::Exited(78), None, "exited with 78"),
            (Ended::Signal(9), Some("all is well"), "was ended by signal 9; it said: all is well"),
            (Ended::Exited(202), None, "did not start: network namespace"),
        ] {
            assert_eq!(describe(end, fault), expected);
        }
    }

    #[test]
    fn what_a_process_did_itself_is_a_crash_and_what_others_did_to_it_is_none() {
        for (end, killed, own, reason) in [
            (Ended::Exited(0), None, false, "in order"),
            (Ended::Exited(78), None, false, "it said what is wrong: nothing that was in hand"),
            (Ended::Exited(207), None, false, "it never ran"),
            (Ended::Exited(101), None, true, "a panic"),
            (Ended::Signal(libc::SIGSEGV), None, true, "a fault, or the end of a stack"),
            (Ended::Signal(libc::SIGBUS), None, true, "a fault"),
            (Ended::Signal(libc::SIGILL), None, true, "a fault"),
            (Ended::Signal(libc::SIGABRT), None, true, "abort, as when RLIMIT_DATA is reached"),
            (Ended::Signal(libc::SIGSYS), None, true, "a forbidden system call"),
            (Ended::Signal(libc::SIGKILL), None, false, "the admin's, or the supervisor died"),
            (Ended::Signal(libc::SIGTERM), None, false, "the admin's"),
            (Ended::Signal(libc::SIGKILL), Some(Killed::Hung), true, "the watchdog"),
            (Ended::Signal(libc::SIGKILL), Some(Killed::Rules), true, "it was not itself any more"),
            (Ended::Signal(libc::SIGKILL), Some(Killed::Stop), false, "the grace was too short"),
        ] {
            let expected = if own { PreviousEnd::Crash { sessions: true } } else { PreviousEnd::Harmless };
            assert_eq!(previous(end, killed, true), expected, "{reason}");
        }
    }
}
