//! Threads: what joins what, and what stays apart.

use crate::account::{Account, LIMIT, nobody};
use store_lib::{Budget, Flags, MailboxId, MessageId, Parse, SystemFlag, ThreadId, Uid, UnixSeconds};

const DAY: i64 = 24 * 3600;

/// Files a message; `references` as in the field. Its UID.
fn file(account: &Account, day: i64, id: &str, references: &str, subject: &str) -> Uid {
    let mut text = format!("Subject: {subject}\r\n");
    if !id.is_empty() {
        text += &format!("Message-ID: <{id}>\r\n");
    }
    if !references.is_empty() {
        let references: Vec<String> = references.split(' ').map(|id| format!("<{id}>")).collect();
        text += &format!("References: {}\r\n", references.join(" "));
    }
    let staged = account.store().stage(b"", &mut text.as_bytes(), Parse::Yes, LIMIT).unwrap();
    let received = UnixSeconds(day * DAY);
    account.store().append(account.id("INBOX"), staged, Flags::NONE, received, nobody()).unwrap().uid
}

fn message(account: &Account, mailbox: MailboxId, uid: Uid) -> MessageId {
    let mut found = None;
    let read = account.store().read(&Budget::default(), |reader| {
        reader.fetch(mailbox, uid..=uid, store_lib::Columns::Flags, |message| {
            found = Some(message.id);
            std::ops::ControlFlow::Continue(())
        })
    });
    read.unwrap();
    found.unwrap()
}

/// The name of the thread that a message was told to be of.
fn told(account: &Account, uid: Uid) -> ThreadId {
    let message = message(account, account.id("INBOX"), uid);
    account.store().read(&Budget::default(), |reader| reader.thread_of(message)).unwrap().unwrap()
}

/// The thread that a message is in.
fn thread(account: &Account, uid: Uid) -> ThreadId {
    let told = told(account, uid);
    account.store().read(&Budget::default(), |reader| reader.thread(told)).unwrap().unwrap().id
}

fn is_link_missing(account: &Account, uid: Uid) -> bool {
    let message = message(account, account.id("INBOX"), uid);
    account.store().read(&Budget::default(), |reader| reader.is_link_missing(message)).unwrap()
}

#[test]
fn answers_join_what_they_answer_if_they_have_its_subject() {
    let account = Account::new();
    let lunch = file(&account, 0, "1@x", "", "Lunch");
    let reply = file(&account, 100, "2@x", "1@x", "Re: lunch");
    let later = file(&account, 200, "3@x", "1@x 2@x", "[team] RE: Lunch");
    let other = file(&account, 200, "4@x", "1@x 2@x", "Dinner");
    let copy = file(&account, 300, "2@x", "", "Re: lunch");
    let apart = file(&account, 300, "5@x", "", "Lunch");
    for uid in [reply, later, copy] {
        assert_eq!(told(&account, uid), told(&account, lunch));
    }
    assert_ne!(told(&account, other), told(&account, lunch));
    assert_ne!(
        told(&account, apart),
        told(&account, lunch),
        "a new message of the same subject is no answer"
    );
    assert!([reply, later, other].iter().all(|uid| !is_link_missing(&account, *uid)));
}

#[test]
fn replies_without_references_join_their_subject_within_four_weeks() {
    let account = Account::new();
    let lunch = file(&account, 100, "", "", "Lunch");
    let reply = file(&account, 127, "", "", "Re: Lunch");
    // The thread's latest message counts.
    let later = file(&account, 154, "", "", "Re: Lunch");
    let too_late = file(&account, 190, "", "", "Re: Lunch");
    let empty = file(&account, 190, "", "", "Re:");
    let empty_too = file(&account, 190, "", "", "Re:");
    assert_eq!(told(&account, reply), told(&account, lunch));
    assert_eq!(told(&account, later), told(&account, lunch));
    assert_ne!(told(&account, too_late), told(&account, lunch));
    assert_ne!(told(&account, empty), told(&account, empty_too));
    let refers = file(&account, 190, "", "gone@x", "Re: Lunch");
    assert_ne!(told(&account, refers), told(&account, too_late), "with references the subject is not enough");
}

#[test]
fn a_late_parent_finds_its_children() {
    let account = Account::new();
    let child = file(&account, 0, "2@x", "1@x", "Re: Lunch");
    let sibling = file(&account, 0, "3@x", "1@x", "Re: Lunch");
    let other = file(&account, 0, "4@x", "1@x", "Re: Dinner");
    assert_eq!(told(&account, child), told(&account, sibling), "both wait for the same message");
    assert!(is_link_missing(&account, child) && is_link_missing(&account, other));
    let parent = file(&account, 1, "1@x", "", "Lunch");
    assert_eq!(told(&account, parent), told(&account, child), "what was told is not changed");
    assert_ne!(told(&account, parent), told(&account, other));
    assert!([child, sibling, other].iter().all(|uid| !is_link_missing(&account, *uid)));
}

