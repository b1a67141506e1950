//! One file per role: the syscalls it keeps, and why. Groups that several roles share are in `groups`.

mod accountd;
mod authd;
pub(crate) mod groups;
mod imapd;
mod keyd;
mod queued;
mod reader;
mod smtpd;
mod submitd;
mod webd;

use crate::rule::Rule;

pub use self::{
    accountd::ACCOUNTD, authd::AUTHD, imapd::IMAPD, keyd::KEYD, queued::QUEUED, reader::READER, smtpd::SMTPD,
    submitd::SUBMITD, webd::WEBD,
};

/// What a role may call.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// The role's process name.
    pub name: &'static str,
    /// What it shares with others.
    pub groups: &'static [&'static [Rule]],
    /// What only it needs.
    pub own: &'static [Rule],
    /// Whether its directory stays reachable behind the lock.
    pub keeps_directory: bool,
}

impl Profile {
    /// Every line.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| group.iter()).chain(self.own)
    }
}
