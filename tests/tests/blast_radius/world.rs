//! A running instance whose processes can be told to attack, and somebody to be attacked.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use ipc_proto::{
    AccountId,
    admin::{AdminSupervisor, AdminToSupervisor, Status, SupervisorToAdmin},
    blocking::Asker,
    control::Role,
};
use moxd_tests::{ADDRESS, Home, Imap, Instance, Smtp, mail, process, smtp::Delivery};

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
    delivered: RefCell<u32>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

impl World {
    /// With two accounts that both have mail, and a client at each front.
    pub(crate) fn start() -> Self {
        let home = Home::new();
        let program = captured().join("moxctl");
        let mut command = Command::new(&program);
        command.args(home.command().get_args()).stdin(Stdio::null());
        let instance =
            home.try_start_with(command).unwrap_or_else(|refused| panic!("{}: {refused}", program.display()));
        let victim = Command::new("sleep").arg("600").spawn().unwrap();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut world = Self {
            instance,
            victim,
            open: listen(),
            closed: listen(),
            clients: Vec::new(),
            delivered: RefCell::new(0),
        };
        world.closed.set_nonblocking(true).unwrap();
        let added = world.instance.moxctl(&["account", "add", "other", "other@localhost"]);
        assert!(added.status.success(), "{added:?}");
        for to in [ADDRESS, "other@localhost"] {
            world.deliver(to).unwrap();
        }
        world.clients = [25, 143, 80].map(|port| world.client(port).unwrap()).into();
        world
    }

    /// Whether it was acknowledged, and what tells it apart.
    fn deliver(&self, to: &str) -> Result<String, String> {
        *self.delivered.borrow_mut() += 1;
        let token = format!("blast-{:04}", self.delivered.borrow());
        let mut smtp = Smtp::connect(self.instance.smtp()).map_err(|error| error.to_string())?;
        match smtp.deliver(to, &mail::message(&token, 500)) {
            Delivery::Acknowledged => Ok(token),
            other => Err(format!("{other:?}")),
        }
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

    fn ask(&self, request: &AdminToSupervisor) -> SupervisorToAdmin {
        // A connection each: the supervisor keeps none for long.
        let stream = UnixStream::connect(self.instance.home().data().join("run/control.sock")).unwrap();
        Asker::<AdminSupervisor>::new(stream).unwrap().call(request, Vec::new()).unwrap().0
    }

    pub(crate) fn status(&self) -> Status {
        match self.ask(&AdminToSupervisor::Status) {
            SupervisorToAdmin::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Tries the lines in a role; for accounts in the first one. The errno of each, by its place.
    pub(crate) fn attack(&self, role: Role, lines: &[String]) -> BTreeMap<usize, i32> {
        let account = (role == Role::Accountd).then(|| AccountId::new(1).unwrap());
        let numbered = lines.iter().enumerate().map(|(number, line)| format!("{number} {line}\n"));
        let script = numbered.collect();
        match self.ask(&AdminToSupervisor::Attack { role, account, script }) {
            SupervisorToAdmin::Attacked(results) => {
                assert_eq!(results.len(), lines.len(), "{}: not every line was tried", role.binary());
                results.into_iter().map(|(step, errno)| (step as usize, errno)).collect()
            }
            other => panic!("{}: {other:?}", role.binary()),
        }
    }

    fn data(&self) -> String {
        self.instance.home().data().canonicalize().unwrap().display().to_string()
    }

    fn pid(&self, role: Role) -> u32 {
        let status = self.status();
        status.processes.iter().find(|process| process.role == role).and_then(|process| process.pid).unwrap()
    }

    /// A line of the matrix for a role.
    pub(crate) fn inside(&self, role: Role, line: &str) -> String {
        let data = self.data();
        let own = match role.directory() {
            Some("accounts") => format!("{data}/accounts/1"),
            Some(directory) => format!("{data}/{directory}"),
            // A front has none: any that exists.
            None => format!("{data}/queue"),
        };
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

    /// No process of the instance connected to where it tried to.
    pub(crate) fn nobody_came(&self) {
        let came = self.closed.accept();
        assert!(came.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{came:?} came");
        assert!(self.open.accept().is_ok(), "no control came either");
    }

    /// Mail comes in and is read, and the web answers. What a captured process was asked while it broke its channel may
    /// fail, once: its next try is to succeed.
    pub(crate) fn all_serve(&self, behind: &str) {
        let mut last = Ok(());
        let served = self.eventually(|| {
            last = self.serves();
            last.is_ok()
        });
        assert!(served, "behind {behind}: {last:?}");
    }

    fn serves(&self) -> Result<(), String> {
        if !self.status().ready {
            return Err("not ready".to_owned());
        }
        let token = self.deliver(ADDRESS)?;
        let said = |error: std::io::Error| format!("IMAP: {error}");
        let mut imap = Imap::login(self.instance.imap()).map_err(said)?;
        let found = imap.messages("INBOX").map_err(said)?;
        let text = found.last().map(|last| String::from_utf8_lossy(last)).unwrap_or_default();
        if !text.contains(&token) {
            return Err(format!("{token} is not the last message"));
        }
        self.client(80).map(drop)
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
