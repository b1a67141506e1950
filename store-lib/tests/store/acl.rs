//! Rights of others: bounds, who inherits them, and what becomes of them with their mailbox.

use std::num::NonZeroU32;

use crate::account::{Account, nobody};
use store_lib::{Budget, Grantee, MailboxName, Right, Rights, RightsChange, StoreError};

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn who(account: u32) -> Grantee {
    Grantee::Account(number(account))
}

fn rights(letters: &str) -> Rights {
    Rights::parse(letters.as_bytes()).unwrap()
}

fn give(account: &Account, mailbox: &str, to: Grantee, letters: &str) -> Result<(), StoreError> {
    account.store().change_rights(account.id(mailbox), to, RightsChange::Replace(rights(letters)))
}

fn acl(account: &Account, mailbox: &str) -> Vec<(Grantee, Rights)> {
    let id = account.id(mailbox);
    account.store().read(&Budget::default(), |reader| reader.acl(id)).unwrap()
}

fn of(account: &Account, mailbox: &str, principal: u32) -> Rights {
    let id = account.id(mailbox);
    account.store().read(&Budget::default(), |reader| reader.rights(id, number(principal))).unwrap()
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

#[test]
fn rights_survive_a_crash_and_go_with_their_mailbox() {
    let account = Account::new();
    account.store().create(&name("a"), None, nobody()).unwrap();
    give(&account, "a", who(2), "lr").unwrap();
    give(&account, "a", Grantee::Anyone, "l").unwrap();
    account.store().rename(&name("a"), &name("b"), nobody()).unwrap();
    let account = account.killed_now();
    assert_eq!(acl(&account, "b"), [(Grantee::Anyone, rights("l")), (who(2), rights("lr"))]);
    assert_eq!((of(&account, "b", 2), of(&account, "b", 3)), (rights("lr"), rights("l")));
    account.store().create(&name("b/below"), None, nobody()).unwrap();
    assert_eq!(acl(&account, "b/below"), acl(&account, "b"));
    let id = account.id("b/below");
    account.store().delete(&name("b/below"), nobody()).unwrap();
    account.store().create(&name("c"), None, nobody()).unwrap();
    assert_eq!(acl(&account, "c"), []);
    let gone = account.store().change_rights(id, who(2), RightsChange::Add(rights("l")));
    assert!(matches!(gone, Err(StoreError::NoSuchMailbox)));
    let grantees = account.store().read(&Budget::default(), |reader| reader.grantees()).unwrap();
    assert_eq!(grantees, [Grantee::Anyone, who(2)]);
}

#[test]
fn rights_are_added_and_taken_away() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    let change = |change| account.store().change_rights(inbox, who(2), change).unwrap();
    change(RightsChange::Add(rights("lr")));
    change(RightsChange::Add(rights("rt")));
    change(RightsChange::Remove(rights("l")));
    assert_eq!(acl(&account, "INBOX"), [(who(2), rights("rt"))]);
    assert!(of(&account, "INBOX", 2).has(Right::Read));
    change(RightsChange::Remove(rights("rt")));
    change(RightsChange::Remove(rights("rt")));
    assert_eq!(acl(&account, "INBOX"), []);
}

/// Attack class 46: an owner, or somebody who may administer a mailbox, who gives rights without end.
#[test]
fn rights_beyond_a_bound_are_refused_and_nothing_else_is() {
    let account = Account::new();
    for principal in 1..=100 {
        give(&account, "INBOX", who(principal), "lr").unwrap();
    }
    let refused = give(&account, "INBOX", who(101), "lr");
    assert!(matches!(refused, Err(StoreError::TooMany("rights"))), "{refused:?}");
    give(&account, "INBOX", who(100), "l").unwrap();
    assert_eq!(acl(&account, "INBOX").len(), 100);
    account.store().create(&name("a"), None, nobody()).unwrap();
    for principal in 1..=100 {
        give(&account, "a", who(principal), "lr").unwrap();
    }
    // A new mailbox below one has as many again, up to the account's bound.
    for number in 0..8 {
        account.store().create(&name(&format!("a/{number}")), None, nobody()).unwrap();
    }
    let refused = account.store().create(&name("a/9"), None, nobody());
    assert!(matches!(refused, Err(StoreError::TooMany("rights"))), "{refused:?}");
    account.store().create(&name("b"), None, nobody()).unwrap();
}
