//! The page in which a front's threads note whose connection they work on. It outlives the process: when that dies of a
//! signal, the supervisor reads who was in hand and tells authd.
//!
//! [`SLOTS`] places, [`STRIDE`] octets apart, one for each thread. The first eight octets of each are a connection's
//! number in the machine's order, 0 for none; the others are nobody's. The front can write what it likes there.

use crate::types::ConnectionId;

/// Threads that can note something; a front has three.
pub const SLOTS: usize = 8;

/// Octets from one slot to the next: threads on two processors do not share a cache line.
pub const STRIDE: usize = 64;

/// Octets of the page.
pub const SIZE: usize = SLOTS * STRIDE;

/// The connections that a page names, each once: at most [`SLOTS`], whatever is in it.
#[must_use]
pub fn connections(page: &[u8; SIZE]) -> Vec<ConnectionId> {
    let (slots, _) = page.as_chunks::<STRIDE>();
    let mut named = Vec::with_capacity(SLOTS);
    for slot in slots {
        let Some(number) = slot.first_chunk().map(|octets| u64::from_ne_bytes(*octets)) else { continue };
        let connection = ConnectionId(number);
        if number != 0 && !named.contains(&connection) {
            named.push(connection);
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(slots: [u64; SLOTS]) -> [u8; SIZE] {
        let mut page = [0xa5; SIZE];
        for (slot, number) in page.chunks_mut(STRIDE).zip(slots) {
            slot[..8].copy_from_slice(&number.to_ne_bytes());
        }
        page
    }

    #[test]
    fn a_page_names_each_connection_once_and_never_more_than_there_are_slots() {
        let all = [1, 2, 3, 4, 5, 6, 7, u64::MAX];
        for (slots, named, reason) in [
            ([0; SLOTS], &[][..], "nothing in hand"),
            ([7, 0, 0, 0, 0, 0, 0, 0], &[7], "one thread"),
            ([0, 9, 7, 0, 0, 0, 0, 0], &[9, 7], "two others"),
            ([7; SLOTS], &[7], "one name in all slots"),
            (all, &all, "as many as fit"),
        ] {
            let named: Vec<_> = named.iter().copied().map(ConnectionId).collect();
            assert_eq!(connections(&page(slots)), named, "{reason}");
        }
        // No slot is behind the last octet, and what is between slots counts for nothing.
        assert_eq!(connections(&[0xff; SIZE]), [ConnectionId(u64::MAX)]);
    }
}
