//! What was expunged comes back, for a time.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::account::{Account, fresh_id, nobody, uid_of};
use store_lib::{
    Budget, Columns, Counts, DeletedMessage, Drained, Event, FlagChange, Flags, Keyword, MailboxId,
    MailboxName, ModSeq, SystemFlag, Uid, Which,
};

const DAY: i64 = 24 * 3600;
/// A hang is a failure after this.
const PATIENCE: Duration = Duration::from_secs(20);

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn deleted(account: &Account) -> Vec<DeletedMessage> {
    account.store().deleted(&Which::default(), 0, 1000).unwrap()
}

/// Marks and expunges messages of a mailbox.
fn expunge(account: &Account, mailbox: MailboxId, uids: &[u32]) {
    let uids: Vec<Uid> = uids.iter().map(|uid| uid_of(*uid)).collect();
    let mark = FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
    account.store().change_flags(mailbox, &uids, mark, nobody()).unwrap();
    account.store().expunge(mailbox, Some(&uids), nobody()).unwrap();
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::yield_now();
    }
}

fn counts(account: &Account, mailbox: &str) -> Counts {
    account.mailbox(mailbox).counts
}

#[test]
fn an_expunged_message_comes_back_with_its_flags_and_a_new_uid() {
    let mut account = Account::new();
    let store = account.store();
    let small = b"From: Ada <ada@example.org>\r\nSubject: =?utf-8?q?gr=C3=BCn?=\r\n\r\nx".to_vec();
    let large = [&b"Subject: large\r\n\r\n"[..], &vec![b'y'; 100_000]].concat();
    let inbox = account.deliver(&small).mailbox;
    account.deliver(&large);
    let mut flags = Flags::NONE.with(SystemFlag::Seen);
    flags.add_keyword(Keyword::parse("$Work").unwrap()).unwrap();
    store.change_flags(inbox, &[uid_of(1)], FlagChange::Replace(flags.clone()), nobody()).unwrap();
    let before = account.octets(inbox, 1).unwrap();
    let large_before = account.octets(inbox, 2).unwrap();
    expunge(&account, inbox, &[1, 2]);

    // To everybody else it is gone.
    assert_eq!(counts(&account, "INBOX"), Counts::default());
    assert_eq!(account.octets(inbox, 1), None);
    let vanished = |account: &Account| {
        let all = account.store().read(&Budget::default(), |reader| {
            let inbox = reader.mailbox(inbox)?.unwrap();
            reader.expunged_since(&inbox, ModSeq::ZERO)
        });
        all.unwrap().unwrap().into_iter().map(Uid::value).collect::<Vec<_>>()
    };
    assert_eq!(vanished(&account), [1, 2]);
    account.check();
    account.reopen();

    let listed = deleted(&account);
    let told: Vec<_> = listed.iter().map(|one| (&*one.from, &*one.subject, one.size)).collect();
    assert_eq!(
        told,
        [("Ada <ada@example.org>", "grün", before.len() as u64), ("", "large", large_before.len() as u64)]
    );
    assert!(listed.iter().all(|one| one.mailbox == Some(name("INBOX")) && one.received.0 == 1_700_000_000));

    let mut watcher = account.store().watch(inbox).unwrap();
    let restored = account.store().undelete(&Which::default(), None).unwrap();
    assert_eq!(restored.into_iter().collect::<Vec<_>>(), [(name("INBOX"), 2)]);
    assert_eq!(account.listing(inbox), [(3, flags), (4, Flags::NONE)]);
    assert_eq!(account.octets(inbox, 3).unwrap(), before);
    assert_eq!(account.octets(inbox, 4).unwrap(), large_before);
    assert_eq!(vanished(&account), [1, 2], "the tombstones stay");
    let Drained::Changes(changes) = watcher.drain() else { panic!("too many changes") };
    let appended: Vec<_> = changes
        .iter()
        .map(|change| match &change.event {
            Event::Appended { uid, .. } => uid.value(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(appended, [3, 4]);
    assert_eq!(deleted(&account), []);
    assert!(account.store().undelete(&Which::default(), None).unwrap().is_empty(), "once");
}

#[test]
fn messages_are_chosen_by_id_by_mailbox_and_by_time() {
    let account = Account::new();
    let inbox = account.deliver(b"Subject: one\r\n\r\n").mailbox;
    account.deliver(b"Subject: two\r\n\r\n");
    account.try_deliver("Sent", b"Subject: three\r\n\r\n", fresh_id()).unwrap();
    expunge(&account, inbox, &[1, 2]);
    expunge(&account, account.id("Sent"), &[1]);
    let all = deleted(&account);
    let subjects = |which: &Which| -> Vec<String> {
        let found = account.store().deleted(which, 0, 10).unwrap();
        found.into_iter().map(|one| one.subject).collect()
    };
    let of = |mailbox: &str| Which { mailbox: Some(name(mailbox)), ..Which::default() };
    assert_eq!(subjects(&of("INBOX")), ["one", "two"]);
    assert_eq!(subjects(&of("Sent")), ["three"]);
    assert_eq!(subjects(&of("Nowhere")), Vec::<String>::new());
    let since = |at: i64| Which { since: Some(store_lib::UnixSeconds(at)), ..Which::default() };
    assert_eq!(subjects(&since(all[0].at.0)).len(), 3);
    assert_eq!(subjects(&since(all[2].at.0 + 1)), Vec::<String>::new());
    let page = account.store().deleted(&Which::default(), all[0].id, 1).unwrap();
    assert_eq!(page, [all[1].clone()]);

    let ids = Which { ids: Some(vec![all[1].id, 77, all[1].id]), ..Which::default() };
    account.store().undelete(&ids, None).unwrap();
    account.store().undelete(&of("Sent"), Some(&name("Back/again"))).unwrap();
    assert_eq!(account.uids(inbox), [3]);
    assert_eq!(account.uids(account.id("Back/again")), [1]);
    assert_eq!(deleted(&account), [all[0].clone()]);
}

#[test]
fn a_deleted_mailbox_comes_back_under_its_name() {
    let account = Account::new();
    let store = account.store();
    let (work, notes) = (name("Work"), name("Work/Notes"));
    let first = store.create(&notes, None, nobody()).unwrap();
    for number in 0..700 {
        let octets = format!("Subject: {number}\r\n\r\n");
        account.try_deliver("Work/Notes", octets.as_bytes(), fresh_id()).unwrap();
    }
    account.try_deliver("Sent", b"Subject: sent\r\n\r\n", fresh_id()).unwrap();
    store.delete(&notes, nobody()).unwrap();
    store.delete(&work, nobody()).unwrap();
    store.delete(&name("Sent"), nobody()).unwrap();

    // At once: nobody has to wait for the housekeeping.
    assert_eq!(deleted(&account).len(), 701);
    let restored = store.undelete(&Which::default(), None).unwrap();
    assert_eq!(restored.into_iter().collect::<Vec<_>>(), [(name("Sent"), 1), (notes.clone(), 700)]);
    let made = account.mailbox("Work/Notes");
    assert!(made.id != first && made.counts.total == 700);
    assert_eq!(account.mailbox("Sent").special_use, Some(store_lib::SpecialUse::Sent));
}

#[test]
fn messages_go_back_into_a_mailbox_that_was_renamed_or_made_again() {
    let account = Account::new();
    let store = account.store();
    for mailbox in ["a", "b"] {
        store.create(&name(mailbox), None, nobody()).unwrap();
        account.try_deliver(mailbox, b"x", fresh_id()).unwrap();
    }
    expunge(&account, account.id("a"), &[1]);
    store.rename(&name("a"), &name("c"), nobody()).unwrap();
    store.delete(&name("b"), nobody()).unwrap();
    store.create(&name("b"), None, nobody()).unwrap();
    let restored = store.undelete(&Which::default(), None).unwrap();
    assert_eq!(restored.into_iter().collect::<Vec<_>>(), [(name("b"), 1), (name("c"), 1)]);
}

#[test]
fn copies_and_moves_and_what_is_kept_share_a_body() {
    let account = Account::new();
    account.store().create(&name("copies"), None, nobody()).unwrap();
    let octets = [&b"Subject: big\r\n\r\n"[..], &vec![b'z'; 90_000]].concat();
    let inbox = account.deliver(&octets).mailbox;
    account.store().copy(inbox, &[uid_of(1)], account.id("copies"), nobody()).unwrap();
    expunge(&account, inbox, &[1]);
    expunge(&account, account.id("copies"), &[1]);
    account.check();
    assert_eq!(account.files().len(), 1);
    account.store().undelete(&Which { ids: Some(vec![1]), ..Which::default() }, None).unwrap();
    account.store().keep_deleted(0, 0);
    until("the other one goes", || deleted(&account).is_empty());
    account.check();
    assert!(account.octets(inbox, 2).unwrap().ends_with(&octets));
    // A moved message was not deleted.
    account.store().move_messages(inbox, &[uid_of(2)], account.id("copies"), nobody()).unwrap();
    assert_eq!(deleted(&account), []);
}

#[test]
fn nothing_is_kept_when_that_is_off_and_what_was_kept_goes() {
    let account = Account::new();
    let inbox = account.deliver(&vec![b'x'; 100_000]).mailbox;
    account.deliver(&vec![b'y'; 100_000]);
    expunge(&account, inbox, &[1]);
    assert_eq!(account.files().len(), 2);
    account.store().keep_deleted(0, u64::MAX);
    until("what was kept goes", || account.files().len() == 1);
    expunge(&account, inbox, &[2]);
    until("what is expunged goes at once", || account.files().is_empty());
    assert_eq!(deleted(&account), []);
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let account = Account::new();
    account.store().keep_deleted(DAY, 250_000);
    let inbox = account.deliver(&vec![b'x'; 100_000]).mailbox;
    for _ in 0..3 {
        account.deliver(&vec![b'x'; 100_000]);
    }
    expunge(&account, inbox, &[3]);
    expunge(&account, inbox, &[1, 2, 4]);
    // Within the bound there is room for two; which of them went last counts, not which UID is higher.
    until("two are left", || account.files().len() == 2);
    let ids: Vec<_> = deleted(&account).iter().map(|one| one.id).collect();
    assert_eq!(ids, [3, 4]);
}

/// The mailbox has had as many keywords as it may meanwhile: the message comes back without its own.
#[test]
fn a_message_comes_back_into_a_mailbox_full_of_keywords() {
    let account = Account::new();
    let inbox = account.deliver(b"x").mailbox;
    let keyword = |text: String| {
        let mut flags = Flags::NONE.with(SystemFlag::Flagged);
        flags.add_keyword(Keyword::parse(&text).unwrap()).unwrap();
        flags
    };
    let other = account.store().create(&name("other"), None, nobody()).unwrap();
    account.try_deliver("other", b"y", fresh_id()).unwrap();
    let set = |mailbox, flags| {
        account.store().change_flags(mailbox, &[uid_of(1)], FlagChange::Replace(flags), nobody()).unwrap()
    };
    set(other, keyword("own".to_owned()));
    for number in 0..store_lib::MAX_KEYWORDS_PER_MAILBOX {
        set(inbox, keyword(format!("k{number}")));
    }
    expunge(&account, other, &[1]);
    account.store().undelete(&Which::default(), Some(&MailboxName::inbox())).unwrap();
    let mut found = Vec::new();
    let all = |reader: &store_lib::Reader<'_>| {
        reader.fetch(inbox, uid_of(2)..=Uid::MAX, Columns::Flags, |message| {
            found.push(message.flags);
            ControlFlow::Continue(())
        })
    };
    account.store().read(&Budget::default(), all).unwrap();
    assert_eq!(found, [Flags::NONE.with(SystemFlag::Flagged)]);
}
