//! What an import brought, mailbox by mailbox.

use serde::Serialize;

use crate::{failure::Failure, output::printable, table::Table};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) account: String,
    pub(super) mailboxes: Vec<Counts>,
    /// Lines about messages that did not come, the first ones.
    pub(super) left: Vec<String>,
}

/// One mailbox.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) mailbox: String,
    pub(super) imported: u64,
    /// Came before.
    pub(super) known: u64,
    pub(super) duplicates: u64,
    /// Over `limits.message_size`.
    pub(super) too_large: u64,
    /// Could not be read.
    pub(super) left: u64,
    /// Has the source's UIDVALIDITY and UIDs.
    pub(super) keeps_uids: bool,
    /// Of the imported: has another UID than at the source, though others keep theirs.
    pub(super) renumbered: u64,
}

impl Report {
    /// Whether something is missing.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let sum = |count: fn(&Counts) -> u64| -> u64 { self.mailboxes.iter().map(count).sum() };
        match (sum(|counts| counts.too_large), sum(|counts| counts.left)) {
            (0, 0) => Ok(()),
            (0, left) => Err(Failure::Refused(format!(
                "{left} message(s) could not be read; all others came; run the same again when they can be read"
            ))),
            (large, 0) => Err(Failure::Refused(format!(
                "{large} message(s) are over limits.message_size; raise it and run the same again"
            ))),
            (large, left) => Err(Failure::Refused(format!(
                "{large} message(s) are over limits.message_size, {left} could not be read; \
                 change that and run the same again"
            ))),
        }
    }
}

/// For people.
pub(super) fn text(report: &Report) -> String {
    let headings = ["MAILBOX", "IMPORTED", "KNOWN", "DUPLICATE", "TOO LARGE", "UNREADABLE", "UIDS"];
    let mut table = Table::new(&headings, "there was no mailbox");
    for counts in &report.mailboxes {
        let uids = match counts {
            Counts { keeps_uids: true, renumbered: 0, .. } => "kept".to_owned(),
            Counts { keeps_uids: true, renumbered, .. } => format!("kept but {renumbered}"),
            Counts { keeps_uids: false, .. } => "new".to_owned(),
        };
        table.row([
            counts.mailbox.clone(),
            counts.imported.to_string(),
            counts.known.to_string(),
            counts.duplicates.to_string(),
            counts.too_large.to_string(),
            counts.left.to_string(),
            uids,
        ]);
    }
    let mut text = table.to_string();
    for line in &report.left {
        text.push_str(&format!("  {}\n", printable(line)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_what_is_missing_and_what_to_do() {
        let report = |too_large, left| Report {
            account: "mox".to_owned(),
            mailboxes: vec![Counts { too_large, left, ..Counts::default() }, Counts::default()],
            left: Vec::new(),
        };
        assert_eq!(report(0, 0).verdict(), Ok(()));
        for (too_large, left, says) in
            [(2, 0, "2 message(s) are over"), (0, 3, "3 message(s) could not"), (2, 3, "3 could not")]
        {
            let failure = report(too_large, left).verdict().unwrap_err();
            assert_eq!(failure.exit_code(), 1);
            assert!(failure.line().unwrap().contains(says), "{failure}");
        }
    }

    #[test]
    fn a_mailbox_is_a_line_of_the_table() {
        let counts = Counts {
            mailbox: "Sent\u{1b}[2J".to_owned(),
            imported: 5,
            keeps_uids: true,
            renumbered: 1,
            ..Counts::default()
        };
        let report =
            Report { account: "mox".to_owned(), mailboxes: vec![counts], left: vec!["Sent: x".to_owned()] };
        let text = text(&report);
        assert!(
            text.contains("kept but 1") && text.ends_with("  Sent: x\n") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
