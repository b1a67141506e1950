//! What the admin may have forgotten.

use ipc_proto::{authd::AuthdToAdmin, logins::AbuseClear};

use super::Shared;
use crate::{
    directory::Refusal,
    limits::{Key, blocks},
    name::AccountName,
};

/// Forgets, and says how much that was.
pub(super) fn clear(shared: &Shared, what: &AbuseClear) -> AuthdToAdmin {
    let cleared = match what {
        AbuseClear::Everything => shared.state().limits.clear(|_| true, shared.now()),
        AbuseClear::Address(address) => {
            let blocks = blocks(address.0);
            shared
                .state()
                .limits
                .clear(|key| matches!(key, Key::Block(block) if blocks.contains(&block)), shared.now())
        }
        AbuseClear::Account(name) => {
            let found = AccountName::parse(name).map_err(Refusal::from).and_then(|name| {
                let account = shared.book.read().account_named(&name).map(|account| account.id);
                account.ok_or(Refusal::NoAccount(name))
            });
            match found {
                Ok(id) => shared.state().limits.clear(
                    |key| match key {
                        Key::Account(account) | Key::Pair(account, _) => account == id,
                        Key::Block(_) | Key::Nobody(_) => false,
                    },
                    shared.now(),
                ),
                Err(refusal) => return AuthdToAdmin::Refused(refusal.to_string()),
            }
        }
    };
    tracing::info!(cleared, "the admin had misbehaviour forgotten");
    AuthdToAdmin::Cleared(cleared)
}
