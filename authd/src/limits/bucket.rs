//! Counting that has no edges: a bucket that drains at a steady rate.

use std::time::Duration;

/// A point in time: microseconds since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// So long after the start of the process.
    #[must_use]
    pub fn since_start(elapsed: Duration) -> Self {
        Self(micros(elapsed))
    }

    /// Later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// When the bucket will be empty. One number holds both the level and the time it was true (the "theoretical arrival
/// time" of the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bucket(Moment);

/// How much fits, and how fast it drains: `count` at once, and `count` in each `period` after that.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// What one costs, microseconds.
    each: u64,
    /// What fits, microseconds.
    period: u64,
    count: u32,
}

impl Rate {
    /// None at all when `count` is 0.
    #[must_use]
    pub fn new(count: u32, period: Duration) -> Self {
        let period = micros(period);
        let each = period.checked_div(u64::from(count)).unwrap_or(u64::MAX / 2).max(1);
        Self { each, period, count }
    }

    /// How many fit.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.count
    }

    fn used(&self, bucket: Bucket, now: Moment) -> u64 {
        bucket.0.0.saturating_sub(now.0)
    }

    /// Does one more fit?
    #[must_use]
    pub fn has_room(&self, bucket: Bucket, now: Moment) -> bool {
        self.used(bucket, now).saturating_add(self.each) <= self.period
    }

    /// Adds as many as fit, at most `count`; tells how many that were.
    pub fn take(&self, bucket: &mut Bucket, count: u32, now: Moment) -> u32 {
        let used = self.used(*bucket, now);
        let room = self.period.saturating_sub(used) / self.each;
        let taken = u64::from(count).min(room);
        bucket.0.0 = now.0.saturating_add(used).saturating_add(taken.saturating_mul(self.each));
        u32::try_from(taken).unwrap_or(count)
    }

    /// Takes one out again.
    pub fn give_back(&self, bucket: &mut Bucket) {
        bucket.0.0 = bucket.0.0.saturating_sub(self.each);
    }

    /// How many are in it, rounded up.
    #[must_use]
    pub fn level(&self, bucket: Bucket, now: Moment) -> u32 {
        u32::try_from(self.used(bucket, now).div_ceil(self.each)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_burst_fits_and_then_the_steady_rate() {
        let (rate, mut bucket, start) = (Rate::new(10, MINUTE), Bucket::default(), Moment::default());
        assert_eq!(rate.take(&mut bucket, 25, start), 10);
        assert!(!rate.has_room(bucket, start));
        assert!(!rate.has_room(bucket, start.after(Duration::from_micros(5_999_999))));
        let later = start.after(Duration::from_secs(6));
        assert!(rate.has_room(bucket, later));
        assert_eq!(rate.take(&mut bucket, 5, later), 1);
        assert_eq!(rate.level(bucket, later), 10);
        assert_eq!(rate.level(bucket, later.after(MINUTE)), 0);
        rate.give_back(&mut bucket);
        assert_eq!(rate.level(bucket, later), 9);
    }

    /// A counter that resets at the full minute lets twice its limit through within a second; this one does not.
    #[test]
    fn there_is_no_edge_to_wait_for() {
        let (rate, mut bucket) = (Rate::new(10, MINUTE), Bucket::default());
        let edge = Moment::since_start(Duration::from_secs(59));
        assert_eq!(rate.take(&mut bucket, 100, edge), 10);
        assert_eq!(rate.take(&mut bucket, 100, edge.after(Duration::from_secs(2))), 0);
        assert_eq!(rate.take(&mut bucket, 100, edge.after(Duration::from_secs(12))), 2);
    }

    #[test]
    fn odd_figures_neither_overflow_nor_let_anything_through() {
        let now = Moment(u64::MAX - 5);
        for (count, fits) in [(0, 0), (1, 1), (7, 7), (1_000_000, 1_000_000)] {
            let (rate, mut bucket) = (Rate::new(count, MINUTE), Bucket::default());
            assert_eq!(rate.take(&mut bucket, u32::MAX, Moment::default()), fits, "{count}");
            assert_eq!(rate.has_room(Bucket::default(), Moment::default()), count > 0, "{count}");
            rate.take(&mut bucket, u32::MAX, now);
        }
    }
}
