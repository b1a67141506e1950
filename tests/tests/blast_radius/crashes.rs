//! Fronts that die of a signal while they have clients in hand, and who is charged for that.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::fd::AsRawFd,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use ipc_proto::{
    admin::{AdminToSupervisor, SupervisorToAdmin},
    control::Role,
};
use moxd_tests::{ADDRESS, Home, Instance, PASSWORD, Smtp, client, mail, process::eventually};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket},
    },
    unistd::Pid,
};
use serde_json::Value;

use crate::world::{ask, captured, status_of};

const LIMIT: Duration = Duration::from_secs(20);

/// Whoever crashes things, its neighbour in the same small block, and two from elsewhere.
const GUILTY: Ipv4Addr = Ipv4Addr::new(127, 40, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 40, 0, 2);
const BYSTANDER: Ipv4Addr = Ipv4Addr::new(127, 50, 0, 1);
const OWNER: Ipv4Addr = Ipv4Addr::new(127, 60, 0, 1);

/// What one crash weighs (authd/src/limits.rs), and more than an address may have.
const CRASH: u64 = 10;
const CRASHES: u64 = 4;

/// An instance that counts clients from loopback like all others.
struct Site {
    instance: Instance,
}

impl Site {
    fn start() -> Self {
        let home: Home = Instance::start().stop();
        let configuration = fs::read_to_string(home.configuration()).unwrap();
        let strict = configuration.replace("trust_loopback = true", "trust_loopback = false");
        assert_ne!(strict, configuration);
        fs::write(home.configuration(), strict).unwrap();
        let mut command = Command::new(captured().join("moxctl"));
        command.args(home.command().get_args()).stdin(Stdio::null());
        let instance = home.try_start_with(command).unwrap_or_else(|refused| panic!("{refused}"));
        Self { instance }
    }

    /// A client from this address, and the first line that it is told.
    fn client(&self, from: Ipv4Addr, port: u16) -> io::Result<(BufReader<TcpStream>, String)> {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let at = |address: Ipv4Addr, port| {
            let [a, b, c, d] = address.octets();
            SockaddrIn::new(a, b, c, d, port)
        };
        bind(fd.as_raw_fd(), &at(from, 0))?;
        connect(fd.as_raw_fd(), &at(Ipv4Addr::LOCALHOST, port + self.instance.home().port_offset))?;
        let stream = TcpStream::from(fd);
        stream.set_read_timeout(Some(LIMIT))?;
        let mut stream = BufReader::new(stream);
        if port == 80 {
            stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        }
        let mut line = String::new();
        if port != 993 {
            stream.read_line(&mut line)?;
        }
        Ok((stream, line))
    }

    /// One that is served.
    fn served(&self, from: Ipv4Addr, port: u16) -> BufReader<TcpStream> {
        let (stream, line) = self.client(from, port).unwrap();
        assert!(["220 ", "* OK", "HTTP"].iter().any(|greeting| line.starts_with(greeting)), "{from}: {line}");
        stream
    }

    fn attack(&self, role: Role, lines: &[String]) {
        let script: String = lines.iter().map(|line| format!("0 {line}\n")).collect();
        let request = AdminToSupervisor::Attack { role, account: None, script };
        let taken = || match ask(&self.instance, &request) {
            SupervisorToAdmin::Attacked(results) => {
                assert!(results.iter().all(|(_, errno)| *errno == 0), "{lines:?}: {results:?}");
                true
            }
            // It is being started again.
            SupervisorToAdmin::Refused(_) => false,
            other => panic!("{other:?}"),
        };
        assert!(eventually(LIMIT, taken), "{} does not take {lines:?}", role.binary());
    }

    /// The process of a front that takes orders.
    fn pid(&self, role: Role) -> u32 {
        let mut pid = None;
        let up = eventually(LIMIT, || {
            let status = status_of(&self.instance);
            let found = status.processes.iter().find(|process| process.role == role);
            pid = found.and_then(|process| process.pid);
            pid.is_some()
        });
        assert!(up, "{} is not up", role.binary());
        pid.unwrap()
    }

