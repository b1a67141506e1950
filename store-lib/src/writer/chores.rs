//! What the writer does when nobody waits: erasing what was deleted, forgetting old deliveries and what was expunged long
//! ago, letting go of what was kept for undelete long enough, carrying out retention rules, looking after its log.

use rusqlite::Connection;

use super::Writer;
use super::import::forget_sources;
use super::kept::Kept;
use super::log;
use super::tombstones::{EXPUNGED_KEPT, Excess};
use super::transaction::{Effects, Transaction};
use crate::files::BodyName;
use crate::{MailboxId, StoreError, Uid, UnixSeconds};

/// Files or messages that one chore takes.
pub(super) const LIMIT: i64 = 500;
/// How long a repeated delivery is recognised.
const DELIVERED_SECONDS: i64 = 7 * 24 * 3600;
/// How often older ones are forgotten.
const FORGET_EVERY_SECONDS: i64 = 3600;

/// Which chores wait.
#[derive(Debug)]
pub(super) struct Chores {
    unlinked: bool,
    doomed: bool,
    /// Expunged messages that are remembered for too long.
    expunged: Vec<Excess>,
    /// Messages of an older version have no row in `heading` yet; and it is time to see to that.
    pub(super) headings: bool,
    pub(super) headings_due: bool,
    /// Messages are to be threaded, when all have their rows in `heading`.
    pub(super) threads: bool,
    forget_after: UnixSeconds,
    pub(super) kept: Kept,
    pub(super) age_after: UnixSeconds,
}

impl Chores {
    /// What an earlier run left.
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let any = |table: &str| -> Result<bool, StoreError> {
            Ok(connection
                .query_row(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), (), |row| row.get(0))?)
        };
        // Not at once: opening an account is on the way of a login or a delivery.
        let forget_after = UnixSeconds(UnixSeconds::now().0.saturating_add(5));
        let (headings, threads) = (any("heading_backlog")?, any("thread_backlog")?);
        let kept = Kept::new(forget_after);
        Ok(Self {
            unlinked: any("unlinked")?,
            doomed: any("doomed")?,
            expunged: Vec::new(),
            headings,
            headings_due: false,
            kept,
            threads,
            forget_after,
            age_after: forget_after,
        })
    }

    pub(super) fn note(&mut self, effects: &Effects) {
        self.unlinked |= effects.unlinked;
        self.doomed |= effects.doomed;
        self.kept.note(effects);
        if effects.old {
            self.age_after = UnixSeconds(0);
        }
    }

    /// The disk is full: what was deleted makes room for what comes in.
    pub(super) fn make_room(&mut self) {
        self.kept.make_room();
    }
}

impl Writer {
    pub(super) fn chores_waiting(&mut self) -> bool {
        self.chores.unlinked
            || self.chores.doomed
            || !self.chores.expunged.is_empty()
            || UnixSeconds::now() >= self.chores.forget_after
            || self.headings_wait()
            || self.chores.kept.is_due(&self.keeping)
            || UnixSeconds::now() >= self.chores.age_after
            || self.threads_wait()
            || self.log.is_waiting()
    }

    /// One chore, then back to the queue. A chore that fails is put off until something else happens or the next open.
    pub(super) fn idle(&mut self) {
        let result = if self.chores.unlinked {
            self.chores.unlinked = false;
            self.unlink()
        } else if self.chores.doomed {
            self.chores.doomed = false;
            self.erase_slice()
        } else if let Some(excess) = self.chores.expunged.pop() {
            self.forget_slice(excess)
        } else if UnixSeconds::now() >= self.chores.forget_after {
            let now = UnixSeconds::now().0;
            self.chores.forget_after = UnixSeconds(now.saturating_add(FORGET_EVERY_SECONDS));
            let found = Excess::find(&self.connection, EXPUNGED_KEPT);
            self.chores.expunged = found.as_deref().unwrap_or_default().to_vec();
            self.warn(found.map(drop));
            // By now whoever opened the store has said whether anything may be looked into.
            self.chores.headings_due = true;
            self.alone(|transaction| forget(transaction.connection, UnixSeconds(now)))
        } else if self.headings_wait() {
            self.fill_headings()
        } else if self.chores.kept.is_due(&self.keeping) {
            self.let_go()
        } else if UnixSeconds::now() >= self.chores.age_after {
            self.age();
            Ok(())
        } else if self.threads_wait() {
            self.rethread()
        } else {
            self.log.tend(&self.connection, log::IDLE)
        };
        self.warn(result);
    }

