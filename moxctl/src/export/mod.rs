//! `moxctl account export`: mail comes from the account's process in blocks, and goes to files.
//!
//! Every octet of a message is written as it is stored, and its flags, keywords and date with it, so that
//! `moxctl account import` brings back the same.

mod blocks;
mod files;
mod maildir;
mod mbox;
mod spool;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipc_proto::transfer::{ExportMailbox, MailHead};
use serde::Serialize;

use crate::{
    control::{Directory, Instance},
    failure::{Failure, reason},
    output::{Output, printable},
};
use blocks::Account;
use files::{Archive, Tree};
use spool::Spool;

/// The command line.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The account's name
    account: String,
    /// A directory that is empty or not there yet; for tar a file that is not there yet
    path: PathBuf,
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A file for each mailbox (mboxrd)
    Mbox,
    /// A Maildir with folders (Maildir++), and Dovecot's lists
    Maildir,
    /// The same Maildir in a tar archive
    Tar,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    account: String,
    format: Format,
    path: String,
    mailboxes: usize,
    messages: u64,
    octets: u64,
}

/// Where mail goes.
trait Sink {
    /// The messages that come now are this mailbox's.
    fn mailbox(&mut self, mailbox: &ExportMailbox) -> Result<(), Failure>;
    /// One message.
    fn message(&mut self, head: &MailHead, spool: &mut Spool) -> Result<(), Failure>;
    /// The mailbox is whole.
    fn mailbox_end(&mut self) -> Result<(), Failure>;
    /// All is there, and on disk.
    fn finish(self: Box<Self>, subscriptions: &[String]) -> Result<(), Failure>;
}

pub(crate) fn run(
    options: &Export,
    directory: &Directory,
    instance: &Instance,
    output: &Output,
) -> Result<(), Failure> {
    let info = directory.account(&options.account)?;
    let mut account = Account::new(instance.account(info.id)?.into_asker())?;
    let mut sink: Box<dyn Sink> = match options.format {
        Format::Mbox => Box::new(mbox::Mboxes::new(Tree::make(&options.path)?)),
        Format::Maildir => Box::new(maildir::Maildirs::new(Tree::make(&options.path)?)?),
        Format::Tar => Box::new(maildir::Maildirs::new(Archive::make(&options.path)?)?),
    };
    let mailboxes = account.mailboxes()?;
    let mut written = Written {
        account: info.name,
        format: options.format,
        path: options.path.display().to_string(),
        mailboxes: mailboxes.len(),
        messages: 0,
        octets: 0,
    };
    for mailbox in &mailboxes {
        sink.mailbox(mailbox)?;
        account.messages(&mailbox.name, |head, spool| {
            written.messages += 1;
            written.octets += spool.octets();
            sink.message(head, spool)
        })?;
        sink.mailbox_end()?;
    }
    sink.finish(&account.subscriptions()?)?;
    output.show(&written, |written| {
        let Written { account, path, mailboxes, messages, octets, .. } = written;
        let (account, path) = (printable(account), printable(path));
        format!("{account}: {mailboxes} mailboxes, {messages} messages, {octets} octets in {path}\n")
    });
    Ok(())
}

/// What was to be written cannot be.
fn unwritten(error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!(
        "the export cannot be written: {}; what is there is not all: remove it and try again",
        reason(error)
    ))
}
