//! What a job works on: the transaction, the account's rising numbers, and what is to be told afterwards.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::Keeping;
use crate::change::{Change, Event, NameChange, Named, Published};
use crate::flag::{self, Flags, MAX_KEYWORDS_PER_MAILBOX};
use crate::quota::InForce;
use crate::{Counts, Mailbox, MailboxId, ModSeq, Origin, Quota, StoreError};

/// Numbers that only rise. A job that fails leaves gaps, which do no harm; they are stored once per commit. And the quota,
/// which is not stored.
#[derive(Debug)]
pub(super) struct Numbers {
    quota: Arc<InForce>,
    modseq: i64,
    next_body: i64,
    next_uidvalidity: i64,
    saved: bool,
}

/// What follows a commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<Published>,
    /// Bodies that are new, and their octets.
    pub(super) filed: u64,
    pub(super) octets: u64,
    pub(crate) names: Vec<Named>,
    /// A file lost its row.
    pub(super) unlinked: bool,
    /// A mailbox was deleted.
    pub(super) doomed: bool,
    /// Octets of messages that are kept for undelete now and were not before.
    pub(super) kept: i64,
    /// Somebody found no space.
    pub(crate) full: bool,
    /// What is kept is to be looked through now.
    pub(crate) look: bool,
    /// There may be messages that a retention rule is about.
    pub(super) old: bool,
}

/// One job's view of the transaction.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    numbers: &'a mut Numbers,
    pub(super) keeping: &'a Keeping,
    pub(crate) effects: Effects,
}

/// A change of a mailbox's counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delta {
    total: i64,
    unseen: i64,
    deleted: i64,
    size: i64,
}

impl Numbers {
    pub(super) fn load(connection: &Connection, quota: Arc<InForce>) -> Result<Self, StoreError> {
        let sql = "SELECT modseq, next_body, next_uidvalidity FROM account";
        Ok(connection.query_row(sql, (), |row| {
            Ok(Self {
                quota,
                modseq: row.get(0)?,
                next_body: row.get(1)?,
                next_uidvalidity: row.get(2)?,
                saved: true,
            })
        })?)
    }

    pub(super) fn save(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if !self.saved {
            connection
                .prepare_cached("UPDATE account SET modseq = ?1, next_body = ?2, next_uidvalidity = ?3")?
                .execute((self.modseq, self.next_body, self.next_uidvalidity))?;
            self.saved = true;
        }
        Ok(())
    }

    /// The commit that saved them failed.
    pub(super) fn forget_saved(&mut self) {
        self.saved = false;
    }

    fn next(number: &mut i64, saved: &mut bool) -> i64 {
        *saved = false;
        *number += 1;
        *number
    }
}

