//! `moxctl address`.

use ipc_proto::authd::{AddressInfo, AdminToAuthd};
use serde::Serialize;

use crate::{cli::Address, control::Directory, failure::Failure, output::Output, table::Table};

/// An address as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    address: String,
    account: String,
    disabled: bool,
}

pub(crate) fn run(command: Address, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let (request, done) = match command {
        Address::List => {
            let rows: Vec<_> = directory.addresses()?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
            return Ok(());
        }
        Address::Show { address } => {
            // As the directory compares them.
            let shown = address.to_string().to_lowercase();
            let found = directory
                .addresses()?
                .into_iter()
                .find(|found| found.pattern.to_string().to_lowercase() == shown);
            let found = found.ok_or_else(|| {
                Failure::Refused(format!("nobody has the address {shown}; see `moxctl address list`"))
            })?;
            output.show(&Row::from(found), |row| table(std::slice::from_ref(row)));
            return Ok(());
        }
        Address::Add { address, account } => {
            let done = format!("mail for {address} goes to account {account}");
            (AdminToAuthd::AddressAdd { account, pattern: address }, done)
        }
        Address::Enable { address } => {
            let done = format!("{address} takes mail");
            (AdminToAuthd::AddressDisable(address, false), done)
        }
        Address::Disable { address } => {
            let done = format!("{address} takes no mail until `moxctl address enable {address}`");
            (AdminToAuthd::AddressDisable(address, true), done)
        }
        Address::Rm { address } => {
            let done = format!("{address} removed");
            (AdminToAuthd::AddressRemove(address), done)
        }
    };
    directory.change(&request)?;
    output.done(&done);
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(&["ADDRESS", "ACCOUNT", "STATE"], "no addresses; add one with `moxctl address add`");
    for row in rows {
        let state = if row.disabled { "disabled" } else { "takes mail" };
        table.row([row.address.clone(), row.account.clone(), state.to_owned()]);
    }
    table
}

impl From<AddressInfo> for Row {
    fn from(address: AddressInfo) -> Self {
        let AddressInfo { pattern, account, disabled } = address;
        Self { address: pattern.to_string(), account, disabled }
    }
}
