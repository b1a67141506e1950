//! `moxctl account retention`: how long messages of a mailbox stay.

use clap::Args;
use ipc_proto::{
    admin::{AccountdToAdmin, AdminToAccountd},
    care::{RetentionInfo, RetentionRule, Then},
};
use serde::Serialize;

use crate::{
    care,
    control::{Directory, Instance},
    failure::Failure,
    output::Output,
    table::Table,
};

/// Ten years.
const MAX_DAYS: i64 = 3650;

#[derive(Debug, Args)]
pub(crate) struct Retention {
    /// The account's name
    name: String,
    /// The mailbox; left out: list the rules of all
    mailbox: Option<String>,
    /// Days that a message stays, counted from when it came in and from when it came into this mailbox
    #[arg(long, value_name = "N", requires = "mailbox", requires = "then",
          value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
    days: Option<u32>,
    /// What becomes of it then
    #[arg(long, value_name = "WHAT", requires = "days")]
    then: Option<What>,
    /// Take the mailbox's rule away
    #[arg(long, requires = "mailbox", conflicts_with = "days")]
    off: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// It is expunged; `moxctl account undelete` brings it back for a time
    Expunge,
    /// It is moved to the mailbox for deleted mail
    Trash,
}

/// A rule as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    mailbox: String,
    days: u32,
    then: &'static str,
}

pub(crate) fn run(
    command: Retention,
    directory: &Directory,
    instance: &Instance,
    output: &Output,
) -> Result<(), Failure> {
    let Retention { name, mailbox, days, then, off } = command;
    let rule = match (days, then) {
        (Some(days), Some(What::Expunge)) => Some(RetentionRule { days, then: Then::Expunge }),
        (Some(days), Some(What::Trash)) => Some(RetentionRule { days, then: Then::Trash }),
        _ => None,
    };
    let account = care::open(&name, directory, instance)?;
    if rule.is_none() && !off {
        return match account.ask(&AdminToAccountd::RetentionList)? {
            AccountdToAdmin::Retentions(rules) => {
                let rules = rules.into_iter().map(Row::from);
                let rows: Vec<_> =
                    rules.filter(|row| mailbox.as_ref().is_none_or(|only| *only == row.mailbox)).collect();
                output.list(&rows, table);
                Ok(())
            }
            other => Err(care::odd(other)),
        };
    }
    let mailbox = mailbox.unwrap_or_default();
    let done = match rule {
        Some(RetentionRule { days, .. }) => format!("messages of {mailbox} stay for {days} day(s)"),
        None => format!("messages of {mailbox} stay"),
    };
    match account.ask(&AdminToAccountd::RetentionSet { mailbox, rule })? {
        AccountdToAdmin::Done => {
            output.done(&done);
            Ok(())
        }
        other => Err(care::odd(other)),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["MAILBOX", "DAYS", "THEN"], "no retention rules; messages stay");
    for row in rows {
        table.row([row.mailbox.clone(), row.days.to_string(), row.then.to_owned()]);
    }
    table
}

impl From<RetentionInfo> for Row {
    fn from(info: RetentionInfo) -> Self {
        let RetentionInfo { mailbox, rule: RetentionRule { days, then } } = info;
        let then = match then {
            Then::Expunge => "expunge",
            Then::Trash => "trash",
        };
        Self { mailbox, days, then }
    }
}
