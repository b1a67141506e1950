//! The search index: what it may rule out, how it catches up, and what becomes of it when something is wrong.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use store_lib::{
    Clue, Columns, FlagChange, Flags, Indexed, MessageId, Parse, Place, Store, SystemFlag, Uid, UnixSeconds,
};

use crate::account::{Account, nobody};

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn catch_up(store: &Store) -> Indexed {
    let indexed = store.catch_up(&mut || ControlFlow::Continue(())).unwrap();
    assert!(indexed.complete);
    indexed
}

fn ids(account: &Account) -> Vec<MessageId> {
    let inbox = account.id("INBOX");
    let mut ids = Vec::new();
    account
        .store()
        .read(&Default::default(), |reader| {
            reader.fetch(inbox, Uid::MIN..=Uid::MAX, Columns::Flags, |message| {
                ids.push(message.id);
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    ids
}

/// The places in the inbox of messages that may hold the text.
fn candidates(account: &Account, place: Place<'_>, needle: &str) -> Vec<usize> {
    let sieve = account.store().sieves(&[Clue::new(place, needle)], deadline()).remove(0);
    let may = ids(account).into_iter().enumerate().filter(|(_, id)| !sieve.rules_out(*id));
    may.map(|(place, _)| place).collect()
}

fn index(account: &Account) -> PathBuf {
    account.path().join("search.sqlite")
}

fn mail(number: usize) -> Vec<u8> {
    format!("Subject: part {number}\r\nX-Odd: {number}\r\n\r\nbody of {number}.\r\n").into_bytes()
}

fn fill(account: &Account, numbers: std::ops::Range<usize>) {
    for number in numbers {
        account.deliver(&mail(number));
    }
}

#[test]
fn messages_without_the_text_are_ruled_out_by_field_and_body() {
    let account = Account::new();
    fill(&account, 0..50);
    assert_eq!(candidates(&account, Place::Anywhere, "nowhere").len(), 50, "without an index nobody is");
    assert_eq!(catch_up(account.store()), Indexed { messages: 50, complete: true });
    for (place, needle, found) in [
        (Place::Anywhere, "nowhere", vec![]),
        (Place::Anywhere, "PART 17", vec![17]),
        (Place::Body, "part 17", vec![]),
        (Place::Body, "body of 3.", vec![3]),
        (Place::Field("Subject"), "body", vec![]),
        (Place::Field("Subject"), "part 49", vec![49]),
        (Place::Field("X-None"), "part 49", vec![]),
        (Place::Field("X-None"), "", vec![]),
        (Place::Field("x-odd"), "", (0..50).collect()),
        (Place::Body, "17", (0..50).collect()),
        (Place::Anywhere, "", (0..50).collect()),
    ] {
        assert_eq!(candidates(&account, place, needle), found, "{place:?} {needle}");
    }
    account.deliver(&mail(50));
    assert_eq!(candidates(&account, Place::Anywhere, "nowhere"), [50], "of it nothing is known yet");
    let clues = vec![Clue::new(Place::Anywhere, "nowhere"); 40];
    let sieves = account.store().sieves(&clues, deadline());
    let first = ids(&account).remove(0);
    assert_eq!(sieves.iter().filter(|sieve| sieve.rules_out(first)).count(), 32, "beyond, messages decide");
    assert!(!account.store().sieves(&clues, Instant::now()).remove(0).rules_out(first), "no time");
}

#[test]
fn an_index_that_was_broken_off_goes_on_where_it_was() {
    let mut account = Account::new();
    fill(&account, 0..40);
    catch_up(account.store());
    fill(&account, 40..80);
    for steps in [0, 1, 30, 40] {
        let mut left = steps;
        let stopped = account.store().catch_up(&mut || {
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(!stopped.unwrap().complete);
        let may = candidates(&account, Place::Anywhere, "nowhere");
        assert!(may.is_empty() || may == (40..80).collect::<Vec<_>>(), "{may:?}");
        account.reopen();
    }
    assert_eq!(catch_up(account.store()).messages, 80);
    assert!(candidates(&account, Place::Anywhere, "nowhere").is_empty());
}

/// Each time it catches up makes a segment; by eights they become one, and what was expunged is not in that.
#[test]
fn segments_are_merged_without_what_was_expunged() {
    let account = Account::new();
    account.store().keep_deleted(0, 0);
    let inbox = account.id("INBOX");
    let mut most = 0;
    for number in 0..80 {
        account.deliver(&mail(number));
        if number % 2 == 1 {
            let uid = *account.uids(inbox).last().unwrap();
            let deleted = FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
            account.store().change_flags(inbox, &[Uid::new(uid).unwrap()], deleted, nobody()).unwrap();
            most = most.max(catch_up(account.store()).messages);
            account.store().expunge(inbox, None, nobody()).unwrap();
        }
    }
    assert!(most <= 40 + 2 * 8, "{most}");
    for (at, number) in (0..80).step_by(2).enumerate() {
        assert_eq!(candidates(&account, Place::Body, &format!("body of {number}.")), [at]);
    }
}

#[test]
fn a_damaged_index_rules_out_nothing_and_is_made_anew() {
    for (damage, why) in [
        (Vec::new(), "empty"),
        (
            b"no database at all, though it is long enough to be taken for one by its length alone."
                .repeat(60),
            "other",
        ),
    ] {
        let mut account = Account::new();
        fill(&account, 0..9);
        catch_up(account.store());
        account.store().close().unwrap();
        std::fs::write(index(&account), damage).unwrap();
        account.reopen();
        assert_eq!(candidates(&account, Place::Anywhere, "nowhere").len(), 9, "{why}");
        assert_eq!(catch_up(account.store()).messages, 9, "{why}");
        assert!(candidates(&account, Place::Anywhere, "nowhere").is_empty(), "{why}");
    }
}

/// Every octet in turn, coarsely: what is ruled out then could never be found.
#[test]
fn wherever_an_index_is_damaged_nothing_is_ruled_out_wrongly() {
    let mut account = Account::new();
    fill(&account, 0..60);
    catch_up(account.store());
    account.store().close().unwrap();
    let whole = std::fs::read(index(&account)).unwrap();
    for at in (0..whole.len()).step_by(977) {
        let mut damaged = whole.clone();
        damaged[at..].iter_mut().take(3).for_each(|octet| *octet = octet.wrapping_add(1));
        account.store().close().unwrap();
        std::fs::write(index(&account), damaged).unwrap();
        account.reopen();
        for number in [0, 31, 59] {
            let may = candidates(&account, Place::Body, &format!("body of {number}."));
            assert!(may.contains(&number), "octet {at}: {may:?}");
        }
    }
}

/// A backup of the account's database and not of the index, put back; new messages get the ids of those that are lost.
#[test]
fn an_index_of_messages_that_the_account_does_not_have_is_not_used() {
    for looked_at_after in 1..=4 {
        let mut account = Account::new();
        account.deliver(b"Subject: first\r\n\r\n");
        account.store().close().unwrap();
        let database = account.path().join("account.sqlite");
        let older = std::fs::read(&database).unwrap();
        account.reopen();
        account.deliver(b"Subject: second\r\n\r\n");
        account.deliver(b"Subject: third\r\n\r\n");
        catch_up(account.store());
        account.store().close().unwrap();
        std::fs::write(&database, older).unwrap();
        account.reopen();
        let fresh: Vec<usize> = (1..=looked_at_after).collect();
        for _ in &fresh {
            account.deliver(b"Subject: fresh\r\n\r\n");
        }
        let may = candidates(&account, Place::Field("Subject"), "fresh");
        assert!(fresh.iter().all(|at| may.contains(at)), "{looked_at_after}: {may:?}");
        catch_up(account.store());
        assert_eq!(candidates(&account, Place::Field("Subject"), "fresh"), fresh);
    }
}

/// Attack class 46: a message that has every trigram costs the index nothing, it is looked at itself.
#[test]
fn a_message_with_too_many_trigrams_is_left_out() {
    let account = Account::new();
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32(0x4e00 + (state >> 12) % 20_000).unwrap()
    };
    let noise: String = (0..200_000).map(|_| next()).collect();
    account.deliver(format!("Subject: noise\r\n\r\n{noise}").as_bytes());
    account.deliver(&mail(1));
    let staged = account.store().stage(&[], &mut &mail(2)[..], Parse::No, 1 << 20).unwrap();
    account.store().append(account.id("INBOX"), staged, Flags::NONE, UnixSeconds(0), nobody()).unwrap();
    assert_eq!(catch_up(account.store()).messages, 1);
    assert_eq!(
        candidates(&account, Place::Anywhere, "nowhere"),
        [0, 2],
        "nor is one that was not looked into"
    );
}

#[test]
fn it_is_made_anew_on_request_and_not_used_in_safe_mode() {
    let account = Account::new();
    fill(&account, 0..9);
    assert_eq!(account.store().reindex().unwrap(), 9);
    assert!(candidates(&account, Place::Anywhere, "nowhere").is_empty());
    account.store().handle_raw(true);
    assert_eq!(candidates(&account, Place::Anywhere, "nowhere").len(), 9);
    assert!(!account.store().catch_up(&mut || ControlFlow::Continue(())).unwrap().complete);
    account.store().handle_raw(false);
    assert_eq!(account.store().reindex().unwrap(), 9);
}

/// The thread of an account's process: it begins by itself once there is enough, and ends when it is told.
#[test]
fn the_index_follows_the_deliveries_by_itself() {
    let account = Account::new();
    let store = account.store().clone();
    let keeper = std::thread::spawn(move || store.keep_index());
    fill(&account, 0..250);
    let until = deadline();
    while candidates(&account, Place::Anywhere, "nowhere").len() >= 200 {
        assert!(Instant::now() < until, "it never began");
        // Looking is what it gives way to.
        std::thread::sleep(Duration::from_millis(300));
    }
    account.store().stop_keeping();
    keeper.join().unwrap();
}
