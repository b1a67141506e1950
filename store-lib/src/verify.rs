//! Counts everything anew and compares.

use std::ops::ControlFlow;

use rusqlite::Connection;

use crate::files::Files;
use crate::{Body, Budget, Columns, Counts, Mailbox, MailboxId, Reader, Store, StoreError, Uid, Usage};

/// What a full check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Mailboxes looked at.
    pub mailboxes: u64,
    /// Messages looked at.
    pub messages: u64,
    /// Different bodies read and hashed.
    pub bodies: u64,
    /// Empty: all is well.
    pub problems: Vec<Problem>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// SQLite's own check of the file.
    #[error("the database is damaged: {0}")]
    Database(String),
    /// The stored counts of a mailbox are not those of its messages.
    #[error("mailbox {mailbox:?}: stored {stored}, counted {counted}")]
    Counts {
        /// Which.
        mailbox: MailboxId,
        /// As stored.
        stored: String,
        /// As counted.
        counted: String,
    },
    /// What the account is said to hold is not what its mailboxes hold.
    #[error("the account: stored {stored:?}, counted {counted:?}")]
    Usage {
        /// As stored.
        stored: Usage,
        /// As counted.
        counted: Usage,
    },
    /// A number that only rises is too low.
    #[error("mailbox {mailbox:?}: {what}")]
    Numbers {
        /// Which.
        mailbox: MailboxId,
        /// What is wrong.
        what: &'static str,
    },
    /// A message whose octets are missing or not those that came in.
    #[error("a body is damaged: {0}")]
    Body(String),
    /// A file that no message names: left by a crash, or planted. Harmless.
    #[error("no message names the file {0}")]
    Orphan(String),
}

impl Store {
    /// Recounts all mailboxes and hashes every message. Reads the whole account; works beside deliveries.
    pub fn verify(&self) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let unlimited = Budget::default();
        self.read(&unlimited, |reader| {
            check_database(reader.connection, &mut report)?;
            check_numbers(reader.connection, &mut report)?;
            let mut counted = Usage::default();
            for mailbox in reader.mailboxes()? {
                counted.add(check_mailbox(reader, &mailbox, &mut report)?);
            }
            let stored = reader.usage()?;
            if stored != counted {
                report.problems.push(Problem::Usage { stored, counted });
            }
            check_sharing(reader.connection, &mut report)?;
            crate::ordering::check(reader.connection, &mut report)?;
            crate::threads::check(reader.connection, &mut report)
        })?;
        // In short reads: hashing everything at once would keep the log from being folded in.
        let mut after = 0;
        while let Some(last) = self.read(&unlimited, |reader| check_bodies(reader, after, &mut report))? {
            after = last;
        }
        self.read(&unlimited, |reader| check_files(self.files(), reader.connection, &mut report))?;
        Ok(report)
    }
}

fn check_database(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let found: String = row.get(0)?;
        if found != "ok" {
            report.problems.push(Problem::Database(found));
        }
    }
    Ok(())
}

fn check_numbers(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    for (sql, what) in [
        (
            "SELECT (SELECT modseq FROM account) >= max((SELECT ifnull(max(modseq), 0) FROM mailbox),
             (SELECT ifnull(max(modseq), 0) FROM message), (SELECT ifnull(max(modseq), 0) FROM expunged))",
            "the account's modseq is below one that was used",
        ),
        (
            "SELECT (SELECT next_body FROM account) >= (SELECT ifnull(max(id), 0) FROM body)",
            "the account's body number is below one that was used",
        ),
        (
            "SELECT (SELECT next_uidvalidity FROM account) >= (SELECT ifnull(max(uidvalidity), 0) FROM mailbox)",
            "the account's uidvalidity is below one that was used",
        ),
        (
            "SELECT NOT EXISTS (SELECT 1 FROM metadata WHERE mailbox <> 0 AND mailbox NOT IN (SELECT id FROM mailbox))",
            "there is metadata of a mailbox that is not there",
        ),
    ] {
        if !connection.query_row(sql, (), |row| row.get::<_, bool>(0))? {
            report.problems.push(Problem::Database(what.to_owned()));
        }
    }
    Ok(())
}

