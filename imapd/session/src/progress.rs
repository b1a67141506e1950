//! INPROGRESS (RFC 9585): a command that takes long says how far it is.

use std::time::{Duration, Instant};

use imapd::Tag;
use imapd::response::{self, Status};

use crate::End;
use crate::connection::Connection;

/// Of the command that is being carried out.
#[derive(Debug)]
pub(crate) struct Progress {
    tag: Tag,
    every: Duration,
    next: Instant,
}

impl Progress {
    /// A command begins.
    pub(crate) fn new(tag: &Tag, every: Duration) -> Self {
        Self { tag: tag.clone(), every, next: Instant::now() + every }
    }

    /// `done` of `goal` messages are seen to. Only where no answer is half written.
    pub(crate) fn report(
        &mut self,
        connection: &mut Connection,
        done: usize,
        goal: usize,
    ) -> Result<(), End> {
        let now = Instant::now();
        // A goal of nothing says nothing (RFC 9585 §5, nz-number).
        if now < self.next || goal == 0 {
            return Ok(());
        }
        self.next = now + self.every;
        // A tag has no quote and no backslash.
        let tag = String::from_utf8_lossy(self.tag.as_bytes());
        let text = format!("[INPROGRESS (\"{tag}\" {} {goal})] still at work", done.min(goal));
        response::untagged(&mut connection.out, Status::Ok, &text);
        connection.flush()
    }
}
