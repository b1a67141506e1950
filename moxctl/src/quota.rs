//! `moxctl quota`.

use clap::{ArgGroup, Args, Subcommand};
use ipc_proto::{
    authd::{AdminToAuthd, AuthdToAdmin, PAGE},
    quota::{self, QuotaInfo, QuotaLimit, QuotaLimits, QuotaRequest, QuotaSubject},
};
use mail_lib::address::Domain;
use serde::Serialize;

use crate::{
    control::{self, Directory, pages},
    failure::Failure,
    output::Output,
    table::Table,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Quota {
    /// Set what an account may hold, or each account of a domain, or every account
    #[command(group(ArgGroup::new("limit").required(true).multiple(true).args(["storage", "messages"])))]
    Set {
        /// An account's name, @example.org, or @*
        #[arg(value_name = "WHOSE", value_parser = subject)]
        subject: QuotaSubject,
        #[command(flatten)]
        limits: Limits,
    },
    /// List all that is set
    List,
    /// Show what counts for an account
    Show {
        /// Its name
        account: String,
    },
    /// Remove what is set: what is set for the domain, or for all, counts again
    Rm {
        /// An account's name, @example.org, or @*
        #[arg(value_name = "WHOSE", value_parser = subject)]
        subject: QuotaSubject,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Limits {
    /// Octets of all messages, such as 500MiB or 5GiB, or `unlimited`
    #[arg(long, value_name = "SIZE", value_parser = storage)]
    storage: Option<QuotaLimit>,
    /// Messages, or `unlimited`
    #[arg(long, value_name = "NUMBER", value_parser = messages)]
    messages: Option<QuotaLimit>,
}

/// What is set, as it is printed: a number, `"unlimited"`, or `null` where something else counts.
#[derive(Debug, Serialize)]
struct Row {
    whose: String,
    storage: Limit,
    messages: Limit,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Limit {
    Most(u64),
    Unlimited(&'static str),
    NotSet(()),
}

/// What counts for an account; `null` for no limit.
#[derive(Debug, Serialize)]
struct Shown {
    account: String,
    storage: Option<u64>,
    messages: Option<u64>,
}

pub(crate) fn run(command: Quota, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let (request, done) = match command {
        Quota::List => {
            let rows: Vec<_> = quotas(directory)?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
            return Ok(());
        }
        Quota::Show { account } => return show(account, directory, output),
        Quota::Set { subject, limits: Limits { storage, messages } } => {
            let done = format!("quota of {} set", written(&subject));
            (QuotaRequest::Set { subject, limits: QuotaLimits { octets: storage, messages } }, done)
        }
        Quota::Rm { subject } => {
            let done = format!("quota of {} removed", written(&subject));
            (QuotaRequest::Remove(subject), done)
        }
    };
    directory.change(&AdminToAuthd::Quota(request))?;
    output.done(&done);
    Ok(())
}

fn quotas(directory: &Directory) -> Result<Vec<QuotaInfo>, Failure> {
    pages(
        PAGE,
        |after| match directory.ask(&AdminToAuthd::Quota(QuotaRequest::List { after }))? {
            AuthdToAdmin::Quotas(page) => Ok(page),
            other => Err(control::odd(&other)),
        },
        |info| info.subject.clone(),
    )
}

fn show(account: String, directory: &Directory, output: &Output) -> Result<(), Failure> {
    let quota::Quota { octets, messages } =
        match directory.ask(&AdminToAuthd::Quota(QuotaRequest::Of(account.clone())))? {
            AuthdToAdmin::Quota(quota) => quota,
            other => return Err(control::odd(&other)),
        };
    output.show(&Shown { account, storage: octets, messages }, |Shown { account, storage, messages }| {
        let limit = |limit: &Option<u64>| limit.map_or(Limit::Unlimited(UNLIMITED), Limit::Most);
        table(&[Row { whose: account.clone(), storage: limit(storage), messages: limit(messages) }])
    });
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(&["WHOSE", "STORAGE", "MESSAGES"], "no quotas; set one with `moxctl quota set`");
    for Row { whose, storage, messages } in rows {
        let cell = |limit: Limit, most: fn(u64) -> String| match limit {
            Limit::Most(number) => most(number),
            Limit::Unlimited(word) => word.to_owned(),
            Limit::NotSet(()) => "-".to_owned(),
        };
        table.row([whose.clone(), cell(*storage, size), cell(*messages, |number| number.to_string())]);
    }
    table
}

impl From<QuotaInfo> for Row {
    fn from(info: QuotaInfo) -> Self {
        let QuotaInfo { subject, limits: QuotaLimits { octets, messages } } = info;
        let limit = |limit| match limit {
            Some(QuotaLimit::Most(most)) => Limit::Most(most),
            Some(QuotaLimit::Unlimited) => Limit::Unlimited(UNLIMITED),
            None => Limit::NotSet(()),
        };
        Self { whose: written(&subject), storage: limit(octets), messages: limit(messages) }
    }
}

const UNLIMITED: &str = "unlimited";

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];

/// In the largest unit that leaves no rest.
fn size(octets: u64) -> String {
    let fits = |shift: u32| octets.trailing_zeros() >= shift && octets > 0;
    let (unit, shift) = UNITS.into_iter().find(|(_, shift)| fits(*shift)).unwrap_or(("", 0));
    let space = if unit.is_empty() { "" } else { " " };
    format!("{}{space}{unit}", octets >> shift)
}

fn storage(text: &str) -> Result<QuotaLimit, String> {
    let wrong = || "write it like 500MiB or 5GiB (KiB, MiB, GiB, TiB), or `unlimited`".to_owned();
    if text == UNLIMITED {
        return Ok(QuotaLimit::Unlimited);
    }
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let (_, shift) = UNITS.into_iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).map(QuotaLimit::Most).ok_or_else(wrong)
}

fn messages(text: &str) -> Result<QuotaLimit, String> {
    if text == UNLIMITED {
        return Ok(QuotaLimit::Unlimited);
    }
    text.parse().map(QuotaLimit::Most).map_err(|_| "write a number, or `unlimited`".to_owned())
}

fn subject(text: &str) -> Result<QuotaSubject, String> {
    match text.strip_prefix('@') {
        Some("*") => Ok(QuotaSubject::All),
        Some(domain) => match Domain::parse(domain) {
            Ok(domain) => Ok(QuotaSubject::Domain(domain.as_str().to_owned())),
            Err(_) => Err(format!("{domain} is not a domain name; write it like @example.org")),
        },
        None => Ok(QuotaSubject::Account(text.to_owned())),
    }
}

fn written(subject: &QuotaSubject) -> String {
    match subject {
        QuotaSubject::All => "@*".to_owned(),
        QuotaSubject::Domain(domain) => format!("@{domain}"),
        QuotaSubject::Account(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_with_their_units() {
        for (text, octets, shown) in [
            ("0", 0, "0"),
            ("1000", 1000, "1000"),
            ("2KiB", 2048, "2 KiB"),
            ("500 MiB", 500 << 20, "500 MiB"),
            ("1024GiB", 1 << 40, "1 TiB"),
        ] {
            assert_eq!(storage(text), Ok(QuotaLimit::Most(octets)), "{text}");
            assert_eq!(size(octets), shown);
        }
        assert_eq!(storage("unlimited"), Ok(QuotaLimit::Unlimited));
        for wrong in ["", "GiB", "5GB", "5 gib", "-1", "99999999999999999999", "16777216TiB"] {
            assert!(storage(wrong).is_err(), "{wrong}");
        }
        assert_eq!(messages("100000"), Ok(QuotaLimit::Most(100_000)));
        assert!(messages("1k").is_err());
    }
}
