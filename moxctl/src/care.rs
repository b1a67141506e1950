//! The way to one account's process, for what takes care of its mail.

use ipc_proto::admin::{AccountdToAdmin, AdminAccountd, AdminToAccountd};

use crate::{
    control::{Channel, Directory, Instance, odd_answer},
    failure::Failure,
};

/// One account's process, marked as asked by the admin.
#[derive(Debug)]
pub(crate) struct AccountProcess {
    /// As the directory writes it.
    pub(crate) name: String,
    channel: Channel<AdminAccountd>,
}

/// Opens the account with this name.
pub(crate) fn open(
    name: &str,
    directory: &Directory,
    instance: &Instance,
) -> Result<AccountProcess, Failure> {
    let account = directory.account(name)?;
    Ok(AccountProcess { name: account.name, channel: instance.account(account.id)? })
}

impl AccountProcess {
    /// One operation; a refusal is a failure.
    pub(crate) fn ask(&self, request: &AdminToAccountd) -> Result<AccountdToAdmin, Failure> {
        match self.channel.ask(request)? {
            AccountdToAdmin::Refused(line) => Err(Failure::Refused(line)),
            reply => Ok(reply),
        }
    }
}

/// An answer to something else.
pub(crate) fn odd(answer: AccountdToAdmin) -> Failure {
    match answer {
        AccountdToAdmin::Refused(line) => Failure::Refused(line),
        AccountdToAdmin::Verified(_)
        | AccountdToAdmin::Deleted(_)
        | AccountdToAdmin::Undeleted(_)
        | AccountdToAdmin::Retentions(_)
        | AccountdToAdmin::Done
        | AccountdToAdmin::Import(_)
        | AccountdToAdmin::Export(_) => odd_answer(),
    }
}
