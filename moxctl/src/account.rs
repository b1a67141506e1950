//! `moxctl account`.

use ipc_proto::{
    admin::{AccountdToAdmin, AdminToAccountd, Verified},
    authd::{AccountInfo, AdminToAuthd, AuthdToAdmin},
    capability::Capabilities,
    types::Timestamp,
};
use serde::Serialize;

use crate::{
    care,
    cli::Account,
    control::{self, Directory, Instance},
    export,
    failure::Failure,
    import,
    output::{Output, printable},
    retention,
    table::Table,
    undelete,
};

/// An account as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    number: u32,
    name: String,
    disabled: bool,
    password: bool,
    addresses: u32,
    /// UTC.
    last_login: Option<String>,
    /// Capabilities that are switched off.
    without: Vec<&'static str>,
}

/// An account with what belongs to it.
#[derive(Serialize)]
struct Shown {
    account: Row,
    addresses: Vec<String>,
    app_passwords: Vec<String>,
    login_keys: Vec<String>,
}

#[derive(Serialize)]
struct Added {
    number: u32,
    name: String,
}

#[derive(Serialize)]
struct Found {
    name: String,
    mailboxes: u32,
    messages: u64,
    octets: u64,
    problems: Vec<String>,
}

pub(crate) fn run(command: Account, instance: &Instance, output: &Output) -> Result<(), Failure> {
    let directory = instance.directory()?;
    let (request, done) = match command {
        Account::List => {
            let rows: Vec<_> = directory.accounts()?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
            return Ok(());
        }
        Account::Add { name, address } => return add(name, address, &directory, output),
        Account::Show { name } => return show(&name, &directory, output),
        Account::Retention(command) => return retention::run(command, &directory, instance, output),
        Account::Undelete(command) => return undelete::run(command, &directory, instance, output),
        Account::Export(options) => return export::run(&options, &directory, instance, output),
        Account::Import(import) => return import::run(import, &directory, instance, output),
        Account::Verify { name } => return verify(&name, &directory, instance, output),
        Account::Capabilities { name, without: None, all: false } => {
            return show_switched_off(&name, &directory, output);
        }
        Account::Capabilities { name, without, all: _ } => {
            let without = without.unwrap_or_default();
            let done = match without.is_empty() {
                true => format!("nothing is switched off for {name}"),
                false => format!("switched off for {name}: {}", words(without).join(", ")),
            };
            (AdminToAuthd::AccountWithout(name, without), done)
        }
        Account::Rm { name } => {
            let done = format!("account {name} removed; its mail is still in the data directory");
            (AdminToAuthd::AccountRemove(name), done)
        }
        Account::Enable { name } => {
            let done = format!("account {name} takes mail and logins");
            (AdminToAuthd::AccountDisable(name, false), done)
        }
        Account::Disable { name } => {
            let done =
                format!("account {name} takes neither mail nor logins until `moxctl account enable {name}`");
            (AdminToAuthd::AccountDisable(name, true), done)
        }
    };
    directory.change(&request)?;
    output.done(&done);
    Ok(())
}

fn add(
    name: String,
    address: Option<ipc_proto::authd::Pattern>,
    directory: &Directory,
    output: &Output,
) -> Result<(), Failure> {
    let request = AdminToAuthd::AccountAdd { name: name.clone(), address };
    match directory.ask(&request)? {
        AuthdToAdmin::Added(account) => {
            output.show(&Added { number: account.number(), name }, |added| {
                let Added { number, name } = added;
                let name = printable(name);
                format!("account {name} added as number {number}; now `moxctl password set {name}`\n")
            });
            Ok(())
        }
        other => Err(control::odd(&other)),
    }
}

fn show(name: &str, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let account = directory.account(name)?;
    let addresses = directory.addresses()?.into_iter().filter(|address| address.account == account.name);
    let addresses = addresses.map(|address| address.pattern.to_string()).collect();
    let apps = directory.app_passwords(account.name.clone())?;
    let app_passwords = apps.into_iter().map(|app| app.name).collect();
    let keys = directory.login_keys(account.name.clone())?;
    let login_keys = keys.into_iter().map(|key| key.name).collect();
    let shown = Shown { account: Row::from(account), addresses, app_passwords, login_keys };
    output.show(&shown, |Shown { account, addresses, app_passwords, login_keys }| {
        let mut text = table(std::slice::from_ref(account)).to_string();
        if !account.without.is_empty() {
            text.push_str(&format!("  switched off: {}\n", account.without.join(", ")));
        }
        let lists = [("address", addresses), ("app password", app_passwords), ("login key", login_keys)];
        for (what, list) in lists {
            for one in list {
                text.push_str(&format!("  {what}: {}\n", printable(one)));
            }
        }
        text
    });
    Ok(())
}

