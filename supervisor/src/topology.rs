//! The switchboard's table: which process may ask which. A channel that is not here cannot exist.
//!
//! | process | user | asks | answers | files | sockets |
//! |---|---|---|---|---|---|
//! | smtpd | base+1 | keyd, authd, queued | – | none | port 25, accepted |
//! | submitd | base+2 | keyd, authd, queued | – | none | ports 465 and 587, accepted |
//! | imapd | base+3 | keyd, authd | – | none | ports 143 and 993, accepted; sessions |
//! | webd | base+4 | keyd, authd | – | none | ports 80 and 443, accepted |
//! | queued | base+6 | authd, accounts | smtpd, submitd, authd, admin | queue/ | none |
//! | authd | base+9 | queued | smtpd, submitd, imapd, webd, queued, accounts, admin | directory/ | none |
//! | keyd | base+10 | – | smtpd, submitd, imapd, webd | keys/, read before the lock | none |
//! | account N | base+16+N | authd | queued, admin | accounts/N/ | sessions, also with accounts that share |
//!
//! Each role's syscalls, with their reasons: `sandbox_lib::profiles`.

use ipc_proto::{ChannelId, control::Role};

/// One edge between two fixed roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The channel.
    pub channel: ChannelId,
    /// Who asks.
    pub asks: Role,
    /// Who answers.
    pub answers: Role,
}

const fn edge(channel: ChannelId, asks: Role, answers: Role) -> Edge {
    Edge { channel, asks, answers }
}

/// All edges between fixed roles. Those of accounts (`QueuedAccountd`, `AccountdAuthd`, `AdminAccountd`) and of the admin (`AdminAuthd`,
/// `AdminQueued`) are made on request, see [`crate::switchboard`].
pub const EDGES: [Edge; 12] = [
    edge(ChannelId::SmtpdKeyd, Role::Smtpd, Role::Keyd),
    edge(ChannelId::ImapdKeyd, Role::Imapd, Role::Keyd),
    edge(ChannelId::WebdKeyd, Role::Webd, Role::Keyd),
    edge(ChannelId::SmtpdAuthd, Role::Smtpd, Role::Authd),
    edge(ChannelId::ImapdAuthd, Role::Imapd, Role::Authd),
    edge(ChannelId::WebdAuthd, Role::Webd, Role::Authd),
    edge(ChannelId::SmtpdQueued, Role::Smtpd, Role::Queued),
    edge(ChannelId::QueuedAuthd, Role::Queued, Role::Authd),
    edge(ChannelId::SubmitdKeyd, Role::Submitd, Role::Keyd),
    edge(ChannelId::SubmitdAuthd, Role::Submitd, Role::Authd),
    edge(ChannelId::SubmitdQueued, Role::Submitd, Role::Queued),
    edge(ChannelId::AuthdQueued, Role::Authd, Role::Queued),
];
