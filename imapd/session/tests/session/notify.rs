//! NOTIFY: what a client hears that asks for nothing, and what it does not.

use store_lib::{MailboxName, Origin};

use crate::harness::Account;

/// Attack class 27, RFC 5465 §5.8: more happened than is kept for the session, which is told so and then nothing more.
#[test]
fn a_client_that_takes_too_long_is_told_that_it_missed_something() {
    let account = Account::new();
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    client.command("NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MailboxName))");
    // In the middle of a command nothing is told.
    client.send("t NO");
    for number in 0..1100 {
        let name = MailboxName::parse(&format!("m{number}")).unwrap();
        account.store.create(&name, None, Origin::NONE).unwrap();
    }
    client.send("OP\r\n");
    let told = client.until("t ");
    let overflow = told.iter().position(|line| line.starts_with("* OK [NOTIFICATIONOVERFLOW]"));
    assert_eq!(overflow, Some(told.len() - 2), "{told:?}");
    // As after NOTIFY NONE: nor of the selected mailbox.
    account.file("INBOX", b"x\r\n");
    assert_eq!(client.command("NOOP"), ["t OK NOOP completed"]);
    let again = client.command("NOTIFY SET (selected (MessageNew MessageExpunge))");
    assert_eq!(again, ["* 1 EXISTS", "* 1 RECENT", "t OK NOTIFY completed"]);
}

/// Numbers stay what they are while a client may be using them (RFC 3501 §7.4.1), whatever NOTIFY says.
#[test]
fn nothing_is_expunged_between_a_number_and_its_answer() {
    for selected in ["selected", "selected-delayed"] {
        let account = Account::new();
        (0..3).for_each(|_| account.file("INBOX", b"x\r\n"));
        let (mut one, mut two) = (account.log_in(), account.log_in());
        for client in [&mut one, &mut two] {
            client.command("SELECT INBOX");
        }
        one.command(&format!(
            "NOTIFY SET ({selected} (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))"
        ));
        one.send("t FETCH 2");
        two.command("STORE 1 +FLAGS.SILENT (\\Deleted)");
        two.command("EXPUNGE");
        two.append("Drafts", b"x\r\n");
        one.send(" UID\r\n");
        let told = one.until("t ");
        let fetched = told.iter().position(|line| line == "* 2 FETCH (UID 2)");
        let expunged = told.iter().position(|line| line == "* 1 EXPUNGE");
        assert!(fetched.is_some() && expunged.is_none(), "{told:?}");
        if selected == "selected" {
            assert_eq!(one.line(), "* 1 EXPUNGE");
        } else {
            assert_eq!(one.command("NOOP"), ["* 1 EXPUNGE", "t OK NOOP completed"]);
        }
    }
}
