//! Stored messages in their turns: tried again with growing pauses until every recipient has them.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ipc_proto::{DeliveryId, authd::Owner};
use mail_lib::address::Address;
use tokio::task::JoinSet;

use crate::{
    change::Change,
    group,
    queue::{Due, LONGEST_PAUSE_MS, Millis, QueueError},
    service::{Shared, is_filed},
};

/// Stored messages that are tried at the same time.
const AT_ONCE: usize = 8;

/// After a fault of the queue itself.
const FAULT_PAUSE: Duration = Duration::from_secs(10);

/// The pause after so many attempts that led nowhere: doubles up to an hour, give or take a quarter, so that messages
/// that came together do not all return together.
pub(crate) fn pause(attempts: u32, first_ms: u32) -> Millis {
    jittered(attempts, first_ms, RandomState::new().build_hasher().finish())
}

fn jittered(attempts: u32, first_ms: u32, random: u64) -> Millis {
    let longest = LONGEST_PAUSE_MS * 4 / 5;
    let base = i64::from(first_ms.max(1)).saturating_mul(1 << attempts.min(30)).min(longest);
    let quarter = base / 4;
    // Below 2^32, so it fits.
    let random = i64::from(u32::try_from(random >> 32).unwrap_or(0));
    base - quarter + (2 * quarter).saturating_mul(random) / i64::from(u32::MAX)
}

/// Runs until dropped.
pub(crate) async fn run(shared: &Arc<Shared>) {
    let mut busy = HashSet::new();
    let mut running = JoinSet::new();
    loop {
        let wait = match fill(shared, &mut busy, &mut running).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!("cannot look for due messages: {error}");
                FAULT_PAUSE
            }
        };
        tokio::select! {
            () = shared.stored.notified() => {}
            () = tokio::time::sleep(wait) => {}
            Some(done) = running.join_next() => match done {
                Ok(id) => { busy.remove(&id); }
                Err(error) => tracing::error!("an attempt at a stored message failed: {error}"),
            },
        }
    }
}

/// Tries every message that is due now, once, and waits for the end of it.
#[cfg(test)]
pub(crate) async fn run_once(shared: &Arc<Shared>) {
    let mut running = JoinSet::new();
    fill(shared, &mut HashSet::new(), &mut running).await.unwrap();
    while running.join_next().await.is_some() {}
}

/// Starts as many due messages as there is room for. How long until the next one.
async fn fill(
    shared: &Arc<Shared>,
    busy: &mut HashSet<DeliveryId>,
    running: &mut JoinSet<DeliveryId>,
) -> Result<Duration, QueueError> {
    let now = (shared.clock)();
    let longest = Duration::from_millis(LONGEST_PAUSE_MS.unsigned_abs());
    let room = AT_ONCE.saturating_sub(busy.len());
    if room == 0 || shared.stopping.load(Ordering::Relaxed) {
        return Ok(longest);
    }
    let known = busy.clone();
    let (due, next) = shared
        .disk
        .run(move |queue| {
            let due = queue.due(now, room, |id| known.contains(&id))?;
            let taken = |id| known.contains(&id) || due.iter().any(|due| due.envelope.id == id);
            let next = queue.next_due(taken)?;
            Ok((due, next))
        })
        .await?;
    for due in due {
        let id = due.envelope.id;
        busy.insert(id);
        let shared = Arc::clone(shared);
        running.spawn(async move {
            let _busy = shared.busy();
            attempt(&shared, due).await;
            id
        });
    }
    // A full house is looked at again when one is done.
    let wait =
        next.map_or(longest, |next| Duration::from_millis(next.saturating_sub(now).max(0).unsigned_abs()));
    Ok(if busy.len() >= AT_ONCE { longest } else { wait.min(longest) })
}

/// One attempt at one message, and its result on disk. Whatever goes wrong, the message stays.
async fn attempt(shared: &Arc<Shared>, due: Due) {
    let id = due.envelope.id;
    let filed = match deliver(shared, &due).await {
        Ok(filed) => filed,
        Err(error) => {
            tracing::error!(mail = %id, "a stored message cannot be delivered: {error}");
            Vec::new()
        }
    };
    // An account cap lets some through each time: as long as there is progress, the pause stays short.
    let attempts = if filed.is_empty() { due.attempts.saturating_add(1) } else { 0 };
    let next = (shared.clock)().saturating_add(pause(attempts, shared.settings.now().retry_ms));
    let (count, left) = (filed.len(), due.recipients.len().saturating_sub(filed.len()));
    match shared.disk.change(Change::Settle { id, filed, attempts, next }).await {
        Ok(()) => tracing::info!(mail = %id, connection = %due.envelope.connection, filed = count, left,
            attempts, "stored message"),
        // It is still there as it was: tried again, and its accounts know its id.
        Err(error) => tracing::error!(mail = %id, "cannot note what became of a stored message: {error}"),
    }
}

/// Who has it now.
async fn deliver(shared: &Arc<Shared>, due: &Due) -> Result<Vec<Address>, QueueError> {
    let id = due.envelope.id;
    let Some(owners) = group::owners(&shared.authd, &due.recipients).await else { return Ok(Vec::new()) };
    let vanished = owners.iter().filter(|owner| **owner == Owner::Nobody).count();
    if vanished > 0 {
        // Nobody is told yet that the message cannot be delivered; it is kept until somebody can be.
        tracing::warn!(mail = %id, recipients = vanished,
            "a queued message's recipient is gone; it stays queued, add the address again to have it delivered");
    }
    let groups = group::by_account(&owners);
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let body = shared.disk.run(move |queue| queue.body(id)).await?;
    let answers = group::deliver(&shared.accounts, &due.envelope, &due.recipients, groups, &body).await;
    Ok(answers
        .into_iter()
        .filter(|(_, answer)| is_filed(*answer))
        .flat_map(|(group, _)| group.places)
        .filter_map(|place| due.recipients.get(place).cloned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_differ_by_a_quarter_either_way() {
        for (attempts, least, most) in [
            (0, 750, 1_250),
            (1, 1_500, 2_500),
            (5, 24_000, 40_000),
            (12, 2_160_000, LONGEST_PAUSE_MS),
            (u32::MAX, 2_160_000, LONGEST_PAUSE_MS),
        ] {
            assert_eq!(jittered(attempts, 1000, 0), least, "{attempts}");
            assert_eq!(jittered(attempts, 1000, u64::MAX), most, "{attempts}");
            assert!((least..=most).contains(&pause(attempts, 1000)));
        }
    }
}
