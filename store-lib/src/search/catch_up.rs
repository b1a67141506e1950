//! The index catches up with the account: group by group, each in a transaction of its own.

use std::ops::ControlFlow;
use std::sync::PoisonError;

use super::database::{Database, Trouble};
use super::group::Group;
use super::segment::Entry;
use super::{merge, open, tell_damage};
use crate::read::Budget;
use crate::{Body, Reader, Store, StoreError, schema};

/// Messages taken out of the store at once, and their octets.
const MESSAGES: usize = 32;
const OCTETS: u64 = 512 << 10;

/// An index that has so many times more messages than the account is made anew rather than carried along.
const MOSTLY_GONE: u64 = 2;

/// What an index holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// Messages, some of them expunged since.
    pub messages: u64,
    /// Whether it came to the end.
    pub complete: bool,
}

/// A message on its way into the index, taken out of the store.
type Taken = (Entry, Option<Body>);

impl Store {
    /// Brings the index up to what is stored; makes it if there is none, or none of use. `pause` is called every
    /// millisecond or so, outside of all transactions of the account: it may wait, and break off. What was complete by
    /// then is kept, and the next call goes on there.
    pub fn catch_up(&self, pause: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Indexed, StoreError> {
        let index = self.search_index();
        let _writing = index.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Twice: what was damaged is made anew at once.
        for _ in 0..2 {
            match self.try_to_catch_up(pause) {
                Ok(indexed) => return Ok(indexed),
                Err(Trouble::Failed(error)) => return Err(error.within(self.dir())),
                Err(Trouble::Damaged(detail)) => {
                    let mut state = index.state();
                    if !std::mem::replace(&mut state.damaged, true) {
                        tell_damage(&detail);
                    }
                    state.reader = None;
                }
            }
        }
        Err(StoreError::Fault("the search index is damaged however often it is made".to_owned()))
    }

    fn try_to_catch_up(&self, pause: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Indexed, Trouble> {
        if self.is_raw() {
            // Messages are not looked into.
            return Ok(Indexed::default());
        }
        let account = schema::open_reader(self.dir())?;
        let database = self.open_index()?;
        let mut progress = database.progress()?;
        let mut group = Group::new();
        loop {
            let taken = self.take(&account, progress)?;
            let complete = taken.is_empty();
            for (entry, body) in taken {
                if let Some(body) = body
                    && group.add(entry, &body, pause).is_break()
                {
                    return indexed(&database, false);
                }
                progress = entry.body;
                if group.is_full() && group.write(&database, progress, pause)?.is_break() {
                    return indexed(&database, false);
                }
            }
            if complete {
                break;
            }
        }
        if progress > database.progress()? && group.write(&database, progress, pause)?.is_break() {
            return indexed(&database, false);
        }
        drop(group);
        while merge::merge(&database, &account, pause)? {}
        indexed(&database, pause().is_continue())
    }

    fn open_index(&self) -> Result<Database, Trouble> {
        let mut state = self.search_index().state();
        if !state.damaged {
            match open(self.dir()) {
                Ok(Some(database)) if !self.is_mostly_gone(&database)? => return Ok(database),
                Ok(_) => {}
                Err(Trouble::Damaged(detail)) => tell_damage(&detail),
                Err(other) => return Err(other),
            }
        }
        state.reader = None;
        let database = Database::create(self.dir())?;
        state.damaged = false;
        Ok(database)
    }

    fn is_mostly_gone(&self, database: &Database) -> Result<bool, Trouble> {
        let there: u64 = self.read(&Budget::default(), |reader| {
            Ok(reader.mailboxes()?.iter().map(|mailbox| mailbox.counts.total).sum())
        })?;
        let known: u64 = database.sizes()?.iter().map(|(_, messages, _)| messages).sum();
        Ok(known / MOSTLY_GONE > there.saturating_add(1_000))
    }

    /// The next messages after `progress`; none: that was the last.
    fn take(&self, account: &rusqlite::Connection, progress: i64) -> Result<Vec<Taken>, StoreError> {
        let (budget, mut taken, mut octets) = (Budget::default(), Vec::new(), 0);
        account.prepare_cached("BEGIN")?.execute(())?;
        let reader = Reader::new(account, self.files(), &budget);
        let mut read = || {
            let mut statement = account.prepare_cached(
                "SELECT id, size, prefix, file, parts, hash FROM body WHERE id > ?1 ORDER BY id LIMIT ?2",
            )?;
            let mut rows = statement.query((progress, i64::try_from(MESSAGES).unwrap_or(1)))?;
            while let Some(row) = rows.next()? {
                let (body, hash): (i64, [u8; 32]) = (row.get(0)?, row.get(5)?);
                let [a, b, c, d, ..] = hash;
                // One that is lost is not in the index: whoever looks for it sees that.
                let found = reader.body_of(row).unwrap_or_else(|error| {
                    tracing::warn!(%error, "a message is not in the search index");
                    None
                });
                octets += found.as_ref().map_or(0, Body::size);
                taken.push((Entry { body, hash: [a, b, c, d] }, found));
                if octets >= OCTETS {
                    break;
                }
            }
            Ok::<_, StoreError>(())
        };
        let read = read();
        account.prepare_cached("COMMIT")?.execute(())?;
        read.map(|()| taken)
    }
}

fn indexed(database: &Database, complete: bool) -> Result<Indexed, Trouble> {
    let messages = database.sizes()?.iter().map(|(_, messages, _)| messages).sum();
    Ok(Indexed { messages, complete })
}

/// How many bodies the index has not looked at, up to `most`, and their octets.
pub(super) fn behind(store: &Store, most: u32) -> Result<(u64, u64), StoreError> {
    let progress =
        match Database::open(store.dir()).and_then(|found| found.map(|it| it.progress()).transpose()) {
            Ok(progress) => progress.unwrap_or_default(),
            // It is made anew.
            Err(Trouble::Damaged(_)) => 0,
            Err(Trouble::Failed(error)) => return Err(error),
        };
    store.read(&Budget::default(), |reader| {
        let sql =
            "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT size FROM body WHERE id > ?1 LIMIT ?2)";
        Ok(reader.connection.query_row(sql, (progress, most), |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
        })?)
    })
}
