//! A bounded queue in which every source has its turn.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// What is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// From a network where the account's owner logged in lately. It cannot be flooded: so few failures are allowed there.
    Known,
    /// From anywhere else.
    Strange,
}

/// No room: the client may try later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Of one source, at most so many wait.
const EACH: usize = 8;

/// Of one lane, at most so many wait: at 12 ms each on two threads about three seconds' work.
const ALL: usize = 512;

/// Two lanes; within each the sources take turns, whatever they have waiting.
#[derive(Debug)]
pub struct Queue<S, T> {
    known: Turns<S, T>,
    strange: Turns<S, T>,
}

impl<S, T> Default for Queue<S, T> {
    fn default() -> Self {
        Self { known: Turns::default(), strange: Turns::default() }
    }
}

impl<S: Copy + Eq + Hash, T> Queue<S, T> {
    /// At the end of its source's line.
    pub fn push(&mut self, lane: Lane, source: S, item: T) -> Result<(), Full> {
        match lane {
            Lane::Known => self.known.push(source, item),
            Lane::Strange => self.strange.push(source, item),
        }
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<T> {
        self.known.pop().or_else(|| self.strange.pop())
    }
}

#[derive(Debug)]
struct Turns<S, T> {
    /// Sources with something waiting, in the order of their turns.
    order: VecDeque<S>,
    lines: HashMap<S, VecDeque<T>>,
    waiting: usize,
}

impl<S, T> Default for Turns<S, T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), lines: HashMap::new(), waiting: 0 }
    }
}

impl<S: Copy + Eq + Hash, T> Turns<S, T> {
    fn push(&mut self, source: S, item: T) -> Result<(), Full> {
        let line = self.lines.get(&source).map_or(0, VecDeque::len);
        if self.waiting >= ALL || line >= EACH {
            return Err(Full);
        }
        if line == 0 {
            self.order.push_back(source);
        }
        self.lines.entry(source).or_default().push_back(item);
        self.waiting += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        let source = self.order.pop_front()?;
        let line = self.lines.get_mut(&source)?;
        let item = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&source);
        } else {
            self.order.push_back(source);
        }
        self.waiting = self.waiting.saturating_sub(1);
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack class 16, and 27: one source fills its own line and nobody else's.
    #[test]
    fn sources_take_turns_and_each_has_a_bound() {
        let mut queue = Queue::default();
        for number in 0..100 {
            let pushed = queue.push(Lane::Strange, "flood", number);
            assert_eq!(pushed, if number < EACH { Ok(()) } else { Err(Full) });
        }
        queue.push(Lane::Strange, "one", 100).unwrap();
        queue.push(Lane::Strange, "two", 200).unwrap();
        queue.push(Lane::Strange, "two", 201).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 100, 200, 1, 201, 2, 3, 4, 5, 6, 7]);
        assert!(queue.strange.lines.is_empty() && queue.strange.order.is_empty());
    }

    /// Attack class 16.
    #[test]
    fn those_who_are_known_do_not_wait_behind_a_crowd() {
        let mut queue = Queue::default();
        let taken = (0..10_000).filter(|number| queue.push(Lane::Strange, *number, *number).is_ok()).count();
        assert_eq!(taken, ALL);
        queue.push(Lane::Known, 77_777, 77_777).unwrap();
        assert_eq!(queue.pop(), Some(77_777));
        assert_eq!(queue.pop(), Some(0));
        assert_eq!(queue.push(Lane::Strange, 1, 1), Ok(()), "the room that one left");
        assert_eq!(queue.push(Lane::Strange, 2, 2), Err(Full));
    }
}
