//! APPEND and REPLACE into mailboxes of other accounts: what the client sends is passed on as it comes.

use std::num::NonZeroU32;

use imapd::{Append, Tag};

use super::{owner_of, show};
use crate::End;
use crate::append::Appending;
use crate::reply::{Reply, Stop};
use crate::session::{Receiving, Session};

/// An APPEND whose messages go to another account.
#[derive(Debug)]
pub(crate) struct AppendingElsewhere {
    append: Append,
    pub(super) owner: NonZeroU32,
}

impl Session {
    pub(crate) fn begin_append(&mut self, mut append: Append) -> Result<Receiving, End> {
        let elsewhere = match self.admit_append(&mut append) {
            Ok(()) => self.begin_elsewhere(&append),
            Err(stop) => Err(stop),
        };
        Ok(match elsewhere {
            Ok(Some(elsewhere)) => Receiving::Elsewhere(Box::new(elsewhere)),
            Ok(None) => Receiving::Message(Box::new(Appending::begin(self, append)?)),
            Err(Stop::Reply(reply)) => Receiving::Message(Box::new(Appending::refused(append, reply))),
            Err(Stop::End(end)) => return Err(end),
        })
    }

    /// Of an APPEND into another account, if one is under way: what comes of it is passed over, and the client is told NO.
    pub(crate) fn give_up_append(&mut self, why: &'static str) -> Result<(), End> {
        match std::mem::replace(&mut self.receiving, Receiving::Commands) {
            Receiving::Elsewhere(elsewhere) => {
                let refused = elsewhere.give_up(self, Reply::no(why))?;
                self.receiving = Receiving::Message(Box::new(refused));
            }
            other @ (Receiving::Commands | Receiving::Message(_) | Receiving::Idle(_)) => {
                self.receiving = other
            }
        }
        Ok(())
    }

    /// The APPEND into another account that is under way.
    pub(crate) fn appending_elsewhere(&self) -> Option<&AppendingElsewhere> {
        match &self.receiving {
            Receiving::Elsewhere(elsewhere) => Some(elsewhere),
            Receiving::Commands | Receiving::Message(_) | Receiving::Idle(_) => None,
        }
    }

    /// Where an APPEND or REPLACE goes. `Ok(None)`: to this account.
    pub(crate) fn begin_elsewhere(&mut self, append: &Append) -> Result<Option<AppendingElsewhere>, Stop> {
        if self.is_guest() {
            return Ok(None);
        }
        let there = owner_of(&append.mailbox);
        if append.replaces.is_some() {
            let selected = self.remotes.selected.as_ref().map(|(owner, _)| *owner);
            let target = there.map(|name| self.remote(name)).transpose()?;
            if selected != target {
                return Err(Reply::no("[CANNOT] that is in another account").into());
            }
        }
        let Some(name) = there else { return Ok(None) };
        let owner = self.remote(name)?;
        let raw = std::mem::take(&mut self.remotes.raw);
        self.write_to(owner, &raw)?;
        Ok(Some(AppendingElsewhere { append: append.clone(), owner }))
    }
}

impl AppendingElsewhere {
    pub(crate) fn tag(&self) -> &Tag {
        &self.append.tag
    }

    /// The messages are whole: what became of them.
    pub(crate) fn finish(self, session: &mut Session) -> Result<Reply, Stop> {
        let tag = self.append.tag.clone();
        let read = session.read_answer(self.owner, tag.as_bytes(), &mut show)?;
        read.ok_or_else(|| session.lost(self.owner, "it went away"))
    }

    /// The command is given up: what was passed on has no end, so neither has the other session a use.
    pub(crate) fn give_up(self, session: &mut Session, reply: Reply) -> Result<Appending, End> {
        if let Stop::End(end) = session.lost(self.owner, "an APPEND was given up") {
            return Err(end);
        }
        Ok(Appending::refused(self.append, reply))
    }
}
