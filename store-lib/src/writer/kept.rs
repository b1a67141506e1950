//! What was expunged and can come back: kept for a time and up to a size, then gone for good.
//!
//! An expunged message is one narrow row in `kept`, and its body stays where it is: that is less work than removing the
//! body at once. To everything else it is gone: its tombstone, the counts and the events are those of an expunge.

use std::collections::{BTreeMap, btree_map};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rusqlite::Connection;

use super::Writer;
use super::chores::LIMIT;
use super::filing::Entry;
use super::transaction::{Delta, Effects, Transaction};
use crate::read::text;
use crate::{
    Flags, Mailbox, MailboxId, MailboxName, Origin, SpecialUse, StoreError, SystemFlag, UnixSeconds,
};

/// How long, unless somebody says otherwise.
const DEFAULT_SECONDS: i64 = 7 * 24 * 3600;
/// How much, unless somebody says otherwise.
const DEFAULT_OCTETS: u64 = 4 << 30;
/// How often is looked for what was kept long enough.
const LOOK_EVERY_SECONDS: i64 = 3600;
/// Where messages go whose mailbox cannot be made again.
const RECOVERED: &str = "Recovered";

/// How long expunged messages are kept, and how much of them. Shared by the store and its writer.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// 0: not at all.
    seconds: AtomicI64,
    octets: AtomicU64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { seconds: AtomicI64::new(DEFAULT_SECONDS), octets: AtomicU64::new(DEFAULT_OCTETS) }
    }
}

impl Keeping {
    /// Whether that was a change.
    pub(crate) fn set(&self, seconds: i64, octets: u64) -> bool {
        let seconds = seconds.max(0);
        let other_time = self.seconds.swap(seconds, Ordering::Relaxed) != seconds;
        let other_size = self.octets.swap(octets, Ordering::Relaxed) != octets;
        other_time || other_size
    }

    fn seconds(&self) -> i64 {
        self.seconds.load(Ordering::Relaxed)
    }

    fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }
}

/// The writer's view of it.
#[derive(Debug)]
pub(super) struct Kept {
    /// Octets; `None`: not counted yet.
    octets: Option<u64>,
    look_after: UnixSeconds,
    /// The last slice was not the last one.
    more: bool,
    /// The disk is full: all of it goes.
    full: bool,
}

impl Kept {
    pub(super) fn new(look_after: UnixSeconds) -> Self {
        Self { octets: None, look_after, more: false, full: false }
    }

    pub(super) fn note(&mut self, effects: &Effects) {
        self.octets = self.octets.map(|octets| octets.saturating_add_signed(effects.kept));
        if effects.full {
            self.make_room();
        }
        self.more |= effects.look;
    }

    pub(super) fn make_room(&mut self) {
        // With nothing there, a full disk is not looked at again and again.
        self.full |= self.octets != Some(0);
    }

    pub(super) fn is_due(&self, keeping: &Keeping) -> bool {
        self.more
            || self.full
            || self.octets.is_some_and(|octets| octets > keeping.octets())
            || UnixSeconds::now() >= self.look_after
    }
}

impl Writer {
    /// Lets a slice go: what was kept long enough, and the oldest while there is too much.
    pub(super) fn let_go(&mut self) -> Result<(), StoreError> {
        let now = UnixSeconds::now();
        let full = self.chores.kept.full;
        let most = if full { 0 } else { self.keeping.octets() };
        let before = match self.chores.kept.octets {
            Some(octets) if now < self.chores.kept.look_after => octets,
            Some(_) | None => count(&self.connection)?,
        };
        let (mut more, mut effects) = (true, Effects::default());
        let done = self.alone(|transaction| {
            more = transaction.let_go(now, before.saturating_sub(most))?;
            effects = std::mem::take(&mut transaction.effects);
            Ok(())
        });
        let look_after = UnixSeconds(now.0.saturating_add(LOOK_EVERY_SECONDS));
        self.chores.kept = match done {
            Ok(()) => Kept { octets: Some(before), look_after, more, full: full && more },
            Err(_) => Kept::new(look_after),
        };
        self.chores.note(&effects);
        done
    }
}

