//! What connections cost that do nothing.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::ClientConfig;

use crate::{
    aims::{Aims, Bound},
    failure::Failure,
    instance::{ACCOUNT, Instance, PASSWORD},
    tls,
};

/// As many sessions of one account as a part opens, and the memory for their threads' stacks.
const SESSIONS: usize = 250;

/// For this part's instance.
pub(crate) const CONFIGURATION: &str =
    "[limits]\naccount_sessions = 600\n[limits.memory]\naccountd = \"1 GiB\"";

const FRONT: &str = "mox-imapd";
const ACCOUNTS: &str = "mox-accountd";

/// How a connection gets where it does nothing.
#[derive(Debug, Clone, Copy)]
struct Way {
    tls: bool,
    login: bool,
}

/// An idle one.
enum Open {
    Plain { _stream: BufReader<TcpStream> },
    Tls { _stream: Box<BufReader<tls::Stream>> },
}

/// `connections` over each way, all open at the end: what a closed one gives back must not serve the next.
pub(crate) fn measure(instance: &Instance, connections: usize, aims: &mut Aims) -> Result<(), Failure> {
    raise_limit()?;
    let client = tls::client()?;
    // What is made once does not count.
    let mut first = Vec::new();
    for way in WAYS {
        first.push(way.open(instance, &client)?);
    }
    crate::line(format_args!(
        "\nidle connections     connections  KiB each in the front  KiB each in the account's process"
    ));
    let mut open = Vec::new();
    for way in WAYS {
        let connections = if way.login { connections.min(SESSIONS) } else { connections };
        let before = Anonymous::of(instance)?;
        for _ in 0..connections {
            open.push(way.open(instance, &client)?);
        }
        let after = Anonymous::of(instance)?;
        let count = decimal(connections);
        let front = (after.front - before.front) / count;
        let account = way.login.then(|| format!("{:.1}", (after.account - before.account) / count));
        let (name, bound) = (way.name(), Bound::Under(if way.tls { 40.0 } else { 16.0 }));
        crate::line(format_args!(
            "{name:<20} {connections:>11} {front:>22.1} {:>34}",
            account.unwrap_or_default()
        ));
        aims.add(format!("an idle connection in the front, {name}"), bound, "KiB", front);
    }
    drop((first, open));
    Ok(())
}

const WAYS: [Way; 4] = [
    Way { tls: false, login: false },
    Way { tls: true, login: false },
    Way { tls: false, login: true },
    Way { tls: true, login: true },
];

impl Way {
    fn name(self) -> &'static str {
        match (self.tls, self.login) {
            (false, false) => "plain, greeted",
            (false, true) => "plain, logged in",
            (true, false) => "TLS, greeted",
            (true, true) => "TLS, logged in",
        }
    }

    fn open(self, instance: &Instance, client: &Arc<ClientConfig>) -> Result<Open, Failure> {
        if self.tls {
            let mut stream = Box::new(BufReader::new(tls::connect(client, instance.imaps())?));
            self.settle(&mut stream)?;
            return Ok(Open::Tls { _stream: stream });
        }
        let address = instance.imap();
        let stream =
            TcpStream::connect(address).map_err(|error| Failure::io(format!("IMAP on {address}"), error))?;
        let mut stream = BufReader::new(stream);
        self.settle(&mut stream)?;
        Ok(Open::Plain { _stream: stream })
    }

    /// Reads the greeting and, to be logged in, has LOGIN answered.
    fn settle<S: Read + Write>(self, stream: &mut BufReader<S>) -> Result<(), Failure> {
        let mut line = String::new();
        let failed = |error| Failure::io("an idle connection", error);
        stream.read_line(&mut line).map_err(failed)?;
        if self.login {
            let command = format!("a LOGIN {ACCOUNT} {PASSWORD}\r\n");
            stream.get_mut().write_all(command.as_bytes()).map_err(failed)?;
            line.clear();
            stream.read_line(&mut line).map_err(failed)?;
        }
        let due = if self.login { "a OK" } else { "* OK" };
        if line.starts_with(due) {
            Ok(())
        } else {
            Err(Failure::new(format!("IMAP said {line:?} where {due} was due")))
        }
    }
}

/// Memory that is no file's, KiB.
struct Anonymous {
    front: f64,
    account: f64,
}

impl Anonymous {
    fn of(instance: &Instance) -> Result<Self, Failure> {
        let processes = instance.processes()?;
        let of = |name| processes.anonymous(name);
        let kilobytes = |octets: u64| u32::try_from(octets).map_or(f64::INFINITY, f64::from);
        Ok(Self { front: kilobytes(of(FRONT)?), account: kilobytes(of(ACCOUNTS)?) })
    }
}

fn decimal(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Each connection is a descriptor of this process too.
fn raise_limit() -> Result<(), Failure> {
    let failed = |error: nix::Error| Failure::io("the limit of descriptors", error.into());
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(failed)
}
