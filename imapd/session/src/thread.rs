//! THREAD (RFC 5256 §3; draft-ietf-morg-inthread): the messages found, each below what it answers. What they are
//! threaded by comes from narrow rows of the store, in slices; no message is opened.

use std::ops::ControlFlow;
use std::time::Instant;

use imapd::{Numbering, SearchKey, ThreadAlgorithm, response};

use crate::End;
use crate::connection::Connection;
use crate::reply::{Reply, Stop};
use crate::session::Session;
use crate::threading::{Entries, Entry, Forest};

/// References of all messages together. Of what goes beyond only the nearest of each message counts.
const REFERENCE_LIMIT: usize = 4 << 20;
/// Levels of parentheses in an answer: clients read it by recursion. What is deeper follows in one row.
const DEPTH_LIMIT: usize = 100;

impl Session {
    pub(crate) fn thread(
        &mut self,
        numbering: Numbering,
        algorithm: ThreadAlgorithm,
        key: &SearchKey,
    ) -> Result<Reply, Stop> {
        let deadline = Instant::now() + self.limits.search;
        let found = self.search_for(key, None, false, deadline)?;
        self.refuse_cut()?;
        let entries = self.thread_entries(&found, deadline)?;
        let forest = Forest::new(&entries, algorithm);
        drop(entries);
        let Self { connection, selected: Some(selected), .. } = self else {
            return Err(End::Disconnected.into());
        };
        connection.out.extend_from_slice(b"* THREAD");
        if !forest.threads.is_empty() {
            connection.out.push(b' ');
        }
        let number_of = |message: u32| {
            let place = usize::try_from(message).ok().and_then(|message| found.get(message));
            place.map_or(0, |place| selected.number_at(*place, numbering))
        };
        for thread in &forest.threads {
            write_thread(connection, &forest, thread, &number_of)?;
        }
        connection.out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("THREAD completed"))
    }

    /// One for each place.
    fn thread_entries(&mut self, found: &[usize], deadline: Instant) -> Result<Entries, Stop> {
        let mut all = Entries { entries: vec![Entry::default(); found.len()], references: Vec::new() };
        self.visit_found(found, deadline, |reader, mailbox, uids, at| {
            let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok(()) };
            let mut next = 0;
            reader.thread_keys(mailbox, *first..=*last, |uid, keys| {
                while uids.get(next).is_some_and(|known| *known < uid) {
                    next += 1;
                }
                if uids.get(next) == Some(&uid)
                    && let Some(entry) = all.entries.get_mut(at + next)
                {
                    let from = all.references.len();
                    if from < REFERENCE_LIMIT {
                        all.references.extend(keys.references());
                    } else {
                        all.references.extend(keys.references().last());
                    }
                    *entry = Entry {
                        sent: keys.sent.0,
                        received: keys.received.0,
                        topic: keys.topic,
                        is_reply: keys.is_reply,
                        id: keys.id,
                        references: from..all.references.len(),
                    };
                }
                ControlFlow::Continue(())
            })
        })?;
        Ok(all)
    }
}

/// Messages of one level, of which some are written.
struct Level<'a> {
    siblings: &'a [u32],
    next: usize,
}

/// `(3 6 (4 23)(44 7 96))`, or `((3)(5))` where what they answer is not there.
pub(crate) fn write_thread(
    connection: &mut Connection,
    forest: &Forest,
    thread: &[u32],
    number_of: &impl Fn(u32) -> u32,
) -> Result<(), End> {
    let mut levels = Vec::new();
    connection.out.push(b'(');
    match thread {
        [only] => write_row(connection, forest, *only, &mut levels, number_of)?,
        siblings => levels.push(Level { siblings, next: 0 }),
    }
    while let Some(level) = levels.last_mut() {
        if level.next > 0 {
            connection.out.push(b')');
        }
        let message = level.siblings.get(level.next).copied();
        level.next += 1;
        match message {
            Some(message) => {
                connection.out.push(b'(');
                write_row(connection, forest, message, &mut levels, number_of)?;
            }
            None => drop(levels.pop()),
        }
    }
    connection.out.push(b')');
    connection.flush_if_full()
}

/// A message and those below it, as long as there is one answer to each; then the next level begins.
fn write_row<'a>(
    connection: &mut Connection,
    forest: &'a Forest,
    message: u32,
    levels: &mut Vec<Level<'a>>,
    number_of: &impl Fn(u32) -> u32,
) -> Result<(), End> {
    let mut waiting = vec![message];
    let mut first = true;
    while let Some(message) = waiting.pop() {
        if !std::mem::take(&mut first) {
            connection.out.push(b' ');
        }
        response::number(&mut connection.out, u64::from(number_of(message)));
        connection.flush_if_full()?;
        match forest.children(message) {
            siblings @ [_, _, ..] if levels.len() < DEPTH_LIMIT => {
                connection.out.push(b' ');
                levels.push(Level { siblings, next: 0 });
            }
            children => waiting.extend(children.iter().rev()),
        }
    }
    Ok(())
}
