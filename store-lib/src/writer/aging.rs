//! Retention rules: what is old goes to the trash or is expunged, in slices, when nothing waits.
//!
//! A message's age counts from when it came into the account and from when it came into its mailbox, whichever is later:
//! who puts an old message into the trash has it there as long as a new one. The second time is not stored with each
//! message. Once a day the writer notes how far the numbers of changes had got, and `createseq` says the rest.

use rusqlite::Connection;

use super::queue;
use super::transaction::Transaction;
use super::transfer::{Expunge, Originals};
use super::{SLICE, Writer};
use crate::retention::{Retention, Then};
use crate::{Mailbox, MailboxId, MailboxName, Origin, SpecialUse, StoreError, Uid, UnixSeconds};

const DAY: i64 = 24 * 3600;
/// How often rules are looked at.
const LOOK_EVERY_SECONDS: i64 = 3600;
/// Rules of an account.
const MAX_RULES: i64 = 100;
/// Notes of days that are kept: longer than any rule looks back.
const MAX_NOTES_DAYS: i64 = 4000;

impl Writer {
    /// One slice of what is old. The change is one as any other: sessions are told.
    pub(super) fn age(&mut self) {
        let now = UnixSeconds::now();
        self.chores.age_after = UnixSeconds(now.0.saturating_add(LOOK_EVERY_SECONDS));
        let job = queue::job(
            move |transaction: &mut Transaction<'_>| transaction.age(now),
            |result: Result<(), StoreError>, _| {
                if let Err(error) = result {
                    tracing::warn!(%error, "a retention rule could not be carried out");
                }
            },
        );
        self.work(vec![job]);
    }
}

impl Transaction<'_> {
    /// Carries out a slice of the rules. More to do is noted in the effects.
    pub(super) fn age(&mut self, now: UnixSeconds) -> Result<(), StoreError> {
        self.note_day(now)?;
        let rules: Vec<(i64, i64, i64)> = {
            let mut statement = self
                .connection
                .prepare_cached("SELECT mailbox, days, outcome FROM retention ORDER BY mailbox")?;
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (mailbox, days, outcome) in rules {
            let Some(then) = Then::from_code(outcome) else { continue };
            let mailbox = MailboxId(mailbox);
            let uids =
                old(self.connection, mailbox, UnixSeconds(now.0.saturating_sub(days.saturating_mul(DAY))))?;
            if uids.is_empty() {
                continue;
            }
            match then {
                Then::Expunge => {
                    self.expunge(mailbox, &uids, Expunge::Old, Origin::NONE)?;
                }
                Then::Trash => {
                    let trash = self.trash()?;
                    if trash == mailbox {
                        continue; // it became the trash after the rule was made
                    }
                    self.transfer(mailbox, &uids, trash, Originals::Go, Origin::NONE)?;
                }
            }
            self.effects.old = true;
            return Ok(());
        }
        Ok(())
    }

    /// Once a day: what is there by now.
    fn note_day(&mut self, now: UnixSeconds) -> Result<(), StoreError> {
        let noted = "SELECT EXISTS (SELECT 1 FROM day WHERE at > ?1 AND at <= ?2)";
        if self.row(noted, (now.0.saturating_sub(DAY), now.0), |row| row.get(0))? == Some(true) {
            return Ok(());
        }
        let modseq = self.next_modseq();
        self.execute("INSERT OR REPLACE INTO day (at, modseq) VALUES (?1, ?2)", (now.0, modseq.0))?;
        // Those of a clock that ran ahead would make young what is old.
        self.execute("DELETE FROM day WHERE at > ?1", [now.0])?;
        let oldest = now.0.saturating_sub(MAX_NOTES_DAYS * DAY);
        self.execute("DELETE FROM day WHERE at < ?1", [oldest])?;
        Ok(())
    }

    /// The mailbox for deleted mail, made if there is none.
    fn trash(&mut self) -> Result<MailboxId, StoreError> {
        let sql = "SELECT id FROM mailbox WHERE special_use = ?1";
        if let Some(id) = self.row(sql, [SpecialUse::Trash.code()], |row| row.get(0).map(MailboxId))? {
            return Ok(id);
        }
        let name = MailboxName::parse("Trash").map_err(|_| StoreError::NotAllowed)?;
        match Mailbox::named(self.connection, &name)? {
            Some(found) => Ok(found.id),
            None => self.create(&name, Some(SpecialUse::Trash), Origin::NONE),
        }
    }

    /// Sets or removes the rule of a mailbox.
    pub(crate) fn set_retention(
        &mut self,
        mailbox: &MailboxName,
        rule: Option<Retention>,
    ) -> Result<(), StoreError> {
        let mailbox = Mailbox::named(self.connection, mailbox)?.ok_or(StoreError::NoSuchMailbox)?;
        let Some(Retention { days, then }) = rule else {
            self.execute("DELETE FROM retention WHERE mailbox = ?1", [mailbox.id.0])?;
            return Ok(());
        };
        if then == Then::Trash && mailbox.special_use == Some(SpecialUse::Trash) {
            return Err(StoreError::NotAllowed);
        }
        self.execute(
            "INSERT OR REPLACE INTO retention (mailbox, days, outcome) VALUES (?1, ?2, ?3)",
            (mailbox.id.0, days, then.code()),
        )?;
        if self.row("SELECT count(*) <= ?1 FROM retention", [MAX_RULES], |row| row.get(0))? != Some(true) {
            return Err(StoreError::TooMany("retention rules"));
        }
        self.effects.old = true;
        Ok(())
    }
}

/// A slice of the messages that came before `cutoff`, into the account and into the mailbox.
fn old(connection: &Connection, mailbox: MailboxId, cutoff: UnixSeconds) -> Result<Vec<Uid>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT uid FROM message WHERE mailbox = ?1 AND received < ?2
         AND createseq <= (SELECT max(modseq) FROM day WHERE at <= ?2) ORDER BY uid LIMIT ?3",
    )?;
    let limit = i64::try_from(SLICE).unwrap_or_default();
    let rows = statement.query_map((mailbox.0, cutoff.0, limit), |row| row.get::<_, u32>(0))?;
    let uids: Vec<u32> = rows.collect::<Result<_, _>>()?;
    Ok(uids.into_iter().filter_map(Uid::new).collect())
}
