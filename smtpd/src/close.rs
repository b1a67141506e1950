//! How sessions end.

use ipc_proto::authd::Offence;

use crate::{data::Fault, reply::Reply};

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// QUIT.
    #[error("quit")]
    Quit,
    /// The first line is of some other protocol.
    #[error("not SMTP")]
    NotSmtp,
    /// A command line ended in LF alone.
    #[error("bare LF in a command")]
    BareLineFeed,
    /// A command line without end.
    #[error("command line too long")]
    LineTooLong,
    /// Commands came in the clear behind STARTTLS (CVE-2011-0411 and its many repeats).
    #[error("data behind STARTTLS")]
    BehindStartTls,
    /// Message data with doubtful line ends.
    #[error("{0}")]
    Smuggling(Fault),
    /// BDAT, which was not announced.
    #[error("BDAT without CHUNKING")]
    Bdat,
    /// Nothing but failed transactions.
    #[error("too many failed transactions")]
    Failures,
    /// Nothing but recipients that do not exist.
    #[error("too many unknown recipients")]
    Harvesting,
    /// Nothing but logins that were denied.
    #[error("too many failed logins")]
    FailedLogins,
    /// Commands without end and no message.
    #[error("too many commands without a message")]
    Idling,
    /// The caller: too slow.
    #[error("timed out")]
    TimedOut,
    /// The caller: this process stops.
    #[error("shutting down")]
    Stopping,
    /// The caller: others need the place.
    #[error("too many connections")]
    Crowded,
}

impl Close {
    /// What the client's address is charged with.
    #[must_use]
    pub fn offence(self) -> Option<Offence> {
        match self {
            Self::LineTooLong => Some(Offence::Bounds),
            Self::BehindStartTls | Self::Smuggling(_) => Some(Offence::Smuggling),
            Self::Harvesting => Some(Offence::Harvesting),
            Self::Quit
            | Self::NotSmtp
            | Self::BareLineFeed
            | Self::Bdat
            | Self::Failures
            | Self::FailedLogins
            | Self::Idling
            | Self::TimedOut
            | Self::Stopping
            | Self::Crowded => None,
        }
    }

    /// Whether octets of the client may still be on their way: closing at once would reset the connection, and the
    /// client might never see why.
    #[must_use]
    pub fn may_leave_octets(self) -> bool {
        match self {
            Self::Quit | Self::TimedOut | Self::Stopping | Self::Crowded => false,
            Self::NotSmtp
            | Self::BareLineFeed
            | Self::LineTooLong
            | Self::BehindStartTls
            | Self::Smuggling(_)
            | Self::Bdat
            | Self::Failures
            | Self::FailedLogins
            | Self::Harvesting
            | Self::Idling => true,
        }
    }

    /// The last reply.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::Quit => Reply::new(221, "2.0.0", "bye"),
            Self::NotSmtp => Reply::new(500, "5.5.1", "this is SMTP; unknown command"),
            Self::BareLineFeed => Reply::new(500, "5.5.2", "bare LF; lines end in CR LF"),
            Self::LineTooLong => Reply::new(500, "5.5.2", "line too long"),
            Self::BehindStartTls => {
                Reply::new(554, "5.5.1", "nothing may follow STARTTLS before the handshake")
            }
            Self::Smuggling(fault) => fault.reply(),
            Self::Bdat => Reply::new(502, "5.5.1", "BDAT is not offered"),
            Self::Failures => Reply::new(421, "4.7.0", "too many failed transactions"),
            Self::FailedLogins => Reply::new(421, "4.7.0", "too many failed logins"),
            Self::Harvesting => Reply::new(421, "4.7.0", "too many unknown recipients"),
            Self::Idling => Reply::new(421, "4.7.0", "too many commands without a message"),
            Self::TimedOut => Reply::new(421, "4.4.2", "timed out"),
            Self::Stopping => Reply::new(421, "4.3.2", "shutting down, try again"),
            Self::Crowded => Reply::new(421, "4.3.2", "too many connections, try later"),
        }
    }
}
