//! The orderly stop: fronts, then the queue, then accounts, then the rest, each within the grace.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use ipc_proto::control::{Order, Role};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{ends::Killed, instance::Instance, start::StartError};

/// How far stopping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Stopping { stage: usize, until: Instant },
}

const STAGES: [&[Role]; 4] = [
    &[Role::Smtpd, Role::Submitd, Role::Imapd, Role::Webd],
    &[Role::Queued],
    &[Role::Accountd],
    &[Role::Authd, Role::Keyd],
];

/// Beyond the grace, before what still runs is killed.
const MARGIN: Duration = Duration::from_millis(500);

impl Instance {
    /// Begins to stop; twice is once.
    pub(crate) fn stop(&mut self) {
        if self.phase == Phase::Running {
            self.log.own("INFO", "stopping");
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            self.enter_stage(0);
        }
    }

    fn enter_stage(&mut self, stage: usize) {
        let grace = self.config.limits.stop.0;
        self.phase = Phase::Stopping { stage, until: Instant::now() + grace };
        let grace_ms = self.config.limits.stop.milliseconds();
        let roles = STAGES.get(stage).copied().unwrap_or_default();
        for process in self.processes_mut().filter(|process| roles.contains(&process.role)) {
            process.send(&Order::Stop { grace_ms }, Vec::new());
        }
    }

    /// `Some`: all is down.
    pub(crate) fn advance_stop(&mut self) -> Option<Result<(), StartError>> {
        let Phase::Stopping { stage, until } = self.phase else { return None };
        let Some(roles) = STAGES.get(stage) else {
            self.log.own("INFO", "stopped");
            self.log.release();
            return Some(Ok(()));
        };
        let mut left = self.processes_mut().filter(|process| roles.contains(&process.role)).peekable();
        if left.peek().is_none() {
            drop(left);
            self.enter_stage(stage + 1);
            return self.advance_stop();
        }
        if Instant::now() > until + MARGIN {
            left.for_each(|process| process.kill(Killed::Stop));
        }
        None
    }

    /// Ends all workers and waits until they are gone. They would die with us too, but a moment later: until then one that has
    /// its listeners keeps their addresses from the next moxd.
    pub(crate) fn leave_nobody(&mut self) {
        let until = Instant::now() + MARGIN;
        for process in self.processes_mut() {
            process.kill(Killed::Stop);
        }
        for process in self.processes() {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            let mut ended = [PollFd::new(process.child.pidfd.as_fd(), PollFlags::POLLIN)];
            // One that the kernel cannot end within that is not waited for.
            let _ = poll(&mut ended, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        }
    }
}
