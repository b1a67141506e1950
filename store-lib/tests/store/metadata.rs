//! Annotations: bounds, all or nothing, and what becomes of them with their mailbox.

use crate::account::{Account, nobody};
use store_lib::{
    Annotated, Budget, EntryName, MAX_METADATA_VALUE, MailboxName, MetadataChange, SpecialUse, StoreError,
};

fn set(name: &str, value: &[u8]) -> MetadataChange {
    MetadataChange::Entry(EntryName::parse(name.as_bytes()).unwrap(), Some(value.to_vec()))
}

fn entries(account: &Account, of: Annotated) -> Vec<String> {
    let names = account.store().read(&Budget::default(), |reader| reader.metadata_entries(of)).unwrap();
    names.iter().map(ToString::to_string).collect()
}

fn value(account: &Account, of: Annotated, name: &str) -> Option<Vec<u8>> {
    let name = EntryName::parse(name.as_bytes()).unwrap();
    account.store().read(&Budget::default(), |reader| reader.metadata_value(of, &name)).unwrap()
}

#[test]
fn entries_survive_a_crash_and_go_with_their_mailbox() {
    let account = Account::new();
    let store = account.store();
    let name = |text| MailboxName::parse(text).unwrap();
    let made = Annotated::Mailbox(store.create(&name("a"), None, nobody()).unwrap());
    store.set_metadata(made, vec![set("/shared/comment", b"of a\0mailbox")], nobody()).unwrap();
    store.set_metadata(Annotated::Server, vec![set("/shared/comment", b"of all")], nobody()).unwrap();
    store.rename(&name("a"), &name("b/c"), nobody()).unwrap();
    let account = account.killed_now();
    assert_eq!(account.mailbox("b/c").id, account.id("b/c"));
    assert_eq!(value(&account, made, "/shared/comment").unwrap(), b"of a\0mailbox");
    account.store().delete(&name("b/c"), nobody()).unwrap();
    assert_eq!(value(&account, made, "/shared/comment"), None);
    assert_eq!(value(&account, Annotated::Server, "/shared/comment").unwrap(), b"of all");
    let gone = account.store().set_metadata(made, vec![set("/shared/comment", b"x")], nobody());
    assert!(matches!(gone, Err(StoreError::NoSuchMailbox)));
}

/// Attack class 46: a client that stores without end.
#[test]
fn a_change_beyond_a_bound_leaves_everything_as_it_was() {
    let account = Account::new();
    let store = account.store();
    let inbox = Annotated::Mailbox(account.id("INBOX"));
    let full = vec![0; MAX_METADATA_VALUE];
    store.set_metadata(inbox, vec![set("/private/full", &full)], nobody()).unwrap();
    let larger = vec![0; MAX_METADATA_VALUE + 1];
    let refused =
        store.set_metadata(inbox, vec![set("/private/a", b""), set("/private/b", &larger)], nobody());
    assert!(matches!(refused, Err(StoreError::TooLarge { limit }) if limit == MAX_METADATA_VALUE as u64));
    let many = |count| (0..count).map(|number| set(&format!("/private/{number}"), b"")).collect::<Vec<_>>();
    assert!(matches!(store.set_metadata(inbox, many(100), nobody()), Err(StoreError::TooMany(_))));
    assert_eq!(entries(&account, inbox), ["/private/full"]);
    store.set_metadata(inbox, many(99), nobody()).unwrap();
    assert_eq!(entries(&account, inbox).len(), 100);
    // Another mailbox has room, the account as a whole for 10 MiB.
    let mut stored = 1;
    for mailbox in ["Sent", "Drafts"] {
        for number in 0..100 {
            let change = vec![set(&format!("/private/{number}"), &full)];
            let of = Annotated::Mailbox(account.id(mailbox));
            match store.set_metadata(of, change, nobody()) {
                Ok(()) => stored += 1,
                Err(error) => assert!(matches!(error, StoreError::TooMany(_)), "{error}"),
            }
        }
    }
    assert_eq!(stored, (10 << 20) / MAX_METADATA_VALUE - 1, "names count, too");
}

#[test]
fn a_use_moves_from_one_mailbox_to_another_and_never_to_two() {
    let account = Account::new();
    let store = account.store();
    let of = |name| Annotated::Mailbox(account.id(name));
    let use_ = |special_use| vec![MetadataChange::SpecialUse(special_use)];
    let archive = Some(SpecialUse::Archive);
    assert!(matches!(store.set_metadata(of("Sent"), use_(archive), nobody()), Err(StoreError::UseTaken)));
    store.set_metadata(of("Archive"), use_(None), nobody()).unwrap();
    store.set_metadata(of("Sent"), use_(archive), nobody()).unwrap();
    assert_eq!(account.mailbox("Sent").special_use, archive);
    assert!(matches!(store.set_metadata(of("INBOX"), use_(None), nobody()), Ok(())));
    let sent = Some(SpecialUse::Sent);
    assert!(matches!(store.set_metadata(of("INBOX"), use_(sent), nobody()), Err(StoreError::NotAllowed)));
    assert!(matches!(
        store.set_metadata(Annotated::Server, use_(sent), nobody()),
        Err(StoreError::NotAllowed)
    ));
}
