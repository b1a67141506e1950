//! Retention rules, as moxctl shows and sets them.

use ipc_proto::care::{RetentionInfo, RetentionRule, Then};
use store_lib::{Budget, Retention, Store, StoreError};

use super::undelete::mailbox;

/// All rules. `Err`: one line.
pub(super) fn list(store: &Store) -> Result<Vec<RetentionInfo>, String> {
    let rules =
        store.read(&Budget::default(), |reader| reader.retentions()).map_err(|error| error.to_string())?;
    let info = |(mailbox, rule): (store_lib::MailboxName, Retention)| {
        let then = match rule.then {
            store_lib::Then::Expunge => Then::Expunge,
            store_lib::Then::Trash => Then::Trash,
        };
        RetentionInfo { mailbox: mailbox.to_string(), rule: RetentionRule { days: rule.days, then } }
    };
    Ok(rules.into_iter().map(info).collect())
}

/// Sets or removes one. `Err`: one line.
pub(super) fn set(store: &Store, name: &str, rule: Option<RetentionRule>) -> Result<(), String> {
    let rule = rule.map(|RetentionRule { days, then }| {
        let then = match then {
            Then::Expunge => store_lib::Then::Expunge,
            Then::Trash => store_lib::Then::Trash,
        };
        Retention { days, then }
    });
    store.set_retention(&mailbox(name)?, rule).map_err(|error| match error {
        StoreError::NotAllowed => {
            "messages of the trash cannot go to the trash; use `--then expunge`".to_owned()
        }
        other => other.to_string(),
    })
}
