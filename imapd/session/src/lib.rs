//! One IMAP session after login, inside the account's own process.
//!
//! ```text
//!   client ══TLS══ mox-imapd (front) ──stream pair──▶ ┌─────────┐ ──▶ store-lib: this account's mail
//!                  copies bytes, knows nothing more   │ session │
//!                                                     └─────────┘ ◀── changes, to tell the client
//! ```
//!
//! [`run`] drives one session on one thread until it ends. The front has sent the greeting and the login's tagged OK;
//! the session begins with the client's next command.
//!
//! Holds: one stream; the [`store_lib::Store`] of one account; 4 octets per message of the selected mailbox, for `$` at
//! most 6 more, for each of at most 8 searches that tell their changes 4 for each message found; while it sorts or threads
//! some 50 more; 64 KiB of output and the item being written. Never: a path, another account, a password, a network
//! socket.
//! Always true: (1) no reader of the store is held while waiting for the client; (2) sequence numbers change only
//! where RFC 3501 §5.5 and §7.4.1 let them; (3) a message's octets are read by ranges, so its size costs nothing;
//! (4) what the client is told OK is durable; (5) a client that neither reads nor writes ends by a time limit.
//! Start at [`run`], then `session`. How one sleeps: `sleep`. What the client may say: the `imapd` crate.

mod acl;
mod append;
mod binary;
mod catenate;
mod condition;
mod connection;
mod context;
mod copy;
mod deflate;
mod fetch;
mod filters;
mod fuzzy;
mod guest;
mod language;
mod limit;
mod list;
mod mailboxes;
mod metadata;
mod multisearch;
mod notify;
mod pattern;
mod preview;
mod progress;
mod quota;
mod remote;
mod reply;
mod search;
mod section;
mod select;
mod selected;
mod session;
mod sharing;
mod sleep;
mod sort;
mod store;
mod structure;
mod sync;
mod thread;
mod threading;
mod urlauth;
mod vanished;
mod wanted;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use imapd::Capabilities;
use store_lib::Store;

pub use sharing::{Neighbours, Owner, Sharing, Unavailable};
pub use sleep::{Asleep, Bed, lost, resume};

/// What the account's process knows about the session.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The connection's id, the same in every process's log.
    pub connection: String,
    /// Whether every mailbox is opened as by EXAMINE and nothing can be changed.
    pub read_only: bool,
    /// What is switched off for the account: it is neither announced nor understood.
    pub without: Capabilities,
    /// Set this, then shut down the stream's reading side: the client is told BYE.
    pub stopping: Arc<AtomicBool>,
    /// Other accounts, and whether the session is one of theirs.
    pub sharing: Sharing,
    /// Where it may sleep while nobody needs it; `None`: it stays awake.
    pub bed: Option<Arc<dyn Bed>>,
}

/// What a session may cost. The defaults are for ordinary clients.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// No command, or no DONE in IDLE, for so long: BYE (RFC 3501 §5.4 asks for at least 30 minutes).
    pub idle: Duration,
    /// The same for a session that wakes up: the client's silence counts from before it slept.
    pub asleep: Duration,
    /// From a command's first octet to its last. For the message of an APPEND: from one octet to the next.
    pub command: Duration,
    /// For the client to take 64 KiB of output.
    pub write: Duration,
    /// For one SEARCH, SORT or THREAD, for the patterns of one LIST, and for what one FETCH decodes.
    pub search: Duration,
    /// How often a command that takes long says how far it is.
    pub progress: Duration,
    /// Octets of a message by APPEND.
    pub message: u64,
    /// Messages that one command may be about (RFC 9738).
    pub messages: u32,
    /// Commands in a row that are not understood.
    pub bad_commands: u32,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            asleep: Duration::from_secs(24 * 3600),
            command: Duration::from_secs(120),
            write: Duration::from_secs(5 * 60),
            search: Duration::from_secs(60),
            progress: Duration::from_secs(10),
            message: 100 << 20,
            messages: imapd::MESSAGE_LIMIT,
            bad_commands: 20,
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// LOGOUT.
    #[error("logged out")]
    Logout,
    /// The client or the front closed the stream.
    #[error("disconnected")]
    Disconnected,
    /// See [`SessionLimits::idle`].
    #[error("idle for too long")]
    Idle,
    /// See [`SessionLimits::command`].
    #[error("the client did not finish its command in time")]
    Stalled,
    /// See [`SessionLimits::write`].
    #[error("the client did not read its answers in time")]
    NotReading,
    /// Out of step with the client, or beyond a limit of one command.
    #[error("protocol violation: {0}")]
    Protocol(imapd::Fatal),
    /// What came is not DEFLATE, which the client asked for (RFC 4978).
    #[error("the client's compressed octets are damaged")]
    Compression,
    /// See [`SessionLimits::bad_commands`].
    #[error("too many commands that were not understood")]
    BadCommands,
    /// The mailbox of another account that was selected cannot be had any more.
    #[error("the selected mailbox of another account cannot be reached any more")]
    Elsewhere,
    /// A guest has no right to the selected mailbox any more.
    #[error("the guest has no rights any more")]
    NoRights,
    /// Another session deleted the selected mailbox.
    #[error("the selected mailbox was deleted")]
    MailboxDeleted,
    /// See [`Facts::stopping`].
    #[error("stopped")]
    Stopping,
    /// Its state is put away, and its stream is another's: see [`Bed`].
    #[error("asleep")]
    Asleep,
    /// It slept, and its state is not there or none.
    #[error("the state of the session is not there")]
    Lost,
    /// The store failed in the middle of an answer.
    #[error("the store failed in the middle of an answer: {0}")]
    Store(#[from] store_lib::StoreError),
    /// The stream failed.
    #[error("the stream to the front failed: {0}")]
    Stream(#[from] std::io::Error),
}

/// Serves one session on this thread until it ends. `stream` carries the client's plain text both ways and is closed
/// afterwards.
pub fn run(store: Store, stream: UnixStream, facts: Facts, limits: SessionLimits) -> End {
    finish(store, stream, facts, limits, |_| Ok(()))
}

fn finish(
    store: Store,
    stream: UnixStream,
    facts: Facts,
    limits: SessionLimits,
    begin: impl FnOnce(&mut session::Session) -> Result<(), End>,
) -> End {
    let span = tracing::info_span!("imap", connection = %facts.connection);
    let _entered = span.enter();
    let end = match session::Session::new(store, stream, facts, limits) {
        Ok(session) => session.run(begin),
        Err(end) => end,
    };
    tracing::info!(%end, "session ended");
    end
}
