//! The child: moxd from the directory that moxctl itself is in.

use std::{
    env, fs,
    io::{self, ErrorKind},
    os::{
        fd::AsFd,
        unix::{
            net::UnixDatagram,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::place::Place;
use crate::{
    failure::{Failure, reason},
    output,
    signals::{Signals, Woken},
    sys,
};

/// A running moxd.
#[derive(Debug)]
pub(super) struct Moxd {
    child: Child,
    /// It was told to stop; the next wish is a demand.
    stopping: bool,
}

/// How a start went.
#[derive(Debug)]
pub(super) enum Start {
    /// Every process is locked in and has its listeners.
    Ready(Moxd),
    /// It ended before that.
    Ended(Ended),
}

/// How moxd ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// As it was told to.
    InOrder,
    /// With this code, after a line on stderr.
    Failed(u8),
}

impl Moxd {
    /// Starts moxd and waits until it is ready.
    pub(super) fn start(place: &Place, signals: &Signals) -> Result<Start, Failure> {
        let program = beside_us()?;
        let path = place.notify();
        let _ = fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).and_then(|notify| {
            notify.set_nonblocking(true)?;
            Ok(notify)
        });
        let notify =
            notify.map_err(|error| Failure::Config(format!("{}: {}", path.display(), reason(&error))))?;
        let mut command = Command::new(&program);
        command.arg("--config").arg(place.configuration()).env("NOTIFY_SOCKET", &path);
        // moxctl may itself be a service: what its manager promised it is not for moxd.
        for name in ["WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        // A group of its own: Ctrl-C reaches moxd once, from us.
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let child = sys::bound_to_us(&mut command).spawn().map_err(|error| {
            Failure::Config(format!(
                "{}: {}; build all of moxd with `cargo build --release`",
                program.display(),
                reason(&error)
            ))
        })?;
        let started = Self { child, stopping: false }.until_ready(&notify, signals);
        let _ = fs::remove_file(&path);
        started.map_err(|error| Failure::Config(format!("waiting for moxd: {}", reason(&error))))
    }

    fn until_ready(mut self, notify: &UnixDatagram, signals: &Signals) -> io::Result<Start> {
        loop {
            match signals.wait(Some(notify.as_fd()))? {
                Woken::Readable if is_ready(notify)? => return Ok(Start::Ready(self)),
                Woken::Readable => {}
                Woken::Signal(signal) => {
                    if let Some(ended) = self.signalled(signal)? {
                        return Ok(Start::Ended(ended));
                    }
                }
            }
        }
    }

    /// Until it ends.
    pub(super) fn wait(mut self, signals: &Signals) -> io::Result<Ended> {
        // The signal of its end may have come before anybody waited for it.
        if let Some(status) = self.child.try_wait()? {
            return Ok(ended(status));
        }
        loop {
            if let Woken::Signal(signal) = signals.wait(None)?
                && let Some(ended) = self.signalled(signal)?
            {
                return Ok(ended);
            }
        }
    }

    fn signalled(&mut self, signal: Signal) -> io::Result<Option<Ended>> {
        if signal == Signal::SIGCHLD {
            return Ok(self.child.try_wait()?.map(ended));
        }
        self.stop();
        Ok(None)
    }

    /// In order the first time; whoever asks again does not want to wait.
    pub(super) fn stop(&mut self) {
        let signal = if self.stopping { Signal::SIGKILL } else { Signal::SIGTERM };
        if self.stopping {
            output::complain("moxd is killed; what it acknowledged is on disk");
        }
        self.stopping = true;
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It cannot be another process's number: the child was not waited for yet.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// moxd and moxctl are built together and lie together.
fn beside_us() -> Result<PathBuf, Failure> {
    let us =
        env::current_exe().map_err(|error| Failure::Config(format!("/proc/self/exe: {}", reason(&error))))?;
    Ok(us.with_file_name("moxd"))
}

fn is_ready(notify: &UnixDatagram) -> io::Result<bool> {
    let mut message = [0; 4096];
    match notify.recv(&mut message) {
        Ok(length) => {
            let lines = message.get(..length).unwrap_or_default().split(|octet| *octet == b'\n');
            Ok(lines.into_iter().any(|line| line == b"READY=1"))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Exit codes as a shell has them; who was killed could not say why.
fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ended::InOrder,
        (Some(code), _) => Ended::Failed(u8::try_from(code).unwrap_or(1)),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            output::complain(&format!("moxd was killed by signal {signal}"));
            Ended::Failed(u8::try_from(128 + signal).unwrap_or(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_a_line_of_its_own_in_a_notification() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert!(!is_ready(&ours).unwrap());
        for (message, ready) in [
            ("STATUS=starting", false),
            ("XREADY=1", false),
            ("READY=10", false),
            ("READY=1", true),
            ("STATUS=all is up\nREADY=1\n", true),
        ] {
            theirs.send(message.as_bytes()).unwrap();
            assert_eq!(is_ready(&ours).unwrap(), ready, "{message}");
        }
    }

    #[test]
    fn the_exit_code_is_moxds_own() {
        assert_eq!(ended(ExitStatus::from_raw(0)), Ended::InOrder);
        assert_eq!(ended(ExitStatus::from_raw(78 << 8)), Ended::Failed(78));
        assert_eq!(ended(ExitStatus::from_raw(9)), Ended::Failed(137));
    }
}
