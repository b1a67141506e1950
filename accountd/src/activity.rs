//! Whether anybody needs this process, and the agreement to leave.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Counts what is going on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told when [`Leave`] is another.
    decided: Condvar,
}

#[derive(Debug)]
struct State {
    /// Sessions, deliveries and verifications under way.
    busy: usize,
    /// Sessions that could be put to sleep.
    resting: usize,
    /// How many began since the start, or went on after a rest.
    arrivals: u64,
    /// When the last one ended or went on.
    since: Instant,
    /// Nothing for so long: asks to leave; and the same where sessions rest. `None`: does not ask.
    quiet: Option<Duration>,
    hibernate: Option<Duration>,
    /// Asked: when, and how much had arrived by then.
    asked: Option<(Instant, u64)>,
    leave: Leave,
}

/// Whether the process leaves, for those who rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// It stays.
    Stays,
    /// It may: who wants to go on waits.
    Sealed,
    /// It does: nobody goes on.
    Leaves,
}

/// Something under way, until dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    activity: Activity,
    resting: AtomicBool,
}

impl Busy {
    /// Waits for nothing but its client and for changes: the process may leave without it.
    pub(crate) fn rest(&self) {
        let mut state = self.activity.state();
        if !self.resting.swap(true, Ordering::Relaxed) {
            state.busy = state.busy.saturating_sub(1);
            state.resting += 1;
        }
    }

    /// `false`: the process leaves.
    pub(crate) fn go_on(&self) -> bool {
        let mut state = self.activity.state();
        while state.leave == Leave::Sealed {
            state = self.activity.0.decided.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.leave == Leave::Leaves {
            return false;
        }
        if self.resting.swap(false, Ordering::Relaxed) {
            state.resting = state.resting.saturating_sub(1);
            state.busy += 1;
            state.arrivals += 1;
            state.since = Instant::now();
        }
        true
    }

    /// It rests, and the process leaves.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.resting.load(Ordering::Relaxed) && self.activity.state().leave == Leave::Leaves
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        let count = if self.resting.load(Ordering::Relaxed) { &mut state.resting } else { &mut state.busy };
        *count = count.saturating_sub(1);
        state.since = Instant::now();
    }
}

impl Activity {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            busy: 0,
            resting: 0,
            arrivals: 0,
            since: Instant::now(),
            quiet: None,
            hibernate: None,
            asked: None,
            leave: Leave::Stays,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), decided: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> Busy {
        let mut state = self.state();
        state.busy += 1;
        state.arrivals += 1;
        Busy { activity: self.clone(), resting: AtomicBool::new(false) }
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state().busy == 0
    }

    /// Whether nothing is under way and nothing came since it was asked to leave.
    pub(crate) fn is_as_asked(&self) -> bool {
        let state = self.state();
        state.busy == 0 && state.is_as_asked()
    }

    /// Whether to ask now; then it counts as asked.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let mut state = self.state();
        let due = state.busy == 0
            && state.leave == Leave::Stays
            && state
                .patience()
                .is_some_and(|patience| now.saturating_duration_since(state.last()) >= patience);
        if due {
            state.asked = Some((now, state.arrivals));
        }
        due
    }

    fn decide(&self, leave: Leave) {
        self.state().leave = leave;
        self.0.decided.notify_all();
    }
}

impl State {
    fn is_as_asked(&self) -> bool {
        self.asked.is_some_and(|(_, arrivals)| arrivals == self.arrivals)
    }

    /// Of the silence.
    fn patience(&self) -> Option<Duration> {
        if self.resting > 0 { self.hibernate } else { self.quiet }
    }

    fn last(&self) -> Instant {
        self.asked.map_or(self.since, |(asked, _)| asked.max(self.since))
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
    /// How often to look.
    look: Duration,
}

impl Leaving {
    /// For a process that asks after `quiet`, and where sessions rest after `hibernate`.
    #[must_use]
    pub fn new(activity: Activity, quiet: Duration, hibernate: Duration) -> Self {
        let hibernate = Some(hibernate).filter(|hibernate| !hibernate.is_zero());
        {
            let mut state = activity.state();
            (state.quiet, state.hibernate) = (Some(quiet), hibernate);
        }
        Self { activity, look: hibernate.map_or(quiet, |hibernate| hibernate.min(quiet)) }
    }

