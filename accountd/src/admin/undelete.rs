//! Expunged messages: which can come back, and bringing them back.

use ipc_proto::{
    care::{DELETED_PAGE, DeletedInfo, MAX_NAMED, Undeleted, Which},
    types::Timestamp,
};
use store_lib::{DeletedMessage, MailboxName, Store, UnixSeconds};

/// A page of what can come back. `Err`: one line.
pub(super) fn list(store: &Store, which: Which, after: u64) -> Result<Vec<DeletedInfo>, String> {
    let deleted = store.deleted(&meant(which)?, after, DELETED_PAGE).map_err(|error| error.to_string())?;
    Ok(deleted.into_iter().map(info).collect())
}

/// Brings messages back. `Err`: one line.
pub(super) fn restore(store: &Store, which: Which, into: Option<String>) -> Result<Undeleted, String> {
    let into = into.as_deref().map(mailbox).transpose()?;
    let restored = store.undelete(&meant(which)?, into.as_ref()).map_err(|error| error.to_string())?;
    Ok(Undeleted {
        messages: restored.values().sum(),
        mailboxes: restored
            .into_iter()
            .take(MAX_NAMED)
            .map(|(mailbox, count)| (mailbox.to_string(), count))
            .collect(),
    })
}

fn meant(which: Which) -> Result<store_lib::Which, String> {
    let Which { ids, mailbox: name, since } = which;
    Ok(store_lib::Which {
        ids,
        mailbox: name.as_deref().map(mailbox).transpose()?,
        since: since.map(|since| UnixSeconds(since.seconds)),
    })
}

pub(super) fn mailbox(text: &str) -> Result<MailboxName, String> {
    MailboxName::parse(text).map_err(|error| error.to_string())
}

fn info(deleted: DeletedMessage) -> DeletedInfo {
    let DeletedMessage { id, mailbox, at, received, size, from, subject } = deleted;
    let time = |at: UnixSeconds| Timestamp { seconds: at.0, nanoseconds: 0 };
    let mailbox = mailbox.map(|mailbox| mailbox.to_string());
    DeletedInfo { id, mailbox, at: time(at), received: time(received), size, from, subject }
}
