//! Who is connected. At a limit the oldest connection that has not logged in makes room for the newest.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ipc_proto::ConnectionId;
use tokio::sync::Notify;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub total: NonZeroUsize,
    /// That have not logged in (or, where nobody logs in, have not yet shown that they are alive).
    pub fresh: NonZeroUsize,
}

/// A limit from the configuration; none at all would be a front that serves nobody.
#[must_use]
pub fn at_least_one(count: u32) -> NonZeroUsize {
    usize::try_from(count).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

/// All connections of one front, over all its listeners.
#[derive(Debug, Clone)]
pub struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    next: AtomicU64,
    table: Mutex<Table>,
    /// Told when the last connection has gone.
    empty: Notify,
}

#[derive(Debug)]
struct Table {
    limits: Limits,
    /// By number, and so by age: fresh ones can be told to go.
    fresh: BTreeMap<u64, Arc<Leave>>,
    established: BTreeMap<u64, Arc<Leave>>,
    /// Nobody comes in any more.
    closing: bool,
}

#[derive(Debug, Default)]
struct Leave(Notify);

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    id: u64,
    leave: Arc<Leave>,
}

fn lock(shared: &Shared) -> MutexGuard<'_, Table> {
    shared.table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // Numbers of other fronts and of earlier processes stand in the same log: each process counts from its own id.
        let first = u64::from(std::process::id()) << 26;
        Self {
            shared: Arc::new(Shared {
                next: AtomicU64::new(first),
                table: Mutex::new(Table {
                    limits,
                    fresh: BTreeMap::new(),
                    established: BTreeMap::new(),
                    closing: false,
                }),
                empty: Notify::new(),
            }),
        }
    }

    /// From now on so many. Who is there stays: a smaller number counts for those who come.
    pub fn set_limits(&self, limits: Limits) {
        lock(&self.shared).limits = limits;
    }

    /// A place for one more. Where there is none left, the oldest fresh connection is told to go; `None`: all others
    /// are established, or nobody is let in any more.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let leave = Arc::new(Leave::default());
        let mut table = lock(&self.shared);
        let full = table.fresh.len() + table.established.len() >= table.limits.total.get();
        if table.closing {
            return None;
        }
        if full || table.fresh.len() >= table.limits.fresh.get() {
            let (_, oldest) = table.fresh.pop_first()?;
            oldest.0.notify_one();
        }
        table.fresh.insert(id, Arc::clone(&leave));
        drop(table);
        Some(Place { shared: Arc::clone(&self.shared), id, leave })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let table = lock(&self.shared);
        table.fresh.len() + table.established.len()
    }

    /// Lets nobody in any more and tells the fresh ones to go.
    pub fn close_fresh(&self) {
        let mut table = lock(&self.shared);
        table.closing = true;
        for leave in std::mem::take(&mut table.fresh).into_values() {
            leave.0.notify_one();
        }
    }

    /// Lets nobody in any more and tells all to go.
    pub fn close_all(&self) {
        self.close_fresh();
        for leave in lock(&self.shared).established.values() {
            leave.0.notify_one();
        }
    }

    /// Returns when there is none left.
    pub async fn all_gone(&self) {
        loop {
            let empty = self.shared.empty.notified();
            if self.count() == 0 {
                return;
            }
            empty.await;
        }
    }
}

impl Place {
    /// The connection's number in every log.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        ConnectionId(self.id)
    }

    /// Logged in: from now on it does not make room for strangers.
    pub fn establish(&self) {
        let mut table = lock(&self.shared);
        if let Some(leave) = table.fresh.remove(&self.id) {
            table.established.insert(self.id, leave);
        }
    }

    /// Returns when the connection has to go: say so if the protocol has words for it, and close.
    pub async fn told_to_leave(&self) {
        self.leave.0.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = lock(&self.shared);
        table.fresh.remove(&self.id);
        table.established.remove(&self.id);
        if table.fresh.is_empty() && table.established.is_empty() {
            drop(table);
            self.shared.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context};

    use super::*;

    fn connections(total: usize, fresh: usize) -> Connections {
        let count = |count| NonZeroUsize::new(count).unwrap();
        Connections::new(Limits { total: count(total), fresh: count(fresh) })
    }

    fn is_told(place: &Place) -> bool {
        let told = pin!(place.told_to_leave());
        told.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    /// Attack class 15: a flood of strangers pushes out strangers, the oldest first.
    #[test]
    fn the_oldest_stranger_makes_room() {
        let connections = connections(10, 2);
        let first = connections.enter().unwrap();
        let second = connections.enter().unwrap();
        let third = connections.enter().unwrap();
        assert!(is_told(&first) && !is_told(&second) && !is_told(&third));
        drop(second);
        let fourth = connections.enter().unwrap();
        assert!(!is_told(&third) && !is_told(&fourth), "there was room again");
    }

    #[test]
    fn who_is_logged_in_is_never_pushed_out() {
        let connections = connections(3, 2);
        let member = connections.enter().unwrap();
        member.establish();
        let strangers: Vec<_> = (0..100).map(|_| connections.enter().unwrap()).collect();
        assert!(!is_told(&member));
        assert_eq!(strangers.iter().filter(|place| !is_told(place)).count(), 2);
        for place in strangers {
            place.establish();
        }
        assert!(connections.enter().is_some(), "those told to leave no longer count");
    }

    #[test]
    fn limits_that_change_send_nobody_away() {
        let connections = connections(2, 2);
        let members = [connections.enter().unwrap(), connections.enter().unwrap()];
        members.iter().for_each(Place::establish);
        let limits = |count| {
            let count = NonZeroUsize::new(count).unwrap();
            Limits { total: count, fresh: count }
        };
        connections.set_limits(limits(1));
        assert!(connections.enter().is_none() && !members.iter().any(is_told));
        connections.set_limits(limits(3));
        assert!(connections.enter().is_some());
    }

    #[test]
    fn where_all_are_logged_in_nobody_else_gets_in() {
        let connections = connections(2, 2);
        let members = [connections.enter().unwrap(), connections.enter().unwrap()];
        members.iter().for_each(Place::establish);
        assert!(connections.enter().is_none());
        drop(members);
        assert!(connections.enter().is_some());
    }

    #[test]
    fn after_closing_nobody_gets_in_and_all_are_told() {
        let connections = connections(5, 5);
        let (member, stranger) = (connections.enter().unwrap(), connections.enter().unwrap());
        member.establish();
        connections.close_fresh();
        assert!(is_told(&stranger) && !is_told(&member));
        assert!(connections.enter().is_none());
        connections.close_all();
        assert!(is_told(&member));
    }

    #[tokio::test]
    async fn the_last_one_to_go_is_noticed() {
        let connections = connections(5, 5);
        let places = [connections.enter().unwrap(), connections.enter().unwrap()];
        assert_eq!(connections.count(), 2);
        assert_ne!(places[0].id(), places[1].id());
        tokio::join!(connections.all_gone(), async {
            tokio::task::yield_now().await;
            drop(places);
        });
        assert_eq!(connections.count(), 0);
    }
}
