//! Searching in texts: an index that narrows what SEARCH has to read.
//!
//! ```text
//!  deliveries, APPEND ──▶ account.sqlite                      search.sqlite
//!                              │ bodies above the last one ─▶ [`Store::keep_index`]: a thread that waits until it is
//!                              │                                quiet, groups of messages ──▶ segments, merged by eights
//!  SEARCH ── [`Clue`] ──────────────────────────────────────▶ [`Store::sieves`] ──▶ [`Sieve`]: known not to match
//!     └───── all others ─▶ [`Texts`] and a matcher: they decide
//! ```
//!
//! Holds: a database of its own beside the account's, a connection to it, 5 MiB while a group is made. Never: a lock
//! or transaction of the account's database while it works; anything that cannot be made again.
//! Always true: (1) only messages are ruled out that the index has looked at as a whole and that lack a trigram of what
//! is looked for: with the index, without it, behind or damaged, the results are the same; (2) what is read of it is
//! checked, and where it is wrong the index is removed and made anew; (3) it is keyed by body, so flags, copies and
//! moves do not touch it.
//! Start at [`Store::sieves`] and [`Store::catch_up`]. Octets: `segment`.

mod catch_up;
mod database;
mod group;
mod keep;
mod merge;
mod segment;
mod sieve;
mod texts;
mod trigram;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use catch_up::Indexed;
pub(crate) use keep::Backlog;
pub use sieve::{Clue, Place, Sieve};
pub use texts::{Piece, Texts};

use crate::{Store, StoreError, schema};
use database::{Database, Trouble};

/// The index of an open store.
#[derive(Debug, Default)]
pub(crate) struct SearchIndex {
    state: Mutex<State>,
    /// Held by whoever writes it.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Sessions share one; a search in it takes a few milliseconds.
    reader: Option<Database>,
    /// It was found damaged, and is not used until it was made anew.
    damaged: bool,
}

impl SearchIndex {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `read` on it, if it is there and of use.
    fn read(&self, store: &Store, read: impl FnOnce(&Database) -> Result<(), Trouble>) {
        let mut state = self.state();
        if state.damaged {
            return;
        }
        let done = match &state.reader {
            Some(database) => read(database),
            None => match open(store.dir()) {
                Ok(None) => Ok(()),
                Ok(Some(database)) => {
                    let done = read(&database);
                    state.reader = Some(database);
                    done
                }
                Err(trouble) => Err(trouble),
            },
        };
        match done {
            Ok(()) => {}
            Err(Trouble::Damaged(detail)) => {
                state.reader = None;
                state.damaged = true;
                drop(state);
                tell_damage(&detail);
                store.backlog().wake();
            }
            Err(Trouble::Failed(error)) => {
                state.reader = None;
                tracing::warn!(error = %error.within(store.dir()), "a search goes without its index");
            }
        }
    }

    /// Closes the connection for reading, for good when the store is closed.
    pub(crate) fn close(&self) {
        self.state().reader = None;
    }
}

/// The index in `dir`, if it is one of the account there.
fn open(dir: &Path) -> Result<Option<Database>, Trouble> {
    let Some(database) = Database::open(dir)? else { return Ok(None) };
    if database.is_of(&schema::open_reader(dir)?)? {
        return Ok(Some(database));
    }
    Err(Trouble::Damaged("it is about messages that the account does not have".to_owned()))
}

fn tell_damage(detail: &str) {
    tracing::warn!(detail, "the search index is damaged; it is made anew, and searches go on without it");
}

impl Store {
    /// Removes the index and makes it anew, in this thread. How many messages are in it.
    pub fn reindex(&self) -> Result<u64, StoreError> {
        {
            let index = self.search_index();
            let _writing = index.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut state = index.state();
            state.reader = None;
            database::remove(self.dir())?;
            state.damaged = false;
        }
        self.catch_up(&mut || std::ops::ControlFlow::Continue(())).map(|indexed| indexed.messages)
    }
}
