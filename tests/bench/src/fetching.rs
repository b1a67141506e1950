//! A client that reads a whole mailbox.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    imap::Client,
    instance::{ACCOUNT, Instance, PASSWORD},
};

/// Each command so many times; the median counts.
const TIMES: usize = 21;

/// One command on the whole mailbox.
#[derive(Debug)]
pub(crate) struct Fetched {
    name: &'static str,
    took: Duration,
    processor: Duration,
    octets: usize,
}

pub(crate) fn heading(messages: usize) {
    crate::line(format_args!("\nIMAP, {messages} x 2 KB           ms   server CPU ms   MB answered"));
}

/// Every command, on a mailbox of so many messages and the one that woke the account.
pub(crate) fn measure(instance: &Instance, messages: usize) -> Result<Vec<Fetched>, Failure> {
    let mut client = Client::login(instance.imap(), ACCOUNT, PASSWORD)?;
    let there = messages + 1;
    let mut rows = vec![one(instance, &mut client, "SELECT", "SELECT INBOX", (there, 0))?];
    for (name, command) in [
        ("UID FLAGS", "FETCH 1:* (UID FLAGS)"),
        ("ENVELOPE", "FETCH 1:* (ENVELOPE)"),
        ("BODYSTRUCTURE", "FETCH 1:* (BODYSTRUCTURE)"),
        ("BODY.PEEK[]", "FETCH 1:* (BODY.PEEK[])"),
    ] {
        rows.push(one(instance, &mut client, name, command, (0, there))?);
    }
    Ok(rows)
}

fn one(
    instance: &Instance,
    client: &mut Client,
    name: &'static str,
    command: &str,
    expected: (usize, usize),
) -> Result<Fetched, Failure> {
    let before = instance.processes()?.processor_time()?;
    let mut times = Vec::with_capacity(TIMES);
    let mut octets = 0;
    for _ in 0..TIMES {
        let start = Instant::now();
        let answer = client.command(command)?;
        times.push(start.elapsed());
        octets = answer.octets;
        if (answer.exists, answer.fetched) != expected {
            return Err(Failure::new(format!("{command}: {answer:?}, but {expected:?} was due")));
        }
    }
    let processor = instance.processes()?.processor_time()?.saturating_sub(before);
    times.sort_unstable();
    let took = times.get(TIMES / 2).copied().unwrap_or_default();
    let times = u32::try_from(TIMES).unwrap_or(1);
    Ok(Fetched { name, took, processor: processor / times, octets })
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = u32::try_from(self.octets).map_or(f64::INFINITY, f64::from) / 1e6;
        write!(
            f,
            "{:<20} {:>13.1} {:>15.1} {:>13.2}",
            self.name,
            self.took.as_secs_f64() * 1000.0,
            self.processor.as_secs_f64() * 1000.0,
            megabytes
        )
    }
}
