//! One instance: its directory, its ports, its process.

use std::{
    env, fmt,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr as UnixAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::ACCOUNT;

/// Where the built programs are.
#[must_use]
pub fn programs() -> PathBuf {
    if let Some(release) = env::var_os("MOXD_RELEASE") {
        return PathBuf::from(release);
    }
    // target/debug/deps/TEST: the programs are one up.
    let test = env::current_exe().expect("the path of the test");
    test.ancestors().nth(2).expect("a test lies in deps").to_owned()
}

/// The directory of an instance, its ports, and its log. It outlives the process, so that another may be started on it.
#[derive(Debug)]
pub struct Home {
    temporary: tempfile::TempDir,
    /// What is added to every standard port.
    pub port_offset: u16,
    /// Keeps the ports from the homes of other tests.
    _claim: UnixListener,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A new one, passable for the users of all processes.
    #[must_use]
    pub fn new() -> Self {
        let temporary =
            tempfile::Builder::new().prefix("moxd-test-").tempdir_in("/tmp").expect("a directory");
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let (port_offset, claim) = claim_ports();
        Self { temporary, port_offset, _claim: claim }
    }

    /// For the test's own files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The configuration that localserve writes.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.data().join("moxd.toml")
    }

    /// Where the process's stderr goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path().join("stderr.log")
    }

    /// `moxctl localserve` on this directory.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(programs().join("moxctl"));
        command.arg("localserve").arg("--dir").arg(self.data()).arg("--wait-ready");
        command.arg("--port-offset").arg(self.port_offset.to_string()).stdin(Stdio::null());
        command
    }

    /// Starts it, or says how it refused.
    pub fn try_start(self) -> Result<Instance, Refused> {
        let command = self.command();
        self.try_start_with(command)
    }

    /// The same with another program in the place of [`Self::command`]'s.
    pub fn try_start_with(self, mut command: Command) -> Result<Instance, Refused> {
        let log = File::create(self.log()).expect("the log");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("moxctl starts");
        let (sender, receiver) = mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let reader = thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = sender.send(line);
            let mut rest = String::new();
            let _ = stdout.read_to_string(&mut rest);
            rest
        });
        let line = receiver.recv_timeout(Duration::from_secs(60));
        if line.as_deref() == Ok("ready\n") {
            return Ok(Instance { home: Some(self), child: Some(child), stdout: Some(reader) });
        }
        if line.is_err() {
            // Neither ready nor refused: the log below says how far it came.
            terminate(&child);
        }
        let status = wait(&mut child);
        let stderr = fs::read_to_string(self.log()).unwrap_or_default();
        Err(Refused { stderr, status, home: self })
    }
}

/// How an instance did not start.
#[derive(Debug)]
pub struct Refused {
    /// All of it.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
    /// For another attempt.
    pub home: Home,
}

impl Refused {
    /// Asserts that it was one line, and what the line has in it. What the log said of workers that did start is no error.
    pub fn says(&self, parts: &[&str]) {
        let of_the_log = |line: &&str| line.contains(r#""level":"INFO""#);
        let lines: Vec<_> = self.stderr.lines().filter(|line| !of_the_log(line)).collect();
        assert_eq!(lines.len(), 1, "not one line: {}", self.stderr);
        for part in parts {
            assert!(lines[0].contains(part), "no {part:?} in: {}", self.stderr);
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.stderr)
    }
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    home: Option<Home>,
    child: Option<Child>,
    stdout: Option<thread::JoinHandle<String>>,
}

impl Default for Instance {
    fn default() -> Self {
        Self::start()
    }
}

impl Instance {
    /// In a new directory.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(Home::new())
    }

    /// In a directory that may have mail.
    #[must_use]
    pub fn start_in(home: Home) -> Self {
        home.try_start().unwrap_or_else(|refused| panic!("the instance did not start: {refused}"))
    }

