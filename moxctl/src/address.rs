//! `moxctl address`.

use ipc_proto::authd::{AddressInfo, AdminToAuthd};
use serde::Serialize;

use crate::{cli::Address, control::Directory, failure::Failure, output::Output, table::Table};

/// An address as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    address: String,
    account: String,
}

pub(crate) fn run(command: Address, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let (request, done) = match command {
        Address::List => {
            let rows: Vec<_> = directory.addresses()?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
            return Ok(());
        }
        Address::Add { address, account } => {
            let done = format!("mail for {address} goes to account {account}");
            (AdminToAuthd::AddressAdd { account, pattern: address }, done)
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
    let mut table = Table::new(&["ADDRESS", "ACCOUNT"], "no addresses; add one with `moxctl address add`");
    rows.iter().for_each(|row| table.row([row.address.clone(), row.account.clone()]));
    table
}

impl From<AddressInfo> for Row {
    fn from(address: AddressInfo) -> Self {
        Self { address: address.pattern.to_string(), account: address.account }
    }
}
