//! `moxctl password set`: a password goes from the terminal or a pipe to authd, and is left nowhere.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use ipc_proto::{Secret, authd::AdminToAuthd};
use nix::sys::{
    signal::{Signal, raise},
    termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
};

use crate::{
    control::Directory,
    failure::{Failure, reason},
    output::{Output, printable},
    signals::{Signals, Woken},
};

/// The longest password that authd takes.
const MAX_PASSWORD: usize = 1024;

pub(crate) fn set(account: String, directory: &Directory, output: &Output) -> Result<(), Failure> {
    // Best effort: no core of ours, and no debugger of the same user, shall show it.
    let _ = nix::sys::prctl::set_dumpable(false);
    let password = read(&account)?;
    directory.change(&AdminToAuthd::PasswordSet { account: account.clone(), password })?;
    output.done(&format!("account {account} has a new password; its sessions were ended"));
    Ok(())
}

/// The password of somebody at another server: the first line of a file, or typed once, or a line from stdin.
pub(crate) fn of_a_source(user: &str, file: Option<&Path>) -> Result<Secret, Failure> {
    let _ = nix::sys::prctl::set_dumpable(false);
    let password = match file {
        Some(path) => {
            let failed = |error: io::Error| Failure::Usage(format!("{}: {}", path.display(), reason(&error)));
            line(&mut File::open(path).map_err(failed)?)?
        }
        None => {
            let stdin = io::stdin();
            let mut input =
                File::from(stdin.as_fd().try_clone_to_owned().map_err(|error| unreadable(&error))?);
            match stdin.is_terminal() {
                true => Silence::on(stdin.as_fd())
                    .map_err(|error| unreadable(&error))?
                    .ask(&format!("Password of {}: ", printable(user)), &mut input)?,
                false => line(&mut input)?,
            }
        }
    };
    if password.0.is_empty() {
        return Err(Failure::Usage(
            "no password was given; type one, pipe one line to stdin, or use --password-file".to_owned(),
        ));
    }
    Ok(password)
}

fn read(account: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    let mut input = File::from(stdin.as_fd().try_clone_to_owned().map_err(|error| unreadable(&error))?);
    let password = if stdin.is_terminal() {
        let silence = Silence::on(stdin.as_fd()).map_err(|error| unreadable(&error))?;
        let first = silence.ask(&format!("New password of {}: ", printable(account)), &mut input)?;
        let second = silence.ask("Once more: ", &mut input)?;
        if first != second {
            return Err(Failure::Usage(
                "the two are not the same; nothing was changed, try again".to_owned(),
            ));
        }
        first
    } else {
        line(&mut input)?
    };
    if password.0.is_empty() {
        let what = "no password was given; type one, or pipe one line to stdin; nothing was changed";
        return Err(Failure::Usage(what.to_owned()));
    }
    Ok(password)
}

/// One line without its end, octet by octet: a buffered reader would keep a copy.
fn line(input: &mut impl Read) -> Result<Secret, Failure> {
    // Never grown: growing would leave a copy behind.
    let mut password = Secret(Vec::with_capacity(MAX_PASSWORD + 2));
    let mut octet = [0];
    loop {
        match input.read(&mut octet) {
            Ok(0) => break,
            Ok(_) if octet == *b"\n" => break,
            Ok(_) if password.0.len() > MAX_PASSWORD => {
                let what = format!("a password has at most {MAX_PASSWORD} octets; nothing was changed");
                return Err(Failure::Usage(what));
            }
            Ok(_) => password.0.extend(octet),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
    if password.0.last() == Some(&b'\r') {
        password.0.pop();
    }
    Ok(password)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::Usage(format!("stdin: {}; type the password on a terminal, or pipe it", reason(error)))
}

/// A terminal that does not show what is typed, until this is dropped: also by Ctrl-C, which is held for that.
struct Silence<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
    signals: Option<Signals>,
}

impl<'a> Silence<'a> {
    fn on(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let deadly = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];
        let signals = Some(Signals::hold(&deadly)?);
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ECHONL);
        // What was typed ahead was shown: it is thrown away.
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before, signals })
    }

    fn ask(&self, prompt: &str, input: &mut File) -> Result<Secret, Failure> {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
        match self.signals.as_ref().map(|signals| signals.wait(Some(self.terminal))) {
            Some(Ok(Woken::Signal(signal))) => {
                self.restore();
                let _ = writeln!(stderr);
                Err(self.die(signal))
            }
            Some(Ok(Woken::Readable)) | None => line(input),
            Some(Err(error)) => Err(unreadable(&error)),
        }
    }

    /// As the signal wanted, now that the terminal is as before.
    fn die(&self, signal: Signal) -> Failure {
        let _ = nix::sys::signal::SigSet::all().thread_unblock();
        let _ = raise(signal);
        Failure::Usage("interrupted; nothing was changed".to_owned())
    }

    fn restore(&self) {
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.restore();
        self.signals.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_read_without_its_end() {
        for (input, password) in [
            (&b"moxmoxmox\n"[..], &b"moxmoxmox"[..]),
            (b"moxmoxmox\r\n", b"moxmoxmox"),
            (b"moxmoxmox", b"moxmoxmox"),
            (b" spaces count \nnot this", b" spaces count "),
            (b"\n", b""),
            (b"", b""),
        ] {
            assert_eq!(line(&mut &*input).unwrap().0, password, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_line_without_end_is_refused_and_was_never_copied() {
        let longest = vec![b'a'; MAX_PASSWORD];
        let read = line(&mut &*longest).unwrap();
        assert_eq!((read.0.len(), read.0.capacity()), (MAX_PASSWORD, MAX_PASSWORD + 2));
        let failure = line(&mut io::repeat(b'a')).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
    }
}
