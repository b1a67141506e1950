//! Mailboxes: create, rename, delete, subscribe.

use crate::account::{Account, fresh_id, nobody, uid_of};
use store_lib::{
    Budget, Counts, Drained, Event, FlagChange, Flags, MailboxName, SpecialUse, StoreError, SystemFlag,
};

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn names(account: &Account) -> Vec<String> {
    let all = account.store().read(&Budget::default(), |reader| reader.mailboxes()).unwrap();
    all.into_iter().map(|mailbox| mailbox.name.to_string()).collect()
}

const INITIAL: [&str; 6] = ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"];

#[test]
fn an_account_begins_with_the_usual_mailboxes() {
    let account = Account::new();
    let all = account.store().read(&Budget::default(), |reader| reader.mailboxes()).unwrap();
    assert_eq!(names(&account), INITIAL);
    let uses: Vec<_> = all.iter().map(|mailbox| mailbox.special_use).collect();
    use SpecialUse::{Archive, Drafts, Junk, Sent, Trash};
    assert_eq!(uses, [Some(Archive), Some(Drafts), None, Some(Junk), Some(Sent), Some(Trash)]);
    assert!(all.iter().all(|mailbox| mailbox.subscribed && mailbox.counts == Counts::default()));
    let mut validities: Vec<_> = all.iter().map(|mailbox| mailbox.uidvalidity).collect();
    validities.sort();
    validities.dedup();
    assert_eq!(validities.len(), 6);
}

#[test]
fn creating_makes_the_missing_levels_and_refuses_what_is_there() {
    let account = Account::new();
    account.store().create(&name("a/b/c"), None, nobody()).unwrap();
    assert!(["a", "a/b", "a/b/c"].iter().all(|made| names(&account).contains(&(*made).to_owned())));
    for taken in ["a", "a/b/c", "inbox"] {
        assert!(matches!(
            account.store().create(&name(taken), None, nobody()),
            Err(StoreError::MailboxExists)
        ));
    }
}

#[test]
fn one_mailbox_at_most_has_a_use() {
    let account = Account::new();
    let store = account.store();
    let taken = store.create(&name("a/Sent Items"), Some(SpecialUse::Sent), nobody());
    assert!(matches!(taken, Err(StoreError::UseTaken)));
    assert_eq!(names(&account), INITIAL, "nothing of it was made");
    store.delete(&name("Sent"), nobody()).unwrap();
    store.create(&name("a/Sent Items"), Some(SpecialUse::Sent), nobody()).unwrap();
    assert_eq!(account.mailbox("a/Sent Items").special_use, Some(SpecialUse::Sent));
    assert_eq!(account.mailbox("a").special_use, None);
    store.rename(&name("a/Sent Items"), &name("Gesendet"), nobody()).unwrap();
    assert_eq!(account.mailbox("Gesendet").special_use, Some(SpecialUse::Sent));
    assert_eq!(SpecialUse::from_attribute("\\sENT"), Some(SpecialUse::Sent));
    assert_eq!(SpecialUse::from_attribute("\\All"), None);
}

#[test]
fn a_name_made_again_gets_a_higher_uidvalidity_and_none_of_the_old_messages() {
    let mut account = Account::new();
    let mut last = account.mailbox("Sent").uidvalidity;
    for _ in 0..3 {
        let id = account.store().create(&name("x"), None, nobody()).unwrap();
        let made = account.mailbox("x");
        assert!(made.uidvalidity > last);
        assert_eq!((made.id, made.counts.total, made.uidnext), (id, 0, 1));
        last = made.uidvalidity;
        account.try_deliver("x", &vec![b'x'; 70_000], fresh_id()).unwrap();
        account.store().delete(&name("x"), nobody()).unwrap();
        account.reopen();
    }
}

#[test]
fn deleting_refuses_inbox_parents_and_what_is_not_there() {
    let account = Account::new();
    account.store().create(&name("a/b"), None, nobody()).unwrap();
    assert!(matches!(account.store().delete(&name("INBOX"), nobody()), Err(StoreError::NotAllowed)));
    assert!(matches!(account.store().delete(&name("a"), nobody()), Err(StoreError::HasChildren)));
    assert!(matches!(account.store().delete(&name("b"), nobody()), Err(StoreError::NoSuchMailbox)));
    account.store().delete(&name("a/b"), nobody()).unwrap();
    account.store().delete(&name("a"), nobody()).unwrap();
    assert_eq!(names(&account), INITIAL);
}

