//! The channels between moxd's processes: what may be asked, and how it crosses.
//!
//!   one socketpair per edge, made by the supervisor      ┌───────────────┐
//!   smtpd ──── [`delivery`] request, fds ──────────────▶ │ queued        │
//!         ◀─── reply, fds ────────────────────────────── │ (many at once)│
//!                                                        └───────────────┘
//! One module per edge; its request enum is the whole of what that process may ask. Who a peer is follows from the
//! channel, never from a message.
//!
//! Always true: (1) a frame is bounded by its channel before anything is allocated for it; (2) a message is decoded
//! exactly: known tag, nothing left over, as many fds as its kind carries; (3) whoever breaks that loses the channel
//! ([`Violation`]) and nothing else happens; (4) every request ends: in a reply, in [`CallError::Dropped`], in
//! [`CallError::PeerRestarted`] or in [`CallError::Deadline`]; (5) the first frame both ways is the build id: two
//! versions never talk.
//!
//! Start at [`channel::Channel`]. The wire format is [`frame`]; `docs/channels.md` describes it.

pub mod admin;
pub mod alias;
pub mod authd;
pub mod blocking;
pub mod capability;
pub mod care;
pub mod channel;
#[cfg(any(test, fuzzing))]
pub mod check;
pub mod client_key;
mod codec;
pub mod control;
pub mod delivery;
pub mod frame;
pub mod grant;
pub mod key_proof;
pub mod logins;
pub mod neighbours;
pub mod queue;
pub mod quota;
pub mod reader;
pub mod recorder;
pub mod sasl;
pub mod stream;
pub mod submission;
mod sys;
pub mod tls;
pub mod transfer;
pub mod types;

pub use channel::{CallError, Channel, ChannelId, Violation};
pub use types::{AccountId, ConnectionId, DeliveryId, Secret, SessionId};
