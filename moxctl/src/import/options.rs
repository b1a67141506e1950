//! The command line of `moxctl account import`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// From where.
#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// From an mbox file, or from a directory of them
    Mbox {
        /// The account's name
        account: String,
        /// The file; of a directory every mbox file in it becomes a mailbox
        path: PathBuf,
        /// How lines that begin with "From " are written in it
        #[arg(long, value_name = "KIND", default_value = "mboxrd")]
        quoting: Quoting,
        #[command(flatten)]
        common: Common,
    },
    /// From a Maildir, with its folders (Maildir++), and with Dovecot's keywords, UIDs and subscriptions
    Maildir {
        /// The account's name
        account: String,
        /// The directory with `cur` and `new` in it
        directory: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// From an IMAP server, with flags, dates, special use and subscriptions; nothing is changed there
    Imap {
        #[command(flatten)]
        options: Imap,
        #[command(flatten)]
        common: Common,
    },
}

/// From an IMAP server.
#[derive(Debug, Args, Default)]
pub(crate) struct Imap {
    /// The account's name
    pub(crate) account: String,
    /// HOST or HOST:PORT
    pub(crate) server: String,
    /// Who logs in there
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// A file whose first line is the password; else it is asked for on the terminal, or read from stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// How the connection is protected
    #[arg(long, value_name = "HOW", default_value = "implicit")]
    pub(crate) tls: Tls,
    /// Take any certificate: whoever is in between can read the password and the mail
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Certificates to trust instead of the system's, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// This mailbox only; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
}

/// See [`ipc_proto::reader::ImapTls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Tls {
    /// From the first octet, port 993
    #[default]
    Implicit,
    /// By STARTTLS, port 143
    Starttls,
    /// Not at all: whoever is in between can read the password and the mail
    None,
}

/// What all sources have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Into this mailbox; of many mailboxes, below it
    #[arg(long, value_name = "NAME")]
    pub(crate) mailbox: Option<String>,
    /// Leave out what the mailbox has already, by Message-Id and text, wherever it came from
    #[arg(long)]
    pub(crate) skip_duplicates: bool,
    /// Bring all again, also what came from this source before
    #[arg(long)]
    pub(crate) again: bool,
    /// At most so many KiB of mail in a second
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
}

/// See [`ipc_proto::reader::Quoting`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Quoting {
    /// With one more `>` before it, however many there were
    Mboxrd,
    /// With a `>` before it
    Mboxo,
    /// As they are, with Content-Length in the header
    Mboxcl2,
}

impl From<Quoting> for ipc_proto::reader::Quoting {
    fn from(quoting: Quoting) -> Self {
        match quoting {
            Quoting::Mboxrd => Self::Mboxrd,
            Quoting::Mboxo => Self::Mboxo,
            Quoting::Mboxcl2 => Self::Mboxcl2,
        }
    }
}
