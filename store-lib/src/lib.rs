//! The store of one account: mailboxes, messages, flags, and every change in order. One process opens it.
//!
//! ```text
//!  delivery thread ── stage (copy, hash, index) ──▶ deliver ──┐ ┌────────┐ one COMMIT, one fsync
//!  session thread ─── stager ──▶ append, change_flags, copy … ┴▶│ writer │──▶ DIR/account.sqlite (WAL, FULL)
//!        ▲   ▲                                                  └───┬────┘    messages up to 64 KiB
//!        │   └── watch: events, a pipe to poll ◀── after the commit ┘      DIR/msg/XX/NAME: larger ones
//!        └────── read(|reader| …): up to three connections, each with a budget
//!                 sieves: which messages cannot hold a text, from DIR/search.sqlite, made by a thread of its own
//! ```
//!
//! Holds: the files of one directory, a writer thread, a few connections. Never: a path or a name from a peer in the
//! file system, a read transaction across two calls, SQL or row ids in the public API.
//! Always true: (1) `Ok` survives kill -9 and power loss, `Err` changed nothing; (2) a message's file is durable before
//! the commit that names it; (3) events and answers come after the commit, in its order; (4) counts change in the same
//! transaction as the messages, and [`Store::verify`] compares; (5) UIDs, UIDVALIDITY and modseq only rise.
//! Start at [`Store`]. Order of writes: `writer`. Tables: `schema`. Searching: `search`.

mod access_key;
mod acl;
mod change;
mod duplicates;
mod error;
mod files;
mod flag;
mod hand;
mod id;
mod import;
mod mailbox;
mod message;
mod metadata;
mod name;
mod ordering;
mod quota;
mod read;
mod retention;
mod schema;
mod search;
mod sleeping;
mod stage;
mod store;
mod sys;
mod threads;
mod undelete;
mod verify;
mod writer;

pub use acl::{FlagScope, Grantee, NoSuchRight, Right, Rights, RightsChange};
pub use change::{Activity, Change, Changes, Drained, Event, NameChange, Noticed, Notices};
pub use duplicates::Duplicates;
pub use error::StoreError;
pub use flag::{FlagError, Flags, Keyword, MAX_KEYWORDS_PER_MAILBOX, MAX_KEYWORDS_PER_MESSAGE, SystemFlag};
pub use hand::{Crash, InHand, LastEnd};
pub use id::{DeliveryId, MailboxId, MessageId, ModSeq, Origin, Uid, UidValidity, UnixSeconds};
pub use import::{Import, ImportKey, ImportMessage, ImportTarget, Imported};
pub use mailbox::{Counts, Mailbox};
pub use message::{Body, Columns, Message, Summary};
pub use metadata::{Annotated, EntryName, EntryNameError, MAX_METADATA_VALUE, MetadataChange};
pub use name::{MailboxName, NameError, SEPARATOR, SpecialUse};
pub use ordering::{SortKey, SortValue, ThreadKeys};
pub use quota::{Quota, Usage};
pub use read::{Budget, Reader};
pub use retention::{Retention, Then};
pub use search::{Clue, Indexed, Piece, Place, Sieve, Texts};
pub use sleeping::{MAX_SLEEPING_STATE, Sleeping};
pub use stage::{BodySource, Parse, Staged, Stager};
pub use store::{
    Conditional, Copied, Delivered, Delivery, Filed, FlagChange, MAX_APPENDED, NewMessage, Store, StoredFlags,
};
pub use threads::{Thread, ThreadId};
pub use undelete::{DeletedMessage, Restored, Which};
pub use verify::{Problem, Report};
