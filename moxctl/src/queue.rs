//! `moxctl queue`: what waits, for whom, and why.

use std::fmt::Write;

use clap::Subcommand;
use ipc_proto::{
    DeliveryId,
    queue::{AdminQueued, AdminToQueued, QUEUE_PAGE, QueuedDetail, QueuedMessage, QueuedToAdmin},
};
use serde::Serialize;

use crate::{
    account::utc,
    control::{Channel, odd_answer, pages},
    failure::Failure,
    output::{Output, printable},
    table::Table,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List the messages that wait, the oldest first
    List,
    /// Show one message: who has not got it and why, and its header, never its body
    Show {
        /// As `moxctl queue list` shows it
        #[arg(value_parser = id)]
        id: DeliveryId,
    },
}

/// A message as it is printed. Times are UTC.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// `null`: the null reverse-path.
    from: Option<String>,
    /// How many have not got it.
    recipients: u32,
    first_recipient: Option<String>,
    size: u64,
    stored: Option<String>,
    attempts: u32,
    next_attempt: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Recipient {
    address: String,
    /// Of an alias: how many members have not got it; `null` for one that nobody was asked by yet, and for all else.
    members: Option<u32>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    message: Row,
    connection: String,
    recipients: Vec<Recipient>,
    /// Lines, those that moxd adds first. Octets that are not UTF-8 are replaced.
    header: Vec<String>,
    header_cut: bool,
}

pub(crate) fn run(command: &Queue, queue: &Channel<AdminQueued>, output: &Output) -> Result<(), Failure> {
    match command {
        Queue::List => {
            let messages = pages(
                QUEUE_PAGE,
                |after| match queue.ask(&AdminToQueued::List { after })? {
                    QueuedToAdmin::Messages(page) => Ok(page),
                    other => Err(refusal(other)),
                },
                |message| (message.stored, message.id),
            )?;
            let rows: Vec<_> = messages.into_iter().map(Row::from).collect();
            output.list(&rows, table);
            Ok(())
        }
        Queue::Show { id } => match queue.ask(&AdminToQueued::Show(*id))? {
            QueuedToAdmin::Message(detail) => {
                output.show(&Shown::from(*detail), Shown::text);
                Ok(())
            }
            other => Err(refusal(other)),
        },
    }
}

fn refusal(answer: QueuedToAdmin) -> Failure {
    match answer {
        QueuedToAdmin::NoMessage => Failure::Refused(
            "no such message waits, perhaps it was delivered; see `moxctl queue list`".to_owned(),
        ),
        QueuedToAdmin::Refused(line) => Failure::Refused(line),
        QueuedToAdmin::Messages(_) | QueuedToAdmin::Message(_) => odd_answer(),
    }
}

fn table(rows: &[Row]) -> Table {
    let headings = ["ID", "FROM", "TO", "OCTETS", "ATTEMPTS", "NEXT ATTEMPT", "WHY"];
    let mut table = Table::new(&headings, "nothing waits");
    for row in rows {
        let first = row.first_recipient.as_deref().unwrap_or("-");
        let to = match row.recipients.saturating_sub(1) {
            0 => first.to_owned(),
            more => format!("{first} and {more} more"),
        };
        table.row([
            row.id.clone(),
            row.from.clone().unwrap_or_else(|| "<>".to_owned()),
            to,
            row.size.to_string(),
            row.attempts.to_string(),
            row.next_attempt.clone().unwrap_or_default(),
            row.reason.clone().unwrap_or_else(|| "not tried yet".to_owned()),
        ]);
    }
    table
}

impl Shown {
    fn text(&self) -> String {
        let mut text = table(std::slice::from_ref(&self.message)).to_string();
        let stored = self.message.stored.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  stored: {stored}, connection {}", self.connection);
        for Recipient { address, members, reason } in &self.recipients {
            let of = members.map_or_else(String::new, |count| format!(" ({count} member(s))"));
            let why = reason.as_deref().unwrap_or("not tried yet");
            let _ = writeln!(text, "  waits for: {}{of}: {}", printable(address), printable(why));
        }
        text.push('\n');
        for line in &self.header {
            text.push_str(&printable(line));
            text.push('\n');
        }
        if self.header_cut {
            text.push_str("(the header goes on)\n");
        }
        text
    }
}

impl From<QueuedMessage> for Row {
    fn from(message: QueuedMessage) -> Self {
        let QueuedMessage { id, from, recipients, first, size, stored, attempts, next, reason } = message;
        Self {
            id: id.to_string(),
            from: from.map(|address| address.to_string()),
            recipients,
            first_recipient: first.map(|address| address.to_string()),
            size,
            stored: utc(stored),
            attempts,
            next_attempt: utc(next),
            reason: reason.map(|reason| reason.to_string()),
        }
    }
}

impl From<QueuedDetail> for Shown {
    fn from(detail: QueuedDetail) -> Self {
        let QueuedDetail { message, connection, recipients, header, cut } = detail;
        let header = String::from_utf8_lossy(&header).into_owned();
        Self {
            message: Row::from(message),
            connection: connection.to_string(),
            recipients: recipients
                .into_iter()
                .map(|recipient| Recipient {
                    address: recipient.address.to_string(),
                    members: recipient.members,
                    reason: recipient.reason.map(|reason| reason.to_string()),
                })
                .collect(),
            header: header.lines().map(str::to_owned).collect(),
            header_cut: cut,
        }
    }
}

fn id(text: &str) -> Result<DeliveryId, String> {
    let all_hex = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| all_hex);
    let number =
        number.ok_or_else(|| "an id is 32 hexadecimal digits, see `moxctl queue list`".to_owned())?;
    Ok(DeliveryId(number.to_be_bytes()))
}