    /// Its directory.
    #[must_use]
    pub fn home(&self) -> &Home {
        self.home.as_ref().expect("there until it is stopped")
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port + self.home().port_offset))
    }

    /// Port 25 and what was added to it.
    #[must_use]
    pub fn smtp(&self) -> SocketAddr {
        self.at(25)
    }

    /// Port 587 and what was added to it.
    #[must_use]
    pub fn submission(&self) -> SocketAddr {
        self.at(587)
    }

    /// Port 465 and what was added to it.
    #[must_use]
    pub fn submissions(&self) -> SocketAddr {
        self.at(465)
    }

    /// Port 143 and what was added to it.
    #[must_use]
    pub fn imap(&self) -> SocketAddr {
        self.at(143)
    }

    /// Port 993 and what was added to it.
    #[must_use]
    pub fn imaps(&self) -> SocketAddr {
        self.at(993)
    }

    /// Port 443 and what was added to it.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        self.at(443)
    }

    /// Runs moxctl on this instance.
    #[must_use]
    pub fn moxctl(&self, arguments: &[&str]) -> Output {
        let mut moxctl = Command::new(programs().join("moxctl"));
        moxctl.arg("--dir").arg(self.home().data()).args(arguments).stdin(Stdio::null());
        moxctl.output().expect("moxctl starts")
    }

    /// Adds an account `name` with the address `name@localhost` and that password.
    pub fn add_account(&self, name: &str, password: &str) {
        let added = self.moxctl(&["account", "add", name, &format!("{name}@localhost")]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        self.set_password(name, password);
    }

    /// Sets an account's password.
    pub fn set_password(&self, name: &str, password: &str) {
        let mut moxctl = Command::new(programs().join("moxctl"));
        moxctl.arg("--dir").arg(self.home().data()).args(["password", "set", name]);
        moxctl.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = moxctl.spawn().expect("moxctl starts");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        writeln!(stdin, "{password}").expect("moxctl reads");
        drop(stdin);
        assert!(child.wait().expect("our child").success(), "password set {name}");
    }

    /// Runs `moxctl --json`, which has to succeed: what it printed.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.moxctl(&[&["--json"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// `moxctl --json status`.
    #[must_use]
    pub fn status(&self) -> Value {
        self.json(&["status"])
    }

    /// The ids of all processes but the supervisor, by name.
    #[must_use]
    pub fn pids(&self) -> Vec<(String, i32)> {
        let status = self.status();
        let processes = status["processes"].as_array().expect("processes");
        let pid = |process: &Value| process["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let name = |process: &Value| process["process"].as_str().unwrap_or_default().to_owned();
        processes.iter().filter_map(|process| Some((name(process), pid(process)?))).collect()
    }

    /// The id of the process with this name, if it runs.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<i32> {
        self.pids().into_iter().find(|(process, _)| process == name).map(|(_, pid)| pid)
    }

    /// Every message of the account is read and hashed, and everything counted again.
    pub fn verify(&self) -> Value {
        let output = self.moxctl(&["--json", "account", "verify", ACCOUNT]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "verify: {said} {}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(found["problems"], serde_json::json!([]), "verify: {said}");
        found
    }

    /// Verifies, stops in order, and asserts that stdout carried nothing beside `ready`.
    pub fn finish(self) -> Home {
        self.verify();
        self.stop()
    }

    /// Waits for the end of one whose supervisor was killed.
    pub fn wait_for_death(mut self) -> Home {
        let status = wait(&mut self.child.take().expect("it runs"));
        assert!(!status.success(), "a killed moxd is no success");
        self.home.take().expect("there until now")
    }

    /// Stops in order.
    pub fn stop(mut self) -> Home {
        let mut child = self.child.take().expect("it runs");
        terminate(&child);
        let status = wait(&mut child);
        assert_eq!(status.code(), Some(0), "an orderly stop; log:\n{}", end_of(&self.home().log()));
        let rest = self.stdout.take().expect("its reader").join().expect("the reader ends");
        assert_eq!(rest, "", "behind `ready` on stdout");
        self.home.take().expect("there until now")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            terminate(&child);
            wait(&mut child);
        }
        if let Some(home) = &self.home
            && thread::panicking()
        {
            eprintln!("the log of the instance:\n{}", end_of(&home.log()));
        }
    }
}

fn terminate(child: &Child) {
    // It was not waited for: the number is still its own.
    let _ = kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGTERM);
}

/// Waits; who does not go within the grace and some is killed.
fn wait(child: &mut Child) -> ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let (gone, watched) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if watched.recv_timeout(Duration::from_secs(30)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let status = child.wait().expect("our child");
    drop(gone);
    watch.join().expect("the watch ends");
    status
}

fn end_of(log: &Path) -> String {
    let text = fs::read(log).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

/// Such that all ports are free, and below those that the kernel gives to clients. The claim is a name of an abstract
/// socket: it is gone with the process, however that ends.
fn claim_ports() -> (u16, UnixListener) {
    let claim = |offset: u16| {
        let name = UnixAddr::from_abstract_name(format!("moxd-test-ports-{offset}")).ok()?;
        let claim = UnixListener::bind_addr(&name).ok()?;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset)).is_ok();
        [25, 80, 143, 443, 465, 587, 993].into_iter().all(free).then_some((offset, claim))
    };
    // Instances have their ports within 1000.
    (10..31).find_map(|thousands| claim(thousands * 1000)).expect("free ports")
}
