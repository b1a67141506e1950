//! Listener groups: which front may use which key.

use std::fmt;

use ipc_proto::ChannelId;

/// Listeners that share a certificate and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Port 25, for other mail servers.
    Mx,
    /// IMAP, for mail clients.
    Mail,
    /// HTTPS.
    Web,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mx, Self::Mail, Self::Web];

    /// Whose channel this is. Here is the whole of who may use which key.
    #[must_use]
    pub const fn of(channel: ChannelId) -> Option<Self> {
        match channel {
            ChannelId::SmtpdKeyd => Some(Self::Mx),
            ChannelId::ImapdKeyd => Some(Self::Mail),
            ChannelId::WebdKeyd => Some(Self::Web),
            ChannelId::SmtpdAuthd
            | ChannelId::ImapdAuthd
            | ChannelId::WebdAuthd
            | ChannelId::SmtpdQueued
            | ChannelId::QueuedAuthd
            | ChannelId::QueuedAccountd
            | ChannelId::AdminAuthd
            | ChannelId::AdminAccountd
            | ChannelId::AdminSupervisor => None,
        }
    }

    /// The reverse of [`Group::of`].
    #[must_use]
    pub const fn channel(self) -> ChannelId {
        match self {
            Self::Mx => ChannelId::SmtpdKeyd,
            Self::Mail => ChannelId::ImapdKeyd,
            Self::Web => ChannelId::WebdKeyd,
        }
    }

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
    fn every_group_has_one_channel_and_files_of_its_own() {
        for group in Group::ALL {
            assert_eq!(Group::of(group.channel()), Some(group));
            assert_eq!(Group::ALL.iter().filter(|other| other.name() == group.name()).count(), 1);
        }
    }
}
