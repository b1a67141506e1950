//! `moxctl domain`.

use ipc_proto::authd::{AdminToAuthd, DomainInfo};
use mail_lib::address;
use serde::Serialize;

use crate::{cli::Domain, control::Directory, failure::Failure, output::Output, table::Table};

/// A domain as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    disabled: bool,
    addresses: u32,
}

pub(crate) fn run(command: Domain, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let (request, done) = match command {
        Domain::List => {
            let rows: Vec<_> = directory.domains()?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
            return Ok(());
        }
        Domain::Show { domain } => {
            let name = a_labels(&domain)?;
            let found = directory.domains()?.into_iter().find(|domain| domain.name == name);
            let found = found
                .ok_or_else(|| Failure::Refused(format!("no domain {name}; see `moxctl domain list`")))?;
            output.show(&Row::from(found), |row| table(std::slice::from_ref(row)));
            return Ok(());
        }
        Domain::Add { domain } => {
            let domain = a_labels(&domain)?;
            let done = format!("{domain} added; give an account an address in it with `moxctl address add`");
            (AdminToAuthd::DomainAdd(domain), done)
        }
        Domain::Rm { domain } => {
            let domain = a_labels(&domain)?;
            let done = format!("{domain} removed");
            (AdminToAuthd::DomainRemove(domain), done)
        }
        Domain::Enable { domain } => {
            let domain = a_labels(&domain)?;
            let done = format!("{domain} takes mail");
            (AdminToAuthd::DomainDisable(domain, false), done)
        }
        Domain::Disable { domain } => {
            let domain = a_labels(&domain)?;
            let done = format!("{domain} takes no mail until `moxctl domain enable {domain}`");
            (AdminToAuthd::DomainDisable(domain, true), done)
        }
    };
    directory.change(&request)?;
    output.done(&done);
    Ok(())
}

/// A domain as the directory spells it.
fn a_labels(text: &str) -> Result<String, Failure> {
    let domain = address::Domain::parse(text)
        .map_err(|_| Failure::Usage(format!("{text} is not a domain name; write it like example.org")))?;
    Ok(domain.as_str().to_owned())
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(&["DOMAIN", "STATE", "ADDRESSES"], "no domains; add one with `moxctl domain add`");
    for row in rows {
        let state = if row.disabled { "disabled" } else { "takes mail" };
        table.row([row.name.clone(), state.to_owned(), row.addresses.to_string()]);
    }
    table
}

impl From<DomainInfo> for Row {
    fn from(domain: DomainInfo) -> Self {
        let DomainInfo { name, disabled, addresses } = domain;
        Self { name, disabled, addresses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_sent_as_a_labels() {
        assert_eq!(a_labels("Bücher.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(a_labels("a b").unwrap_err().exit_code(), 2);
    }
}