#[test]
fn the_messages_of_a_deleted_mailbox_go_in_the_background() {
    let account = Account::new();
    account.store().keep_deleted(0, 0);
    let id = account.store().create(&name("big"), None, nobody()).unwrap();
    for size in [10, 70_000, 5_000] {
        account.try_deliver("big", &vec![b'x'; size], fresh_id()).unwrap();
    }
    let mut watching = account.store().watch(id).unwrap();
    account.store().delete(&name("big"), nobody()).unwrap();
    let Drained::Changes(changes) = watching.drain() else { panic!("resync") };
    let events: Vec<_> = changes.into_iter().map(|change| change.event).collect();
    assert_eq!(events, [Event::Deleted, Event::MailboxesChanged]);
    let refused = account.store().change_flags(id, &[uid_of(1)], FlagChange::Add(Flags::NONE), nobody());
    assert!(matches!(refused, Err(StoreError::NoSuchMailbox)));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !(account.uids(id).is_empty() && account.files().is_empty()) {
        assert!(std::time::Instant::now() < until, "still there");
        std::thread::yield_now();
    }
}

#[test]
fn renaming_takes_all_levels_below_and_the_subscriptions_along() {
    let account = Account::new();
    let store = account.store();
    let before = store.create(&name("a/b/c"), None, nobody()).unwrap();
    store.create(&name("ab"), None, nobody()).unwrap();
    store.set_subscribed(&name("a/b"), true, nobody()).unwrap();
    store.rename(&name("a"), &name("x/y"), nobody()).unwrap();
    let expected =
        ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash", "ab", "x", "x/y", "x/y/b", "x/y/b/c"];
    assert_eq!(names(&account), expected);
    assert_eq!(account.id("x/y/b/c"), before);
    assert!(account.mailbox("x/y/b").subscribed);
    for (from, to, allowed) in
        [("x", "x/z", false), ("x", "x", false), ("x/y", "ab", false), ("nope", "n", false)]
    {
        assert_eq!(store.rename(&name(from), &name(to), nobody()).is_ok(), allowed, "{from} to {to}");
    }
    let long = "l".repeat(250);
    assert!(store.rename(&name("x"), &name(&long), nobody()).is_err());
    assert_eq!(names(&account), expected);
}

#[test]
fn renaming_inbox_moves_its_messages_and_leaves_it_empty() {
    let account = Account::new();
    let store = account.store();
    store.create(&name("INBOX/below"), None, nobody()).unwrap();
    let inbox = account.mailbox("INBOX");
    (0..3).for_each(|_| assert!(account.deliver(b"x").uid.value() > 0));
    let seen = Flags::NONE.with(SystemFlag::Seen);
    store.change_flags(inbox.id, &[uid_of(2)], FlagChange::Add(seen), nobody()).unwrap();
    let mut watching = store.watch(inbox.id).unwrap();
    store.rename(&name("INBOX"), &name("old/mail"), nobody()).unwrap();
    let (after, old) = (account.mailbox("INBOX"), account.mailbox("old/mail"));
    assert_eq!((after.id, after.uidvalidity, after.uidnext), (inbox.id, inbox.uidvalidity, 4));
    assert_eq!(after.counts, Counts::default());
    assert_eq!((old.counts.total, old.counts.unseen, old.uidnext), (3, 2, 4));
    assert_eq!(account.uids(old.id), [1, 2, 3]);
    assert!(names(&account).contains(&"INBOX/below".to_owned()));
    let Drained::Changes(changes) = watching.drain() else { panic!("resync") };
    assert_eq!(changes.iter().filter(|change| matches!(change.event, Event::Expunged { .. })).count(), 3);
    assert_eq!(account.deliver(b"y").uid, uid_of(4));
}

#[test]
fn subscriptions_need_no_mailbox_and_survive_its_end() {
    let mut account = Account::new();
    account.store().set_subscribed(&name("elsewhere"), true, nobody()).unwrap();
    account.store().set_subscribed(&name("Junk"), false, nobody()).unwrap();
    account.store().delete(&name("Sent"), nobody()).unwrap();
    account.reopen();
    let subscribed = account.store().read(&Budget::default(), |reader| reader.subscriptions()).unwrap();
    let subscribed: Vec<_> = subscribed.iter().map(MailboxName::as_str).collect();
    assert_eq!(subscribed, ["Archive", "Drafts", "INBOX", "Sent", "Trash", "elsewhere"]);
    assert!(!account.mailbox("Junk").subscribed);
}
