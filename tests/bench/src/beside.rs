//! Servers beside each other: the same commands of the same client, in turns.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    aims::{Aims, Bound},
    failure::Failure,
    imap::Client,
    instance::{ACCOUNT, PASSWORD},
    processes::Processes,
};

/// One server, as the client sees it.
pub(crate) struct Server<'a> {
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    /// UIDVALIDITY and HIGHESTMODSEQ when the client went.
    pub(crate) known: (u64, u64),
    processes: &'a dyn Fn() -> Result<Processes, Failure>,
    times: Vec<Duration>,
    octets: usize,
    processor: Duration,
}

/// What one thing took of one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) median: Duration,
    pub(crate) processor: Duration,
    pub(crate) octets: usize,
}

impl<'a> Server<'a> {
    pub(crate) fn login(
        address: SocketAddr,
        processes: &'a dyn Fn() -> Result<Processes, Failure>,
    ) -> Result<Self, Failure> {
        let client = Client::login(address, ACCOUNT, PASSWORD)?;
        let (times, octets, processor) = (Vec::new(), 0, Duration::ZERO);
        Ok(Self { client, address, known: (0, 0), processes, times, octets, processor })
    }

    /// Does something once, which counts: `act` says how many octets were answered.
    fn time(&mut self, act: &mut dyn FnMut(&mut Self) -> Result<usize, Failure>) -> Result<(), Failure> {
        let before = (self.processes)()?.processor_time()?;
        let start = Instant::now();
        self.octets = act(self)?;
        self.times.push(start.elapsed());
        self.processor += (self.processes)()?.processor_time()?.saturating_sub(before);
        Ok(())
    }

    fn took(&mut self) -> Took {
        self.times.sort_unstable();
        let median = self.times.get(self.times.len() / 2).copied().unwrap_or_default();
        let times = u32::try_from(self.times.len()).unwrap_or(1).max(1);
        let took = Took { median, processor: self.processor / times, octets: self.octets };
        (self.times, self.octets, self.processor) = (Vec::new(), 0, Duration::ZERO);
        took
    }
}

/// The same of each so many times. Only `act` counts; `before` and `behind` it comes what it needs and leaves.
pub(crate) fn in_turns(
    servers: &mut [Server<'_>],
    times: usize,
    before: &mut dyn FnMut(&mut Server<'_>) -> Result<(), Failure>,
    act: &mut dyn FnMut(&mut Server<'_>) -> Result<usize, Failure>,
    behind: &mut dyn FnMut(&mut Server<'_>) -> Result<(), Failure>,
) -> Result<Vec<Took>, Failure> {
    for _ in 0..times {
        for (server, whose) in servers.iter_mut().zip(["moxd", "Dovecot"]) {
            let done = before(server).and_then(|()| server.time(act)).and_then(|()| behind(server));
            done.map_err(|failure| Failure::new(format!("{whose}: {failure}")))?;
        }
    }
    Ok(servers.iter_mut().map(Server::took).collect())
}

/// Above rows. `other`: the name of the server beside ours.
pub(crate) fn heading(title: &str, other: Option<&str>) {
    let beside = other.map(|name| {
        let there = format!("{name}: ms");
        format!("   {there:>20}   server CPU ms   MB answered   of its time   of its CPU")
    });
    let beside = beside.unwrap_or_default();
    crate::line(format_args!(
        "\n{title:<30} {:>9} {:>15} {:>13}{beside}",
        "ms", "server CPU ms", "MB answered"
    ));
}

/// Ours, and the other's with what of it ours is.
pub(crate) fn row(name: &str, took: &[Took]) {
    let mut text = format!("{name:<30}");
    for (took, width) in took.iter().zip([9, 22]) {
        let megabytes = u32::try_from(took.octets).map_or(f64::INFINITY, f64::from) / 1e6;
        let (median, processor) = (milliseconds(took.median), milliseconds(took.processor));
        text.push_str(&format!(" {median:>width$.1} {processor:>15.1} {megabytes:>13.2}"));
    }
    if let [ours, theirs] = took {
        let share = |ours: Duration, theirs: Duration| milliseconds(ours) / milliseconds(theirs);
        let (time, processor) = (share(ours.median, theirs.median), share(ours.processor, theirs.processor));
        text.push_str(&format!(" {time:>13.2} {processor:>12.2}"));
    }
    crate::line(format_args!("{text}"));
}

/// Ours is to take no longer than the other.
pub(crate) fn judge(aims: &mut Aims, what: String, took: &[Took]) {
    if let [ours, theirs] = took {
        aims.add(what, Bound::AtMost(milliseconds(theirs.median)), "ms", milliseconds(ours.median));
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
