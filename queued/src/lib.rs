//! `queued` brings messages from smtpd and submitd to accounts, and keeps what cannot be delivered yet.
//!
//! ```text
//!           Deliver + fd                    ┌────────┐ Deliver + fd, in parallel
//!  smtpd ───────────────▶ check ▶ owners ──▶│ group  │──────────────▶ accountd 1, 2, … N
//!        ◀─── outcomes ── fd      (authd)   └────────┘◀─ Filed (on disk there) ─┘
//!                                               │ what is left          ▲
//!                                               ▼                       │ in turns, with pauses
//!                                   `queue/`: file, fsync, row, commit ─┘ retry
//! ```
//!
//! submitd hands over the same way, for connections of which authd said whose they are: `grants`, `submission`.
//!
//! Holds: one channel to smtpd, one to submitd, two to authd, one per active account, those of
//! `moxctl queue`; `queue/`. Never: a socket of the network, a verb that reads mail, a map of a file that came from below.
//! Always true: (1) `Filed` means committed and fsynced by the account, `Stored` by the queue, before smtpd hears it;
//! (2) a message is filed once per account, whatever dies and whoever repeats: its id goes with every attempt, and the
//! account knows the ids of a week; (3) a descriptor is believed only when the kernel says that nobody can write to
//! it any more; (4) the loop never waits for the disk, a thread of its own does; (5) nothing leaves the queue before
//! it is filed; (6) whose a submitted message is follows from what authd told, and its From is that account's.
//!
//! Start at [`Service`]. The tables: `schema`; the order of writes: `change`.

mod accounts;
mod body;
mod change;
mod disk;
mod grants;
mod group;
mod limits;
mod listing;
mod outcome;
mod owners;
mod queue;
mod recipient;
mod retry;
mod schema;
mod service;
mod spool;
mod submission;
mod sys;
#[cfg(test)]
mod tests;

pub use accounts::Switchboard;
pub use disk::Disk;
pub use queue::{Queue, QueueError};
pub use service::{Clock, Host, Service, system_clock};
pub use spool::Spooled;
