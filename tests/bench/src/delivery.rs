//! Deliveries over connections that stay open.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    commits::RawCommit,
    failure::Failure,
    instance::Instance,
    message::{self, Octets},
    smtp::Client,
};

/// How many messages, of what size, over how many connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) size: Octets,
    pub(crate) connections: usize,
    pub(crate) messages: usize,
}

impl Load {
    /// So many of something, for each message.
    pub(crate) fn share(self, count: u64) -> f64 {
        u32::try_from(count).map_or(f64::INFINITY, f64::from) / self.whole()
    }

    /// Messages.
    pub(crate) fn whole(self) -> f64 {
        u32::try_from(self.messages).map_or(f64::INFINITY, f64::from)
    }

    /// Octets of one message.
    pub(crate) fn octets(self) -> f64 {
        u32::try_from(self.size.0).map_or(f64::INFINITY, f64::from)
    }
}

/// What it took.
#[derive(Debug)]
pub(crate) struct Delivered {
    load: Load,
    took: Duration,
    processor: Duration,
    /// From the last octet of each message to its 250, in order of length.
    replies: Vec<Duration>,
}

pub(crate) fn heading() {
    crate::line(format_args!(
        "delivery   connections  messages/s  of raw commits  median ms  of a commit  p99 ms  server CPU ms/message"
    ));
}

/// Delivers them all; every one is acknowledged or there is no result.
pub(crate) fn measure(instance: &Instance, load: Load) -> Result<Delivered, Failure> {
    // Nobody's figure: the account's process starts with its first message.
    Client::connect(instance.smtp())?.deliver(&message::text(0, load.size))?;
    let clients: Vec<Client> =
        (0..load.connections).map(|_| Client::connect(instance.smtp())).collect::<Result<_, _>>()?;
    let before = instance.processes()?.processor_time()?;
    let next = AtomicUsize::new(1);
    let all_there = Barrier::new(load.connections + 1);
    let deliver = |mut client: Client| {
        all_there.wait();
        let mut replies = Vec::with_capacity(load.messages / load.connections);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > load.messages {
                return Ok::<_, Failure>((replies, client));
            }
            replies.push(client.deliver(&message::text(number, load.size))?);
        }
    };
    let deliver = &deliver;
    let (took, replies) = thread::scope(|scope| {
        let threads: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || deliver(client))).collect();
        all_there.wait();
        let start = Instant::now();
        let mut replies = Vec::with_capacity(load.messages);
        let mut open = Vec::new();
        for thread in threads {
            let (some, client) = thread.join().map_err(|_| Failure::new("a client's thread panicked"))??;
            replies.extend(some);
            open.push(client);
        }
        let took = start.elapsed();
        replies.sort_unstable();
        Ok::<_, Failure>((took, replies))
    })?;
    let processor = instance.processes()?.processor_time()?.saturating_sub(before);
    Ok(Delivered { load, took, processor, replies })
}

impl Delivered {
    pub(crate) fn a_second(&self) -> f64 {
        per(self.load.messages, self.took)
    }

    /// For each message.
    pub(crate) fn processor_milliseconds(&self) -> f64 {
        1000.0 / per(self.load.messages, self.processor)
    }

    /// So many of a hundred replies came within this time.
    pub(crate) fn reply_milliseconds(&self, percent: usize) -> f64 {
        milliseconds(self.reply(percent))
    }

    /// One line below [`heading`].
    pub(crate) fn row(&self, raw: RawCommit) -> String {
        let a_second = self.a_second();
        let median = self.reply_milliseconds(50);
        format!(
            "{:<10} {:>11} {:>11.0} {:>15.2} {:>10.2} {:>12.1} {:>7.2} {:>22.3}",
            self.load.size,
            self.load.connections,
            a_second,
            a_second / raw.a_second(),
            median,
            median / raw.milliseconds(),
            self.reply_milliseconds(99),
            self.processor_milliseconds(),
        )
    }

    fn reply(&self, percent: usize) -> Duration {
        let at = (self.replies.len() * percent / 100).min(self.replies.len().saturating_sub(1));
        self.replies.get(at).copied().unwrap_or_default()
    }
}

/// So many a second.
fn per(count: usize, time: Duration) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from) / time.as_secs_f64()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
