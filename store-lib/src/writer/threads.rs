//! Which thread a message belongs to: see [`crate::threads`].

use std::sync::Arc;

use mail_lib::ordering::OrderKeys;

use super::{Transaction, Writer};
use crate::files::Files;
use crate::ordering::{hash, topic};
use crate::threads::root;
use crate::{Reader, Store, StoreError, ThreadId};

/// References that are looked for, the nearest first.
const LOOKUPS: usize = 20;
/// References that a message waits for: the nearest, and the first.
const AWAITED: usize = 8;
/// Messages that waited for the same one and are seen to when it comes. They are in one thread already.
const WAITING_LIMIT: i64 = 500;
/// How long after its latest message a thread is joined by a reply that only has its subject.
const SUBJECT_SECONDS: i64 = 28 * 24 * 3600;
/// Clocks differ, and mail is delayed.
const AHEAD_SECONDS: i64 = 24 * 3600;
/// Messages threaded anew in one go.
const SLICE: i64 = 200;

/// What a message is threaded by.
struct Links {
    body: i64,
    received: i64,
    topic: Option<i64>,
    is_reply: bool,
    id: Option<i64>,
    /// The nearest first, without itself.
    references: Vec<i64>,
}

/// A message that waits for one that comes.
struct Waiting {
    body: i64,
    /// `None`: it has another subject.
    thread: Option<i64>,
}

impl Links {
    fn new(body: i64, keys: &OrderKeys, received: i64) -> Self {
        let id = keys.message_id.as_deref().map(hash);
        let mut references: Vec<i64> = Vec::new();
        for reference in keys.references.iter().rev().map(|reference| hash(reference)) {
            if Some(reference) != id && !references.contains(&reference) {
                references.push(reference);
            }
        }
        Self { body, received, topic: topic(keys), is_reply: keys.is_reply, id, references }
    }
}

