//! `moxctl login`.

use ipc_proto::{
    logins::{LoginInfo, LoginResult},
    sasl::Mechanism,
};
use serde::Serialize;

use crate::{account::utc, cli::Login, control::Directory, failure::Failure, output::Output, table::Table};

/// Attempts of one kind as they are printed.
#[derive(Debug, Serialize)]
struct Row {
    /// UTC, as the next.
    first: Option<String>,
    last: Option<String>,
    count: u32,
    account: Option<String>,
    user: Option<String>,
    address: String,
    protocol: &'static str,
    mechanism: &'static str,
    app_password: Option<String>,
    login_key: Option<String>,
    result: &'static str,
}

pub(crate) fn run(command: Login, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let Login::List { account, limit } = command;
    let rows: Vec<_> = directory.logins(account.as_deref(), limit)?.into_iter().map(Row::from).collect();
    output.list(&rows, table);
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let headings = ["LAST", "TIMES", "ACCOUNT", "AS", "FROM", "BY", "RESULT"];
    let mut table = Table::new(&headings, "no login attempts in the last 30 days");
    for row in rows {
        let by = match row.app_password.as_ref().or(row.login_key.as_ref()) {
            Some(name) => format!("{} ({name})", row.mechanism),
            None => row.mechanism.to_owned(),
        };
        table.row([
            row.last.clone().unwrap_or_default(),
            row.count.to_string(),
            row.account.clone().unwrap_or_else(|| "-".to_owned()),
            row.user.clone().unwrap_or_else(|| "-".to_owned()),
            row.address.clone(),
            by,
            row.result.to_owned(),
        ]);
    }
    table
}

impl From<LoginInfo> for Row {
    fn from(login: LoginInfo) -> Self {
        let LoginInfo {
            number: _,
            first,
            last,
            count,
            account,
            user,
            address,
            protocol,
            mechanism,
            app_password,
            result,
        } = login;
        let (login_key, app_password) =
            if mechanism == Some(Mechanism::External) { (app_password, None) } else { (None, app_password) };
        Self {
            first: utc(first),
            last: utc(last),
            count,
            account,
            user,
            address: address.0.to_string(),
            protocol: match protocol {
                ipc_proto::types::Protocol::Imap => "imap",
                ipc_proto::types::Protocol::Submission => "submission",
            },
            mechanism: mechanism.map_or("LOGIN command", |mechanism| mechanism.name()),
            app_password,
            login_key,
            result: match result {
                LoginResult::Ok => "ok",
                LoginResult::Denied => "denied",
                LoginResult::Limited => "limited",
                LoginResult::Disabled => "disabled",
            },
        }
    }
}
