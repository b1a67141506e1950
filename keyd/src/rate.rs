//! How often a front may ask: the generic cell rate algorithm, which forgets evenly and needs one number of memory.

use std::time::{Duration, Instant};

/// Lets `per_second` pass in the long run and as many at once.
#[derive(Debug)]
pub struct Rate {
    interval: Duration,
    /// When all that has passed would be used up.
    used_until: Option<Instant>,
}

/// How far ahead of time a front may use its allowance.
const BURST: Duration = Duration::from_secs(1);

impl Rate {
    /// Zero counts as one: a front without any signature would serve nobody.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), used_until: None }
    }

    /// May one more pass at this time? If so it is counted.
    pub fn admit(&mut self, now: Instant) -> bool {
        let used_until = self.used_until.map_or(now, |until| until.max(now)) + self.interval;
        let fits = used_until <= now + BURST;
        if fits {
            self.used_until = Some(used_until);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_then_time_gives_back() {
        let (mut rate, start) = (Rate::new(10), Instant::now());
        assert_eq!((0..100).filter(|_| rate.admit(start)).count(), 10, "one second's worth at once");
        assert!(!rate.admit(start + Duration::from_millis(99)));
        assert!(rate.admit(start + Duration::from_millis(100)), "one each tenth of a second");
        assert!(!rate.admit(start + Duration::from_millis(199)));
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| rate.admit(later)).count(), 10, "rest does not add up");
    }

    #[test]
    fn refused_requests_use_nothing_up() {
        let (mut rate, start) = (Rate::new(1), Instant::now());
        assert!(rate.admit(start));
        assert!((0..1000).all(|_| !rate.admit(start)));
        assert!(rate.admit(start + Duration::from_secs(1)));
    }

    #[test]
    fn over_ten_seconds_no_more_than_the_rate_passes() {
        let (mut rate, start) = (Rate::new(50), Instant::now());
        let passed = (0..10_000).filter(|millis| rate.admit(start + Duration::from_millis(*millis))).count();
        assert!((500..=550).contains(&passed), "{passed}");
    }
}
