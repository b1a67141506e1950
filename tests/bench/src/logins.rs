//! Logins over TLS, and Dovecot's beside them: on connections that are open, and with a handshake each.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use crate::{
    aims::{Aims, Bound},
    dovecot::{Dovecot, Serves},
    failure::Failure,
    imap::Client,
    instance::{Instance, PASSWORD, Programs},
    processes::Processes,
    scram::{self, Keys},
    tls,
};

/// For this part's instance: keyd signs as often as it is asked.
pub(crate) const CONFIGURATION: &str = tls::CONFIGURATION;

/// Clients at once, each with an account of its own.
const CLIENTS: usize = 10;

/// Open connections of each client in one turn: no more sessions than an account may have.
const OPEN: usize = 50;

/// Turns of each row.
const TURNS: usize = 4;

/// As Dovecot makes them, where it is not told otherwise.
const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram,
}

/// A row.
#[derive(Debug, Clone, Copy)]
struct Way {
    mechanism: Mechanism,
    handshake: bool,
}

const WAYS: [Way; 4] = [
    Way { mechanism: Mechanism::Plain, handshake: false },
    Way { mechanism: Mechanism::Scram, handshake: false },
    Way { mechanism: Mechanism::Plain, handshake: true },
    Way { mechanism: Mechanism::Scram, handshake: true },
];

/// One client, and what it keeps between logins.
#[derive(Debug)]
struct User {
    name: String,
    keys: Option<Keys>,
}

type Connection = Client<tls::Stream>;

/// One of the servers.
struct Server<'a> {
    address: SocketAddr,
    processes: &'a dyn Fn() -> Result<Processes, Failure>,
    client: &'a Arc<ClientConfig>,
    users: Vec<User>,
    /// Connections that each client opens in a turn.
    open: usize,
    /// How long a turn with handshakes takes.
    turn: Duration,
}

/// What so many logins took.
#[derive(Debug, Clone, Copy, Default)]
struct Logins {
    count: usize,
    took: Duration,
    processor: Duration,
}

impl Logins {
    fn count(self) -> f64 {
        u32::try_from(self.count).map_or(f64::INFINITY, f64::from)
    }

    fn a_second(self) -> f64 {
        self.count() / self.took.as_secs_f64()
    }

    fn processor_milliseconds(self) -> f64 {
        self.processor.as_secs_f64() * 1000.0 / self.count()
    }

    fn add(&mut self, more: Self) {
        self.count += more.count;
        self.took += more.took;
        self.processor += more.processor;
    }
}

/// All rows, of both servers in turns; `share`: one of so many logins. Dovecot lives in `directory`.
pub(crate) fn measure(
    instance: &Instance,
    programs: &Programs,
    directory: &Path,
    share: usize,
    aims: &mut Aims,
) -> Result<(), Failure> {
    let names: Vec<_> = (0..CLIENTS).map(|number| format!("user{number}")).collect();
    for name in &names {
        instance.add_account(programs, name)?;
        instance.set_password(programs, name, PASSWORD)?;
    }
    let keys = |name: &String| (name.clone(), Keys::derive(PASSWORD, name.as_bytes(), ROUNDS));
    let dovecot = Dovecot::start(directory, Serves::Users(&names.iter().map(keys).collect::<Vec<_>>()))?;
    let client = tls::client()?;
    let server = |address, processes| Server {
        address,
        processes,
        client: &client,
        users: names.iter().map(|name| User { name: name.clone(), keys: None }).collect(),
        open: OPEN.div_ceil(share),
        turn: Duration::from_secs(2) / u32::try_from(share).unwrap_or(1),
    };
    let own = || instance.processes();
    let mut servers = vec![server(instance.imaps(), &own as &dyn Fn() -> _)];
    let its_own = || dovecot.as_ref().map_err(|why| Failure::new(*why))?.processes();
    if let Ok(dovecot) = &dovecot {
        servers.push(server(dovecot.imap(), &its_own));
    }
    heading(dovecot.as_ref().ok());
    for way in WAYS {
        let mut rows = vec![Logins::default(); servers.len()];
        for server in &mut servers {
            server.warm(way.mechanism)?;
        }
        for _ in 0..TURNS {
            for (row, server) in rows.iter_mut().zip(&mut servers) {
                row.add(if way.handshake { server.handshakes(way)? } else { server.on_open(way)? });
            }
        }
        print(way, &rows);
        if let Some(ours) = rows.first() {
            judge(way, *ours, aims);
        }
    }
    if let Err(why) = &dovecot {
        crate::line(format_args!("{why}: nothing beside these rows"));
    }
    crate::line(format_args!("{}", instance.processes()?.spent()?));
    Ok(())
}