#[test]
fn threads_that_turn_out_to_be_one_keep_their_names() {
    let account = Account::new();
    let first = file(&account, 0, "1@x", "", "Lunch");
    let third = file(&account, 0, "3@x", "2@x", "Re: Lunch");
    let (of_first, of_third) = (told(&account, first), told(&account, third));
    assert_ne!(of_first, of_third);
    assert!(account.store().set_thread(of_third, Some(true), None).unwrap());
    let second = file(&account, 0, "2@x", "1@x", "Re: Lunch");
    assert_eq!((told(&account, first), told(&account, third)), (of_first, of_third));
    assert!([first, second, third].iter().all(|uid| thread(&account, *uid) == of_first));
    let inbox = account.id("INBOX");
    let all: Vec<_> = [first, third, second].iter().map(|uid| message(&account, inbox, *uid)).collect();
    account
        .store()
        .read(&Budget::default(), |reader| {
            assert_eq!(reader.messages_of(of_third)?, all);
            assert_eq!(reader.messages_told_of(of_third)?, all[1..2]);
            assert!(reader.thread(of_third)?.unwrap().muted, "muted as one of them was");
            Ok(())
        })
        .unwrap();
}

#[test]
fn copies_are_of_one_thread_and_an_empty_thread_goes() {
    let account = Account::new();
    // What could come back would be of its thread again.
    account.store().keep_deleted(0, 0);
    let (inbox, archive) = (account.id("INBOX"), account.id("Archive"));
    let uid = file(&account, 0, "2@x", "1@x", "Re: Lunch");
    let thread = told(&account, uid);
    let copied = account.store().copy(inbox, &[uid], archive, nobody()).unwrap();
    let copy = message(&account, archive, copied.pairs[0].1);
    assert_eq!(copy, message(&account, inbox, uid));
    assert!(account.store().set_thread(thread, None, Some(true)).unwrap());
    let all = || account.store().read(&Budget::default(), |reader| reader.thread(thread)).unwrap();
    for mailbox in [inbox, archive] {
        assert!(all().unwrap().collapsed);
        let uids = account.store().read(&Budget::default(), |reader| reader.uids(mailbox)).unwrap();
        let deleted = store_lib::FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
        account.store().change_flags(mailbox, &uids, deleted, nobody()).unwrap();
        account.store().expunge(mailbox, None, nobody()).unwrap();
    }
    assert_eq!(all(), None);
    assert!(!account.store().set_thread(thread, Some(true), None).unwrap());
    // Nothing waits for what was expunged.
    let parent = file(&account, 1, "1@x", "", "Lunch");
    assert_ne!(told(&account, parent), thread);
}

#[test]
fn threading_anew_finds_the_same_threads_and_keeps_what_was_said_of_them() {
    let account = Account::new();
    let mut uids = Vec::new();
    for n in 0..450 {
        let parent = if n % 3 == 0 { String::new() } else { format!("{}@x", n - 1) };
        let subject = format!("Re: {}", n / 3);
        uids.push(file(&account, n, &format!("{n}@x"), &parent, &subject));
    }
    let late = file(&account, 0, "late@x", "lost@x", "Re: Lost");
    uids.push(late);
    uids.push(file(&account, 0, "lost@x", "", "Lost"));
    let threads = || uids.iter().map(|uid| thread(&account, *uid)).collect::<Vec<_>>();
    let before = threads();
    assert!(account.store().set_thread(before[4], Some(true), None).unwrap());
    account.store().rethread().unwrap();
    assert_eq!(threads(), before);
    account.check();
    let muted = account.store().read(&Budget::default(), |reader| reader.thread(before[4])).unwrap().unwrap();
    assert!(muted.muted && muted.id == before[4]);
}

/// Attack class 8: references that loop, repeat, name themselves, and never end.
#[test]
fn crafted_references_make_threads_all_the_same() {
    let account = Account::new();
    let many: Vec<String> = (0..2_000).map(|n| format!("{n}@many")).collect();
    let many = many.join(" ");
    for n in 0..30 {
        file(&account, 0, &format!("{n}@x"), &format!("{}@x {n}@x {many}", (n + 1) % 30), "Re: Loop");
    }
    for n in 0..30 {
        file(&account, 0, &format!("{n}@many"), &format!("{}@many 0@x", (n + 7) % 30), "Re: Loop");
    }
    account.check();
}

#[test]
fn what_is_not_looked_into_is_a_thread_of_its_own() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    let mut text: &[u8] = b"Subject: Re: x\r\nMessage-ID: <1@x>\r\n\r\n";
    let staged = account.store().stage(b"", &mut text, Parse::No, LIMIT).unwrap();
    let filed = account.store().append(inbox, staged, Flags::NONE, UnixSeconds(0), nobody()).unwrap();
    let thread = told(&account, filed.uid);
    let messages =
        account.store().read(&Budget::default(), |reader| reader.messages_told_of(thread)).unwrap();
    assert_eq!(messages, [message(&account, inbox, filed.uid)]);
    assert_eq!(ThreadId::parse(&thread.to_string()), Some(thread));
    for text in ["", "T", "T01", "t1", "T+1", "1", "T1 ", "T99999999999999999999"] {
        assert_eq!(ThreadId::parse(text), None, "{text}");
    }
}
