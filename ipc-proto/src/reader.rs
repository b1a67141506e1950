//! moxctl and the confined child in which it takes a source of mail apart: two streams of [`crate::transfer::Piece`]s,
//! one each way, between two runs of one program.
//!
//! ```text
//! moxctl ── Root …, Job ──▶ reader ── Mailbox ──▶ moxctl ── Known …, Read ──▶ reader ── Mail, octets … ──▶ moxctl
//! ```

use bincode::{Decode, Encode};

use crate::{
    channel::Message,
    transfer::{ImportKey, Mail},
    types::Secret,
};

/// The most files that a reader of a Maildir wants at once.
pub const WANTED: usize = 128;

/// What moxctl tells the reader.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToReader {
    /// A certificate to trust, DER; all of them come first.
    Root(Vec<u8>),
    /// What is behind the source's descriptor.
    Job(Job),
    /// Messages of the mailbox to leave out, at most [`crate::transfer::KEYS`] at once.
    Known(Vec<ImportKey>),
    /// Read the mailbox; for a Maildir, before: these were all names.
    Read,
    /// Leave the mailbox out.
    Skip,
    /// For a Maildir: the file of the next number, from 0.
    Name {
        /// In `new`, not in `cur`.
        new: bool,
        /// Its name.
        name: Vec<u8>,
    },
    /// For a Maildir: the lists beside the messages, and the wanted files in their order. Octets follow, then `FileEnd`
    /// or `FileGone`.
    File {
        /// When it was changed last, seconds since 1970 UTC.
        modified: i64,
        /// Octets, as far as is known.
        size: u64,
    },
    /// The file was whole.
    FileEnd,
    /// The file is not there, or could not be read to its end.
    FileGone,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Job {
    /// A file of messages behind `From ` lines.
    Mbox {
        /// Its octets.
        size: u64,
        /// How lines that look like another message's beginning are written in it.
        quoting: Quoting,
    },
    /// One folder of a Maildir: `dovecot-uidlist`, `dovecot-keywords` and `moxd-keywords` come first, as files.
    Maildir,
    /// An IMAP server, connected.
    Imap(Box<ImapJob>),
}

/// What an mbox file has in place of a line that begins with `From `.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Quoting {
    /// One more `>` wherever `>`s stand before `From ` (mboxrd).
    Mboxrd,
    /// A `>` before `From ` (mboxo).
    Mboxo,
    /// The line itself (mboxcl2).
    Mboxcl2,
}

/// How to talk to an IMAP server.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ImapJob {
    /// Whose certificate is expected.
    pub host: String,
    /// Who logs in.
    pub user: String,
    /// With what.
    pub password: Secret,
    /// How the connection is protected.
    pub tls: ImapTls,
    /// Take any certificate.
    pub insecure: bool,
    /// The only mailboxes to read, as the server lists them; empty: all.
    pub mailboxes: Vec<String>,
}

/// How an IMAP connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ImapTls {
    /// From the first octet.
    Implicit,
    /// After STARTTLS, before anything else.
    Starttls,
    /// Not at all.
    None,
}

/// What the reader tells moxctl.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromReader {
    /// It is locked in.
    Ready,
    /// All that will come, as far as is known.
    Totals {
        /// Messages.
        messages: u64,
        /// Octets; 0: not known.
        octets: u64,
    },
    /// A mailbox begins: waits for `Read` or `Skip`.
    Mailbox(SourceMailbox),
    /// Messages of the mailbox that were left out because they were known.
    Known(u64),
    /// For a Maildir: these files, at most [`WANTED`].
    Want(Vec<u32>),
    /// Of the stream of mail.
    Mail(Mail),
    /// A message that cannot be brought.
    Left {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// Subscribed names, at most [`crate::transfer::NAMES`].
    Subscribed(Vec<String>),
    /// All was told.
    Done,
    /// It cannot go on.
    Failed {
        /// The connection ended or the server is busy: another one may help.
        again: bool,
        /// One line that says what is wrong and what to do.
        why: String,
    },
}

/// A mailbox of the source.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SourceMailbox {
    /// The source's own name for it.
    pub source: String,
    /// Its name here: levels separated by `/`.
    pub name: String,
    /// `\Sent` and the like.
    pub special_use: Option<String>,
    /// UIDVALIDITY and UIDNEXT.
    pub uids: Option<(u32, u32)>,
    /// How many messages it has.
    pub messages: u64,
}

impl Message for ToReader {}
impl Message for FromReader {}
