//! The client's side of IMAP, as far as fetching all mail needs it (RFC 3501, RFC 9051): a parser of what servers answer,
//! and what is made of their lists.

mod mailboxes;
mod response;
mod values;

#[cfg(any(test, fuzzing))]
pub(crate) mod check;

pub use mailboxes::{Listed, key, prefix, quoted, set_of};
pub use response::{Event, Responses, State, Token, Wrong};
pub use values::{Fetched, Status, fetched, number_in, status};