impl Transaction<'_> {
    /// One message less has this body, but it can come back.
    pub(super) fn keep(&mut self, mailbox: MailboxId, entry: &Entry) -> Result<(), StoreError> {
        if self.keeping.seconds() == 0 {
            return self.release_body(entry.body);
        }
        let size = i64::try_from(entry.size).map_err(|_| StoreError::TooMany("octets"))?;
        let (system, keywords) = entry.flags.to_columns();
        self.execute(
            "INSERT INTO kept (at, mailbox, flags, keywords, received, size, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (UnixSeconds::now().0, mailbox.0, system, keywords, entry.received.0, size, entry.body),
        )?;
        self.effects.kept += size;
        Ok(())
    }

    /// The name of a mailbox that is being deleted, so that its messages can come back. Its rule goes.
    pub(super) fn note_gone(&mut self, mailbox: &Mailbox) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO gone (mailbox, name, special_use) VALUES (?1, ?2, ?3)",
            (mailbox.id.0, mailbox.name.as_str(), mailbox.special_use.map(SpecialUse::code)),
        )?;
        self.execute("DELETE FROM retention WHERE mailbox = ?1", [mailbox.id.0])?;
        Ok(())
    }

    /// Removes the oldest, while it is old enough or there are octets `too_much`. `true`: there may be more.
    fn let_go(&mut self, now: UnixSeconds, mut too_much: u64) -> Result<bool, StoreError> {
        let seconds = self.keeping.seconds();
        // A time of a clock that ran ahead is as good as none.
        let (oldest, newest) = (now.0.saturating_sub(seconds), now.0.saturating_add(seconds));
        let slice: Vec<(i64, i64, i64, i64)> = {
            let sql = "SELECT id, at, size, body FROM kept ORDER BY id LIMIT ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement
                .query_map([LIMIT], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut gone = 0;
        for (id, at, size, body) in slice {
            if at > oldest && at <= newest && too_much == 0 {
                break;
            }
            self.execute("DELETE FROM kept WHERE id = ?1", [id])?;
            self.release_body(body)?;
            self.effects.kept -= size;
            too_much = too_much.saturating_sub(size.unsigned_abs());
            gone += 1;
        }
        if gone == LIMIT {
            return Ok(true);
        }
        self.execute(
            "DELETE FROM gone WHERE mailbox NOT IN (SELECT mailbox FROM kept)
             AND mailbox NOT IN (SELECT mailbox FROM doomed)",
            (),
        )?;
        Ok(false)
    }

    /// Brings a slice back, with new UIDs and without `\Deleted`: to where they were, or to `into`. What is not kept any
    /// more is left out. How many went where.
    pub(crate) fn undelete(
        &mut self,
        ids: &[i64],
        into: Option<&MailboxName>,
    ) -> Result<Vec<(MailboxName, u64)>, StoreError> {
        let mut places: BTreeMap<i64, MailboxId> = BTreeMap::new();
        let mut targets: BTreeMap<MailboxId, (Mailbox, Delta, u64)> = BTreeMap::new();
        let modseq = self.next_modseq();
        for id in ids {
            let Some((from, mut entry)) = self.take_kept(*id)? else { continue };
            let place = match places.get(&from) {
                Some(place) => *place,
                None => {
                    let place = self.place_for(MailboxId(from), into)?;
                    places.insert(from, place);
                    place
                }
            };
            let (mailbox, delta, count) = match targets.entry(place) {
                btree_map::Entry::Occupied(target) => target.into_mut(),
                btree_map::Entry::Vacant(none) => none.insert((self.mailbox(place)?, Delta::default(), 0)),
            };
            entry.flags.remove(&Flags::NONE.with(SystemFlag::Deleted));
            let known = mailbox.keywords.clone();
            if let Err(StoreError::TooMany(_)) = self.note_keywords(mailbox, &entry.flags) {
                // The mailbox has had others meanwhile: the message matters more than its keywords.
                mailbox.keywords = known;
                entry.flags = Flags::from_columns(entry.flags.to_columns().0, None);
            }
            self.insert_message(mailbox, &entry, modseq, delta, Origin::NONE)?;
            *count += 1;
        }
        let mut restored = Vec::new();
        for (mailbox, delta, count) in targets.into_values() {
            self.save_mailbox(&mailbox, delta, modseq)?;
            restored.push((mailbox.name, count));
        }
        Ok(restored)
    }

    /// Takes one out of `kept`: the mailbox it was in, and the message.
    fn take_kept(&mut self, id: i64) -> Result<Option<(i64, Entry)>, StoreError> {
        let found = self.row(
            "DELETE FROM kept WHERE id = ?1 RETURNING mailbox, flags, keywords, received, size, body",
            [id],
            |row| {
                let flags = Flags::from_columns(row.get(1)?, row.get_ref(2)?.as_str_or_null()?);
                let received = UnixSeconds(row.get(3)?);
                let size = row.get::<_, i64>(4)?.unsigned_abs();
                Ok((row.get(0)?, Entry { flags, received, size, body: row.get(5)? }))
            },
        )?;
        if let Some((_, entry)) = &found {
            self.effects.kept -= i64::try_from(entry.size).unwrap_or_default();
        }
        Ok(found)
    }

    /// Where messages of this mailbox come back: into it; into one of its name, which is made again; else into one made
    /// for that.
    fn place_for(&mut self, from: MailboxId, into: Option<&MailboxName>) -> Result<MailboxId, StoreError> {
        if let Some(into) = into {
            return self.named_or_made(into, None);
        }
        if Mailbox::with_id(self.connection, from)?.is_some() {
            return Ok(from);
        }
        let gone = {
            let sql = "SELECT name, special_use FROM gone WHERE mailbox = ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([from.0])?;
            match rows.next()? {
                None => None,
                Some(row) => {
                    let name = text(row, 0)?.and_then(|name| MailboxName::parse(name).ok());
                    let special_use = row.get::<_, Option<i64>>(1)?.and_then(SpecialUse::from_code);
                    name.map(|name| (name, special_use))
                }
            }
        };
        if let Some((name, special_use)) = gone {
            match self.named_or_made(&name, special_use) {
                Err(StoreError::TooMany(_) | StoreError::NotAllowed) => {}
                other => return other,
            }
        }
        let recovered = MailboxName::parse(RECOVERED).map_err(|_| StoreError::NotAllowed)?;
        self.named_or_made(&recovered, None)
    }

    fn named_or_made(
        &mut self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, StoreError> {
        if let Some(found) = Mailbox::named(self.connection, name)? {
            return Ok(found.id);
        }
        match self.create(name, special_use, Origin::NONE) {
            Err(StoreError::UseTaken) => self.create(name, None, Origin::NONE),
            other => other,
        }
    }
}

fn count(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT ifnull(sum(size), 0) FROM kept";
    Ok(connection.prepare_cached(sql)?.query_row((), |row| row.get::<_, i64>(0))?.unsigned_abs())
}
