//! Quotas: what an account may hold, and what counts.

use crate::account::{Account, fresh_id, nobody, uid_of};
use store_lib::{Budget, MailboxName, Quota, StoreError, Usage};

/// A message of so many octets, with the prefix that every message here has.
fn of_size(size: usize) -> Vec<u8> {
    vec![b'x'; size - b"Received: by us\r\n".len()]
}

fn usage(account: &Account) -> Usage {
    account.store().read(&Budget::default(), |reader| reader.usage()).unwrap()
}

#[test]
fn a_delivery_beyond_the_quota_changes_nothing_and_room_that_was_made_is_there() {
    let account = Account::new();
    let store = account.store();
    store.set_quota(Quota { octets: Some(1000), messages: None });
    account.try_deliver("INBOX", &of_size(600), fresh_id()).unwrap();
    let id = fresh_id();
    let refused = account.try_deliver("INBOX", &of_size(401), id);
    assert!(matches!(refused, Err(StoreError::OverQuota)));
    assert_eq!(store.delivered(id).unwrap(), None);
    assert_eq!(usage(&account), Usage { octets: 600, messages: 1 });
    account.try_deliver("Sent", &of_size(400), fresh_id()).unwrap();
    assert_eq!(usage(&account), Usage { octets: 1000, messages: 2 });
    store.delete(&MailboxName::parse("Sent").unwrap(), nobody()).unwrap();
    assert_eq!(usage(&account), Usage { octets: 600, messages: 1 });
    account.try_deliver("INBOX", &of_size(100), id).unwrap();
    // A repeat is answered as before, whatever the quota is now.
    store.set_quota(Quota { octets: Some(0), messages: Some(0) });
    assert!(account.try_deliver("INBOX", &of_size(100), id).unwrap().repeat);
}

#[test]
fn a_group_of_deliveries_fills_the_quota_and_no_more() {
    let account = Account::new();
    account.store().set_quota(Quota { octets: None, messages: Some(5) });
    let (send, receive) = std::sync::mpsc::channel();
    for _ in 0..20 {
        let send = send.clone();
        let staged = account.stage(b"x").unwrap();
        let delivery = crate::account::delivery("INBOX", fresh_id());
        account.store().deliver(staged, delivery, move |result| send.send(result.is_ok()).unwrap());
    }
    assert_eq!(receive.iter().take(20).filter(|filed| *filed).count(), 5);
    assert_eq!(usage(&account).messages, 5);
}

#[test]
fn copies_count_and_moves_do_not() {
    let account = Account::new();
    let store = account.store();
    account.try_deliver("INBOX", &of_size(500), fresh_id()).unwrap();
    account.try_deliver("INBOX", &of_size(500), fresh_id()).unwrap();
    let (inbox, trash) = (account.id("INBOX"), account.id("Trash"));
    store.set_quota(Quota { octets: Some(1500), messages: Some(10) });
    let both = [uid_of(1), uid_of(2)];
    assert!(matches!(store.copy(inbox, &both, trash, nobody()), Err(StoreError::OverQuota)));
    assert!(account.uids(trash).is_empty());
    store.copy(inbox, &both[..1], trash, nobody()).unwrap();
    assert_eq!(usage(&account), Usage { octets: 1500, messages: 3 });
    // Also where the quota was lowered meanwhile.
    store.set_quota(Quota { octets: Some(10), messages: Some(1) });
    store.move_messages(inbox, &both, trash, nobody()).unwrap();
    assert_eq!(usage(&account), Usage { octets: 1500, messages: 3 });
    let account = account.killed_now();
    assert_eq!(usage(&account), Usage { octets: 1500, messages: 3 });
}
