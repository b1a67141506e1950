//! Bringing back what was expunged.

use std::collections::BTreeMap;

use mail_lib::header::{self, Headers};

use crate::writer::{Rank, SLICE, Transaction};
use crate::{Body, Budget, MailboxName, Reader, Store, StoreError, UnixSeconds};

/// Octets of a message in which its header is looked for.
const HEADER_OCTETS: usize = 64 * 1024;
/// Characters of a subject or of an author that are told.
const MAX_SHOWN: usize = 150;

/// One message that can come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedMessage {
    /// Names it; rises in the order in which messages were expunged, and is never given to another.
    pub id: u64,
    /// Where it was, by the name of now, or by the last one if the mailbox is gone too.
    pub mailbox: Option<MailboxName>,
    /// When it was expunged, or its mailbox deleted.
    pub at: UnixSeconds,
    /// INTERNALDATE.
    pub received: UnixSeconds,
    /// RFC822.SIZE.
    pub size: u64,
    /// The first From field, decoded, at most 150 characters.
    pub from: String,
    /// The first Subject field, likewise.
    pub subject: String,
}

/// Which of the messages that can come back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// These only.
    pub ids: Option<Vec<u64>>,
    /// Of this mailbox only.
    pub mailbox: Option<MailboxName>,
    /// Expunged at this time or later.
    pub since: Option<UnixSeconds>,
}

/// How many messages came back to which mailbox.
pub type Restored = BTreeMap<MailboxName, u64>;

impl Store {
    /// Keeps expunged messages for so many seconds, and at most so many octets of them: beyond, the oldest go. 0 seconds:
    /// they go at once. On a full disk all of them go, whatever is set here.
    pub fn keep_deleted(&self, seconds: i64, octets: u64) {
        if self.keeping().set(seconds, octets) {
            let look = |transaction: &mut Transaction<'_>| {
                transaction.effects.look = true;
                Ok(())
            };
            self.queue().push(Rank::Session { messages: 1 }, look, |_, _| ());
        }
    }

    /// What can come back, in the order in which it went: at most `limit` messages after the one with id `after`.
    pub fn deleted(
        &self,
        which: &Which,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeletedMessage>, StoreError> {
        self.settle_deleted()?;
        self.read(&Budget::default(), |reader| reader.deleted(which, after, limit))
    }

    /// Brings messages back with all their flags but `\Deleted`, under new UIDs: into the mailbox they were in, which is
    /// made again if it is gone, or all `into` one. In slices; `Err`: earlier ones have come back.
    pub fn undelete(&self, which: &Which, into: Option<&MailboxName>) -> Result<Restored, StoreError> {
        self.settle_deleted()?;
        let mut restored = Restored::new();
        let mut after = 0;
        loop {
            let ids = self.read(&Budget::default(), |reader| reader.deleted_ids(which, after, SLICE))?;
            let Some(last) = ids.last() else { return Ok(restored) };
            after = *last;
            let into = into.cloned();
            let slice =
                self.session(ids.len(), move |transaction| transaction.undelete(&ids, into.as_ref()))?;
            for (mailbox, count) in slice {
                *restored.entry(mailbox).or_default() += count;
            }
        }
    }

    /// Messages of deleted mailboxes are taken out of them in the background: now.
    fn settle_deleted(&self) -> Result<(), StoreError> {
        let waits = "SELECT EXISTS (SELECT 1 FROM doomed)";
        while self.read(&Budget::default(), |reader| {
            Ok(reader.connection.prepare_cached(waits)?.query_row((), |row| row.get(0))?)
        })? {
            self.session(SLICE, |transaction| transaction.erase_slice())?;
        }
        Ok(())
    }
}

/// The rows of `kept` after ?1 that are meant: ?2 since, ?3 mailbox, ?4 how many.
macro_rules! kept {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM kept LEFT JOIN mailbox ON mailbox.id = kept.mailbox LEFT JOIN gone ON gone.mailbox = kept.mailbox
             LEFT JOIN body ON body.id = kept.body
             WHERE kept.id > ?1 AND kept.at >= ?2 AND (?3 IS NULL OR ifnull(mailbox.name, gone.name) = ?3)
             ORDER BY kept.id LIMIT ?4"
        )
    };
}

impl Reader<'_> {
    fn deleted(&self, which: &Which, after: u64, limit: usize) -> Result<Vec<DeletedMessage>, StoreError> {
        let mut statement = self.connection.prepare_cached(kept!(
            "body.id, body.size, prefix, file, NULL, kept.id, kept.at, received, kept.size,
             ifnull(mailbox.name, gone.name)"
        ))?;
        let (since, mailbox) = which.columns();
        let mut rows =
            statement.query((signed(after), since, mailbox, i64::try_from(limit).unwrap_or(i64::MAX)))?;
        let mut deleted = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get::<_, i64>(5)?.unsigned_abs();
            let body = match row.get::<_, Option<i64>>(0)? {
                Some(_) => self.body_of(row)?,
                None => None,
            };
            let (from, subject) = body.as_ref().map_or_else(Default::default, shown);
            deleted.push(DeletedMessage {
                id,
                mailbox: crate::read::text(row, 9)?.and_then(|name| MailboxName::parse(name).ok()),
                at: UnixSeconds(row.get(6)?),
                received: UnixSeconds(row.get(7)?),
                size: row.get::<_, i64>(8)?.unsigned_abs(),
                from,
                subject,
            });
        }
        Ok(deleted)
    }

    /// As above, the ids alone; of `which.ids` those only.
    fn deleted_ids(&self, which: &Which, after: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        if let Some(ids) = &which.ids {
            let mut wanted: Vec<i64> = ids.iter().map(|id| signed(*id)).filter(|id| *id > after).collect();
            wanted.sort_unstable();
            wanted.dedup();
            wanted.truncate(limit);
            return Ok(wanted);
        }
        let mut statement = self.connection.prepare_cached(kept!("kept.id"))?;
        let (since, mailbox) = which.columns();
        let rows = statement
            .query_map((after, since, mailbox, i64::try_from(limit).unwrap_or(i64::MAX)), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Which {
    fn columns(&self) -> (i64, Option<&str>) {
        (self.since.map_or(i64::MIN, |since| since.0), self.mailbox.as_ref().map(MailboxName::as_str))
    }
}

fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// Who a message is from and what it is about, for people to choose by.
fn shown(body: &Body) -> (String, String) {
    let mut octets = vec![0; HEADER_OCTETS];
    let read = body.read_at(0, &mut octets).unwrap_or_default();
    octets.truncate(read);
    let headers = Headers::new(&octets);
    let field = |name| {
        let value = headers.first(name).unwrap_or_default();
        let text = header::decode(&header::unfold(value));
        text.trim().chars().take(MAX_SHOWN).collect()
    };
    (field("From"), field("Subject"))
}