    /// What a front's process calls its first connection.
    fn first_connection(&self, role: Role) -> u64 {
        u64::from(self.pid(role)) << 26
    }

    /// Something ends the process of a front, and it is there again and serves.
    fn ends(&self, role: Role, port: u16, how: impl FnOnce(u32)) {
        let before = self.pid(role);
        how(before);
        assert!(eventually(LIMIT, || self.pid(role) != before), "{} did not end", role.binary());
        drop(self.served(BYSTANDER, port));
    }

    fn killed_by(&self, role: Role, port: u16, signal: Signal) {
        self.ends(role, port, |pid| kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap());
    }

    /// A client has this front's process die while that works on it.
    fn crashes(&self, from: Ipv4Addr, role: Role, port: u16) {
        let mut client = self.served(from, port);
        self.attack(role, &["fault-in 0".to_owned()]);
        self.ends(role, port, |_| {
            client.get_mut().write_all(b"x NOOP\r\n").unwrap();
            assert!(!matches!(client.read(&mut [0; 64]), Ok(1..)), "it was answered");
        });
    }

    /// What `moxctl abuse list` has of one address.
    fn remembered(&self, address: Ipv4Addr) -> (u64, bool) {
        let output = self.instance.moxctl(&["--json", "abuse", "list"]);
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of =
            |row: &&Value| row["network"] == format!("{address}/32") || row["network"] == address.to_string();
        let row = rows.as_array().unwrap().iter().find(of).cloned();
        row.map_or((0, false), |row| (row["points"].as_u64().unwrap(), row["refused"] == true))
    }

    /// So many crashes, less what was forgiven since.
    fn is_charged(&self, address: Ipv4Addr, crashes: u64) {
        let (points, _) = self.remembered(address);
        let expected = (crashes * CRASH).saturating_sub(2)..=crashes * CRASH;
        assert!(expected.contains(&points), "{address}: {points} points for {crashes} crashes");
    }

    fn delivers(&self) {
        let mut smtp = Smtp::connect(self.instance.smtp()).unwrap();
        smtp.must_deliver(ADDRESS, &mail::message("behind", 300));
    }

    fn certificate(&self) -> PathBuf {
        let path = self.instance.home().path().join("localhost.pem");
        client::save_certificate(self.instance.imaps(), &path);
        path
    }
}

/// Logs in by IMAP over TLS from an address.
const LOGIN: &str = r#"
import imaplib, socket, ssl, sys
port, cafile, source, user, password = int(sys.argv[1]), *sys.argv[2:]

class From(imaplib.IMAP4_SSL):
    def _create_socket(self, timeout):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout, source_address=(source, 0))
        return self.ssl_context.wrap_socket(plain, server_hostname="localhost")

imap = From("localhost", port, ssl_context=ssl.create_default_context(cafile=cafile), timeout=20)
print(imap.login(user, password)[0])
imap.logout()
"#;

/// Attack classes 26 and 40: a client that makes smtpd die of SIGSEGV, again and again, is turned away from then on, and
/// nobody else is: neither its neighbour, nor who was connected at the time.
#[test]
fn a_client_that_crashes_a_front_is_turned_away_and_others_are_served() {
    let site = Site::start();
    for crash in 1..=CRASHES {
        let mut bystander = site.served(BYSTANDER, 25);
        site.crashes(GUILTY, Role::Smtpd, 25);
        assert!(!matches!(bystander.read(&mut [0; 64]), Ok(1..)), "its process is gone");
        site.is_charged(GUILTY, crash);
    }
    assert!(site.remembered(GUILTY).1, "moxctl shows that it is refused");
    for port in [25, 143] {
        let (_, line) = site.client(GUILTY, port).unwrap();
        assert!(line.contains("too many errors from your network"), "{port}: {line}");
    }
    for other in [NEIGHBOUR, BYSTANDER] {
        assert_eq!(site.remembered(other), (0, false), "{other}");
        drop(site.served(other, 25));
    }
    site.delivers();
    let status = status_of(&site.instance);
    let again: Vec<_> = status.processes.iter().filter(|process| process.restarts > 0).collect();
    assert!(matches!(again[..], [one] if one.role == Role::Smtpd && one.restarts == 4), "{again:?}");
    site.instance.finish();
}

