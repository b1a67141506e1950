//! Messages: in, out again, flags, copies, removal.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};

use crate::account::{Account, LIMIT, delivery, fresh_id, nobody, uid_of};
use store_lib::{
    Budget, Change, Columns, Drained, Event, FlagChange, Flags, Keyword, MailboxName, ModSeq, Parse,
    StoreError, SystemFlag, Uid, UnixSeconds,
};

const PREFIX: &[u8] = b"Received: by us\r\n";

fn message(size: usize) -> Vec<u8> {
    let mut octets = b"Subject: test\r\n\r\n".to_vec();
    octets.extend((0..).map(|n: u32| u8::try_from(n * 7 % 251).unwrap()).take(size));
    octets.truncate(size);
    octets
}

fn deleted() -> Flags {
    Flags::NONE.with(SystemFlag::Deleted)
}

fn uids(values: &[u32]) -> Vec<Uid> {
    values.iter().copied().map(uid_of).collect()
}

#[test]
fn octets_come_back_as_they_were_received_behind_the_prefix() {
    let account = Account::new();
    let sizes =
        [0, 1, 999, 1000, 1001, 4000, 4001, 16_384, 65_535, 65_536, 65_537, 131_072, 200_000, 3_000_000];
    for size in sizes {
        let octets = message(size);
        let filed = account.deliver(&octets);
        let expected = [PREFIX, &octets].concat();
        assert_eq!(account.octets(filed.mailbox, filed.uid.value()).unwrap(), expected, "{size}");
        let body = account.store().read(&Budget::default(), |reader| reader.body(filed.mailbox, filed.uid));
        let body = body.unwrap().unwrap();
        assert_eq!(body.size(), expected.len() as u64);
        for offset in
            [0, 1, PREFIX.len() - 1, PREFIX.len(), PREFIX.len() + 1, expected.len() / 2, expected.len()]
        {
            let mut buffer = [0; 100];
            let read = body.read_at(offset as u64, &mut buffer).unwrap();
            let rest = expected.get(offset..).unwrap_or_default();
            assert_eq!(buffer[..read], rest[..rest.len().min(100)], "{size} from {offset}");
        }
        assert_eq!(body.read_at(u64::MAX, &mut [0; 10]).unwrap(), 0);
    }
    assert_eq!(account.files().len(), sizes.iter().filter(|size| **size > 65_536).count());
}

#[test]
fn a_message_that_comes_in_pieces_is_the_same_message() {
    let account = Account::new();
    let octets = message(300_000);
    for piece in [7_001, 65_536, 65_537, 300_000] {
        let mut stager = account.store().stager(PREFIX, Parse::Yes, LIMIT);
        octets.chunks(piece).for_each(|piece| stager.push(piece).unwrap());
        let inbox = account.id("INBOX");
        let staged = stager.finish().unwrap();
        let filed = account.store().append(inbox, staged, Flags::NONE, UnixSeconds(5), nobody()).unwrap();
        assert_eq!(account.octets(inbox, filed.uid.value()).unwrap(), [PREFIX, &octets].concat());
    }
}

