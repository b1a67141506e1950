//! SMTP as a server speaks it: to other servers, on port 25, and to those who log in to send mail.
//!
//! ```text
//!   octets from the client ────▶ Session::step ──▶ Step: read on, log in, check, deliver, start TLS, close
//!   what authd and queued say ─▶ judged, sender_checked, checked, finish     Session::replies ──▶ octets for the client
//! ```
//!
//! The session has neither sockets nor files nor a clock. Two binaries do what its steps ask: `mox-smtpd` and
//! `mox-submitd`, each a process and a user of its own; what they have in common is [`front`]. Holds: one line, one
//! envelope. Never: a message body, a password longer than a step, a list of mechanisms.
//!
//! Always true: (1) how the octets are cut on their way never changes what comes out (octets behind STARTTLS excepted:
//! those end the session as soon as they are seen); (2) commands end in CRLF, data in CRLF.CRLF, nothing else ends
//! anything; (3) a bare CR, bare LF or NUL in data is read past to the true end, refused by name, and ends the
//! session; (4) memory is bounded by the constants beside each parser; (5) a message is either whole and named in
//! [`Step::Deliver`] or dropped; (6) port 25 knows no AUTH; submission takes it under TLS alone (or from loopback where a
//! test instance allows it), and takes nothing else before it.
//! Start at [`Session::step`].

#[cfg(any(test, fuzzing))]
pub mod check;
mod close;
mod command;
mod data;
pub mod front;
mod header_scan;
mod helo;
mod line;
mod reply;
mod session;
mod simulate;
mod trace;
#[cfg(test)]
mod transcripts;
mod verdict;

pub use close::Close;
pub use command::{Command, CommandError, Hold, Kind, Mail, Rcpt};
pub use data::{Data, Fault};
pub use header_scan::MAX_RECEIVED;
pub use helo::HeloName;
pub use line::{Line, MAX_ANSWER, MAX_LINE, split_line, split_line_within};
pub use reply::Reply;
pub use session::{Envelope, Greeting, Limits, Privacy, Session, Step, TlsFacts, TlsOffer};
pub use trace::{Trace, received};
pub use verdict::{MessageVerdict, RecipientVerdict, Refusal, SenderVerdict};
