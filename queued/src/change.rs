//! Changes of the queue, in groups: all that wait are on disk after one commit.
//!
//! A small message lies in the database, so the commit is all that it waits for. A larger one is a file, durable and
//! under its name before the row that names it: write, fsync, rename, then one fsync of the directory for the group.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
};

use ipc_proto::{AccountId, DeliveryId, submission::SubmissionRefusal};
use mail_lib::address::Address;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::{
    body::Body,
    limits::{self, Charge, Short},
    queue::{Envelope, Millis, Queue, QueueError, create},
    recipient::{Recipient, to_number},
};

/// The largest message in the database, octets.
pub(crate) const SMALL: u64 = 64 * 1024;

/// A change that is answered when it is on disk.
#[derive(Debug)]
pub(crate) enum Change {
    /// A message for these recipients. A repeat of an id adds the recipients that were not there.
    /// `is_held`: it was asked not to be tried before `next`.
    Store {
        envelope: Envelope,
        body: Body,
        recipients: Vec<Recipient>,
        now: Millis,
        next: Millis,
        is_held: bool,
    },
    /// After an attempt: nothing is left to do for those of `done`, something is for those of `left`. With no recipient
    /// left the message goes, else it is tried again at `next`.
    Settle { id: DeliveryId, done: Vec<Address>, left: Vec<Recipient>, attempts: u32, next: Millis },
    /// A message that an account submits counts.
    Charge(Charge),
    /// Nothing of it was kept.
    Refund { account: AccountId, key: Short },
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    Made,
    /// Nothing changed: the account has had what it may.
    Exceeds(SubmissionRefusal),
}

/// What was done for a change before its transaction.
#[derive(Debug)]
enum Prepared {
    /// There is nothing to do, or the message is there.
    Nothing,
    /// The octets go into the database.
    Small(blake3::Hash, Vec<u8>),
    /// The octets are in a file.
    Large(blake3::Hash),
}

impl Queue {
    /// Makes changes. `Ok`: that one survives power loss. `Err`: that one changed nothing.
    pub(crate) fn change(&mut self, group: &[Change]) -> Vec<Result<Changed, QueueError>> {
        let prepared = self.prepare_all(group);
        let ready =
            group.iter().zip(&prepared).filter_map(|(change, one)| Some((change, one.as_ref().ok()?)));
        let ready: Vec<_> = ready.collect();
        if ready.len() > 1
            && let Ok(changed) = self.commit(&ready)
        {
            let mut changed = changed.into_iter();
            return prepared.into_iter().map(|one| one.and_then(|_| answer(changed.next()))).collect();
        }
        // It is alone, or one that failed must not take the others with it.
        let alone = group.iter().zip(prepared).map(|(change, one)| {
            let one = one?;
            let changed =
                self.commit(&[(change, &one)]).inspect_err(|error| self.undo(change, &one, error))?;
            answer(changed.first().copied())
        });
        alone.collect()
    }

    fn prepare_all(&self, group: &[Change]) -> Vec<Result<Prepared, QueueError>> {
        let mut prepared: Vec<_> = group.iter().map(|change| self.prepare(change)).collect();
        let is_large = |one: &Result<Prepared, QueueError>| matches!(one, Ok(Prepared::Large(_)));
        if prepared.iter().any(is_large)
            && let Err(error) = File::open(&self.directory).and_then(|directory| directory.sync_all())
        {
            for one in prepared.iter_mut().filter(|one| is_large(one)) {
                *one = Err(QueueError::Fault(error.to_string()));
            }
        }
        prepared
    }

    fn prepare(&self, change: &Change) -> Result<Prepared, QueueError> {
        let Change::Store { envelope, body, .. } = change else { return Ok(Prepared::Nothing) };
        let known = {
            let mut find = self.database.prepare_cached("SELECT hash FROM message WHERE id = ?1")?;
            find.query_row([envelope.id.0], |row| row.get::<_, [u8; 32]>(0)).optional()?
        };
        if let Some(known) = known {
            let hash = body.copy_to(&mut std::io::sink())?;
            return if *hash.as_bytes() == known {
                Ok(Prepared::Nothing)
            } else {
                Err(QueueError::OtherContent)
            };
        }
        if body.size() > SMALL {
            return Ok(Prepared::Large(self.write_file(envelope.id, body)?));
        }
        let mut octets = Vec::with_capacity(usize::try_from(body.size()).unwrap_or_default());
        let hash = body.copy_to(&mut octets)?;
        Ok(Prepared::Small(hash, octets))
    }

    /// The message's file, under its name; the directory is not synced yet.
    fn write_file(&self, id: DeliveryId, body: &Body) -> Result<blake3::Hash, QueueError> {
        let new = self.new_path(id);
        let written = (|| {
            let mut file = BufWriter::new(create(&new)?);
            let hash = body.copy_to(&mut file)?;
            file.flush()?;
            file.get_ref().sync_all()?;
            fs::rename(&new, self.path_of(id))?;
            Ok(hash)
        })();
        written.inspect_err(|_: &QueueError| {
            let _ = fs::remove_file(&new);
        })
    }

    /// On a full disk the commit was not written, so the file can make room at once. After any other error the row may
    /// turn up again with the next start, which removes the file if it does not.
    fn undo(&self, change: &Change, prepared: &Prepared, error: &QueueError) {
        if let (Change::Store { envelope, .. }, Prepared::Large(_), QueueError::NoSpace) =
            (change, prepared, error)
        {
            let _ = fs::remove_file(self.path_of(envelope.id));
        }
    }

