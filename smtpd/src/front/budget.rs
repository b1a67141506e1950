//! How much message data may be in memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A number of octets that all connections share.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
}

/// Octets taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    octets: u64,
}

impl Budget {
    pub(crate) fn new(octets: u64) -> Self {
        Self { left: AtomicU64::new(octets) }
    }

    fn take(&self, octets: u64) -> bool {
        let update = |left: u64| left.checked_sub(octets);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }
}

impl Held {
    /// Nothing yet.
    pub(crate) fn nothing(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), octets: 0 }
    }

    /// Takes more, or says that there is not so much left.
    pub(crate) fn grow(&mut self, octets: u64) -> bool {
        let taken = self.budget.take(octets);
        if taken {
            self.octets += octets;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back() {
        let budget = Arc::new(Budget::new(100));
        let mut one = Held::nothing(&budget);
        let mut two = Held::nothing(&budget);
        assert!(one.grow(60) && two.grow(30) && !two.grow(11) && two.grow(10) && !one.grow(1));
        drop(one);
        assert!(two.grow(60) && !two.grow(1));
    }
}
