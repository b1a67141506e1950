//! Channels that are made anew after a violation: soon, but not as fast as somebody can break them.
//!
//! Either end may be the one that breaks the rules, and the report may be a lie. So nobody is restarted for it: the
//! channel stays closed for a while, which costs its two ends each other, and nobody else anything.

use std::{
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use ipc_proto::{AccountId, ChannelId, control::Order};

use crate::{instance::Instance, topology::EDGES};

/// Violations in a row after which a channel is still made anew at once.
const BURST: u32 = 20;
/// After that, one in so long.
const PAUSE: Duration = Duration::from_secs(3);

/// Channels that are remembered; one beyond is not made anew before its account's process is.
const MOST: usize = 4_096;

/// Which, and of an account's whose.
pub(crate) type Which = (ChannelId, Option<AccountId>);

/// Of every channel that ever broke: between fixed roles, and of accounts to authd.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Vec<Renewal>);

#[derive(Debug)]
struct Renewal {
    channel: Which,
    /// At once as long as this is less than [`BURST`] pauses ahead (a leaky bucket, kept as a time).
    paid: Instant,
    /// Closed until then.
    due: Option<Instant>,
}

impl Renewals {
    /// This channel was closed.
    pub(crate) fn ask(&mut self, channel: Which) {
        self.ask_at(channel, Instant::now());
    }

    fn ask_at(&mut self, channel: Which, now: Instant) {
        let full = self.0.len() >= MOST;
        let known = self.0.iter_mut().find(|renewal| renewal.channel == channel);
        match known {
            // Whoever reports the same channel twice gets one.
            Some(renewal) if renewal.due.is_some() => {}
            Some(renewal) => {
                renewal.paid = renewal.paid.max(now) + PAUSE;
                let ahead = renewal.paid.saturating_duration_since(now);
                renewal.due = Some(now + ahead.saturating_sub(BURST * PAUSE));
            }
            None if full => {}
            None => self.0.push(Renewal { channel, paid: now + PAUSE, due: Some(now) }),
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().filter_map(|renewal| renewal.due).min()
    }

    fn take_due(&mut self, now: Instant) -> Vec<Which> {
        let due = |renewal: &&mut Renewal| renewal.due.is_some_and(|due| due <= now);
        let take = |renewal: &mut Renewal| {
            renewal.due = None;
            renewal.channel
        };
        self.0.iter_mut().filter(due).map(take).collect()
    }
}

impl Instance {
    /// Makes anew what is due: the peers live on.
    pub(crate) fn renewals_due(&mut self) {
        for (channel, account) in self.renewals.take_due(Instant::now()) {
            if let Some(account) = account {
                self.connect_to_authd(account);
                continue;
            }
            let Some(edge) = EDGES.iter().find(|edge| edge.channel == channel) else { continue };
            let order = Order::Channel { channel, account: None, run: self.run_of(edge.asks) };
            if let Ok((asking, answering)) = UnixStream::pair() {
                self.tell(edge.answers, &order, vec![answering.into()]);
                self.tell(edge.asks, &order, vec![asking.into()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack class 26: a process that breaks its channel, or says so, again and again.
    #[test]
    fn a_channel_that_breaks_again_and_again_is_made_anew_at_a_rate() {
        let start = Instant::now();
        let mut renewals = Renewals::default();
        let (mut now, mut made) = (start, 0);
        // As fast as it goes for ten minutes.
        while now < start + Duration::from_secs(600) {
            renewals.ask_at((ChannelId::SmtpdKeyd, None), now);
            made += renewals.take_due(now).len();
            now += Duration::from_millis(50);
        }
        assert!((200..=221).contains(&made), "{made}");
    }

    #[test]
    fn another_channel_is_not_kept_waiting_and_a_quiet_one_recovers() {
        let start = Instant::now();
        let mut renewals = Renewals::default();
        for _ in 0..100 {
            renewals.ask_at((ChannelId::SmtpdKeyd, None), start);
            renewals.take_due(start);
        }
        assert!(renewals.next().is_some(), "it waits");
        renewals.ask_at((ChannelId::ImapdKeyd, None), start);
        assert_eq!(renewals.take_due(start), [(ChannelId::ImapdKeyd, None)]);
        let later = start + (BURST + 1) * PAUSE;
        assert_eq!(renewals.take_due(later), [(ChannelId::SmtpdKeyd, None)]);
        for _ in 0..BURST {
            renewals.ask_at((ChannelId::SmtpdKeyd, None), later);
            assert_eq!(renewals.take_due(later), [(ChannelId::SmtpdKeyd, None)]);
        }
    }
}
