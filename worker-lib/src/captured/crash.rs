//! A captured process that dies of a signal, and what it leaves in its recorder.
//!
//! ```text
//!   note SLOT NUMBER      this connection was in hand, it says
//!   fault-in SLOT         the next time that this thread works on a connection, it dies of SIGSEGV
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use super::sys;
use crate::recorder::Slot;

/// No slot.
const NONE: usize = usize::MAX;

/// Where to die.
static IN: AtomicUsize = AtomicUsize::new(NONE);

/// `None`: a line of other kind.
pub(super) fn run(words: &[&str]) -> Option<Vec<i32>> {
    match *words {
        ["note", slot, number] => {
            Slot::of_thread(slot.parse().ok()?).note(number.parse().ok()?);
            Some(vec![0])
        }
        ["fault-in", slot] => {
            IN.store(slot.parse().ok()?, Ordering::Relaxed);
            Some(vec![0])
        }
        _ => None,
    }
}

/// Dies, if it was told to here.
pub(crate) fn fault_in(slot: &Slot) {
    let number = IN.load(Ordering::Relaxed);
    if number != NONE && std::ptr::eq(slot, Slot::of_thread(number)) {
        sys::fault();
    }
}
