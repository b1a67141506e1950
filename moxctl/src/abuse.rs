//! `moxctl abuse`.

use std::{collections::HashMap, net::IpAddr};

use ipc_proto::{
    AccountId,
    authd::{AdminToAuthd, AuthdToAdmin},
    logins::{AbuseClear, AbuseInfo, Abuser},
    types::ClientAddress,
};
use serde::Serialize;

use crate::{
    cli::Abuse,
    control::{self, Directory},
    failure::Failure,
    output::Output,
    table::Table,
};

/// Somebody who is remembered, as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    /// `network`, `account`, `owner` (an account, from a network of its owner) or `unknown name`.
    kind: &'static str,
    network: Option<String>,
    account: Option<String>,
    failures_minute: u32,
    failures_day: u32,
    points: u32,
    refused: bool,
}

#[derive(Serialize)]
struct Cleared {
    cleared: u32,
}

pub(crate) fn run(command: Abuse, directory: &Directory, output: &Output) -> Result<(), Failure> {
    match command {
        Abuse::List => {
            let names: HashMap<_, _> =
                directory.accounts()?.into_iter().map(|account| (account.id, account.name)).collect();
            let infos = directory.abuse()?;
            let rows: Vec<_> = infos.into_iter().map(|info| Row::of(info, &names)).collect();
            output.list(&rows, table);
        }
        Abuse::Clear { who, all: _ } => {
            let what = match who {
                None => AbuseClear::Everything,
                Some(who) => match who.parse::<IpAddr>() {
                    Ok(address) => AbuseClear::Address(ClientAddress(address)),
                    Err(_) => AbuseClear::Account(who),
                },
            };
            let cleared = match directory.ask(&AdminToAuthd::AbuseClear(what))? {
                AuthdToAdmin::Cleared(cleared) => cleared,
                other => return Err(control::odd(&other)),
            };
            output.show(&Cleared { cleared }, |_| format!("{cleared} entries forgotten\n"));
        }
    }
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let headings = ["KIND", "NETWORK", "ACCOUNT", "FAILED/MIN", "FAILED/DAY", "POINTS", "REFUSED"];
    let mut table = Table::new(&headings, "nobody misbehaved lately");
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in rows {
        table.row([
            row.kind.to_owned(),
            or_none(&row.network),
            or_none(&row.account),
            row.failures_minute.to_string(),
            row.failures_day.to_string(),
            row.points.to_string(),
            if row.refused { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

impl Row {
    fn of(info: AbuseInfo, names: &HashMap<AccountId, String>) -> Self {
        let AbuseInfo { who, failures_minute, failures_day, points, refused } = info;
        let named = |id: AccountId| Some(names.get(&id).cloned().unwrap_or_else(|| format!("number {id}")));
        let block = |address: IpAddr, prefix: u8| Some(format!("{address}/{prefix}"));
        let (kind, network, account) = match who {
            Abuser::Network { address, prefix } => ("network", block(address, prefix), None),
            Abuser::Account(account) => ("account", None, named(account)),
            Abuser::Owner { account, address, prefix } => ("owner", block(address, prefix), named(account)),
            Abuser::Nobody => ("unknown name", None, None),
        };
        Self { kind, network, account, failures_minute, failures_day, points, refused }
    }
}