    /// One answer for each.
    fn commit(&mut self, group: &[(&Change, &Prepared)]) -> Result<Vec<Changed>, QueueError> {
        let transaction = self.begin()?;
        let (mut files, mut answers) = (Vec::new(), Vec::with_capacity(group.len()));
        for (change, prepared) in group {
            let mut changed = Changed::Made;
            match change {
                Change::Store { envelope, body, recipients, now, next, is_held } => {
                    let hold = is_held.then_some(*next);
                    insert(&transaction, envelope, prepared, body.size(), (*now, *next, hold))?;
                    let mut add = transaction.prepare_cached(
                        "INSERT OR IGNORE INTO recipient (message, address, reason) VALUES (?1, ?2, ?3)",
                    )?;
                    for recipient in recipients {
                        let address = recipient.address.to_string();
                        add.execute(params![envelope.id.0, address, recipient.reason.map(to_number)])?;
                        insert_members(&transaction, envelope.id, &address, &recipient.members)?;
                    }
                }
                Change::Settle { id, done, left, attempts, next } => {
                    if settle(&transaction, *id, (done, left), (*attempts, *next))? == Left::File {
                        files.push(*id);
                    }
                }
                Change::Charge(charge) => {
                    changed = charge.make(&transaction)?.map_or_else(Changed::Exceeds, |()| Changed::Made);
                }
                Change::Refund { account, key } => limits::refund(&transaction, *account, *key)?,
            }
            answers.push(changed);
        }
        transaction.commit()?;
        for id in files {
            // What stays is removed by the next start.
            if let Err(error) = fs::remove_file(self.path_of(id)) {
                tracing::warn!(mail = %id, %error, "cannot remove a delivered message");
            }
        }
        Ok(answers)
    }
}

fn answer(changed: Option<Changed>) -> Result<Changed, QueueError> {
    changed.ok_or_else(|| QueueError::Fault("a change without an answer".to_owned()))
}

/// `times`: now, when it is tried next, and the same for one that is held back.
fn insert(
    transaction: &Transaction<'_>,
    envelope: &Envelope,
    prepared: &Prepared,
    size: u64,
    (now, next, hold): (Millis, Millis, Option<Millis>),
) -> Result<(), QueueError> {
    let hash = match prepared {
        Prepared::Small(hash, _) | Prepared::Large(hash) => hash,
        Prepared::Nothing => {
            let mut sooner = transaction.prepare_cached(
                "UPDATE message SET next_ms = min(next_ms, ?2) WHERE id = ?1 AND hold_ms IS NULL",
            )?;
            sooner.execute(params![envelope.id.0, next])?;
            return Ok(());
        }
    };
    transaction
        .prepare_cached(
            "INSERT INTO message (id, connection, reverse_path, trace, received_s, received_ns, size, hash, stored_ms,
                                  attempts, next_ms, hold_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11)",
        )?
        .execute(params![
            envelope.id.0,
            envelope.connection.0.cast_signed(),
            envelope.reverse_path.as_ref().map(ToString::to_string),
            envelope.trace,
            envelope.received.seconds,
            envelope.received.nanoseconds,
            size.cast_signed(),
            hash.as_bytes(),
            now,
            next,
            hold,
        ])?;
    if let Prepared::Small(_, octets) = prepared {
        let mut add = transaction.prepare_cached("INSERT INTO body (message, octets) VALUES (?1, ?2)")?;
        add.execute(params![envelope.id.0, octets])?;
    }
    Ok(())
}

/// What remains of a message after a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// All of it, or nothing.
    Settled,
    /// Its file, which no row names any more.
    File,
}

fn insert_members(
    transaction: &Transaction<'_>,
    id: DeliveryId,
    address: &str,
    members: &[AccountId],
) -> Result<(), QueueError> {
    let mut add = transaction
        .prepare_cached("INSERT OR IGNORE INTO member (message, address, account) VALUES (?1, ?2, ?3)")?;
    for member in members {
        add.execute(params![id.0, address, member.number()])?;
    }
    Ok(())
}

/// `recipients`: those who are done with, and those who are left; `after`: attempts that led nowhere, and when it is
/// tried next.
fn settle(
    transaction: &Transaction<'_>,
    id: DeliveryId,
    (done, left): (&[Address], &[Recipient]),
    after: (u32, Millis),
) -> Result<Left, QueueError> {
    {
        let mut remove =
            transaction.prepare_cached("DELETE FROM recipient WHERE message = ?1 AND address = ?2")?;
        for recipient in done {
            remove.execute(params![id.0, recipient.to_string()])?;
        }
        let mut explain = transaction
            .prepare_cached("UPDATE recipient SET reason = ?3 WHERE message = ?1 AND address = ?2")?;
        let mut forget =
            transaction.prepare_cached("DELETE FROM member WHERE message = ?1 AND address = ?2")?;
        for recipient in left {
            let address = recipient.address.to_string();
            explain.execute(params![id.0, address, recipient.reason.map(to_number)])?;
            forget.execute(params![id.0, address])?;
            insert_members(transaction, id, &address, &recipient.members)?;
        }
    }
    if transaction.prepare_cached("SELECT 1 FROM recipient WHERE message = ?1")?.exists([id.0])? {
        transaction
            .prepare_cached("UPDATE message SET attempts = ?2, next_ms = ?3, hold_ms = NULL WHERE id = ?1")?
            .execute(params![id.0, after.0, after.1])?;
        return Ok(Left::Settled);
    }
    let small = transaction.prepare_cached("DELETE FROM body WHERE message = ?1")?.execute([id.0])?;
    let gone = transaction.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id.0])?;
    Ok(if gone > small { Left::File } else { Left::Settled })
}
