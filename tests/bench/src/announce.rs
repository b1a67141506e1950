//! How long after its last octet a message shows in another session that waits in IDLE (RFC 2177).

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    imap,
    instance::{ACCOUNT, Instance, PASSWORD},
    message::{self, Octets},
    smtp,
};

/// What the median message took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announced {
    /// To its 250.
    pub(crate) reply: Duration,
    /// To its EXISTS.
    pub(crate) exists: Duration,
    /// Private memory of the account's process with both connections open, KiB.
    pub(crate) private: u64,
}

/// So many messages, one after the other.
pub(crate) fn measure(instance: &Instance, messages: usize) -> Result<Announced, Failure> {
    let mut sender = smtp::Client::connect(instance.smtp())?;
    sender.deliver(&message::text(0, Octets(1024)))?;
    let mut watcher = imap::Client::login(instance.imap(), ACCOUNT, PASSWORD)?;
    let there = watcher.command("SELECT INBOX")?.exists;
    watcher.idle()?;
    let (sent, heard) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let told = (1..=messages).map(|number| match watcher.exists()? {
                exists if exists == there + number => Ok(Instant::now()),
                exists => Err(Failure::new(format!("EXISTS {exists} came where {} was due", there + number))),
            });
            told.collect::<Result<Vec<_>, Failure>>()
        });
        let sent = (1..=messages).map(|number| {
            let reply = sender.deliver(&message::text(number, Octets(1024)))?;
            Ok((Instant::now() - reply, reply))
        });
        let sent: Vec<(Instant, Duration)> = sent.collect::<Result<_, Failure>>()?;
        let heard = watching.join().map_err(|_| Failure::new("the watching thread panicked"))??;
        Ok::<_, Failure>((sent, heard))
    })?;
    let exists = sent.iter().zip(&heard).map(|((sent, _), heard)| heard.saturating_duration_since(*sent));
    let private = instance.processes()?.most_private("mox-accountd")?;
    Ok(Announced { private, reply: median(sent.iter().map(|(_, reply)| *reply)), exists: median(exists) })
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
