//! `moxctl apppassword`.

use ipc_proto::{
    authd::{AdminToAuthd, AuthdToAdmin},
    logins::{AppPasswordInfo, Protocols},
    types::Timestamp,
};
use serde::Serialize;

use crate::{
    account::utc,
    cli::{AppPassword, Use},
    control::{self, Directory},
    failure::Failure,
    output::Output,
    table::Table,
};

const DAY: i64 = 24 * 3600;

/// An app password as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    protocols: Vec<&'static str>,
    /// UTC, as the others.
    created: Option<String>,
    expires: Option<String>,
    last_use: Option<String>,
}

#[derive(Serialize)]
struct Made {
    account: String,
    name: String,
    password: String,
}

pub(crate) fn run(command: AppPassword, directory: &Directory, output: &Output) -> Result<(), Failure> {
    match command {
        AppPassword::Add { account, name, protocols: uses, expires } => {
            // It is about to be held here.
            let _ = nix::sys::prctl::set_dumpable(false);
            let request = AdminToAuthd::AppPasswordAdd {
                account: account.clone(),
                name: name.clone(),
                protocols: protocols(&uses),
                expires,
            };
            let password = match directory.ask(&request)? {
                AuthdToAdmin::AppPassword(secret) => String::from_utf8_lossy(&secret.0).into_owned(),
                other => return Err(control::odd(&other)),
            };
            // The password alone, so that it can be piped on.
            output.show(&Made { account, name, password }, |made| format!("{}\n", made.password));
        }
        AppPassword::List { account } => {
            let rows: Vec<_> = directory.app_passwords(account)?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
        }
        AppPassword::Rm { account, name } => {
            directory
                .change(&AdminToAuthd::AppPasswordRemove { account: account.clone(), name: name.clone() })?;
            output
                .done(&format!("app password {name} of account {account} removed; its sessions were ended"));
        }
    }
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let headings = ["NAME", "FOR", "CREATED", "EXPIRES", "LAST USE"];
    let mut table = Table::new(&headings, "no app passwords; make one with `moxctl apppassword add`");
    for row in rows {
        table.row([
            row.name.clone(),
            row.protocols.join(","),
            row.created.clone().unwrap_or_default(),
            row.expires.clone().unwrap_or_else(|| "never".to_owned()),
            row.last_use.clone().unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    table
}

impl From<AppPasswordInfo> for Row {
    fn from(app: AppPasswordInfo) -> Self {
        let AppPasswordInfo { name, protocols, created, expires, last_use } = app;
        Self {
            name,
            protocols: names(protocols),
            created: utc(created),
            expires: expires.and_then(utc),
            last_use: last_use.and_then(utc),
        }
    }
}

pub(crate) fn protocols(uses: &[Use]) -> Protocols {
    Protocols { imap: uses.contains(&Use::Imap), submission: uses.contains(&Use::Submission) }
}

pub(crate) fn names(Protocols { imap, submission }: Protocols) -> Vec<&'static str> {
    let protocols = [(imap, "imap"), (submission, "submission")];
    protocols.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
}

/// A date is its beginning in UTC.
pub(crate) fn when(text: &str) -> Result<Timestamp, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok());
    let at = |seconds| Timestamp { seconds, nanoseconds: 0 };
    if let Some(days) = days {
        return Ok(at(Timestamp::now().seconds.saturating_add(i64::from(days) * DAY)));
    }
    let midnight = format!("{text}T00:00:00Z");
    [text, midnight.as_str()]
        .into_iter()
        .find_map(|text| text.parse::<jiff::Timestamp>().ok())
        .map(|time| at(time.as_second()))
        .ok_or_else(|| "write it like 2027-01-31, 2027-01-31T12:00:00Z or 90d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_a_time_or_days_from_now() {
        for (text, seconds) in [
            ("2027-01-31", Some(1_801_353_600)),
            ("2027-01-31T12:00:00Z", Some(1_801_396_800)),
            ("2027-01-31T12:00:00+02:00", Some(1_801_389_600)),
            ("tomorrow", None),
            ("90", None),
            ("-1d", None),
            ("", None),
        ] {
            assert_eq!(when(text).ok().map(|time| time.seconds), seconds, "{text}");
        }
        let days = when("90d").unwrap().seconds - Timestamp::now().seconds;
        assert!((90 * DAY - 60..=90 * DAY).contains(&days));
    }
}