impl Transaction<'_> {
    /// Gives a message, whose row in `heading` is there, its thread.
    pub(super) fn assign_thread(
        &mut self,
        body: i64,
        keys: &OrderKeys,
        received: i64,
    ) -> Result<(), StoreError> {
        let links = Links::new(body, keys, received);
        let (answered, missing) = self.answered(&links)?;
        let waiting = self.waiting(&links)?;
        let beside = match answered {
            None => self.beside(&links)?,
            Some(_) => None,
        };
        let child = waiting.iter().find_map(|waiting| waiting.thread);
        let joined = answered.or(beside).or(child);
        let joined = match joined {
            None if links.references.is_empty() => self.of_subject(&links)?,
            joined => joined,
        };
        let thread = match joined {
            Some(thread) => root(self.connection, thread)?,
            None => body,
        };
        self.execute(
            "INSERT INTO thread (id, topic, latest) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET latest = max(latest, excluded.latest)",
            (thread, links.topic, received),
        )?;
        self.execute(
            "UPDATE heading SET thread = ?2, missing = ?3 WHERE body = ?1",
            (body, thread, missing),
        )?;
        for Waiting { body, thread: of } in waiting {
            self.answers(body, links.id)?;
            if let Some(of) = of {
                self.join(of, thread)?;
            }
        }
        if missing {
            self.wait_for(&links)?;
        }
        Ok(())
    }

    /// The thread of the nearest message that this one answers, or is a copy of; and whether the nearest of all is
    /// missing.
    fn answered(&self, links: &Links) -> Result<(Option<i64>, bool), StoreError> {
        let find = "SELECT thread FROM heading WHERE message_id = ?1 AND body <> ?2 AND topic IS ?3
                    AND thread IS NOT NULL ORDER BY message_id, body LIMIT 1";
        let there =
            "SELECT 1 FROM heading WHERE message_id = ?1 AND body <> ?2 AND thread IS NOT NULL LIMIT 1";
        let nearest = links.references.first().copied();
        let missing = match nearest {
            Some(nearest) => self.row(there, (nearest, links.body), |_| Ok(()))?.is_none(),
            None => false,
        };
        for id in links.id.iter().chain(&links.references).take(LOOKUPS) {
            if let Some(thread) = self.row(find, (id, links.body, links.topic), |row| row.get(0))? {
                return Ok((Some(thread), missing));
            }
        }
        Ok((None, missing))
    }

    /// Messages that wait for this one.
    fn waiting(&self, links: &Links) -> Result<Vec<Waiting>, StoreError> {
        let Some(id) = links.id else { return Ok(Vec::new()) };
        let mut statement = self.connection.prepare_cached(
            "SELECT awaited.body, CASE WHEN topic IS ?3 THEN thread END
             FROM awaited CROSS JOIN heading ON heading.body = awaited.body
             WHERE awaited.id = ?1 AND awaited.body <> ?2 ORDER BY awaited.body LIMIT ?4",
        )?;
        let rows = statement.query_map((id, links.body, links.topic, WAITING_LIMIT), |row| {
            Ok(Waiting { body: row.get(0)?, thread: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The thread of a message that waits for the same one.
    fn beside(&self, links: &Links) -> Result<Option<i64>, StoreError> {
        let find = "SELECT thread FROM awaited CROSS JOIN heading ON heading.body = awaited.body
                    WHERE awaited.id = ?1 AND topic IS ?2 AND thread IS NOT NULL LIMIT 1";
        for id in links.references.iter().take(AWAITED) {
            if let Some(thread) = self.row(find, (id, links.topic), |row| row.get(0))? {
                return Ok(Some(thread));
            }
        }
        Ok(None)
    }

    /// The latest thread of its subject that is near enough in time.
    fn of_subject(&self, links: &Links) -> Result<Option<i64>, StoreError> {
        let Some(topic) = links.topic.filter(|_| links.is_reply) else { return Ok(None) };
        let find = "SELECT id FROM thread WHERE topic = ?1 AND latest BETWEEN ?2 AND ?3
                    ORDER BY latest DESC LIMIT 1";
        let (from, to) =
            (links.received.saturating_sub(SUBJECT_SECONDS), links.received.saturating_add(AHEAD_SECONDS));
        self.row(find, (topic, from, to), |row| row.get(0))
    }

    /// A message that waited has what it waited for.
    fn answers(&mut self, child: i64, id: Option<i64>) -> Result<(), StoreError> {
        let references: Option<Vec<u8>> =
            self.row("SELECT refs FROM heading WHERE body = ?1", [child], |row| row.get(0))?.flatten();
        let references = references_of(references.as_deref().unwrap_or_default());
        if references.last().copied() == id {
            self.execute("UPDATE heading SET missing = 0 WHERE body = ?1", [child])?;
            self.stop_waiting(child, &references)?;
        } else if let Some(id) = id {
            self.execute("DELETE FROM awaited WHERE id = ?1 AND body = ?2", (id, child))?;
        }
        Ok(())
    }

    fn wait_for(&mut self, links: &Links) -> Result<(), StoreError> {
        let nearest = links.references.iter().take(AWAITED - 1);
        let first = links.references.last().filter(|_| links.references.len() >= AWAITED);
        for id in nearest.chain(first) {
            let there = "SELECT 1 FROM heading WHERE message_id = ?1 AND thread IS NOT NULL LIMIT 1";
            if self.row(there, [id], |_| Ok(()))?.is_none() {
                self.execute("INSERT OR IGNORE INTO awaited (id, body) VALUES (?1, ?2)", (id, links.body))?;
            }
        }
        Ok(())
    }

    fn stop_waiting(&mut self, body: i64, references: &[i64]) -> Result<(), StoreError> {
        for id in references {
            self.execute("DELETE FROM awaited WHERE id = ?1 AND body = ?2", (id, body))?;
        }
        Ok(())
    }

    /// Two threads turned out to be one.
    fn join(&mut self, thread: i64, to: i64) -> Result<(), StoreError> {
        let thread = root(self.connection, thread)?;
        if thread != to {
            self.execute(
                "UPDATE thread SET latest = max(latest, (SELECT latest FROM thread WHERE id = ?1)),
                     muted = max(muted, (SELECT muted FROM thread WHERE id = ?1))
                 WHERE id = ?2",
                (thread, to),
            )?;
            self.execute("UPDATE thread SET parent = ?2 WHERE id = ?1", (thread, to))?;
        }
        Ok(())
    }

    /// Before a message's row in `heading` goes.
    pub(super) fn leave_thread(&mut self, body: i64) -> Result<(), StoreError> {
        let sql = "SELECT thread, missing, refs FROM heading WHERE body = ?1";
        let row = self.row(sql, [body], |row| {
            let references: Option<Vec<u8>> = if row.get(1)? { row.get(2)? } else { None };
            Ok((row.get::<_, Option<i64>>(0)?, references))
        })?;
        let Some((thread, references)) = row else { return Ok(()) };
        if let Some(references) = references {
            self.stop_waiting(body, &references_of(&references))?;
        }
        if let Some(thread) = thread {
            let others = "SELECT 1 FROM heading WHERE thread = ?1 AND body <> ?2 LIMIT 1";
            if self.row(others, (thread, body), |_| Ok(()))?.is_none() {
                self.execute(
                    "DELETE FROM thread WHERE id = ?1 AND parent IS NULL
                     AND NOT EXISTS (SELECT 1 FROM thread AS joined WHERE joined.parent = ?1)",
                    [thread],
                )?;
            }
        }
        Ok(())
    }

    /// Everything is to be threaded anew, from where an earlier call may have stopped.
    fn begin_rethread(&mut self) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO thread_backlog SELECT min(id), max(id), 1 FROM body
             HAVING count(*) > 0 AND NOT EXISTS (SELECT 1 FROM thread_backlog WHERE clearing)",
            (),
        )?;
        self.execute(
            "DELETE FROM thread_backlog WHERE NOT clearing AND EXISTS (SELECT 1 FROM thread_backlog WHERE clearing)",
            (),
        )?;
        Ok(())
    }

    /// Threads a slice anew; how many messages are left, `None`: all is done.
    pub(super) fn rethread(&mut self, files: &Files) -> Result<Option<u64>, StoreError> {
        let find = "SELECT next, last, clearing FROM thread_backlog";
        let backlog = self.row(find, (), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?))
        })?;
        let Some((next, last, clearing)) = backlog else { return Ok(None) };
        let bodies: Vec<(i64, Option<i64>)> = {
            let sql =
                "SELECT body, received FROM heading WHERE body BETWEEN ?1 AND ?2 ORDER BY body LIMIT ?3";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map((next, last, SLICE), |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (body, received) in &bodies {
            if clearing {
                self.execute("UPDATE heading SET thread = NULL, missing = 0 WHERE body = ?1", [body])?;
            } else if let Some(keys) = Reader::of_writer(self.connection, files).order_keys(*body)? {
                let received = received.or(keys.sent).unwrap_or_default();
                self.assign_thread(*body, &keys, received)?;
            }
        }
        let at = bodies.last().map(|(body, _)| *body).filter(|body| *body < last);
        match at {
            Some(at) => self.execute("UPDATE thread_backlog SET next = ?1", [at + 1])?,
            None if clearing => {
                self.execute("DELETE FROM awaited WHERE body <= ?1", [last])?;
                // What somebody said of a thread is kept: it gets the same name again. Those of messages that came
                // meanwhile stay.
                let unused = "id NOT IN (SELECT thread FROM heading WHERE thread IS NOT NULL)";
                self.execute(
                    &format!("DELETE FROM thread WHERE NOT muted AND NOT collapsed AND {unused}"),
                    (),
                )?;
                self.execute(&format!("UPDATE thread SET parent = NULL WHERE {unused}"), ())?;
                self.execute(
                    "UPDATE thread_backlog SET clearing = 0, next = ifnull((SELECT min(body) FROM heading), last)",
                    (),
                )?
            }
            None => {
                self.execute(
                    "DELETE FROM thread WHERE id NOT IN (SELECT thread FROM heading WHERE thread IS NOT NULL)
                     AND parent IS NULL AND id NOT IN (SELECT parent FROM thread WHERE parent IS NOT NULL)",
                    (),
                )?;
                self.execute("DELETE FROM thread_backlog", ())?
            }
        };
        Ok(at.map(|at| u64::try_from(last - at).unwrap_or(0)).or(clearing.then_some(u64::MAX)))
    }
}

impl Writer {
    pub(super) fn threads_wait(&self) -> bool {
        let raw = self.raw.load(std::sync::atomic::Ordering::Relaxed);
        self.chores.threads && !self.chores.headings && self.chores.headings_due && !raw
    }

    pub(super) fn rethread(&mut self) -> Result<(), StoreError> {
        self.chores.threads = false;
        let files = Arc::clone(&self.files);
        let mut more = true;
        self.alone(|transaction| {
            more = transaction.rethread(&files)?.is_some();
            Ok(())
        })?;
        self.chores.threads = more;
        Ok(())
    }
}

impl Store {
    /// Threads all messages anew, by what they say of themselves, in slices between which others get their turn. When it
    /// is interrupted, the next call, or the writer by itself, goes on where it stopped. What was said of threads stays.
    /// Names of threads that were told may change: that is for an account whose threads are wrong.
    pub fn rethread(&self) -> Result<(), StoreError> {
        self.session(1, |transaction: &mut Transaction<'_>| transaction.begin_rethread())?;
        loop {
            let files = Arc::clone(self.files());
            if self.session(crate::writer::SLICE, move |transaction| transaction.rethread(&files))?.is_none()
            {
                return Ok(());
            }
        }
    }

    /// Says whether a thread is muted and collapsed; `None` leaves it as it is. `false`: there is no such thread.
    pub fn set_thread(
        &self,
        thread: ThreadId,
        muted: Option<bool>,
        collapsed: Option<bool>,
    ) -> Result<bool, StoreError> {
        self.session(1, move |transaction| {
            let root = root(transaction.connection, thread.0)?;
            let changed = transaction.execute(
                "UPDATE thread SET muted = ifnull(?2, muted), collapsed = ifnull(?3, collapsed) WHERE id = ?1",
                (root, muted, collapsed),
            )?;
            Ok(changed > 0)
        })
    }
}

fn references_of(stored: &[u8]) -> Vec<i64> {
    stored.chunks_exact(8).filter_map(|id| id.first_chunk().map(|id| i64::from_le_bytes(*id))).collect()
}
