//! Listener groups: which front may use which key.

use std::fmt;

use ipc_proto::ChannelId;

/// Listeners that share a certificate and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Port 25, for other mail servers.
    Mx,
    /// IMAP and submission, for mail clients.
    Mail,
    /// HTTPS.
    Web,
}

/// Whom keyd signs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Front {
    /// Port 25.
    Smtpd,
    /// IMAP.
    Imapd,
    /// The web.
    Webd,
    /// Ports 465 and 587.
    Submitd,
}

impl Front {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Smtpd, Self::Imapd, Self::Webd, Self::Submitd];

    /// Whose key it may use. With [`Front::of`], here is the whole of who may use which.
    #[must_use]
    pub const fn group(self) -> Group {
        match self {
            Self::Smtpd => Group::Mx,
            Self::Imapd | Self::Submitd => Group::Mail,
            Self::Webd => Group::Web,
        }
    }

    /// Whose channel this is.
    #[must_use]
    pub const fn of(channel: ChannelId) -> Option<Self> {
        match channel {
            ChannelId::SmtpdKeyd => Some(Self::Smtpd),
            ChannelId::ImapdKeyd => Some(Self::Imapd),
            ChannelId::WebdKeyd => Some(Self::Webd),
            ChannelId::SubmitdKeyd => Some(Self::Submitd),
            ChannelId::SmtpdAuthd
            | ChannelId::ImapdAuthd
            | ChannelId::WebdAuthd
            | ChannelId::SmtpdQueued
            | ChannelId::QueuedAuthd
            | ChannelId::QueuedAccountd
            | ChannelId::AdminAuthd
            | ChannelId::AdminAccountd
            | ChannelId::AdminSupervisor
            | ChannelId::SubmitdAuthd
            | ChannelId::SubmitdQueued
            | ChannelId::AuthdQueued
            | ChannelId::AdminQueued
            | ChannelId::AccountdAuthd => None,
        }
    }

    /// The reverse of [`Front::of`].
    #[must_use]
    pub const fn channel(self) -> ChannelId {
        match self {
            Self::Smtpd => ChannelId::SmtpdKeyd,
            Self::Imapd => ChannelId::ImapdKeyd,
            Self::Webd => ChannelId::WebdKeyd,
            Self::Submitd => ChannelId::SubmitdKeyd,
        }
    }
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mx, Self::Mail, Self::Web];

    /// The name of its files below `keys/`, without their ending.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::Mail => "mail",
            Self::Web => "web",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_front_has_a_channel_and_every_group_files_of_its_own() {
        for front in Front::ALL {
            assert_eq!(Front::of(front.channel()), Some(front));
        }
        for group in Group::ALL {
            assert!(Front::ALL.iter().any(|front| front.group() == group), "nobody uses {group}");
            assert_eq!(Group::ALL.iter().filter(|other| other.name() == group.name()).count(), 1);
        }
    }
}