impl Effects {
    pub(super) fn append(&mut self, mut other: Self) {
        self.events.append(&mut other.events);
        self.filed += other.filed;
        self.octets = self.octets.saturating_add(other.octets);
        self.names.append(&mut other.names);
        self.unlinked |= other.unlinked;
        self.doomed |= other.doomed;
        self.kept = self.kept.saturating_add(other.kept);
        self.full |= other.full;
        self.look |= other.look;
        self.old |= other.old;
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(connection: &'a Connection, numbers: &'a mut Numbers, keeping: &'a Keeping) -> Self {
        Self { connection, numbers, keeping, effects: Effects::default() }
    }

    pub(super) fn quota(&self) -> Quota {
        self.numbers.quota.get()
    }

    /// Above every earlier one. One per job and mailbox is enough: the job is one change.
    pub(super) fn next_modseq(&mut self) -> ModSeq {
        ModSeq(Numbers::next(&mut self.numbers.modseq, &mut self.numbers.saved))
    }

    pub(super) fn next_body(&mut self) -> i64 {
        Numbers::next(&mut self.numbers.next_body, &mut self.numbers.saved)
    }

    pub(super) fn next_uidvalidity(&mut self) -> Result<u32, StoreError> {
        let next = Numbers::next(&mut self.numbers.next_uidvalidity, &mut self.numbers.saved);
        u32::try_from(next).map_err(|_| StoreError::TooMany("mailboxes ever made"))
    }

    /// Those of mailboxes to come are above this one.
    pub(super) fn raise_uidvalidity(&mut self, used: u32) {
        if self.numbers.next_uidvalidity < i64::from(used) {
            self.numbers.next_uidvalidity = i64::from(used);
            self.numbers.saved = false;
        }
    }

    /// Tells the watchers of `mailbox` after the commit.
    pub(super) fn tell(&mut self, mailbox: MailboxId, origin: Origin, event: Event) {
        self.effects.events.push(Published { mailbox: Some(mailbox), change: Change { origin, event } });
    }

    /// Tells everybody that the list of mailboxes is another.
    pub(super) fn tell_mailboxes_changed(&mut self, origin: Origin) {
        let change = Change { origin, event: Event::MailboxesChanged };
        self.effects.events.push(Published { mailbox: None, change });
    }

    /// Tells those who want to hear of names what happened to one.
    pub(super) fn tell_name(&mut self, origin: Origin, change: NameChange) {
        self.effects.names.push((origin, change));
    }

    pub(super) fn mailbox(&self, id: MailboxId) -> Result<Mailbox, StoreError> {
        Mailbox::with_id(self.connection, id)?.ok_or(StoreError::NoSuchMailbox)
    }

    /// Stores what a job changed in a mailbox.
    pub(super) fn save_mailbox(
        &mut self,
        mailbox: &Mailbox,
        delta: Delta,
        modseq: ModSeq,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE mailbox SET uidnext = ?2, modseq = ?3, total = total + ?4, unseen = unseen + ?5,
                 deleted = deleted + ?6, size = size + ?7 WHERE id = ?1",
            )?
            .execute((
                mailbox.id.0,
                mailbox.uidnext,
                modseq.0,
                delta.total,
                delta.unseen,
                delta.deleted,
                delta.size,
            ))?;
        self.change_usage(delta)
    }

    /// Adds keywords that the mailbox has not had yet to its list.
    pub(super) fn note_keywords(&mut self, mailbox: &mut Mailbox, flags: &Flags) -> Result<(), StoreError> {
        let known = mailbox.keywords.len();
        for keyword in flags.keywords() {
            if !mailbox.keywords.contains(keyword) {
                mailbox.keywords.push(keyword.clone());
            }
        }
        if mailbox.keywords.len() == known {
            return Ok(());
        }
        if mailbox.keywords.len() > MAX_KEYWORDS_PER_MAILBOX {
            return Err(StoreError::TooMany("different keywords in this mailbox"));
        }
        self.connection
            .prepare_cached("UPDATE mailbox SET keywords = ?2 WHERE id = ?1")?
            .execute((mailbox.id.0, flag::join(&mailbox.keywords)))?;
        Ok(())
    }

    /// One row, or none.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }
}

impl Delta {
    pub(super) fn add(&mut self, counts: Counts) -> Result<(), StoreError> {
        self.change(counts, 1)
    }

    pub(super) fn remove(&mut self, counts: Counts) -> Result<(), StoreError> {
        self.change(counts, -1)
    }

    /// Octets and messages.
    pub(super) fn of_account(self) -> (i64, i64) {
        (self.size, self.total)
    }

    fn change(&mut self, counts: Counts, sign: i64) -> Result<(), StoreError> {
        let signed = |count: u64| {
            i64::try_from(count).map(|count| sign * count).map_err(|_| StoreError::TooMany("octets"))
        };
        self.total += signed(counts.total)?;
        self.unseen += signed(counts.unseen)?;
        self.deleted += signed(counts.deleted)?;
        self.size += signed(counts.size)?;
        Ok(())
    }
}
