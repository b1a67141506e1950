//! A client that reads a whole mailbox, of ours and, beside it, of Dovecot's.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    aims::{Aims, Bound},
    dovecot::{Dovecot, Serves},
    failure::Failure,
    imap::Client,
    instance::{ACCOUNT, Instance, PASSWORD},
    processes::Processes,
};

/// Each command so many times; the median counts.
const TIMES: usize = 21;

const SELECT: &str = "SELECT INBOX";

/// What is asked of all messages.
const COMMANDS: [(&str, &str); 5] = [
    ("SELECT", SELECT),
    ("UID FLAGS", "FETCH 1:* (UID FLAGS)"),
    ("ENVELOPE", "FETCH 1:* (ENVELOPE)"),
    ("BODYSTRUCTURE", "FETCH 1:* (BODYSTRUCTURE)"),
    ("BODY.PEEK[]", "FETCH 1:* (BODY.PEEK[])"),
];

/// One server, as the client sees it.
struct Server<'a> {
    client: Client,
    processes: &'a dyn Fn() -> Result<Processes, Failure>,
    times: Vec<Duration>,
    octets: usize,
    before: Duration,
}

/// What one command took of one server.
#[derive(Debug, Clone, Copy)]
struct Took {
    median: Duration,
    processor: Duration,
    octets: usize,
}

/// Every command, on a mailbox of so many messages and the one that woke the account; Dovecot gets them in `directory`.
pub(crate) fn measure(
    instance: &Instance,
    messages: usize,
    directory: &Path,
    aims: &mut Aims,
) -> Result<(), Failure> {
    let there = messages + 1;
    let mut client = Client::login(instance.imap(), ACCOUNT, PASSWORD)?;
    client.command(SELECT)?;
    let texts = client.literals("FETCH 1:* (BODY.PEEK[])")?;
    let dovecot = Dovecot::start(directory, Serves::Messages(&texts))?;
    drop((client, texts));
    let own = || instance.processes();
    let mut ours = Server::login(instance.imap(), &own)?;
    let Ok(dovecot) = dovecot else {
        heading(messages, None);
        for (name, command) in COMMANDS {
            row(name, side_by_side(command, there, &mut [&mut ours])?.as_slice());
        }
        if let Err(why) = dovecot {
            crate::line(format_args!("{why}: nothing beside these rows"));
        }
        return Ok(());
    };
    heading(messages, Some(&dovecot.version));
    let processes = || dovecot.processes();
    let mut theirs = Server::login(dovecot.imap(), &processes)?;
    // It reads every message once for its index: nobody's figure.
    for (_, command) in COMMANDS {
        theirs.client.command(command)?;
    }
    for (name, command) in COMMANDS {
        let took = side_by_side(command, there, &mut [&mut ours, &mut theirs])?;
        row(name, &took);
        if let [ours, theirs] = took.as_slice() {
            let (bound, here) = (milliseconds(theirs.median), milliseconds(ours.median));
            aims.add(format!("{name} of {messages} x 2 KB, Dovecot's"), Bound::AtMost(bound), "ms", here);
            if command != SELECT {
                let (bound, here) = (milliseconds(theirs.processor), milliseconds(ours.processor));
                aims.add("  its server CPU", Bound::AtMost(bound), "ms", here);
            }
        }
    }
    Ok(())
}

/// One command, in turns.
fn side_by_side(command: &str, there: usize, servers: &mut [&mut Server<'_>]) -> Result<Vec<Took>, Failure> {
    let expected = if command == SELECT { (there, 0) } else { (0, there) };
    for server in &mut *servers {
        server.before = (server.processes)()?.processor_time()?;
        server.times.clear();
    }
    for _ in 0..TIMES {
        for server in &mut *servers {
            let start = Instant::now();
            let answer = server.client.command(command)?;
            server.times.push(start.elapsed());
            server.octets = answer.octets;
            if (answer.exists, answer.fetched) != expected {
                return Err(Failure::new(format!("{command}: {answer:?}, but {expected:?} was due")));
            }
        }
    }
    servers.iter_mut().map(|server| server.took()).collect()
}

impl<'a> Server<'a> {
    fn login(
        address: SocketAddr,
        processes: &'a dyn Fn() -> Result<Processes, Failure>,
    ) -> Result<Self, Failure> {
        let mut client = Client::login(address, ACCOUNT, PASSWORD)?;
        client.command(SELECT)?;
        Ok(Self { client, processes, times: Vec::new(), octets: 0, before: Duration::ZERO })
    }

    fn took(&mut self) -> Result<Took, Failure> {
        let processor = (self.processes)()?.processor_time()?.saturating_sub(self.before);
        self.times.sort_unstable();
        let median = self.times.get(TIMES / 2).copied().unwrap_or_default();
        let times = u32::try_from(TIMES).unwrap_or(1);
        Ok(Took { median, processor: processor / times, octets: self.octets })
    }
}

fn heading(messages: usize, dovecot: Option<&str>) {
    let beside = dovecot.map(|version| format!("   Dovecot {version}: ms   server CPU ms   MB answered"));
    let beside = beside.unwrap_or_default();
    crate::line(format_args!(
        "\n{:<20} {:>8} {:>15} {:>13}{beside}",
        format!("IMAP, {messages} x 2 KB"),
        "ms",
        "server CPU ms",
        "MB answered"
    ));
}

fn row(name: &str, took: &[Took]) {
    let mut text = format!("{name:<20}");
    for (took, width) in took.iter().zip([8, 26]) {
        let megabytes = u32::try_from(took.octets).map_or(f64::INFINITY, f64::from) / 1e6;
        let (median, processor) = (milliseconds(took.median), milliseconds(took.processor));
        text.push_str(&format!(" {median:>width$.1} {processor:>15.1} {megabytes:>13.2}"));
    }
    crate::line(format_args!("{text}"));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
