//! Sessions that sleep: what each needs to go on, as a row that is good for one waking.
//!
//! Rows are written all together, in one commit, before the process leaves, and each is removed by who takes it, in the
//! transaction that reads it. Nothing here says who may: that is the session's number, which authd made up.

use crate::{MailboxId, Store, StoreError};

pub(crate) const MIGRATION: &str = "
    -- Sessions that sleep.
    CREATE TABLE sleeping (
        session INTEGER PRIMARY KEY,
        count INTEGER NOT NULL,
        mailbox INTEGER,
        state BLOB NOT NULL
    ) STRICT;
";

/// Octets of one session's state.
pub const MAX_SLEEPING_STATE: usize = 1 << 20;

/// One session that sleeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sleeping {
    /// Its number.
    pub session: u64,
    /// How often it has fallen asleep.
    pub count: u32,
    /// The mailbox that is selected; it may be gone when the session wakes.
    pub mailbox: Option<MailboxId>,
    /// The rest, at most [`MAX_SLEEPING_STATE`].
    pub state: Vec<u8>,
}

impl Store {
    /// Notes them, all or none. `Ok`: it survives power loss.
    pub fn put_sleeping(&self, sessions: Vec<Sleeping>) -> Result<(), StoreError> {
        if sessions.iter().any(|sleeping| sleeping.state.len() > MAX_SLEEPING_STATE) {
            return Err(StoreError::TooLarge { limit: MAX_SLEEPING_STATE as u64 });
        }
        self.session(1, move |transaction| transaction.put_sleeping(&sessions))
    }

    /// Takes the row of a session away. `None`: it has none, or one of another time; that one is gone then, too.
    pub fn take_sleeping(&self, session: u64, count: u32) -> Result<Option<Sleeping>, StoreError> {
        let taken = self.session(1, move |transaction| transaction.take_sleeping(session))?;
        Ok(taken.filter(|taken| taken.count == count))
    }

    /// Removes the rows of all sessions but these.
    pub fn keep_sleeping(&self, mut sessions: Vec<u64>) -> Result<(), StoreError> {
        sessions.sort_unstable();
        self.session(1, move |transaction| transaction.keep_sleeping(&sessions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeping(session: u64, count: u32) -> Sleeping {
        Sleeping { session, count, mailbox: Some(MailboxId(1)), state: vec![0, 255, 7] }
    }

    /// Attack class 31: what was used once is worth nothing.
    #[test]
    fn a_row_is_good_for_one_waking() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let nowhere = Sleeping { mailbox: None, ..sleeping(u64::MAX, 1) };
        store.put_sleeping(vec![sleeping(1, 1), nowhere.clone()]).unwrap();
        store.close().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.take_sleeping(2, 1).unwrap(), None, "another session");
        assert_eq!(store.take_sleeping(1, 1).unwrap(), Some(sleeping(1, 1)));
        assert_eq!(store.take_sleeping(1, 1).unwrap(), None, "used");
        assert_eq!(store.take_sleeping(u64::MAX, 1).unwrap(), Some(nowhere));
    }

    #[test]
    fn a_row_of_another_time_is_as_good_as_none_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.put_sleeping(vec![sleeping(1, 1)]).unwrap();
        assert_eq!(store.take_sleeping(1, 2).unwrap(), None);
        assert_eq!(store.take_sleeping(1, 1).unwrap(), None, "it is gone");
        store.put_sleeping(vec![sleeping(1, 1)]).unwrap();
        store.put_sleeping(vec![sleeping(1, 2)]).unwrap();
        assert_eq!(store.take_sleeping(1, 2).unwrap(), Some(sleeping(1, 2)), "the latest counts");
    }

    #[test]
    fn rows_of_sessions_that_are_no_more_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.put_sleeping(vec![sleeping(1, 1), sleeping(u64::MAX, 1), sleeping(3, 1)]).unwrap();
        store.keep_sleeping(vec![u64::MAX, 9, 1]).unwrap();
        assert_eq!(store.take_sleeping(3, 1).unwrap(), None);
        assert!(store.take_sleeping(1, 1).unwrap().is_some());
        assert!(store.take_sleeping(u64::MAX, 1).unwrap().is_some());
        store.keep_sleeping(Vec::new()).unwrap();
    }

    #[test]
    fn a_state_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let large = Sleeping { state: vec![0; MAX_SLEEPING_STATE + 1], ..sleeping(2, 1) };
        assert!(matches!(store.put_sleeping(vec![sleeping(1, 1), large]), Err(StoreError::TooLarge { .. })));
        assert_eq!(store.take_sleeping(1, 1).unwrap(), None, "all or none");
    }
}