    /// How long to wait for orders before [`Self::is_due`] is worth asking.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        let state = self.activity.state();
        let patience = state.patience().unwrap_or(self.look);
        let left = patience.saturating_sub(now.saturating_duration_since(state.last()));
        drop(state);
        // While something is under way this only wakes up to look again.
        if left.is_zero() { self.look } else { left }
    }

    /// Whether to ask now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.activity.is_due(now)
    }

    /// The supervisor says `Leave`. `asked`: to the question, whose answer may have come too late; otherwise because
    /// others need this process's place, and then whatever is not under way does not matter: what comes in now finds the
    /// channel closed and is sent to the next process. Once it is allowed, no session that rests goes on before
    /// [`Self::stay`] or [`Self::go`].
    #[must_use]
    pub fn is_allowed(&self, asked: bool) -> bool {
        let mut state = self.activity.state();
        let allowed = state.busy == 0 && (!asked || state.is_as_asked());
        if allowed {
            state.leave = Leave::Sealed;
        }
        allowed
    }

    /// The process stays after all.
    pub fn stay(&self) {
        self.activity.decide(Leave::Stays);
    }

    /// The process leaves: sessions that rest are over here.
    pub fn go(&self) {
        self.activity.decide(Leave::Leaves);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(60);
    const HIBERNATE: Duration = Duration::from_secs(90);

    #[test]
    fn it_asks_after_a_quiet_spell_and_not_while_something_is_under_way() {
        let activity = Activity::new();
        let leaving = Leaving::new(activity.clone(), QUIET, HIBERNATE);
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
        let leaving = Leaving::new(activity.clone(), QUIET, HIBERNATE);
        assert!(!leaving.is_allowed(true), "nobody asked");
        assert!(leaving.is_allowed(false), "others need the place");
        leaving.stay();
        let later = Instant::now() + QUIET;
        assert!(leaving.is_due(later));
        assert!(leaving.is_allowed(true));
        leaving.stay();
        let delivery = activity.begin();
        assert!(!leaving.is_allowed(true) && !leaving.is_allowed(false), "under way");
        drop(delivery);
        assert!(!leaving.is_allowed(true), "it came after the question, though it is done");
        assert!(leaving.is_allowed(false), "others need the place");
        leaving.stay();
        assert!(leaving.is_due(later + 2 * QUIET));
        assert!(leaving.is_allowed(true));
    }

    #[test]
    fn sessions_that_rest_do_not_keep_the_process_and_do_not_go_on_while_it_leaves() {
        let activity = Activity::new();
        let leaving = Leaving::new(activity.clone(), QUIET, HIBERNATE);
        let (first, second) = (activity.begin(), activity.begin());
        let start = Instant::now();
        first.rest();
        assert!(!leaving.is_due(start + HIBERNATE), "one is at work");
        second.rest();
        assert!(!leaving.is_due(start + QUIET), "people come back sooner than mail");
        assert!(leaving.is_due(start + 2 * HIBERNATE));
        assert!(first.go_on());
        assert!(!leaving.is_allowed(true) && !leaving.is_allowed(false), "it went on");
        first.rest();
        assert!(!leaving.is_allowed(true), "it went on, though it rests again");
        assert!(leaving.is_due(start + 4 * HIBERNATE));
        assert!(leaving.is_allowed(true));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| first.go_on());
            leaving.stay();
            assert!(waits.join().unwrap(), "the process stays");
        });
        first.rest();
        assert!(leaving.is_due(start + 6 * HIBERNATE) && leaving.is_allowed(true));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| second.go_on());
            leaving.go();
            assert!(!waits.join().unwrap(), "the process leaves");
        });
        assert!(first.is_left_behind() && second.is_left_behind());
        drop((first, second));
        assert!(activity.is_idle());
    }

    #[test]
    fn where_nobody_may_sleep_sessions_keep_the_process() {
        let activity = Activity::new();
        let leaving = Leaving::new(activity.clone(), QUIET, Duration::ZERO);
        let session = activity.begin();
        session.rest();
        assert!(!leaving.is_due(Instant::now() + 100 * QUIET));
        drop(session);
        assert!(leaving.is_due(Instant::now() + QUIET));
    }
}
