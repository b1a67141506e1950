//! A running instance whose processes can be told to attack, and somebody to be attacked.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aws_lc_rs::{digest, signature::Ed25519KeyPair};
use ipc_proto::{
    AccountId, ChannelId, DeliveryId, SessionId,
    admin::{AdminSupervisor, AdminToSupervisor, Status, SupervisorToAdmin},
    blocking::Asker,
    control::Role,
    logins::Fingerprint,
};
use moxd_tests::{
    ACCOUNT, ADDRESS, Home, Imap, Instance, PASSWORD, Smtp, mail, ordinary, process, smtp::Delivery,
};

use crate::{attempt::NOT_TRIED, forgery, tls, verbs::client_key};

/// Where the programs are that play captured processes.
pub(crate) fn captured() -> PathBuf {
    env::var_os("MOXD_CAPTURED").map_or_else(|| crate::root().join("target/captured"), PathBuf::from)
}

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct World {
    instance: Instance,
    /// What controls attack in the place of another process.
    victim: Child,
    /// Where controls connect to, and where nobody may.
    open: TcpListener,
    closed: TcpListener,
    /// Held so that every front has an accepted connection.
    clients: Vec<TcpStream>,
    /// The first message that a client delivered.
    filed: Option<DeliveryId>,
    /// Whose public half is the first account's.
    pub(crate) login_key: Ed25519KeyPair,
    delivered: AtomicU32,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

impl World {
    /// Of the user who runs the tests: root has a user for every process.
    pub(crate) fn start() -> Self {
        let home = Home::new();
        let mut command = Command::new(captured().join("moxctl"));
        command.args(home.command().get_args()).stdin(Stdio::null());
        Self::start_with(home, command)
    }

    /// Of an ordinary user, whom all processes share.
    pub(crate) fn start_as_ordinary_user() -> Self {
        let home = ordinary::home();
        for program in fs::read_dir(home.path().join("bin")).unwrap().flatten() {
            fs::copy(captured().join(program.file_name()), program.path()).unwrap();
        }
        let command = ordinary::command(&home);
        Self::start_with(home, command)
    }

    /// With two accounts that both have mail, and a client at each front.
    fn start_with(home: Home, command: Command) -> Self {
        let instance = home.try_start_with(command).unwrap_or_else(|refused| panic!("{refused}"));
        let victim = Command::new("sleep").arg("600").spawn().unwrap();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut world = Self {
            instance,
            victim,
            open: listen(),
            closed: listen(),
            clients: Vec::new(),
            filed: None,
            login_key: Ed25519KeyPair::generate().unwrap(),
            delivered: AtomicU32::new(0),
        };
        world.closed.set_nonblocking(true).unwrap();
        let added = world.instance.moxctl(&["account", "add", "other", "other@localhost"]);
        assert!(added.status.success(), "{added:?}");
        let fingerprint = digest::digest(&digest::SHA256, client_key(&world.login_key).info());
        let fingerprint = fingerprint.as_ref().try_into().map(Fingerprint).unwrap().to_string();
        let added =
            world.instance.moxctl(&["loginkey", "add", ACCOUNT, "laptop", "--fingerprint", &fingerprint]);
        assert!(added.status.success(), "{added:?}");
        // The first account last, whose process attacks: it has queued's newest channel.
        for to in ["other@localhost", ADDRESS] {
            world.deliver(to).unwrap();
        }
        let first = world.inbox().unwrap().swap_remove(0);
        world.filed = id_of(&first);
        world.clients = [25, 143, 80, 587].map(|port| world.client(port).unwrap()).into();
        world
    }

    /// Whether it was acknowledged, and what tells it apart.
    fn deliver(&self, to: &str) -> Result<String, String> {
        let token = format!("blast-{:04}", self.delivered.fetch_add(1, Ordering::Relaxed));
        let mut smtp = Smtp::connect(self.instance.smtp()).map_err(|error| error.to_string())?;
        match smtp.deliver(to, &mail::message(&token, 500)) {
            Delivery::Acknowledged => Ok(token),
            other => Err(format!("{other:?}")),
        }
    }

    /// The same to an address that only the catch-all has: queued cannot remember whose it is and has to ask authd.
    fn deliver_to_stranger(&self) -> Result<String, String> {
        let next = self.delivered.load(Ordering::Relaxed);
        self.deliver(&format!("stranger-{next}@localhost"))
    }

    /// Whether it was acknowledged to somebody who logged in, and what tells it apart.
    fn submit(&self) -> Result<String, String> {
        let token = format!("blast-{:04}", self.delivered.fetch_add(1, Ordering::Relaxed));
        let mut smtp = Smtp::connect(self.instance.submission()).map_err(|error| error.to_string())?;
        smtp.log_in().map_err(|error| error.to_string())?;
        match smtp.deliver(ADDRESS, &mail::message(&token, 500)) {
            Delivery::Acknowledged => Ok(token),
            other => Err(format!("{other:?}")),
        }
    }

    /// Somebody asks who shares mailboxes.
    fn look_for_neighbours(&self) -> Result<(), String> {
        let mut imap = Imap::login(self.instance.imap()).map_err(|error| error.to_string())?;
        imap.command("LIST \"\" \"Other Users/%\"").map(drop).map_err(|error| error.to_string())
    }

    /// A session of the second account, and its number.
    pub(crate) fn session(&self) -> (Imap, SessionId) {
        self.instance.set_password("other", PASSWORD);
        let mut imap = Imap::login_as(self.instance.imap(), "other", PASSWORD).unwrap();
        imap.command("SELECT INBOX").unwrap();
        let log = fs::read_to_string(self.instance.home().log()).unwrap();
        let (_, number) = log.rsplit_once("\"session\":\"").unwrap();
        (imap, SessionId(u64::from_str_radix(&number[..16], 16).unwrap()))
    }

    /// One that the front has accepted: it said something.
    fn client(&self, port: u16) -> Result<TcpStream, String> {
        let said = |error: std::io::Error| format!("port {port}: {error}");
        let address = (Ipv4Addr::LOCALHOST, port + self.instance.home().port_offset);
        let mut client = TcpStream::connect(address).map_err(said)?;
        client.set_read_timeout(Some(LIMIT)).map_err(said)?;
        if port == 80 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").map_err(said)?;
        }
        match client.read(&mut [0; 4096]).map_err(said)? {
            0 => Err(format!("port {port} says nothing")),
            _ => Ok(client),
        }
    }

    pub(crate) fn status(&self) -> Status {
        status_of(&self.instance)
    }

    /// Tries the lines in a role; for accounts in the first one. The results of each, by its place: one, or an answer's
    /// pieces.
    pub(crate) fn attack(&self, role: Role, lines: &[String]) -> BTreeMap<usize, Vec<i32>> {
        let results = self.last_attack(role, lines);
        assert_eq!(results.len(), lines.len(), "{}: not every line was tried", role.binary());
        results
    }

    /// The same by a process that may not live to tell of all.
    pub(crate) fn last_attack(&self, role: Role, lines: &[String]) -> BTreeMap<usize, Vec<i32>> {
        let account = (role == Role::Accountd).then(|| AccountId::new(1).unwrap());
        let numbered = lines.iter().enumerate().map(|(number, line)| format!("{number} {line}\n"));
        let script = numbered.collect();
        match ask(&self.instance, &AdminToSupervisor::Attack { role, account, script }) {
            SupervisorToAdmin::Attacked(results) => {
                let mut by_line: BTreeMap<_, Vec<_>> = BTreeMap::new();
                for (step, result) in results {
                    by_line.entry(step as usize).or_default().push(result);
                }
                by_line
            }
            other => panic!("{}: {other:?}", role.binary()),
        }
    }

    fn data(&self) -> String {
        self.instance.home().data().canonicalize().unwrap().display().to_string()
    }

    pub(crate) fn pid(&self, role: Role) -> u32 {
        let status = self.status();
        status.processes.iter().find(|process| process.role == role).and_then(|process| process.pid).unwrap()
    }

    /// Of the accounts' there may be none.
    pub(crate) fn pids(&self, role: Role) -> Vec<u32> {
        let status = self.status();
        status
            .processes
            .iter()
            .filter(|process| process.role == role)
            .filter_map(|process| process.pid)
            .collect()
    }

    pub(crate) fn own_directory(&self, role: Role) -> String {
        let data = self.data();
        match role.directory() {
            Some("accounts") => format!("{data}/accounts/1"),
            Some(directory) => format!("{data}/{directory}"),
            // A front has none: any that exists.
            None => format!("{data}/queue"),
        }
    }

    /// Of a message that a client delivered.
    pub(crate) fn filed_id(&self) -> DeliveryId {
        self.filed.expect("the server writes the id into the Received field")
    }

    /// A line of the matrix for a role.
    pub(crate) fn inside(&self, role: Role, line: &str) -> String {
        let (data, own) = (self.data(), self.own_directory(role));
        let sibling = if role == Role::Keyd { Role::Authd } else { Role::Keyd };
        line.replace("{own}", &own)
            .replace("{data}", &data)
            .replace("{sibling}", &self.pid(sibling).to_string())
            .replace("{supervisor}", &self.status().pid.to_string())
            .replace("{port}", &self.closed.local_addr().unwrap().port().to_string())
    }

    /// The same for the control, which attacks the test's own.
    pub(crate) fn outside(&self, line: &str) -> String {
        let victim = self.victim.id().to_string();
        line.replace("{data}", &self.data())
            .replace("{sibling}", &victim)
            .replace("{supervisor}", &victim)
            .replace("{port}", &self.open.local_addr().unwrap().port().to_string())
    }

    /// And for a user without a sandbox, who attacks the instance.
    pub(crate) fn unlocked(&self, line: &str) -> String {
        let port = self.open.local_addr().unwrap().port().to_string();
        self.inside(Role::Webd, &line.replace("{port}", &port))
    }

    /// No process of the instance connected to where it tried to.
    pub(crate) fn nobody_came(&self) {
        let came = self.closed.accept();
        assert!(came.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{came:?} came");
    }

    /// One that was to get out did.
    pub(crate) fn a_control_came(&self) {
        assert!(self.open.accept().is_ok());
    }

    /// Every front serves, mail gets all the way, and who shares mailboxes is said. What a captured process was asked while it broke its channel may fail, once: its next try is to
    /// succeed.
    pub(crate) fn all_serve(&self, behind: &str) {
        self.serve(&FRONTS, behind);
        let token = self.deliver(ADDRESS).unwrap_or_else(|refused| panic!("behind {behind}: {refused}"));
        // What was acknowledged is filed, if not at once then soon.
        assert!(self.eventually(|| self.filed_with(&token) == 1), "behind {behind}: {token} was not filed");
        let mut last = Ok(());
        let looked = self.eventually(|| {
            last = self.look_for_neighbours();
            last.is_ok()
        });
        assert!(looked, "behind {behind}: who shares mailboxes is not said: {last:?}");
    }

    /// These do.
    pub(crate) fn serve(&self, fronts: &[Role], behind: &str) {
        for front in fronts {
            let mut last = Ok(());
            let served = self.eventually(|| {
                last = self.serves(*front);
                last.is_ok()
            });
            assert!(served, "behind {behind}: {last:?}");
        }
    }

    /// Mail is acknowledged; mail is read; the web answers; each shakes hands over TLS, too.
    fn serves(&self, front: Role) -> Result<(), String> {
        if !self.status().ready {
            return Err("not ready".to_owned());
        }
        self.handshake(front)?;
        match front {
            Role::Smtpd => self.deliver_to_stranger().map(drop),
            Role::Submitd => self.submit().map(drop),
            Role::Imapd => self.inbox().map(drop),
            _ => self.client(80).map(drop),
        }
    }

    fn handshake(&self, front: Role) -> Result<(), String> {
        let (address, starttls) = match front {
            Role::Smtpd => (self.instance.smtp(), true),
            Role::Imapd => (self.instance.imaps(), false),
            Role::Submitd => (self.instance.submissions(), false),
            _ => (self.instance.https(), false),
        };
        tls::handshake(address, starttls).map_err(|error| format!("TLS of {}: {error}", front.binary()))
    }

    fn inbox(&self) -> Result<Vec<Vec<u8>>, String> {
        let read = || Imap::login(self.instance.imap())?.messages("INBOX");
        read().map_err(|error| format!("IMAP: {error}"))
    }

    /// Messages in the mailbox that have this in them.
    pub(crate) fn filed_with(&self, mark: &str) -> usize {
        self.inbox().unwrap().iter().filter(|mail| contains(mail, mark)).count()
    }

    /// Makes the asker of this channel ask.
    pub(crate) fn make_ask(&self, channel: ChannelId) {
        let _ = match channel {
            ChannelId::SmtpdKeyd => self.handshake(Role::Smtpd),
            ChannelId::ImapdKeyd => self.handshake(Role::Imapd),
            ChannelId::WebdKeyd => self.handshake(Role::Webd),
            ChannelId::SubmitdKeyd => self.handshake(Role::Submitd),
            ChannelId::SubmitdAuthd => self.client(587).map(drop),
            ChannelId::SubmitdQueued | ChannelId::AuthdQueued => self.submit().map(drop),
            ChannelId::SmtpdAuthd => self.client(25).map(drop),
            ChannelId::ImapdAuthd => self.client(143).map(drop),
            ChannelId::WebdAuthd => self.client(80).map(drop),
            ChannelId::AccountdAuthd => self.look_for_neighbours(),
            ChannelId::SmtpdQueued | ChannelId::QueuedAuthd | ChannelId::QueuedAccountd => {
                self.deliver(ADDRESS).map(drop)
            }
            ChannelId::AdminAuthd
            | ChannelId::AdminAccountd
            | ChannelId::AdminSupervisor
            | ChannelId::AdminQueued => Ok(()),
        };
    }

    /// Waits until this role has lost more channels than before, with clients that make the peer look.
    pub(crate) fn counted(&self, role: Role, channel: ChannelId, before: u32) -> bool {
        self.eventually(|| {
            // Most are noticed at once, some when the peer next asks.
            process::eventually(Duration::from_millis(100), || self.violations(role) > before) || {
                self.make_ask(channel);
                self.violations(role) > before
            }
        })
    }

    /// Has the role's channel broken and made anew, and keeps the new one for the attacker.
    pub(crate) fn keep(&self, role: Role, channel: ChannelId) {
        let before = self.violations(role);
        let lines = [format!("keep {channel:?}"), forgery::breaking(channel)];
        let results = self.attack(role, &lines);
        assert!(!results.values().any(|result| result[..] == [NOT_TRIED]), "{channel:?}: {results:?}");
        assert!(self.counted(role, channel, before), "{channel:?} was not broken");
        if channel == ChannelId::QueuedAccountd {
            // Only made when it is needed.
            self.make_ask(channel);
        }
    }

    /// Channels that this role lost.
    pub(crate) fn violations(&self, role: Role) -> u32 {
        let status = self.status();
        status.processes.iter().filter(|process| process.role == role).map(|process| process.violations).sum()
    }

    /// Who was started again.
    pub(crate) fn restarts(&self) -> Vec<&'static str> {
        let status = self.status();
        status
            .processes
            .iter()
            .filter(|process| process.restarts > 0)
            .map(|process| process.role.binary())
            .collect()
    }

    pub(crate) fn eventually(&self, is_so: impl FnMut() -> bool) -> bool {
        process::eventually(LIMIT, is_so)
    }
}