fn show_switched_off(name: &str, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let shown = Row::from(directory.account(name)?);
    output.show(&shown, |Row { name, without, .. }| match without.as_slice() {
        [] => format!("nothing is switched off for {}\n", printable(name)),
        words => format!("switched off for {}: {}\n", printable(name), words.join(", ")),
    });
    Ok(())
}

fn words(capabilities: Capabilities) -> Vec<&'static str> {
    capabilities.words().collect()
}

fn verify(name: &str, directory: &Directory, instance: &Instance, output: &Output) -> Result<(), Failure> {
    let account = care::open(name, directory, instance)?;
    let Verified { mailboxes, messages, octets, problems } = match account.ask(&AdminToAccountd::Verify)? {
        AccountdToAdmin::Verified(verified) => verified,
        other => return Err(care::odd(other)),
    };
    let found = Found { name: account.name, mailboxes, messages, octets, problems };
    output.show(&found, report);
    match found.problems.len() {
        0 => Ok(()),
        wrong => Err(Failure::Refused(format!(
            "{wrong} thing(s) wrong in account {name}; restore what is named from a backup"
        ))),
    }
}

fn report(found: &Found) -> String {
    let Found { name, mailboxes, messages, octets, problems } = found;
    let state = if problems.is_empty() { "all is well" } else { "not all is well" };
    let mut text = format!(
        "{}: {mailboxes} mailboxes, {messages} messages, {octets} octets: {state}\n",
        printable(name)
    );
    for problem in problems {
        text.push_str("  ");
        text.push_str(&printable(problem));
        text.push('\n');
    }
    text
}

fn table(rows: &[Row]) -> Table {
    let headings = ["ACCOUNT", "NUMBER", "STATE", "ADDRESSES", "LAST LOGIN"];
    let mut table = Table::new(&headings, "no accounts; add one with `moxctl account add`");
    for row in rows {
        let state = match row {
            Row { disabled: true, .. } => "disabled",
            Row { password: false, .. } => "no password",
            Row { .. } => "active",
        };
        table.row([
            row.name.clone(),
            row.number.to_string(),
            state.to_owned(),
            row.addresses.to_string(),
            row.last_login.clone().unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    table
}

impl From<AccountInfo> for Row {
    fn from(account: AccountInfo) -> Self {
        let AccountInfo { id, name, disabled, password, addresses, last_login, without } = account;
        Self {
            number: id.number(),
            name,
            disabled,
            password,
            addresses,
            last_login: last_login.and_then(utc),
            without: words(without),
        }
    }
}

/// RFC 3339 in whole seconds; `None` for a time that no calendar has.
pub(crate) fn utc(time: Timestamp) -> Option<String> {
    jiff::Timestamp::from_second(time.seconds).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(disabled: bool, password: bool) -> Row {
        Row {
            number: 3,
            name: "mox".into(),
            disabled,
            password,
            addresses: 2,
            last_login: None,
            without: vec![],
        }
    }

    #[test]
    fn the_state_says_what_keeps_an_account_from_working() {
        for (disabled, password, state) in [
            (true, true, "disabled"),
            (true, false, "disabled"),
            (false, false, "no password"),
            (false, true, "active"),
        ] {
            let shown = table(&[row(disabled, password)]).to_string();
            assert!(shown.contains(state), "{shown}");
        }
    }

    #[test]
    fn a_last_login_is_shown_in_utc() {
        let at = |seconds| utc(Timestamp { seconds, nanoseconds: 999 });
        assert_eq!(at(1_700_000_000).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(at(i64::MAX), None);
    }

    #[test]
    fn a_report_names_every_problem_on_a_line_of_its_own() {
        let found = Found {
            name: "mox".into(),
            mailboxes: 6,
            messages: 2,
            octets: 100,
            problems: vec!["INBOX: uid 1: bytes changed\u{1b}[2J".into(), "Sent: count".into()],
        };
        assert_eq!(
            report(&found),
            "mox: 6 mailboxes, 2 messages, 100 octets: not all is well\n  \
             INBOX: uid 1: bytes changed\\u{1b}[2J\n  Sent: count\n"
        );
    }
}