/// Attack class 40: a client's handshake has a thread of its own to crash; and where an account's owner is at home,
/// IMAP goes on for them, whatever somebody there did.
#[test]
fn crashes_in_a_handshake_are_charged_and_do_not_lock_an_owner_out() {
    let site = Site::start();
    let certificate = site.certificate();
    let login = |from: Ipv4Addr| {
        let port = site.instance.imaps().port().to_string();
        let mut python = client::python(LOGIN);
        python.arg(port).arg(&certificate).args([&from.to_string(), ADDRESS, PASSWORD]);
        client::output(&mut python)
    };
    assert!(login(OWNER).status.success(), "{:?}", login(OWNER));
    for crash in 1..=CRASHES {
        for from in [GUILTY, OWNER] {
            site.attack(Role::Imapd, &["fault-in 1".to_owned()]);
            site.ends(Role::Imapd, 143, |_| {
                let (mut client, _) = site.client(from, 993).unwrap();
                assert!(!matches!(client.read(&mut [0; 64]), Ok(1..)), "it was answered");
            });
            site.is_charged(from, crash);
        }
    }
    let (_, line) = site.client(GUILTY, 143).unwrap();
    assert!(line.contains("too many errors"), "{line}");
    assert!(site.remembered(OWNER).1, "remembered, too");
    let again = login(OWNER);
    assert!(again.status.success(), "{again:?}");
    site.instance.stop();
}

/// Attack class 26: what a captured front writes into its recorder charges connections that it holds itself, and none of
/// another front's, of the process before it, or of nobody; and not if it was killed by somebody else.
#[test]
fn a_recorder_names_nobody_of_another_front() {
    let site = Site::start();
    let notes = |number: u64| [format!("note 3 {number}"), format!("note 4 {}", number + 1)];
    let mut held = site.served(GUILTY, 25);
    let of_smtpd = site.first_connection(Role::Smtpd);
    site.attack(Role::Webd, &notes(of_smtpd));
    site.killed_by(Role::Webd, 80, Signal::SIGABRT);
    assert_eq!(site.remembered(GUILTY), (0, false), "another front's");
    held.get_mut().write_all(b"NOOP\r\n").unwrap();
    let mut line = String::new();
    held.read_line(&mut line).unwrap();
    assert!(line.starts_with("250 "), "{line}");

    // The control: it is the number of a connection, and the front that holds it can charge it. The other is nobody's, and
    // takes its half of the blame with it.
    site.attack(Role::Smtpd, &notes(of_smtpd));
    site.killed_by(Role::Smtpd, 25, Signal::SIGABRT);
    assert_eq!(site.remembered(GUILTY).0, CRASH / 2);

    // The one that the process before it had.
    site.attack(Role::Smtpd, &notes(of_smtpd));
    site.killed_by(Role::Smtpd, 25, Signal::SIGILL);
    assert_eq!(site.remembered(GUILTY).0, CRASH / 2, "another life's");

    let before = site.pid(Role::Smtpd);
    let _held = site.served(NEIGHBOUR, 25);
    // The first is who was served when it was back.
    let numbers = notes(site.first_connection(Role::Smtpd) + 1);
    site.attack(Role::Smtpd, &numbers[..1]);
    site.killed_by(Role::Smtpd, 25, Signal::SIGKILL);
    assert_ne!(site.pid(Role::Smtpd), before);
    assert_eq!(site.remembered(NEIGHBOUR), (0, false), "somebody's kill is nobody's crash");
    site.delivers();
    site.instance.finish();
}