    /// Removes files without a body row, then their names: after a crash in between it is done again.
    fn unlink(&mut self) -> Result<(), StoreError> {
        let names: Vec<String> = {
            let mut statement = self.connection.prepare_cached("SELECT file FROM unlinked LIMIT ?1")?;
            statement.query_map([LIMIT], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        for name in names.iter().filter_map(|name| BodyName::parse(name)) {
            self.files.remove(&name)?;
        }
        self.chores.unlinked = i64::try_from(names.len()) == Ok(LIMIT);
        self.alone(|transaction| {
            names.iter().try_for_each(|name| {
                transaction.execute("DELETE FROM unlinked WHERE file = ?1", [name]).map(|_| ())
            })
        })
    }

    /// Removes a slice of the messages of a deleted mailbox, at the end the mailbox's traces too.
    fn erase_slice(&mut self) -> Result<(), StoreError> {
        let (mut more, mut effects) = (false, Effects::default());
        self.alone(|transaction| {
            more = transaction.erase_slice()?;
            effects = std::mem::take(&mut transaction.effects);
            Ok(())
        })?;
        self.chores.note(&effects);
        self.chores.doomed |= more;
        Ok(())
    }

    /// Forgets a slice of the messages that were expunged long ago.
    fn forget_slice(&mut self, excess: Excess) -> Result<(), StoreError> {
        // As before, should somebody come meanwhile.
        let mut left = Some(excess);
        let done = self.alone(|transaction| {
            left = excess.remove(transaction)?;
            Ok(())
        });
        if done.is_ok() {
            self.chores.expunged.extend(left);
        }
        done
    }

    /// A transaction of the writer's own.
    pub(super) fn alone(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if !self.queue.is_empty() {
            // Somebody came meanwhile: chores wait. They are looked for again when it is quiet.
            self.chores.unlinked = true;
            self.chores.doomed = true;
            return Ok(());
        }
        self.execute("BEGIN IMMEDIATE")?;
        let done = work(&mut Transaction::new(&self.connection, &mut self.numbers, &self.keeping));
        let done = done.and_then(|()| self.execute("COMMIT"));
        if done.is_err() {
            self.roll_back();
        }
        done
    }
}

impl Transaction<'_> {
    /// A slice of the messages of one deleted mailbox; with the last one go the mailbox's traces. `false`: none waits.
    pub(crate) fn erase_slice(&mut self) -> Result<bool, StoreError> {
        let find = "SELECT mailbox FROM doomed LIMIT 1";
        let Some(mailbox) = self.row(find, (), |row| row.get(0).map(MailboxId))? else { return Ok(false) };
        let uids: Vec<u32> = {
            let sql = "SELECT uid FROM message WHERE mailbox = ?1 LIMIT ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map((mailbox.0, LIMIT), |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for uid in uids.iter().filter_map(|uid| Uid::new(*uid)) {
            let Some((entry, _)) = self.entry(mailbox, uid)? else { continue };
            self.execute("DELETE FROM message WHERE mailbox = ?1 AND uid = ?2", (mailbox.0, uid.value()))?;
            self.keep(mailbox, &entry)?;
        }
        if i64::try_from(uids.len()) != Ok(LIMIT) && !forget_sources(self, mailbox.0)? {
            self.execute("DELETE FROM expunged WHERE mailbox = ?1", [mailbox.0])?;
            self.execute("DELETE FROM doomed WHERE mailbox = ?1", [mailbox.0])?;
        }
        Ok(true)
    }
}

/// Forgets deliveries that are too old to be repeated.
pub(super) fn forget(connection: &Connection, now: UnixSeconds) -> Result<(), StoreError> {
    let limit = now.0.saturating_sub(DELIVERED_SECONDS);
    connection.prepare_cached("DELETE FROM delivered WHERE at < ?1")?.execute([limit])?;
    Ok(())
}
