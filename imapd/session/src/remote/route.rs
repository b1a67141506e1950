//! Which process a command is for.

use imapd::{Command, Tag, response};

use super::{is_elsewhere, owner_of};
use crate::reply::{Reply, Stop};
use crate::session::Session;

fn cannot() -> Stop {
    Reply::no("[CANNOT] that cannot be done with mailboxes of others").into()
}

impl Session {
    /// Carries out what is about mailboxes of other accounts. `Ok(None)`: it is about this one's.
    pub(crate) fn elsewhere(&mut self, tag: &Tag, command: &Command) -> Result<Option<Reply>, Stop> {
        if self.facts.sharing.neighbours.is_none() || self.is_guest() {
            return Ok(None);
        }
        match command {
            Command::Select { mailbox, .. } | Command::Examine { mailbox, .. } => {
                self.leave_elsewhere()?;
                match owner_of(mailbox) {
                    None => Ok(None),
                    Some(name) => self.select_elsewhere(tag, name, mailbox).map(Some),
                }
            }
            Command::Status { mailbox, .. } | Command::Create { mailbox, .. } | Command::Delete(mailbox) => {
                self.by_name(tag, mailbox)
            }
            Command::Acl(acl) => self.by_name(tag, acl.mailbox()),
            Command::Rename { from, to } => match (owner_of(from), owner_of(to)) {
                (None, None) => Ok(None),
                (Some(old), Some(new)) if old == new => self.by_name(tag, from),
                (_, _) => Err(cannot()),
            },
            Command::List(list) => self.list_elsewhere(tag, list),
            Command::GetQuotaRoot(mailbox) if is_elsewhere(mailbox) => {
                // What its owner may hold is nobody else's to know.
                let out = &mut self.connection.out;
                out.extend_from_slice(b"* QUOTAROOT ");
                response::mailbox(out, mailbox, self.names);
                out.extend_from_slice(b"\r\n");
                Ok(Some(Reply::ok("GETQUOTAROOT completed")))
            }
            Command::GetMetadata(imapd::GetMetadata { mailbox, .. })
            | Command::SetMetadata(imapd::SetMetadata { mailbox, .. })
                if is_elsewhere(mailbox) =>
            {
                Err(Reply::no("[NOPERM] annotations of others are their own").into())
            }
            Command::Copy { numbering, set, mailbox } => {
                self.copy_elsewhere(tag, *numbering, set, mailbox, false)
            }
            Command::Move { numbering, set, mailbox } => {
                self.copy_elsewhere(tag, *numbering, set, mailbox, true)
            }
            Command::Noop
            | Command::Check
            | Command::Expunge(_)
            | Command::Search { .. }
            | Command::CancelUpdate(_)
            | Command::Sort { .. }
            | Command::Thread { .. }
            | Command::Fetch { .. }
            | Command::Store { .. } => self.of_selected(tag),
            Command::Close | Command::Unselect => {
                let reply = self.of_selected(tag)?;
                if reply.is_some() {
                    self.remotes.selected = None;
                }
                Ok(reply)
            }
            Command::Capability
            | Command::Logout
            | Command::StartTls
            | Command::Authenticate { .. }
            | Command::Login { .. }
            | Command::Enable(_)
            | Command::Subscribe(_)
            | Command::Unsubscribe(_)
            | Command::Lsub { .. }
            | Command::Esearch { .. }
            | Command::GetMetadata(_)
            | Command::SetMetadata(_)
            | Command::Compress(_)
            | Command::GenUrlAuth(_)
            | Command::ResetKey { .. }
            | Command::UrlFetch(_)
            | Command::GetQuota(_)
            | Command::GetQuotaRoot(_)
            | Command::Id(_)
            | Command::Idle
            | Command::Language(_)
            | Command::Namespace
            | Command::Notify(_) => Ok(None),
        }
    }

    fn by_name(&mut self, tag: &Tag, mailbox: &str) -> Result<Option<Reply>, Stop> {
        let Some(name) = owner_of(mailbox) else {
            return if is_elsewhere(mailbox) { Err(cannot()) } else { Ok(None) };
        };
        let owner = self.remote(name)?;
        self.pass_on(owner, tag).map(Some)
    }

    fn of_selected(&mut self, tag: &Tag) -> Result<Option<Reply>, Stop> {
        let Some((owner, _)) = self.remotes.selected.clone() else { return Ok(None) };
        self.pass_on(owner, tag).map(Some)
    }

    fn select_elsewhere(&mut self, tag: &Tag, name: &str, mailbox: &str) -> Result<Reply, Stop> {
        if self.selected.is_some() {
            let text = "[CLOSED] the previous mailbox is closed";
            response::untagged(&mut self.connection.out, response::Status::Ok, text);
        }
        self.deselect();
        let owner = self.remote(name)?;
        self.remotes.selected = Some((owner, mailbox.to_owned()));
        let reply = self.pass_on(owner, tag)?;
        if reply.status != response::Status::Ok {
            self.remotes.selected = None;
        }
        Ok(reply)
    }
}
