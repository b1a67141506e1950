//! An mbox file for each mailbox.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use import_lib::{maildir, mbox::Writer, name};
use ipc_proto::transfer::{ExportMailbox, MailHead};

use super::{
    Sink,
    files::{Place, Tree, written},
    spool::Spool,
};
use crate::{control, failure::Failure};

/// The directory, and the file of the moment.
#[derive(Debug)]
pub(super) struct Mboxes {
    tree: Tree,
    file: Option<Writer<BufWriter<File>>>,
}

impl Mboxes {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, file: None }
    }
}

impl Sink for Mboxes {
    fn mailbox(&mut self, mailbox: &ExportMailbox) -> Result<(), Failure> {
        let path = name::to_path(&mailbox.name);
        for (end, _) in path.match_indices('/') {
            written(self.tree.directory(path.get(..end).unwrap_or_default()))?;
        }
        let file = written(self.tree.create(&path))?;
        self.file = Some(Writer::new(BufWriter::with_capacity(256 * 1024, file)));
        Ok(())
    }

    fn message(&mut self, head: &MailHead, spool: &mut Spool) -> Result<(), Failure> {
        let file = self.file.as_mut().ok_or_else(control::odd_answer)?;
        written(file.begin(&head.flags, head.received, &spool.layout))?;
        written(spool.read(|octets| file.push(octets)))?;
        written(file.end())
    }

    fn mailbox_end(&mut self) -> Result<(), Failure> {
        match self.file.take() {
            Some(file) => written(file.into_inner().flush()),
            None => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>, subscriptions: &[String]) -> Result<(), Failure> {
        let text = maildir::write_subscriptions(subscriptions);
        written(self.tree.text(maildir::SUBSCRIPTIONS, &text))?;
        written(self.tree.sync())
    }
}
