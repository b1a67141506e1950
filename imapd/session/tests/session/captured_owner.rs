//! What a captured process of a mailboxes' owner can do to its guests' clients: end what they have of it.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use imapd_session::{Neighbours, Owner, SessionLimits, Sharing, Unavailable};

use crate::harness::{Account, Client, message};

/// bob's process: says this to each command that comes, with the tag in the place of `TAG`, then nothing more.
#[derive(Debug)]
struct Captured(&'static [&'static str]);

fn bob() -> NonZeroU32 {
    NonZeroU32::new(2).unwrap()
}

impl Neighbours for Captured {
    fn number_of(&self, _: &str) -> Result<Option<NonZeroU32>, Unavailable> {
        Ok(None)
    }

    fn names_of(&self, numbers: &[NonZeroU32]) -> Result<Vec<Option<String>>, Unavailable> {
        Ok(vec![None; numbers.len()])
    }

    fn owners(&self) -> Result<Vec<Owner>, Unavailable> {
        Ok(vec![Owner { number: bob(), name: "bob".to_owned() }])
    }

    fn shares_changed(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    fn open(&self, _: NonZeroU32) -> Result<UnixStream, Unavailable> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let says = self.0;
        std::thread::spawn(move || {
            let mut commands = BufReader::new(&theirs).lines();
            for answer in says {
                let Some(Ok(command)) = commands.next() else { return };
                let tag = command.split(' ').next().unwrap_or_default();
                let _ = (&theirs).write_all(answer.replace("TAG", tag).as_bytes());
            }
        });
        Ok(ours)
    }
}

fn alice(account: &Account, says: &'static [&'static str]) -> Client {
    let own = NonZeroU32::new(1);
    let sharing = Sharing { neighbours: Some(Arc::new(Captured(says))), own, guest: None };
    account.log_in_sharing(SessionLimits::default(), false, sharing)
}

/// Attack class 31: what is said of the client's own mailboxes, or to no command, never reaches it.
#[test]
fn a_forged_answer_ends_the_guest_and_nothing_of_the_clients_own() {
    for says in [
        &["* 5 EXISTS\r\nTAG OK x\r\n"] as &[&str],
        &["* 1 EXPUNGE\r\nTAG OK x\r\n"],
        &["* VANISHED 1:5\r\nTAG OK x\r\n"],
        &["* STATUS INBOX (MESSAGES 0)\r\nTAG OK x\r\n"],
        &["* LIST () \"/\" INBOX\r\nTAG OK x\r\n"],
        &["* BYE\r\nTAG OK x\r\n"],
        &["* CAPABILITY IMAP4rev1\r\nTAG OK x\r\n"],
        &["other OK x\r\n"],
        &["TAG OK x\r\n* 5 EXISTS\r\n"],
        &["TAG OK x\r\nTAG OK x\r\n"],
        &["TAG MAYBE x\r\n"],
        &["\n"],
        &[""],
        &["* STATUS \"Other Users/bob/x\" (MESSAGES 1"],
        &[],
    ] {
        let account = Account::new();
        account.file("INBOX", &message("simple.eml"));
        let mut client = alice(&account, says);
        client.command("SELECT INBOX");
        let answer = client.command("STATUS \"Other Users/bob/x\" (MESSAGES)");
        assert_eq!(answer, ["t NO [UNAVAILABLE] that account's mailboxes cannot be reached now"], "{says:?}");
        let fetched = client.command("FETCH 1 UID");
        assert_eq!(fetched, ["* 1 FETCH (UID 1)", "t OK FETCH completed"], "{says:?}");
    }
}

#[test]
fn with_its_mailbox_selected_the_session_ends_and_says_so() {
    const SELECTED: &str = "* 1 EXISTS\r\nTAG OK [READ-WRITE] x\r\n";
    for says in [
        &[SELECTED, "* BYE\r\n"] as &[&str],
        &[SELECTED, "* 1 FETCH (UID 1 X \"\n"],
        &[SELECTED, "* STATUS INBOX (MESSAGES 0)\r\nTAG OK x\r\n"],
        &[SELECTED],
    ] {
        let account = Account::new();
        let mut client = alice(&account, says);
        client.command("SELECT \"Other Users/bob/x\"");
        client.send("t FETCH 1 UID\r\n");
        let (rest, end) = client.rest();
        assert!(
            rest.ends_with("* BYE the selected mailbox cannot be reached any more\r\n"),
            "{says:?}: {rest}"
        );
        assert!(matches!(end, imapd_session::End::Elsewhere), "{end:?}");
    }
}

/// Attack class 18: texts that a client shows, and a line that one would go on reading.
#[test]
fn what_is_said_of_a_mailbox_has_no_words_of_its_own() {
    let account = Account::new();
    let says: &[&str] =
        &["* OK [ALERT] pay here\r\n* OK [UIDNEXT 5] pay here {9}\r\nTAG OK [ALERT] done\r\n"];
    let mut client = alice(&account, says);
    let told = client.command("SELECT \"Other Users/bob/x\"");
    assert_eq!(told, ["* OK [UIDNEXT 5] shared mailbox", "t OK done"]);
}
