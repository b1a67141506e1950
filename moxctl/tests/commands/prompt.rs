//! A password typed on a terminal: asked for twice, never shown, and the terminal is as before afterwards.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use ipc_proto::authd::{AdminToAuthd, AuthdToAdmin};
use nix::{
    pty::{OpenptyResult, openpty},
    sys::termios::{LocalFlags, tcgetattr},
};

use crate::served::Instance;

/// moxctl at a terminal, and the person in front of it.
struct Terminal {
    person: File,
    terminal: OwnedFd,
    child: Child,
    /// What was on the screen so far.
    shown: String,
}

impl Terminal {
    fn with(instance: &Instance) -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_moxctl"));
        command.arg("--socket").arg(instance.socket()).args(["password", "set", "alice"]);
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { person: File::from(master), terminal: slave, child, shown: String::new() }
    }

    /// Waits until the screen ends in `text`.
    fn read_until(&mut self, text: &str) {
        let mut octet = [0];
        while !self.shown.ends_with(text) {
            self.person.read_exact(&mut octet).unwrap();
            self.shown.push(char::from(octet[0]));
        }
    }

    fn type_in(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_flags.contains(LocalFlags::ECHO)
    }
}

fn instance() -> (Instance, Arc<Mutex<Vec<Vec<u8>>>>) {
    let set = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&set);
    let instance = Instance::with_directory(move |request| match request {
        AdminToAuthd::PasswordSet { password, .. } => {
            seen.lock().unwrap().push(password.0.clone());
            AuthdToAdmin::Done
        }
        other => panic!("{other:?}"),
    });
    (instance, set)
}

#[test]
fn a_password_is_asked_for_twice_and_never_shown() {
    let (instance, set) = instance();
    let mut terminal = Terminal::with(&instance);
    terminal.read_until("New password of alice: ");
    assert!(!terminal.echoes());
    terminal.type_in("correct horse\n");
    terminal.read_until("Once more: ");
    terminal.type_in("correct horse\n");
    terminal.read_until("account alice has a new password; its sessions were ended");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    assert!(!terminal.shown.contains("horse"), "{}", terminal.shown);
    assert!(terminal.echoes());
    assert_eq!(*set.lock().unwrap(), [b"correct horse".to_vec()]);
}

#[test]
fn two_different_passwords_change_nothing() {
    let (instance, set) = instance();
    let mut terminal = Terminal::with(&instance);
    terminal.read_until(": ");
    terminal.type_in("correct horse\n");
    terminal.read_until("Once more: ");
    terminal.type_in("correct house\n");
    terminal.read_until("the two are not the same; nothing was changed, try again");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(2));
    assert_eq!(*set.lock().unwrap(), [] as [Vec<u8>; 0]);
}

#[test]
fn an_interrupted_prompt_leaves_the_terminal_as_it_was() {
    let (instance, set) = instance();
    let mut terminal = Terminal::with(&instance);
    terminal.read_until("New password of alice: ");
    assert!(!terminal.echoes());
    let pid = terminal.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    let status = terminal.child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
    assert!(terminal.echoes());
    assert_eq!(*set.lock().unwrap(), [] as [Vec<u8>; 0]);
}
