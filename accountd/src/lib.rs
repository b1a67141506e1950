//! `accountd` is one account: the only process that opens its files, alive while somebody needs it.
//!
//! ```text
//!  supervisor ── orders ──▶ main thread ── quiet? may I leave? ──▶ supervisor
//!                             │ hands out
//!   queued ── Deliver + fd ─▶ ├─ delivery thread: check, copy, hash, index ─▶ ┌───────────────┐
//!          ◀─ Filed ──────────┼──────────────── after the commit ──────────── │ store-lib:    │
//!   imapd  ══ stream pair ═══ ├─ one thread per session (imapd-session) ────▶ │ writer, WAL,  │
//!   moxctl ── Verify, Import ▶ ├─ a thread for as long as it takes ─────────▶ │ accounts/N/   │
//!                             └─ one for the search index, when it is quiet ▶ │               │
//!                                                                             └───────────────┘
//! ```
//!
//! Holds: `accounts/N/`; a channel to queued and one to authd; stream pairs whose other ends the fronts have, or another
//! account's process. Never: another account's
//! file, a socket of the network, a password, a verb that sends mail.
//! Always true: (1) `Filed` is said after the commit that holds the message is on disk, and once per delivery id;
//! (2) the delivery thread never waits for a commit, so deliveries that come together share one; (3) a message that
//! killed the process is not looked into again; (4) a session that panics ends alone; (5) the process leaves only when
//! it asked, was allowed to, and nothing came in between; (6) a session that it leaves asleep is on disk before the
//! supervisor hears of it, and none of its octets is taken afterwards.
//! Start at [`Account`].

mod account;
mod activity;
mod admin;
mod body;
mod delivery;
mod export;
mod import;
mod indexing;
mod neighbours;
mod safe_mode;
mod sessions;
mod sleeping;
#[cfg(test)]
mod tests;

pub use account::{Account, AccountError, Next, Supervisor};
pub use activity::{Activity, Leaving};
