//! Whether anybody needs this process, and the agreement to leave.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Counts what is going on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Sessions, deliveries and verifications under way.
    busy: usize,
    /// How many began since the start.
    arrivals: u64,
    /// When the last one ended.
    since: Instant,
}

/// Something under way, until dropped.
#[derive(Debug)]
pub(crate) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy = state.busy.saturating_sub(1);
        state.since = Instant::now();
    }
}

impl Activity {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { busy: 0, arrivals: 0, since: Instant::now() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> Busy {
        let mut state = self.state();
        state.busy += 1;
        state.arrivals += 1;
        Busy(self.clone())
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state().busy == 0
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// When to ask to leave, and what the permission is worth.
///
/// After `Quiet` the supervisor hands out nothing more to this process and says `Leave`. What it handed out before it
/// read the question arrives before the permission, and a delivery may come at any time on a channel that is open: then
/// the permission has lapsed, and the process asks again after the next quiet spell.
#[derive(Debug)]
pub struct Leaving {
    activity: Activity,
    quiet: Duration,
    /// Asked: when, and how much had arrived by then.
    asked: Option<(Instant, u64)>,
}

impl Leaving {
    /// For a process that asks after `quiet`.
    #[must_use]
    pub fn new(activity: Activity, quiet: Duration) -> Self {
        Self { activity, quiet, asked: None }
    }

    /// How long to wait for orders before [`Self::is_due`] is worth asking.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        let state = self.activity.state();
        let since = self.asked.map_or(state.since, |(asked, _)| asked.max(state.since));
        drop(state);
        // While something is under way this only wakes up to look again.
        let left = self.quiet.saturating_sub(now.saturating_duration_since(since));
        if left.is_zero() { self.quiet } else { left }
    }

    /// Whether to ask now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let state = self.activity.state();
        let since = self.asked.map_or(state.since, |(asked, _)| asked.max(state.since));
        let due = state.busy == 0 && now.saturating_duration_since(since) >= self.quiet;
        let arrivals = state.arrivals;
        drop(state);
        if due {
            self.asked = Some((now, arrivals));
        }
        due
    }

    /// The supervisor says `Leave`. `asked`: to the question, whose answer may have come too late; otherwise because
    /// others need this process's place, and then whatever is not under way does not matter: what comes in now finds the
    /// channel closed and is sent to the next process.
    #[must_use]
    pub fn is_allowed(&self, asked: bool) -> bool {
        let state = self.activity.state();
        let still = || self.asked.is_some_and(|(_, arrivals)| arrivals == state.arrivals);
        state.busy == 0 && (!asked || still())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(60);

    #[test]
    fn it_asks_after_a_quiet_spell_and_not_while_something_is_under_way() {
        let activity = Activity::new();
        let mut leaving = Leaving::new(activity.clone(), QUIET);
        let start = Instant::now();
        assert!(!leaving.is_due(start));
        assert!(leaving.wait(start) <= QUIET);
        let session = activity.begin();
        assert!(!leaving.is_due(start + 2 * QUIET), "a session is open");
        assert_eq!(leaving.wait(start + 2 * QUIET), QUIET, "no busy loop meanwhile");
        drop(session);
        let end = Instant::now();
        assert!(!leaving.is_due(end), "it has just ended");
        assert!(leaving.is_due(end + QUIET));
        assert!(!leaving.is_due(end + QUIET), "asked once");
        assert!(leaving.is_due(end + 2 * QUIET), "no answer: asked again");
    }

    #[test]
    fn a_permission_lapses_when_something_came_in_meanwhile() {
        let activity = Activity::new();
        let mut leaving = Leaving::new(activity.clone(), QUIET);
        assert!(!leaving.is_allowed(true), "nobody asked");
        assert!(leaving.is_allowed(false), "others need the place");
        let later = Instant::now() + QUIET;
        assert!(leaving.is_due(later));
        assert!(leaving.is_allowed(true));
        let delivery = activity.begin();
        assert!(!leaving.is_allowed(true) && !leaving.is_allowed(false), "under way");
        drop(delivery);
        assert!(!leaving.is_allowed(true), "it came after the question, though it is done");
        assert!(leaving.is_allowed(false), "others need the place");
        assert!(leaving.is_due(later + 2 * QUIET));
        assert!(leaving.is_allowed(true));
    }
}
