//! A configuration that is read again, and a moxd that is started again: no connection ends, nobody is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    io::{IoSliceMut, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use moxd_tests::{
    ADDRESS, Home, Imap, Instance, Smtp, instance::programs, mail::message, process::eventually,
};
use nix::{
    cmsg_space,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        signal::{Signal, kill},
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
    },
    unistd::Pid,
};

/// A hang is a failure after this.
const LIMIT: Duration = Duration::from_secs(20);

/// Rewrites the configuration; what was there.
fn edit(home: &Home, by: impl FnOnce(&str) -> String) -> String {
    let before = fs::read_to_string(home.configuration()).unwrap();
    fs::write(home.configuration(), by(&before)).unwrap();
    before
}

fn supervisor(instance: &Instance) -> Pid {
    Pid::from_raw(i32::try_from(instance.status()["pid"].as_i64().unwrap()).unwrap())
}

fn greets(address: SocketAddr) -> bool {
    Smtp::open(address).is_ok()
}

mod running {
    use super::*;

    #[test]
    fn a_reload_changes_listeners_and_limits_and_drops_no_connection() {
        let instance = Instance::start();
        let pids = instance.pids();
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        let mut imap = Imap::login(instance.imap()).unwrap();
        imap.command("SELECT INBOX").unwrap();
        let before = edit(instance.home(), |text| {
            let more = "[listeners.more]\nprotocol = \"smtp\"\naddresses = [\"127.0.0.2:";
            let gone = format!("addresses = [\"{}\"]", instance.imap());
            let elsewhere = format!("addresses = [\"127.0.0.2:{}\"]", instance.imap().port());
            assert!(text.contains(&gone));
            format!(
                "{}\n{more}{}\"]\n[limits]\nimap_logins = 2\nsignatures = 33\n",
                text.replace(&gone, &elsewhere),
                instance.smtp().port()
            )
        });
        let more = SocketAddr::from(([127, 0, 0, 2], instance.smtp().port()));
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], instance.imap().port()));
        assert!(!greets(more));
        let output = instance.moxctl(&["--json", "reload"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            said["changed"],
            serde_json::json!(["limits.imap_logins", "listeners.imap", "listeners.more"])
        );
        assert_eq!(said["needs_restart"], serde_json::json!(["limits.signatures"]));

        // Who was there is served on, by the same processes.
        imap.command("NOOP").unwrap();
        smtp.must_deliver(ADDRESS, &message("across", 1000));
        assert!(eventually(LIMIT, || greets(more)), "the new listener is served");
        assert!(eventually(LIMIT, || Imap::open(elsewhere).is_ok()), "the one that moved, too");
        assert!(
            eventually(LIMIT, || TcpStream::connect(instance.imap()).is_err()),
            "where it was nobody listens"
        );
        let fixed = |pids: &[(String, i32)]| {
            pids.iter().filter(|(name, _)| name != "mox-accountd").cloned().collect::<Vec<_>>()
        };
        assert_eq!(fixed(&instance.pids()), fixed(&pids), "nobody was started again");

        // The limit counts: of three who do not log in the first makes room.
        let mut strangers: Vec<_> = (0..3).map(|_| TcpStream::connect(elsewhere).unwrap()).collect();
        strangers[0].set_read_timeout(Some(LIMIT)).unwrap();
        let mut said = String::new();
        strangers[0].read_to_string(&mut said).unwrap();
        drop(strangers);

        // Back again, by the signal.
        fs::write(instance.home().configuration(), before).unwrap();
        kill(supervisor(&instance), Signal::SIGHUP).unwrap();
        assert!(
            eventually(LIMIT, || Imap::login(instance.imap()).is_ok() && TcpStream::connect(more).is_err())
        );
        smtp.must_deliver(ADDRESS, &message("back", 1000));
        instance.finish();
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_its_line_and_nothing_changes() {
        let instance = Instance::start();
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        let taken = TcpListener::bind("127.0.0.2:0").unwrap();
        let address = taken.local_addr().unwrap();
        for (more, says) in [
            ("[limits]\nimap_logins = \"many\"\n".to_owned(), "limits.imap_logins: "),
            ("[limits]\nimap_loginz = 3\n".to_owned(), "imap_loginz"),
            (
                format!("[listeners.a]\nprotocol = \"smtp\"\naddresses = [\"127.0.0.2:1\", \"{address}\"]\n"),
                "is another mail server running?",
            ),
        ] {
            let before = edit(instance.home(), |text| format!("{text}\n{more}"));
            let output = instance.moxctl(&["reload"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{more}: {said}");
            assert!(said.lines().count() == 1 && said.contains(says), "{more}: {said}");
            fs::write(instance.home().configuration(), before).unwrap();
        }
        assert!(TcpStream::connect("127.0.0.2:1").is_err(), "all of them or none");
        smtp.must_deliver(ADDRESS, &message("still", 1000));
        instance.finish();
    }
}

/// What systemd does for a service with `FileDescriptorStoreMax=`.
struct Manager {
    socket: UnixDatagram,
    stored: BTreeMap<String, OwnedFd>,
    ready: bool,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { socket, stored: BTreeMap::new(), ready: false }
    }

    /// Takes notifications until moxd is ready.
    fn wait(&mut self) {
        self.ready = false;
        while !self.ready {
            let mut octets = [0; 4096];
            let mut space = cmsg_space!([std::os::fd::RawFd; 4]);
            let (length, fds) = {
                let mut into = [IoSliceMut::new(&mut octets)];
                let flags = MsgFlags::MSG_CMSG_CLOEXEC;
                let message =
                    recvmsg::<()>(self.socket.as_raw_fd(), &mut into, Some(&mut space), flags).unwrap();
                let mut fds = Vec::new();
                for part in message.cmsgs().unwrap() {
                    if let ControlMessageOwned::ScmRights(raw) = part {
                        fds.extend(raw);
                    }
                }
                (message.bytes, fds)
            };
            let text = String::from_utf8_lossy(&octets[..length]).into_owned();
            let mut fds: Vec<OwnedFd> = fds.into_iter().map(moxd_tests::sys::received).collect();
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
            self.ready |= value("READY=").is_some();
            match (value("FDSTORE="), value("FDSTOREREMOVE="), value("FDNAME="), fds.pop()) {
                (Some(_), None, Some(name), Some(fd)) => drop(self.stored.insert(name, fd)),
                (None, Some(_), Some(name), None) => drop(self.stored.remove(&name)),
                (None, None, None, None) => {}
                other => panic!("{other:?} in {text}"),
            }
        }
    }

    /// Starts moxd as systemd does: what was stored is on fds 3 and up.
    fn start(&self, home: &Home) -> Service {
        let mut script = String::new();
        for (number, fd) in self.stored.values().enumerate() {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            let fd = fd.as_raw_fd();
            script.push_str(&format!("exec {}<&{fd} {fd}<&-; ", 100 + number));
        }
        for number in 0..self.stored.len() {
            script.push_str(&format!("exec {}<&{} {}<&-; ", 3 + number, 100 + number, 100 + number));
        }
        let names: Vec<_> = self.stored.keys().map(String::as_str).collect();
        script.push_str(r#"export LISTEN_PID=$$; exec "$0" --config "$1""#);
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).arg(programs().join("moxd")).arg(home.configuration());
        command.env("LISTEN_FDS", self.stored.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.env("NOTIFY_SOCKET", home.path().join("notify"));
        let log = fs::File::create(home.log()).unwrap();
        Service(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

/// A moxd that does not outlive the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Attack class 39: a start that binds nothing anew refuses nobody meanwhile.
#[test]
fn listeners_that_systemd_keeps_refuse_nobody_while_moxd_is_started_again() {
    let home = Instance::start().stop();
    let smtp = SocketAddr::from(([127, 0, 0, 1], 25 + home.port_offset));
    let mut manager = Manager::new(&home.path().join("notify"));
    let moxd = manager.start(&home);
    manager.wait();
    assert_eq!(manager.stored.len(), 7, "{:?}", manager.stored.keys());
    assert!(greets(smtp));

    // As by a crash; then while nobody runs a client comes.
    drop(moxd);
    let mut early = TcpStream::connect(smtp).expect("its connection waits in the queue");
    // And what is no listener, or of an address that is not configured, is not used.
    manager.stored.insert("strange".to_owned(), fs::File::open("/dev/null").unwrap().into());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = other.local_addr().unwrap();
    manager.stored.insert(format!("moxd-{elsewhere}").replace(':', "_"), other.into());
    let mut moxd = manager.start(&home);
    manager.wait();
    early.set_read_timeout(Some(LIMIT)).unwrap();
    let mut greeting = [0; 4];
    early.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ", "who came early is served");
    assert!(TcpStream::connect(elsewhere).is_err(), "let go of, by moxd and by systemd");
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(!log.contains("cannot listen"), "{log}");
    kill(Pid::from_raw(i32::try_from(moxd.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(moxd.0.wait().unwrap().success());
}