#[test]
fn what_listings_show_is_stored_and_unparsed_messages_have_none() {
    let account = Account::new();
    let parsed = account.deliver(&message(100));
    let raw = account.store().stage(PREFIX, &mut &*message(100), Parse::No, LIMIT).unwrap();
    assert!(!raw.is_parsed());
    let raw = account.store().append(parsed.mailbox, raw, deleted(), UnixSeconds(-5), nobody()).unwrap();
    let mut seen = Vec::new();
    account
        .store()
        .read(&Budget::default(), |reader| {
            reader.fetch(parsed.mailbox, Uid::MIN..=Uid::MAX, Columns::Summary, |message| {
                seen.push((
                    message.uid,
                    message.size,
                    message.received,
                    message.flags,
                    message.summary.is_some(),
                ));
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    let size = 100 + PREFIX.len() as u64;
    assert_eq!(
        seen,
        [
            (parsed.uid, size, UnixSeconds(1_700_000_000), Flags::NONE, true),
            (raw.uid, size, UnixSeconds(-5), deleted(), false),
        ]
    );
}

#[test]
fn a_repeated_delivery_gets_the_first_answer_and_files_nothing() {
    let mut account = Account::new();
    let id = fresh_id();
    let first = account.try_deliver("INBOX", &message(100_000), id).unwrap();
    assert!(!first.repeat);
    account.reopen();
    let second = account.try_deliver("Junk", &message(100_000), id).unwrap();
    assert_eq!((second.filed, second.repeat), (first.filed, true));
    assert_eq!(account.store().delivered(id).unwrap(), Some(first.filed));
    assert_eq!(account.store().delivered(fresh_id()).unwrap(), None);
    assert_eq!((account.mailbox("INBOX").counts.total, account.mailbox("Junk").counts.total), (1, 0));
    assert_eq!(account.files().len(), 1);
}

#[test]
fn a_message_over_the_limit_is_refused_and_leaves_nothing() {
    let account = Account::new();
    for limit in [99, 100_000] {
        let octets = message(usize::try_from(limit).unwrap() + 1);
        let refused = account.store().stage(PREFIX, &mut &*octets, Parse::Yes, limit);
        assert!(matches!(refused, Err(StoreError::TooLarge { limit: told }) if told == limit));
    }
    assert_eq!(account.files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_staged_message_that_is_not_filed_leaves_nothing() {
    let account = Account::new();
    drop(account.stage(&message(100_000)).unwrap());
    let mut stager = account.store().stager(PREFIX, Parse::Yes, LIMIT);
    stager.push(&message(200_000)).unwrap();
    drop(stager);
    let refused = account.try_deliver("No/Such", &message(100_000), fresh_id());
    assert!(matches!(refused, Err(StoreError::NoSuchMailbox)));
    assert_eq!(account.files().len(), 0);
}

#[test]
fn flags_change_with_rising_modseq_and_only_where_they_differ() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    let filed: Vec<_> = (0..3).map(|_| account.deliver(&message(10))).collect();
    assert!(filed.is_sorted_by(|a, b| a.modseq < b.modseq && a.uid < b.uid));
    let store = account.store();
    let mut flags = Flags::NONE.with(SystemFlag::Seen);
    flags.add_keyword(Keyword::parse("$Work").unwrap()).unwrap();
    let asked = uids(&[1, 3, 77]);
    let first = store.change_flags(inbox, &asked, FlagChange::Add(flags.clone()), nobody()).unwrap();
    assert_eq!(first.iter().map(|one| one.uid.value()).collect::<Vec<_>>(), [1, 3]);
    assert!(first[0].modseq > filed[2].modseq);
    let again = store.change_flags(inbox, &asked, FlagChange::Add(flags.clone()), nobody()).unwrap();
    assert_eq!(again, first);
    assert_eq!(account.mailbox("INBOX").counts.unseen, 1);
    let replaced = store.change_flags(inbox, &uids(&[1]), FlagChange::Replace(deleted()), nobody()).unwrap();
    assert!(replaced[0].modseq > first[0].modseq);
    let removed =
        store.change_flags(inbox, &uids(&[3]), FlagChange::Remove(flags.clone()), nobody()).unwrap();
    assert_eq!(removed[0].flags, Flags::NONE);
    assert_eq!(account.listing(inbox), [(1, deleted()), (2, Flags::NONE), (3, Flags::NONE)]);
    let mailbox = account.mailbox("INBOX");
    assert_eq!((mailbox.counts.unseen, mailbox.counts.deleted), (3, 1));
    assert_eq!(mailbox.keywords.iter().map(Keyword::as_str).collect::<Vec<_>>(), ["$Work"]);
    assert_eq!(mailbox.modseq, removed[0].modseq);
}

#[test]
fn copies_share_the_body_until_the_last_is_expunged() {
    let account = Account::new();
    let (inbox, archive) = (account.id("INBOX"), account.id("Archive"));
    let octets = message(100_000);
    account.deliver(&octets);
    account.deliver(&message(100));
    let store = account.store();
    let copied = store.copy(inbox, &uids(&[1, 2, 9]), archive, nobody()).unwrap();
    assert_eq!(copied.pairs, [(uid_of(1), uid_of(1)), (uid_of(2), uid_of(2))]);
    assert_eq!(copied.uidvalidity, account.mailbox("Archive").uidvalidity);
    store.copy(archive, &uids(&[1]), archive, nobody()).unwrap();
    assert_eq!(account.files().len(), 1);
    store.change_flags(inbox, &uids(&[1, 2]), FlagChange::Add(deleted()), nobody()).unwrap();
    let expunged = store.expunge(inbox, None, nobody()).unwrap();
    assert_eq!(expunged.iter().map(|(uid, _)| uid.value()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(account.octets(archive, 3).unwrap(), [PREFIX, &octets].concat());
    account.check();
    store.change_flags(archive, &uids(&[1, 2, 3]), FlagChange::Add(deleted()), nobody()).unwrap();
    // Held by a reader: stays readable after it is gone.
    let held = store.read(&Budget::default(), |reader| reader.body(archive, uid_of(1))).unwrap().unwrap();
    store.expunge(archive, Some(&uids(&[1, 2])), nobody()).unwrap();
    assert_eq!(account.uids(archive), [3]);
    store.expunge(archive, None, nobody()).unwrap();
    assert_eq!(account.octets(archive, 1), None);
    let mut buffer = [0; 50];
    assert_eq!(held.read_at(17, &mut buffer).unwrap(), 50);
    assert_eq!(buffer, octets[..50]);
}

#[test]
fn expunged_messages_leave_tombstones_in_order() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    (0..4).for_each(|_| assert!(account.deliver(&message(10)).uid.value() > 0));
    let store = account.store();
    let before = account.mailbox("INBOX").modseq;
    store.change_flags(inbox, &uids(&[2, 3]), FlagChange::Add(deleted()), nobody()).unwrap();
    let first = store.expunge(inbox, Some(&uids(&[3, 4])), nobody()).unwrap();
    let second = store.expunge(inbox, None, nobody()).unwrap();
    let since = |modseq: ModSeq| {
        let inbox = account.mailbox("INBOX");
        store.read(&Budget::default(), |reader| reader.expunged_since(&inbox, modseq)).unwrap()
    };
    assert_eq!(since(before), Some(uids(&[2, 3])));
    assert_eq!(since(first[0].1), Some(uids(&[2])));
    assert_eq!((first[0].0.value(), second[0].0.value()), (3, 2));
    assert!(store.expunge(inbox, None, nobody()).unwrap().is_empty());
}

/// Who asks for more than is remembered is told so, and never gets a part for the whole.
#[test]
fn what_was_expunged_long_ago_is_forgotten_and_that_is_said() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    (0..5).for_each(|_| assert!(account.deliver(&message(10)).uid.value() > 0));
    let store = account.store();
    store.change_flags(inbox, &uids(&[1, 2, 3, 4]), FlagChange::Add(deleted()), nobody()).unwrap();
    let before = account.mailbox("INBOX").modseq;
    let first = store.expunge(inbox, Some(&uids(&[1, 2])), nobody()).unwrap()[0].1;
    let second = store.expunge(inbox, Some(&uids(&[3])), nobody()).unwrap()[0].1;
    let third = store.expunge(inbox, Some(&uids(&[4])), nobody()).unwrap()[0].1;
    let since = |account: &Account, modseq: ModSeq| {
        let inbox = account.mailbox("INBOX");
        let read = account.store().read(&Budget::default(), |reader| reader.expunged_since(&inbox, modseq));
        read.unwrap().map(|uids| uids.into_iter().map(|uid| uid.value()).collect::<Vec<_>>())
    };
    for (kept, expected) in [
        (4, [Some(vec![1, 2, 3, 4]), Some(vec![3, 4]), Some(vec![4]), Some(vec![])]),
        // Both of the first change go, though one would have been enough.
        (3, [None, Some(vec![3, 4]), Some(vec![4]), Some(vec![])]),
        (1, [None, None, Some(vec![4]), Some(vec![])]),
        (0, [None, None, None, Some(vec![])]),
    ] {
        store.forget_expunged(kept).unwrap();
        let known = [before, first, second, third].map(|modseq| since(&account, modseq));
        assert_eq!(known, expected, "{kept} kept");
    }
    let account = account.killed_now();
    assert_eq!(since(&account, second), None);
    assert_eq!(since(&account, third), Some(vec![]));
}

/// The look at the mod-sequence and the change are one (RFC 7162 §3.1.3).
#[test]
fn a_conditional_change_spares_what_was_changed_later() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    (0..3).for_each(|_| assert!(account.deliver(&message(10)).uid.value() > 0));
    let store = account.store();
    let known = account.mailbox("INBOX").modseq;
    store.change_flags(inbox, &uids(&[2]), FlagChange::Add(deleted()), nobody()).unwrap();
    let asked = uids(&[1, 2, 3, 9]);
    let change = || FlagChange::Add(Flags::NONE.with(SystemFlag::Flagged));
    let done = store.change_flags_since(inbox, &asked, change(), known, nobody()).unwrap();
    assert_eq!(done.stored.iter().map(|stored| stored.uid).collect::<Vec<_>>(), uids(&[1, 3]));
    assert_eq!(done.modified, uids(&[2]));
    let again = store.change_flags_since(inbox, &asked, change(), known, nobody()).unwrap();
    assert_eq!((again.stored, again.modified), (Vec::new(), uids(&[1, 2, 3])));
    // Of two that race for the same message one wins.
    let now = account.mailbox("INBOX").modseq;
    let wins: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = ["$A", "$B", "$C", "$D"]
            .map(|word| {
                let mut flags = Flags::NONE;
                flags.add_keyword(store_lib::Keyword::parse(word).unwrap()).unwrap();
                let asked = uids(&[3]);
                scope.spawn(move || {
                    let change = FlagChange::Add(flags);
                    store.change_flags_since(inbox, &asked, change, now, nobody()).unwrap().stored.len()
                })
            })
            .into_iter()
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn moving_takes_the_message_away_and_keeps_the_body() {
    let account = Account::new();
    let (inbox, trash) = (account.id("INBOX"), account.id("Trash"));
    account.deliver(&message(70_000));
    let mut watching = account.store().watch(inbox).unwrap();
    let moved = account.store().move_messages(inbox, &uids(&[1]), trash, nobody()).unwrap();
    assert_eq!(moved.pairs, [(uid_of(1), uid_of(1))]);
    assert_eq!((account.uids(inbox), account.uids(trash)), (vec![], vec![1]));
    assert_eq!(account.octets(trash, 1).unwrap().len(), 70_000 + PREFIX.len());
    let Drained::Changes(changes) = watching.drain() else { panic!("resync") };
    assert!(matches!(changes[..], [Change { event: Event::Expunged { .. }, .. }]));
    // Within one mailbox it is a new message.
    account.store().move_messages(trash, &uids(&[1]), trash, nobody()).unwrap();
    assert_eq!(account.uids(trash), [2]);
}

#[test]
fn changes_come_after_the_commit_in_order_with_their_origin() {
    let account = Account::new();
    let (inbox, store) = (account.id("INBOX"), account.store());
    let mut watching = store.watch(inbox).unwrap();
    let mine = store.origin();
    let filed = account.deliver(&message(10));
    let stored = store.change_flags(inbox, &[filed.uid], FlagChange::Add(deleted()), mine).unwrap();
    let expunged = store.expunge(inbox, None, mine).unwrap();
    let Drained::Changes(changes) = watching.drain() else { panic!("resync") };
    let event = |origin, event| Change { origin, event };
    assert_eq!(
        changes,
        [
            event(nobody(), Event::Appended { uid: filed.uid, modseq: filed.modseq, flags: Flags::NONE }),
            event(mine, Event::Flags { uid: filed.uid, modseq: stored[0].modseq, flags: deleted() }),
            event(mine, Event::Expunged { uid: filed.uid, modseq: expunged[0].1 }),
        ]
    );
}

#[test]
fn long_jobs_leave_turns_to_deliveries() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    let (send, receive) = mpsc::channel();
    for _ in 0..1_200 {
        let send = send.clone();
        let staged = account.stage(&message(10)).unwrap();
        account
            .store()
            .deliver(staged, delivery("INBOX", fresh_id()), move |result| send.send(result).unwrap());
    }
    assert!(receive.iter().take(1_200).all(|result| result.is_ok()));
    let all: Vec<Uid> = (1..=1_200).map(uid_of).collect();
    let mut watching = account.store().watch(inbox).unwrap();
    std::thread::scope(|scope| {
        let long = scope.spawn(|| {
            account.store().change_flags(inbox, &all, FlagChange::Add(deleted()), nobody()).unwrap();
            account.store().copy(inbox, &all, account.id("Archive"), nobody()).unwrap();
            account.store().expunge(inbox, None, nobody()).unwrap();
        });
        for _ in 0..20 {
            account.deliver(&message(10));
        }
        long.join().unwrap();
    });
    assert_eq!(account.mailbox("Archive").counts.total, 1_200);
    assert_eq!(account.mailbox("INBOX").counts.total, 20);
    assert_eq!(watching.drain(), Drained::Resync);
}

#[test]
fn a_copy_that_fails_on_the_way_leaves_the_target_as_it_was() {
    let account = Account::new();
    let (inbox, archive) = (account.id("INBOX"), account.id("Archive"));
    account.deliver(&message(10));
    assert!(matches!(
        account.store().copy(inbox, &[], common_missing(&account), nobody()),
        Err(StoreError::NoSuchMailbox)
    ));
    // 600 copies: the second slice of an enlarged list names a mailbox that goes meanwhile is not to be forced here,
    // so fill the target's keywords instead: the slice with the keyword too many fails.
    let full = |prefix: &str, count: usize| -> Vec<Flags> {
        let mut all = Vec::new();
        for n in 0..count {
            let mut flags = Flags::NONE;
            flags.add_keyword(Keyword::parse(&format!("{prefix}{n}")).unwrap()).unwrap();
            all.push(flags);
        }
        all
    };
    for flags in full("a", 256) {
        let staged = account.stage(b"x").unwrap();
        account.store().append(archive, staged, flags, UnixSeconds(0), nobody()).unwrap();
    }
    let (send, receive) = mpsc::channel();
    for _ in 0..600 {
        let send = send.clone();
        let staged = account.stage(b"y").unwrap();
        account
            .store()
            .deliver(staged, delivery("INBOX", fresh_id()), move |result| send.send(result).unwrap());
    }
    assert!(receive.iter().take(600).all(|result| result.is_ok()));
    let last = full("b", 1).remove(0);
    account.store().change_flags(inbox, &[uid_of(601)], FlagChange::Add(last), nobody()).unwrap();
    let before = account.uids(archive);
    let all: Vec<Uid> = (1..=601).map(uid_of).collect();
    let refused = account.store().copy(inbox, &all, archive, nobody());
    assert!(matches!(refused, Err(StoreError::TooMany(_))), "{refused:?}");
    assert_eq!(account.uids(archive), before);
}

/// The id of a mailbox that was deleted.
fn common_missing(account: &Account) -> store_lib::MailboxId {
    let name = MailboxName::parse("Gone").unwrap();
    let id = account.store().create(&name, None, nobody()).unwrap();
    account.store().delete(&name, nobody()).unwrap();
    id
}

#[test]
fn recent_belongs_to_the_first_session_that_may_change_the_mailbox() {
    let mut account = Account::new();
    let inbox = account.id("INBOX");
    account.deliver(&message(10));
    account.deliver(&message(10));
    assert_eq!(account.store().recent(inbox, false).unwrap(), 1..3);
    assert_eq!(account.store().recent(inbox, true).unwrap(), 1..3);
    assert_eq!(account.store().recent(inbox, true).unwrap(), 3..3);
    account.store().keep_recent(inbox);
    account.deliver(&message(10));
    account.reopen();
    assert_eq!(account.store().recent(inbox, true).unwrap(), 3..4);
    assert_eq!(account.store().recent(inbox, false).unwrap(), 4..4);
}

/// Attack class 14: a read that takes too long, or that nobody waits for any more, is stopped.
#[test]
fn a_read_over_its_budget_is_stopped_and_the_next_one_works() {
    let account = Account::new();
    let inbox = account.id("INBOX");
    (0..50).for_each(|_| assert!(account.deliver(&message(10)).uid.value() > 0));
    let cancel = Arc::new(AtomicBool::new(false));
    let budget = Budget { deadline: None, cancel: Some(Arc::clone(&cancel)) };
    let mut seen = 0;
    let stopped = account.store().read(&budget, |reader| {
        reader.fetch(inbox, Uid::MIN..=Uid::MAX, Columns::Flags, |_| {
            seen += 1;
            cancel.store(seen == 10, std::sync::atomic::Ordering::Relaxed);
            ControlFlow::Continue(())
        })
    });
    assert!(matches!(stopped, Err(StoreError::OutOfBudget)));
    assert_eq!(seen, 10);
    let late = Budget { deadline: Some(std::time::Instant::now()), cancel: None };
    assert!(matches!(account.store().read(&late, |reader| reader.mailboxes()), Err(StoreError::OutOfBudget)));
    assert_eq!(account.uids(inbox).len(), 50);
}

#[test]
fn a_closed_store_answers_everybody() {
    let mut account = Account::new();
    let store = account.store().clone();
    let staged = account.stage(&message(100_000)).unwrap();
    let inbox = account.id("INBOX");
    store.close().unwrap();
    let (send, receive) = mpsc::channel();
    store.deliver(staged, delivery("INBOX", fresh_id()), move |result| send.send(result).unwrap());
    assert!(matches!(receive.recv().unwrap(), Err(StoreError::Closed)));
    assert!(matches!(store.expunge(inbox, Some(&[uid_of(1)]), nobody()), Err(StoreError::Closed)));
    assert!(matches!(store.read(&Budget::default(), |reader| reader.mailboxes()), Err(StoreError::Closed)));
    drop(store);
    account.reopen();
    assert_eq!(account.files().len(), 0);
}
