//! A Maildir with a folder for each mailbox.

use import_lib::{
    maildir::{self, Written},
    name,
};
use ipc_proto::transfer::{ExportMailbox, MailHead};

use super::{
    Sink,
    files::{Place, written},
    spool::Spool,
};
use crate::{control, failure::Failure};

/// Where it goes, and the folder of the moment.
#[derive(Debug)]
pub(super) struct Maildirs<P> {
    place: P,
    folder: Option<Folder>,
}

#[derive(Debug)]
struct Folder {
    /// With a slash at its end, or empty for INBOX.
    path: String,
    lists: Written,
    special_use: Option<String>,
}

impl<P: Place> Maildirs<P> {
    pub(super) fn new(mut place: P) -> Result<Self, Failure> {
        // An account without INBOX is none; without any mail its directories are there all the same.
        for directory in ["cur", "new", "tmp"] {
            written(place.directory(directory))?;
        }
        Ok(Self { place, folder: None })
    }
}

impl<P: Place> Sink for Maildirs<P> {
    fn mailbox(&mut self, mailbox: &ExportMailbox) -> Result<(), Failure> {
        let folder = name::to_folder(&mailbox.name);
        let path = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        if !folder.is_empty() {
            written(self.place.directory(&folder))?;
            for directory in ["cur", "new", "tmp"] {
                written(self.place.directory(&format!("{path}{directory}")))?;
            }
            // By this Dovecot knows a folder of a Maildir++.
            written(self.place.text(&format!("{path}maildirfolder"), ""))?;
        }
        let lists = Written::new(mailbox.uidvalidity, mailbox.uidnext);
        self.folder = Some(Folder { path, lists, special_use: mailbox.special_use.clone() });
        Ok(())
    }

    fn message(&mut self, head: &MailHead, spool: &mut Spool) -> Result<(), Failure> {
        let folder = self.folder.as_mut().ok_or_else(control::odd_answer)?;
        let uid = head.uid.ok_or_else(control::odd_answer)?;
        let name = folder.lists.name(uid, head.received, &head.flags, &spool.sizes);
        written(self.place.message(&format!("{}cur/{name}", folder.path), head.received, spool))
    }

    fn mailbox_end(&mut self) -> Result<(), Failure> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        for (name, list) in folder.lists.lists() {
            written(self.place.text(&format!("{}{name}", folder.path), &list))?;
        }
        match folder.special_use {
            Some(special_use) => {
                let path = format!("{}{}", folder.path, maildir::SPECIAL_USE);
                written(self.place.text(&path, &format!("{special_use}\n")))
            }
            None => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>, subscriptions: &[String]) -> Result<(), Failure> {
        let text = maildir::write_subscriptions(subscriptions);
        written(self.place.text(maildir::SUBSCRIPTIONS, &text))?;
        written(self.place.finish())
    }
}
