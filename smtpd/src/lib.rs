//! SMTP as a server speaks it, without sockets, files or clock.
//!
//! ```text
//!   octets from the client ──▶ Session::step ──▶ Step: read on, check recipients, deliver, start TLS, close
//!   verdicts of authd, queued ─▶ checked, finish     Session::replies ──▶ octets for the client
//! ```
//!
//! The binary `mox-smtpd` (`src/front`) does what the steps ask: it owns the connections, asks authd about clients and
//! recipients, and hands messages to queued. Holds: one line, one envelope. Never: a socket, a clock, a message body.
//!
//! Always true: (1) how the octets are cut on their way never changes what comes out (octets behind STARTTLS excepted:
//! those end the session as soon as they are seen); (2) commands end in CRLF, data in CRLF.CRLF, nothing else ends
//! anything; (3) a bare CR, bare LF or NUL in data is read past to the true end, refused by name, and ends the
//! session; (4) memory is bounded by the constants beside each parser; (5) a message is either whole and named in
//! [`Step::Deliver`] or dropped.
//! Start at [`Session::step`].

#[cfg(any(test, fuzzing))]
pub mod check;
mod close;
mod command;
mod data;
mod header_scan;
mod line;
mod reply;
mod session;
mod trace;
#[cfg(test)]
mod transcripts;
mod verdict;

pub use close::Close;
pub use command::{Command, CommandError, HeloName, Mail, Rcpt};
pub use data::{Data, Fault};
pub use header_scan::MAX_RECEIVED;
pub use line::{Line, MAX_LINE, split_line};
pub use reply::Reply;
pub use session::{Envelope, Greeting, Limits, Session, Step, TlsFacts, TlsOffer};
pub use trace::{Trace, received};
pub use verdict::{MessageVerdict, RecipientVerdict, Refusal};
