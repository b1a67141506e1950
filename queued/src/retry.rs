//! Stored messages in their turns: tried again with growing pauses until every recipient has them.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ipc_proto::{DeliveryId, authd::Owner, queue::WaitReason};
use mail_lib::address::Address;
use tokio::task::JoinSet;

use crate::{
    accounts::Answer,
    change::Change,
    group,
    outcome::Standing,
    queue::{Due, LONGEST_PAUSE_MS, Millis, QueueError},
    recipient::Recipient,
    service::Shared,
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

/// Tries every message that is due now, once, and waits for the end of it. How long until the next one.
#[cfg(test)]
pub(crate) async fn run_once(shared: &Arc<Shared>) -> Duration {
    let mut running = JoinSet::new();
    let wait = fill(shared, &mut HashSet::new(), &mut running).await.unwrap();
    while running.join_next().await.is_some() {}
    wait
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

/// What an attempt came to.
#[derive(Debug, Default)]
struct Attempted {
    /// Recipients for whom nothing is left to do.
    done: Vec<Address>,
    /// The others.
    left: Vec<Recipient>,
    /// Accounts that have it now.
    filed: usize,
}

/// One attempt at one message, and its result on disk. Whatever goes wrong, the message stays.
async fn attempt(shared: &Arc<Shared>, due: Due) {
    let id = due.envelope.id;
    let Attempted { done, left, filed } = match deliver(shared, &due).await {
        Ok(attempted) => attempted,
        Err(error) => {
            tracing::error!(mail = %id, "a stored message cannot be delivered: {error}");
            all_wait(&due, WaitReason::Damaged)
        }
    };
    // An account cap lets some through each time: as long as there is progress, the pause stays short.
    let attempts = if filed == 0 { due.attempts.saturating_add(1) } else { 0 };
    let next = (shared.clock)().saturating_add(pause(attempts, shared.settings.now().retry_ms));
    let count = left.len();
    match shared.disk.change(Change::Settle { id, done, left, attempts, next }).await {
        Ok(_) => tracing::info!(mail = %id, connection = %due.envelope.connection, filed, left = count,
            attempts, "stored message"),
        // It is still there as it was: tried again, and its accounts know its id.
        Err(error) => tracing::error!(mail = %id, "cannot note what became of a stored message: {error}"),
    }
}

/// Nobody could be asked.
fn all_wait(due: &Due, reason: WaitReason) -> Attempted {
    let wait = |recipient: &Recipient| Recipient { reason: Some(reason), ..recipient.clone() };
    Attempted { left: due.recipients.iter().map(wait).collect(), ..Attempted::default() }
}

async fn deliver(shared: &Arc<Shared>, due: &Due) -> Result<Attempted, QueueError> {
    let id = due.envelope.id;
    let addresses: Vec<_> = due.recipients.iter().map(|recipient| &recipient.address).collect();
    let from = due.envelope.reverse_path.as_ref();
    let Some(owners) = shared.owners_of(&addresses, from).await else {
        return Ok(all_wait(due, WaitReason::NoAnswer));
    };
    // Where nobody who has not got it is a member any more, nobody is left to be asked.
    let owners = due.recipients.iter().zip(owners).map(|(recipient, owner)| recipient.narrow(owner));
    let owners: Vec<_> = owners.collect();
    let asked: Vec<_> = owners.iter().map(|owner| owner.clone().unwrap_or(Owner::Nobody)).collect();
    let vanished = owners.iter().filter(|owner| **owner == Some(Owner::Nobody)).count();
    if vanished > 0 {
        // Nobody is told yet that the message cannot be delivered; it is kept until somebody can be.
        tracing::warn!(mail = %id, recipients = vanished,
            "a queued message's recipient is gone; it stays queued, add the address again to have it delivered");
    }
    let mut standings: Vec<_> = asked.iter().map(Standing::of).collect();
    let groups = group::by_account(&asked);
    let mut filed = 0;
    if !groups.is_empty() {
        let body = shared.disk.run(move |queue| queue.body(id)).await?;
        let answers = group::deliver(&shared.accounts, &due.envelope, &addresses, groups, &body).await;
        for (group, answer) in answers {
            filed += usize::from(answer == Answer::Filed);
            for place in group.places {
                if let (Some(standing), Some(owner)) = (standings.get_mut(place), asked.get(place)) {
                    standing.note(owner, group.account, answer);
                }
            }
        }
    }
    let mut attempted = Attempted { filed, ..Attempted::default() };
    for ((recipient, owner), standing) in due.recipients.iter().zip(owners).zip(&standings) {
        let address = recipient.address.clone();
        if owner.is_none() || standing.is_filed() {
            attempted.done.push(address);
        } else {
            let members = match standing.left() {
                left if left.is_empty() => recipient.members.clone(),
                left => left,
            };
            attempted.left.push(Recipient { address, members, reason: standing.reason() });
        }
    }
    Ok(attempted)
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
