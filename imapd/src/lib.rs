//! IMAP without input or output: bytes in, commands out; values in, response bytes out.
//!
//! ```text
//!   client bytes ──▶ Parser ──▶ Event (command, literal continuation, message data, error)
//!   results ───────▶ response::* ──▶ bytes for the client
//! ```
//!
//! Shared by the front (`mox-imapd`, before login) and by `imapd-session` (after login, inside the account's
//! process), so that both read exactly the same language. IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) with
//! LITERAL+ (RFC 7888), ID (RFC 2971), BINARY (RFC 3516), SPECIAL-USE and CREATE-SPECIAL-USE (RFC 6154), several
//! patterns in LIST (RFC 5258) and LIST-STATUS (RFC 5819), and what [`SESSION`] announces beyond.
//!
//! Holds: the bytes of the one command being received. Never: a socket, a clock, a file, a message body
//! (the literal of APPEND passes through in the caller's own buffer).
//! Always true: (1) every bound in [`Limits`] is checked before memory is taken for what it bounds;
//! (2) a command is read to its end first and parsed once, never again from the start at a literal;
//! (3) however the bytes are split on the way, the same events come out; (4) nesting is at most
//! [`NESTING_LIMIT`] deep, so neither parsing nor dropping a command can exhaust the stack.
//! Start at [`Parser::next`], then [`Command`] and [`mod@response`].

mod acl;
mod append;
mod capability;
#[cfg(any(test, fuzzing))]
pub mod check;
mod command;
mod cursor;
mod date;
mod fetch;
mod filter;
mod flag;
mod list;
mod mailbox_name;
mod metadata;
mod multisearch;
mod notify;
mod parser;
mod partial;
pub mod response;
mod sasl;
mod search;
mod sequence_set;
mod sort;
pub mod state;
mod status;
mod switched;
mod sync;
mod tag;
mod thread;
mod url;
mod urlauth;

pub use acl::{Acl, AclChange};
pub use append::{Append, AppendMessage, AppendText};
pub use capability::{BEFORE_LOGIN, LOGIN_DISABLED, MESSAGE_LIMIT, SESSION, after_login};
pub use command::{Command, Extension, Numbering, StoreAction, Tagged};
pub use cursor::{NESTING_LIMIT, SyntaxError};
pub use date::{Date, date_of, days_of, parse_date_time};
pub use fetch::{FetchItem, Partial, Section, SectionText};
pub use filter::{FilterName, Unresolved, is_filter};
pub use flag::Flag;
pub use ipc_proto::capability::Capabilities;
pub use list::{List, ListReturn, ListSelection};
pub use mailbox_name::{NameError, NameForm};
pub use metadata::{Depth, GetMetadata, SetMetadata};
pub use multisearch::SearchSource;
pub use notify::{EventGroup, MailboxFilter, Notify, NotifyEvent};
pub use parser::{Bad, Event, Fatal, Limits, Parser};
pub use partial::PartialRange;
pub use sasl::{SaslAnswer, SaslError, Secret, encode_challenge};
pub use search::{ObjectId, SearchKey, SearchReturn, SearchText};
pub use sequence_set::{Bound, MessageSet, NumberSet, SequenceSet};
pub use sort::{SortCriterion, SortKey};
pub use status::StatusItem;
pub use sync::{FetchModifiers, Resync, SelectParameters, SequenceMatch};
pub use tag::Tag;
pub use thread::ThreadAlgorithm;
pub use url::MessageUrl;
pub use urlauth::{Access, AuthorisedUrl, UrlFetch, UrlItems};