impl Server<'_> {
    fn connect(client: &Arc<ClientConfig>, address: SocketAddr) -> Result<Connection, Failure> {
        Client::greeted(tls::connect(client, address)?, 4096)
    }

    /// The first login of each starts its account's process and has its password hashed, there or here.
    fn warm(&mut self, mechanism: Mechanism) -> Result<(), Failure> {
        let (client, address) = (self.client, self.address);
        at_once(self.users.iter_mut().collect(), |user| {
            let mut connection = Self::connect(client, address)?;
            user.log_in(&mut connection, mechanism)?;
            connection.logout()
        })?;
        Ok(())
    }

    /// Opening before and logging out behind do not count.
    fn on_open(&mut self, way: Way) -> Result<Logins, Failure> {
        let (client, address, open) = (self.client, self.address, self.open);
        let opened = at_once(self.users.iter_mut().collect(), |user| {
            let connections = (0..open).map(|_| Self::connect(client, address));
            Ok((user, connections.collect::<Result<Vec<_>, Failure>>()?))
        })?;
        let before = (self.processes)()?.processor_time()?;
        let start = Instant::now();
        let established = at_once(opened, |(user, mut connections)| {
            connections.iter_mut().try_for_each(|connection| user.log_in(connection, way.mechanism))?;
            Ok(connections)
        })?;
        let took = start.elapsed();
        let processor = (self.processes)()?.processor_time()?.saturating_sub(before);
        let count = established.iter().map(Vec::len).sum();
        at_once(established, |connections| connections.into_iter().try_for_each(Client::logout))?;
        Ok(Logins { count, took, processor })
    }

    /// From connecting to the end of the connection, which all count.
    fn handshakes(&mut self, way: Way) -> Result<Logins, Failure> {
        let (client, address, turn) = (self.client, self.address, self.turn);
        let before = (self.processes)()?.processor_time()?;
        let start = Instant::now();
        let counts = at_once(self.users.iter_mut().collect(), |user| {
            let mut count = 0;
            while start.elapsed() < turn {
                let mut connection = Self::connect(client, address)?;
                user.log_in(&mut connection, way.mechanism)?;
                connection.logout()?;
                count += 1;
            }
            Ok(count)
        })?;
        let took = start.elapsed();
        let processor = (self.processes)()?.processor_time()?.saturating_sub(before);
        Ok(Logins { count: counts.into_iter().sum(), took, processor })
    }
}

impl User {
    fn log_in(&mut self, connection: &mut Connection, mechanism: Mechanism) -> Result<(), Failure> {
        match mechanism {
            Mechanism::Plain => {
                let message = format!("\0{}\0{PASSWORD}", self.name);
                let unasked = |_: &[u8]| Err(Failure::new("a challenge to PLAIN"));
                connection.authenticate("PLAIN", message.as_bytes(), unasked)
            }
            Mechanism::Scram => scram::login(connection, &self.name, PASSWORD, &mut self.keys),
        }
    }
}

/// The same with each, on threads of their own.
fn at_once<T: Send, R: Send>(
    each: Vec<T>,
    work: impl Fn(T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = each.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|result| result.map_err(|_| Failure::new("a client's thread panicked"))?).collect()
    })
}

fn heading(dovecot: Option<&Dovecot>) {
    let beside = dovecot
        .map(|dovecot| format!("   Dovecot {}: a second   server CPU ms each", dovecot.version))
        .unwrap_or_default();
    crate::line(format_args!(
        "\n{:<36} {:>8}   server CPU ms each{beside}",
        format!("logins over TLS, {CLIENTS} at once"),
        "a second"
    ));
}

fn print(way: Way, rows: &[Logins]) {
    let mut text = format!("{:<36}", way.name());
    for (row, width) in rows.iter().zip([8, 29]) {
        text.push_str(&format!(" {:>width$.0} {:>20.3}", row.a_second(), row.processor_milliseconds()));
    }
    crate::line(format_args!("{text}"));
}

impl Way {
    fn name(self) -> String {
        let mechanism = match self.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram => "SCRAM-SHA-256",
        };
        let how = if self.handshake { "with a handshake each" } else { "on open connections" };
        format!("{mechanism}, {how}")
    }
}

fn judge(way: Way, ours: Logins, aims: &mut Aims) {
    let least = match way {
        Way { handshake: true, .. } => return,
        Way { mechanism: Mechanism::Plain, .. } => 1500.0,
        Way { mechanism: Mechanism::Scram, .. } => 1000.0,
    };
    aims.add(format!("logins, {}", way.name()), Bound::AtLeast(least), "/s", ours.a_second());
    aims.add("  their server CPU", Bound::AtMost(0.5), "ms", ours.processor_milliseconds());
}
