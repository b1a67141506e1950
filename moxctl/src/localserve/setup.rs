//! What an instance of localserve has in its directory: made where it is missing, never changed.

use ipc_proto::{
    Secret,
    authd::{AdminToAuthd, AuthdToAdmin, Pattern},
};

use crate::{
    control::{self, Directory},
    failure::Failure,
};

/// The domain.
pub(super) const DOMAIN: &str = "localhost";
/// The account's name.
pub(super) const ACCOUNT: &str = "mox";
/// Its address.
pub(super) const ADDRESS: &str = "mox@localhost";
/// Its password, which everybody knows.
pub(super) const PASSWORD: &str = "moxmoxmox";

/// A password, an address or a domain that the admin changed stays as it is.
pub(super) fn run(directory: &Directory) -> Result<(), Failure> {
    if !directory.domains()?.iter().any(|domain| domain.name == DOMAIN) {
        directory.change(&AdminToAuthd::DomainAdd(DOMAIN.to_owned()))?;
    }
    let known = directory.accounts()?.into_iter().find(|account| account.name == ACCOUNT);
    if known.is_none() {
        match directory.ask(&AdminToAuthd::AccountAdd { name: ACCOUNT.to_owned(), address: None })? {
            AuthdToAdmin::Added(_) => {}
            other => return Err(control::odd(&other)),
        }
    }
    if !known.as_ref().is_some_and(|account| account.password) {
        let password = Secret(PASSWORD.as_bytes().to_vec());
        directory.change(&AdminToAuthd::PasswordSet { account: ACCOUNT.to_owned(), password })?;
    }
    let taken = directory.addresses()?;
    for wanted in [ADDRESS, "@*"] {
        if taken.iter().any(|address| address.pattern.to_string() == wanted) {
            continue;
        }
        let pattern = Pattern::parse(wanted)
            .map_err(|error| Failure::Config(format!("{wanted}: {error}; this moxctl is broken")))?;
        directory.change(&AdminToAuthd::AddressAdd { account: ACCOUNT.to_owned(), pattern })?;
    }
    Ok(())
}
