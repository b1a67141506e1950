//! The real `mox-authd`, locked in as in service, with this test as its supervisor, its imapd and its admin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use ipc_proto::{
    Channel, ConnectionId, Secret,
    authd::{
        AdminAuthd, AdminToAuthd, AuthdToAdmin, AuthdToImapd, Client, ClientReply, ImapdAuthd, ImapdToAuthd,
        Login, Pattern,
    },
    blocking::{Asker, encode_order, send_some},
    control::{AuthdSettings, EVENT_SIZE, Event, LogSettings, Order, Role, RoleSettings, Settings},
    types::{ClientAddress, Run},
};
use tempfile::TempDir;

struct Authd {
    process: Child,
    control: UnixStream,
}

impl Authd {
    fn start(directory: &Path) -> Self {
        let (control, theirs) = UnixStream::pair().unwrap();
        control.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The shell puts the control channel where a worker finds it, as the supervisor does.
        let process = Command::new("sh")
            .args(["-c", "exec \"$0\" 3<&0 0</dev/null", env!("CARGO_BIN_EXE_mox-authd")])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut authd = Self { process, control };
        authd.order(
            &Order::Start(Box::new(Settings {
                role: Role::Authd,
                hostname: "mail.example.org".into(),
                directory: Some(directory.to_str().unwrap().into()),
                log: LogSettings { filter: "debug".into() },
                message_size: 1 << 20,
                own: RoleSettings::Authd(AuthdSettings {
                    loopback_exempt: true,
                    connection_rate: [300, 900, 2700],
                    connections: [30, 90, 270],
                    failure_rate: [10, 30, 90],
                    failure_day: [50, 150, 450],
                    hash_threads: 2,
                    rounds: 1000,
                }),
            })),
            None,
        );
        authd
    }

    /// Started, locked in and ready.
    fn ready(directory: &Path) -> Self {
        let mut authd = Self::start(directory);
        let Event::Sandboxed(layers) = authd.event() else { panic!() };
        assert!(layers.seccomp && layers.no_new_privs && layers.not_dumpable, "{layers:?}");
        authd
    }

    fn order(&mut self, order: &Order, fd: Option<OwnedFd>) {
        let octets = encode_order(order).unwrap();
        let sent = send_some(&self.control, &octets, &Vec::from_iter(fd)).unwrap();
        self.control.write_all(&octets[sent..]).unwrap();
    }

    fn event(&mut self) -> Event {
        let mut octets = [0; EVENT_SIZE];
        self.control.read_exact(&mut octets).unwrap();
        Event::from_bytes(&octets).unwrap()
    }

    fn channel<C: Channel>(&mut self) -> Asker<C> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.order(&Order::Channel { channel: C::ID, account: None, run: Run(1) }, Some(theirs.into()));
        Asker::new(ours).unwrap()
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.process.wait().unwrap();
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status, log)
    }
}

impl Drop for Authd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(admin: &Asker<AdminAuthd>, request: AdminToAuthd) -> AuthdToAdmin {
    admin.call(&request, Vec::new()).unwrap().0
}

fn ask_imapd(imapd: &Asker<ImapdAuthd>, request: &ImapdToAuthd) -> AuthdToImapd {
    imapd.call(request, Vec::new()).unwrap().0
}

fn login(password: &str) -> ImapdToAuthd {
    ImapdToAuthd::Login {
        connection: ConnectionId(1),
        user: "Alice@Example.org".into(),
        password: Secret(password.as_bytes().to_vec()),
    }
}

/// Asks on one thread while this one plays the supervisor.
fn while_supervising<T: Send>(
    authd: &mut Authd,
    asker: impl FnOnce() -> T + Send,
    expect: fn(Event) -> Order,
) -> T {
    std::thread::scope(|scope| {
        let asked = scope.spawn(asker);
        let event = authd.event();
        authd.order(&expect(event), None);
        asked.join().unwrap()
    })
}

