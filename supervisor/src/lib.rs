//! `moxd`, the supervisor: binds, spawns, locks in, connects. Root, single-threaded, parses nothing from the network.
//!
//!   moxd.toml ─▶ ┌────────────┐ ── listeners ──▶ smtpd, imapd, webd
//!   moxctl ────▶ │ supervisor │ ── channels ───▶ every pair of [`topology::EDGES`], and no other
//!   pidfds ────▶ └────────────┘ ◀─ fixed-size events ── workers
//!
//! Holds: the listeners, one control stream and one log socket per worker, one end of every running session to cut it, the page in which
//! each front notes whom it works for.
//! Never: a connection of a client, a message, a secret, a string from a worker (log lines are escaped and written).
//! Always true: (1) a worker is handed a listener or channel only after it reported that it is locked in; (2) who is at
//! the other end of a channel was decided by the table, not by a message; (3) a worker that sends what is not an event,
//! or an event that is not its role's, is killed; (4) a worker that dies is started again, later each time; (5) workers
//! die with the supervisor.
//!
//! Start at [`instance::Instance`].

pub mod accounts;
pub mod accusations;
pub mod admin;
pub mod arguments;
pub mod config;
mod ends;
mod fd_store;
pub mod instance;
mod layers;
pub mod layout;
pub mod listening;
pub mod log;
mod neighbours;
pub mod process;
mod quotas;
pub mod recorder;
mod reload;
mod renewals;
pub mod settings;
mod sleepers;
pub mod start;
mod stop;
pub mod switchboard;
pub mod sys;
pub mod topology;