/// What was counted.
fn check_mailbox(reader: &Reader<'_>, mailbox: &Mailbox, report: &mut Report) -> Result<Counts, StoreError> {
    let mut counted = Counts::default();
    let mut wrong = None;
    reader.fetch(mailbox.id, Uid::MIN..=Uid::MAX, Columns::Flags, |message| {
        let one = Counts::of(&message.flags, message.size);
        counted.total += one.total;
        counted.unseen += one.unseen;
        counted.deleted += one.deleted;
        counted.size += one.size;
        if message.uid.value() >= mailbox.uidnext {
            wrong = Some("UIDNEXT is not above the highest UID");
        }
        if message.modseq > mailbox.modseq {
            wrong = Some("its modseq is below that of a message");
        }
        if message.flags.keywords().iter().any(|keyword| !mailbox.keywords.contains(keyword)) {
            wrong = Some("a message has a keyword that the mailbox does not list");
        }
        ControlFlow::Continue(())
    })?;
    report.mailboxes += 1;
    report.messages += counted.total;
    if counted != mailbox.counts {
        report.problems.push(Problem::Counts {
            mailbox: mailbox.id,
            stored: format!("{:?}", mailbox.counts),
            counted: format!("{counted:?}"),
        });
    }
    report.problems.extend(wrong.map(|what| Problem::Numbers { mailbox: mailbox.id, what }));
    Ok(counted)
}

/// Every message has a body, every body as many messages as it says.
fn check_sharing(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    let mut statement = connection.prepare(
        "SELECT id, messages, expected FROM (
             SELECT body.id AS id, ifnull(used.messages, 0) AS messages, 1 + ifnull(more, 0) AS expected
             FROM body LEFT JOIN (SELECT body, count(*) AS messages FROM
                 (SELECT body FROM message UNION ALL SELECT body FROM kept) GROUP BY body) AS used
                 ON used.body = body.id
             LEFT JOIN shared ON shared.body = body.id)
         WHERE messages <> expected
         UNION ALL SELECT body, count(*), 0 FROM kept WHERE body NOT IN (SELECT id FROM body) GROUP BY body
         UNION ALL SELECT body, count(*), 0 FROM message WHERE body NOT IN (SELECT id FROM body) GROUP BY body
         UNION ALL SELECT body, 0, more FROM shared WHERE body NOT IN (SELECT id FROM body)
         UNION ALL SELECT id / 8, 0, 0 FROM octets WHERE id / 8 NOT IN (SELECT id FROM body WHERE file IS NULL)",
    )?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (body, messages, expected): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        report.problems.push(Problem::Body(format!("{body} has {messages} messages, expected {expected}")));
    }
    Ok(())
}

/// Hashes some bodies after the one with id `after`; the last one's id, `None` at the end.
fn check_bodies(reader: &Reader<'_>, after: i64, report: &mut Report) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT id, size, prefix, file, parts, hash FROM body WHERE id > ?1 ORDER BY id LIMIT 64";
    let mut statement = reader.connection.prepare_cached(sql)?;
    let mut rows = statement.query([after])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        last = Some(id);
        report.bodies += 1;
        let prefix: Vec<u8> = row.get(2)?;
        let expected: [u8; 32] = row.get(5)?;
        let Some(body) = reader.body_of(row)? else {
            report.problems.push(Problem::Body(format!("{id}: its file is missing")));
            continue;
        };
        let (size, hash) = hash(&body, prefix.len() as u64)?;
        if size != body.size() {
            report.problems.push(Problem::Body(format!("{id}: has {size} octets, expected {}", body.size())));
        } else if hash != expected {
            report.problems.push(Problem::Body(format!("{id}: its octets are not those that came in")));
        }
        if let Some(parts) = body.parts()
            && let Err(error) = mail_lib::mime::Index::from_bytes(parts)
        {
            report.problems.push(Problem::Body(format!("{id}: {error}")));
        }
    }
    Ok(last)
}

/// Size of everything, and the hash of what follows the prefix.
fn hash(body: &Body, prefix: u64) -> Result<(u64, blake3::Hash), StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut at = prefix;
    loop {
        let read = body.read_at(at, &mut buffer)?;
        if read == 0 {
            return Ok((at, hasher.finalize()));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        at += read as u64;
    }
}

/// Every file has a row; of this run's, the commit may still be on its way.
fn check_files(files: &Files, connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    let known = "SELECT EXISTS (SELECT 1 FROM body WHERE file = ?1) OR EXISTS (SELECT 1 FROM unlinked WHERE file = ?1)";
    let mut statement = connection.prepare_cached(known)?;
    let mut failed = Ok(());
    files.walk(|found| match found {
        Ok(name) if files.is_of_this_run(&name) => {}
        Ok(name) => match statement.query_row([name.as_str()], |row| row.get::<_, bool>(0)) {
            Ok(true) => {}
            Ok(false) => report.problems.push(Problem::Orphan(name.as_str().to_owned())),
            Err(error) => failed = Err(error.into()),
        },
        Err(path) => report.problems.push(Problem::Orphan(path)),
    })?;
    failed
}
