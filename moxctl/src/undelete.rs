//! `moxctl account undelete`: what was expunged comes back.

use clap::Args;
use ipc_proto::{
    admin::{AccountdToAdmin, AdminToAccountd},
    care::{DELETED_PAGE, DeletedInfo, Undeleted, Which},
    types::Timestamp,
};
use serde::Serialize;

use crate::{
    account::utc,
    app_password,
    care::{self, AccountProcess},
    control::{Directory, Instance, pages},
    failure::Failure,
    output::{Output, printable},
    table::Table,
};

#[derive(Debug, Args)]
pub(crate) struct Undelete {
    /// The account's name
    pub(crate) name: String,
    /// Only list what could come back
    #[arg(long)]
    pub(crate) list: bool,
    /// Everything that could come back
    #[arg(long, conflicts_with_all = ["ids", "mailbox", "since"])]
    pub(crate) all: bool,
    /// These messages, by their numbers in the list
    #[arg(long = "message", value_name = "ID", value_delimiter = ',', conflicts_with_all = ["mailbox", "since"])]
    pub(crate) ids: Vec<u64>,
    /// What was expunged from this mailbox, or went with it
    #[arg(long)]
    pub(crate) mailbox: Option<String>,
    /// What was expunged since: a date (2027-01-31), a time (2027-01-31T12:00:00Z) or days ago (3d)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub(crate) since: Option<Timestamp>,
    /// Into this mailbox, which is made if it is not there, instead of where the messages were
    #[arg(long, value_name = "MAILBOX")]
    pub(crate) into: Option<String>,
}

/// A message as it is printed. Times are UTC.
#[derive(Debug, Serialize)]
struct Row {
    id: u64,
    mailbox: Option<String>,
    expunged: Option<String>,
    received: Option<String>,
    size: u64,
    from: String,
    subject: String,
}

#[derive(Serialize)]
struct Restored {
    messages: u64,
    mailboxes: Vec<Mailbox>,
}

#[derive(Serialize)]
struct Mailbox {
    name: String,
    messages: u64,
}

pub(crate) fn run(
    command: Undelete,
    directory: &Directory,
    instance: &Instance,
    output: &Output,
) -> Result<(), Failure> {
    let Undelete { name, list, all, ids, mailbox, since, into } = command;
    let chosen = !ids.is_empty() || mailbox.is_some() || since.is_some();
    if !list && !all && !chosen {
        return Err(Failure::Usage(format!(
            "say which messages: --all, --message, --mailbox or --since; `moxctl account undelete {name} --list` shows them"
        )));
    }
    let which = Which { ids: (!ids.is_empty()).then_some(ids), mailbox, since };
    let account = care::open(&name, directory, instance)?;
    if list {
        let rows: Vec<_> = listed(&account, which)?.into_iter().map(Row::from).collect();
        output.list(&rows, table);
        return Ok(());
    }
    match account.ask(&AdminToAccountd::Undelete { which, into })? {
        AccountdToAdmin::Undeleted(Undeleted { messages: 0, .. }) => Err(Failure::Refused(format!(
            "there is no such message; `moxctl account undelete {name} --list` shows what could come back"
        ))),
        AccountdToAdmin::Undeleted(Undeleted { messages, mailboxes }) => {
            let mailboxes =
                mailboxes.into_iter().map(|(name, messages)| Mailbox { name, messages }).collect();
            output.show(&Restored { messages, mailboxes }, text);
            Ok(())
        }
        other => Err(care::odd(other)),
    }
}

fn listed(account: &AccountProcess, which: Which) -> Result<Vec<DeletedInfo>, Failure> {
    let ids = which.ids.clone();
    let mut all = pages(
        DELETED_PAGE,
        |after| {
            let request = AdminToAccountd::DeletedList { which: which.clone(), after: after.unwrap_or(0) };
            match account.ask(&request)? {
                AccountdToAdmin::Deleted(page) => Ok(page),
                other => Err(care::odd(other)),
            }
        },
        |message| message.id,
    )?;
    all.retain(|message| ids.as_ref().is_none_or(|ids| ids.contains(&message.id)));
    Ok(all)
}

fn table(rows: &[Row]) -> Table {
    let headings = ["ID", "EXPUNGED", "MAILBOX", "OCTETS", "FROM", "SUBJECT"];
    let mut table = Table::new(&headings, "nothing could come back");
    for row in rows {
        table.row([
            row.id.to_string(),
            row.expunged.clone().unwrap_or_default(),
            row.mailbox.clone().unwrap_or_else(|| "-".to_owned()),
            row.size.to_string(),
            row.from.clone(),
            row.subject.clone(),
        ]);
    }
    table
}

fn text(restored: &Restored) -> String {
    let mut text = format!("{} message(s) came back\n", restored.messages);
    for Mailbox { name, messages } in &restored.mailboxes {
        text.push_str(&format!("  {}: {messages}\n", printable(name)));
    }
    text
}

impl From<DeletedInfo> for Row {
    fn from(message: DeletedInfo) -> Self {
        let DeletedInfo { id, mailbox, at, received, size, from, subject } = message;
        Self { id, mailbox, expunged: utc(at), received: utc(received), size, from, subject }
    }
}

/// Days count back from now.
fn since(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now().seconds;
    let ahead = app_password::when(text)
        .map_err(|_| "write it like 2027-01-31, 2027-01-31T12:00:00Z or 3d".to_owned())?;
    let seconds = if text.ends_with('d') {
        now.saturating_sub(ahead.seconds.saturating_sub(now))
    } else {
        ahead.seconds
    };
    Ok(Timestamp { seconds, nanoseconds: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_back_from_now() {
        let ago = Timestamp::now().seconds - since("3d").unwrap().seconds;
        assert!((3 * 86_400 - 60..=3 * 86_400 + 60).contains(&ago), "{ago}");
        assert_eq!(since("2027-01-31").unwrap().seconds, 1_801_353_600);
        assert!(since("soon").is_err());
    }
}