fn fill(authd: &mut Authd) {
    assert_eq!(authd.event(), Event::Ready);
    let admin = authd.channel::<AdminAuthd>();
    assert_eq!(ask(&admin, AdminToAuthd::DomainAdd("example.org".into())), AuthdToAdmin::Done);
    let address = Some(Pattern::parse("alice@example.org").unwrap());
    let request = AdminToAuthd::AccountAdd { name: "alice".into(), address };
    let added = while_supervising(
        authd,
        || ask(&admin, request),
        |event| match event {
            Event::CreateAccount(account) => Order::AccountReady(account),
            other => panic!("{other:?}"),
        },
    );
    assert!(matches!(added, AuthdToAdmin::Added(account) if account.number() == 1), "{added:?}");
    let password = Secret(b"moxmoxmox".to_vec());
    let request = AdminToAuthd::PasswordSet { account: "alice".into(), password };
    assert_eq!(ask(&admin, request), AuthdToAdmin::Done);
    assert!(matches!(authd.event(), Event::DisconnectAccount(account) if account.number() == 1));
}

fn log_in(authd: &mut Authd) {
    let imapd = authd.channel::<ImapdAuthd>();
    let from = ClientAddress("192.0.2.1".parse().unwrap());
    let admitted = ask_imapd(&imapd, &ImapdToAuthd::Client(Client::Admit(ConnectionId(1), from)));
    assert_eq!(admitted, AuthdToImapd::Client(ClientReply::Admitted));
    assert_eq!(ask_imapd(&imapd, &login("moxmoxmo")), AuthdToImapd::Login(Login::Denied { wait_ms: 0 }));
    let reply = while_supervising(
        authd,
        || ask_imapd(&imapd, &login("moxmoxmox")),
        |event| match event {
            Event::Connect { front: Role::Imapd, facts } => {
                assert_eq!((facts.connection, facts.account.number()), (ConnectionId(1), 1));
                Order::Connected(facts.session)
            }
            other => panic!("{other:?}"),
        },
    );
    assert!(matches!(reply, AuthdToImapd::Login(Login::Ok(_))), "{reply:?}");
}

/// Attack class 40: what the admin was told is done survives kill -9 at any moment, and the log has no secret
/// (attack class 33).
#[test]
fn it_works_locked_in_and_what_was_acknowledged_survives_a_kill() {
    let directory = TempDir::new().unwrap();
    let mut authd = Authd::ready(directory.path());
    fill(&mut authd);
    log_in(&mut authd);
    authd.process.kill().unwrap();
    let (_, log) = authd.end();
    let mut authd = Authd::ready(directory.path());
    // The note that the supervisor made the directory may have been under way.
    match authd.event() {
        Event::Ready => {}
        Event::CreateAccount(account) if account.number() == 1 => assert_eq!(authd.event(), Event::Ready),
        other => panic!("{other:?}"),
    }
    log_in(&mut authd);
    authd.order(&Order::Stop { grace_ms: 1000 }, None);
    let (status, again) = authd.end();
    assert!(status.success(), "{again}");
    assert!(!directory.path().join("directory.sqlite-wal").exists(), "closed in order");
    for log in [log, again] {
        assert!(log.contains("logged in"), "{log}");
        assert!(!log.contains("moxmox"), "{log}");
    }
}

#[test]
fn it_leaves_when_the_supervisor_is_gone() {
    let directory = TempDir::new().unwrap();
    let mut authd = Authd::ready(directory.path());
    assert_eq!(authd.event(), Event::Ready);
    authd.control.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(authd.end().0.success());
}

#[test]
fn a_damaged_directory_is_one_line_in_the_log_and_a_failure() {
    let directory = TempDir::new().unwrap();
    let mut authd = Authd::ready(directory.path());
    fill(&mut authd);
    authd.order(&Order::Stop { grace_ms: 1000 }, None);
    assert!(authd.end().0.success());
    let database = directory.path().join("directory.sqlite");
    let octets = fs::read(&database).unwrap();
    fs::write(&database, &octets[..octets.len() / 3]).unwrap();
    let (status, log) = Authd::start(directory.path()).end();
    assert!(!status.success());
    assert!(
        log.contains("directory.sqlite is damaged") && log.contains("restore the directory from a backup")
    );
    assert_eq!(log.trim_end().lines().count(), 1, "{log}");
    assert_eq!(fs::read(&database).unwrap(), octets[..octets.len() / 3]);
}