pub(crate) fn ask(instance: &Instance, request: &AdminToSupervisor) -> SupervisorToAdmin {
    let stream = UnixStream::connect(instance.home().data().join("run/control.sock")).unwrap();
    Asker::<AdminSupervisor>::new(stream).unwrap().call(request, Vec::new()).unwrap().0
}

pub(crate) fn status_of(instance: &Instance) -> Status {
    match ask(instance, &AdminToSupervisor::Status) {
        SupervisorToAdmin::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

/// Those who serve clients, each by its own way.
pub(crate) const FRONTS: [Role; 4] = [Role::Smtpd, Role::Submitd, Role::Imapd, Role::Webd];

/// Whom a captured end of this channel can keep from serving.
pub(crate) const fn dependents(channel: ChannelId) -> &'static [Role] {
    match channel {
        ChannelId::ImapdKeyd | ChannelId::ImapdAuthd => &[Role::Imapd],
        ChannelId::WebdKeyd | ChannelId::WebdAuthd => &[Role::Webd],
        ChannelId::SubmitdKeyd
        | ChannelId::SubmitdAuthd
        | ChannelId::SubmitdQueued
        | ChannelId::AuthdQueued => &[Role::Submitd],
        ChannelId::SmtpdKeyd | ChannelId::SmtpdAuthd | ChannelId::SmtpdQueued => &[Role::Smtpd],
        ChannelId::QueuedAuthd | ChannelId::QueuedAccountd => &[Role::Smtpd, Role::Submitd],
        // Whose process cannot ask sees no shared mailboxes, and all else as ever.
        ChannelId::AccountdAuthd
        | ChannelId::AdminAuthd
        | ChannelId::AdminAccountd
        | ChannelId::AdminSupervisor
        | ChannelId::AdminQueued => &[],
    }
}

fn contains(mail: &[u8], text: &str) -> bool {
    mail.windows(text.len()).any(|window| window == text.as_bytes())
}

/// From the field that smtpd puts before a message.
fn id_of(mail: &[u8]) -> Option<DeliveryId> {
    let text = String::from_utf8_lossy(mail);
    let digits = text.split_once("\r\n\tid ")?.1.get(..32)?;
    let mut id = [0; 16];
    for (at, octet) in id.iter_mut().enumerate() {
        *octet = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(DeliveryId(id))
}
