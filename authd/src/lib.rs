//! `authd` knows whose an address is, who may log in, and who has misbehaved.
//!
//!   smtpd, imapd, webd ── clients, recipients, logins ──▶ ┌───────┐ ── "connect session S" ──▶ supervisor
//!   queued ────────────── owners of addresses ──────────▶ │ authd │
//!   moxctl ────────────── accounts, passwords ──────────▶ └───────┘ ◀── `directory/`, no other process opens it
//!
//! Holds: the directory in memory and in one database, password verifiers, fingerprints of login keys, the table of sessions, the abuse memory.
//! Never: a network socket, a mail file, a password for longer than its check takes.
//!
//! Three kinds of work never wait for one another: look-ups are answered at once on the main thread from memory;
//! passwords are hashed by a few threads behind a bounded, fair queue ([`pool`]); what the admin wants is done by one
//! thread that owns the database ([`directory`]).
//!
//! Always true: (1) a front names a connection, never an account: whom a session belongs to is decided here and told to
//! the supervisor alone; (2) limits are looked at before anything is hashed ([`limits`]); (3) a user who does not exist
//! costs the same hashing and gets the same answer as a wrong password; (4) once a password change is answered the old
//! password opens nothing and its sessions are cut; (5) a number once given to an account is never given again;
//! (6) every table has a bound.
//!
//! Connections are known by the front's channel. When that channel is renewed, all connections of the old one are over:
//! a login on a connection that was not admitted on the same channel is answered `TryLater`, a charge is ignored.
//!
//! Start at [`service::Service`]. Wire types: `ipc_proto::authd`. Threats: `docs/threat-model.md`.

pub mod attempts;
pub mod directory;
pub mod limits;
pub mod name;
pub mod password;
pub mod pool;
pub mod proven;
pub mod refused;
pub mod sasl;
pub mod service;
pub mod verifier;
