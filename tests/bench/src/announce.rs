//! How long after its last octet a message shows in another session that waits in IDLE (RFC 2177).

use std::{
    sync::mpsc,
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
    let (tell, told) = mpsc::channel();
    let (times, _open) = thread::scope(|scope| {
        let watching = scope.spawn(move || {
            for number in 1..=messages {
                let exists = watcher.exists().and_then(|exists| match exists {
                    exists if exists == there + number => Ok(Instant::now()),
                    exists => {
                        Err(Failure::new(format!("EXISTS {exists} came where {} was due", there + number)))
                    }
                });
                let failed = exists.is_err();
                if tell.send(exists).is_err() || failed {
                    break;
                }
            }
            watcher
        });
        let times = (1..=messages).map(|number| {
            let reply = sender.deliver(&message::text(number, Octets(1024)))?;
            let sent = Instant::now() - reply;
            // One at a time: a session may tell of two messages at once.
            let exists = told.recv().map_err(|_| Failure::new("the watching thread ended"))??;
            Ok((reply, exists.saturating_duration_since(sent)))
        });
        let times = times.collect::<Result<Vec<_>, Failure>>()?;
        let watcher = watching.join().map_err(|_| Failure::new("the watching thread panicked"))?;
        Ok::<_, Failure>((times, watcher))
    })?;
    let private = instance.processes()?.most_private("mox-accountd")?;
    let (replies, announcements) = times.into_iter().unzip();
    Ok(Announced { private, reply: median(replies), exists: median(announcements) })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
