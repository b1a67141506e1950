//! What is found at open: crashes, damage, links, other processes.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::account::{Account, LIMIT, copy_tree, files_below, fresh_id};
use store_lib::{LastEnd, Parse, Store, StoreError};
use tempfile::TempDir;

/// A closed account with a small and a large message.
fn closed_account() -> TempDir {
    let mut account = Account::new();
    account.deliver(b"Subject: small\r\n\r\nx");
    account.deliver(&vec![b'x'; 100_000]);
    account.reopen();
    account.store().close().unwrap();
    let dir = TempDir::new().unwrap();
    copy_tree(account.path(), dir.path());
    account.reopen();
    dir
}

/// The error of opening, whose message has to be one line that names a path.
fn refused(dir: &Path) -> StoreError {
    let before = database(dir);
    let error = Store::open(dir).expect_err("opened");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.contains(&*dir.canonicalize().unwrap().to_string_lossy()), "{text}");
    assert_eq!(database(dir), before, "the database was changed");
    error
}

fn database(dir: &Path) -> Option<Vec<u8>> {
    std::fs::read(dir.join("account.sqlite")).ok()
}

#[test]
fn a_killed_account_has_everything_that_was_answered() {
    let mut account = Account::new();
    let mut expected = Vec::new();
    for size in [10, 70_000, 3_000] {
        let octets = vec![b'k'; size];
        let filed = account.deliver(&octets);
        expected.push((filed.mailbox, filed.uid.value(), octets));
        let mut killed = account.killed_now();
        for (mailbox, uid, octets) in &expected {
            assert!(killed.octets(*mailbox, *uid).unwrap().ends_with(octets));
        }
        killed.reopen();
        let next = killed.deliver(b"next");
        assert_eq!(next.uid.value(), filed.uid.value() + 1);
        assert!(next.modseq > filed.modseq);
    }
    account.reopen();
}

/// Attack class 40: killed between writing a body and the commit that names it. Never a row without its body; the
/// body without a row goes at the next open.
#[test]
fn a_body_whose_commit_never_came_is_gone_after_the_next_open() {
    let account = Account::new();
    account.deliver(&vec![b'x'; 100_000]);
    let staged = account.stage(&vec![b'y'; 100_000]).unwrap();
    let mut stager = account.store().stager(b"", Parse::Yes, LIMIT);
    stager.push(&vec![b'z'; 200_000]).unwrap();
    assert_eq!(account.files().len(), 3);
    let killed = account.killed_now();
    // The copy is another database file, so only temporary files are taken for leftovers.
    assert_eq!(killed.files().len(), 2);
    std::fs::remove_file(killed.files().into_iter().max().unwrap()).unwrap();
    drop((staged, stager));
    assert_eq!(account.files().len(), 1);
}

/// Attack class 40: as above, the files and the state being those that a kill leaves in that directory.
#[test]
fn leftovers_of_the_run_that_crashed_are_removed_in_its_own_directory() {
    let account = Account::new();
    account.deliver(&vec![b'x'; 100_000]);
    let staged = account.stage(&vec![b'y'; 100_000]).unwrap();
    let mut stager = account.store().stager(b"", Parse::Yes, LIMIT);
    stager.push(&vec![b'z'; 200_000]).unwrap();
    // What a kill leaves: the files as they are now, and a state that says "running".
    let left: Vec<_> =
        account.files().into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    let state = std::fs::read(account.path().join("account.state")).unwrap();
    drop((staged, stager));
    account.store().close().unwrap();
    left.iter().for_each(|(octets, path)| std::fs::write(path, octets).unwrap());
    std::fs::write(account.path().join("account.state"), state).unwrap();
    let mut account = account;
    account.reopen();
    assert_eq!(account.files().len(), 1);
    assert_eq!(account.store().crashes().len(), 1);
}

#[test]
fn a_file_that_no_row_names_is_reported_and_not_removed_without_a_crash() {
    let mut account = Account::new();
    account.deliver(&vec![b'x'; 100_000]);
    let planted = account.files()[0].with_file_name("0000000000000001000000ff");
    std::fs::write(&planted, b"x").unwrap();
    account.reopen();
    assert_eq!(account.store().verify().unwrap().problems.len(), 1);
    std::fs::remove_file(planted).unwrap();
}

#[test]
fn a_changed_or_missing_body_is_found() {
    let account = Account::new();
    account.deliver(&vec![b'x'; 100_000]);
    let file = account.files().remove(0);
    let whole = std::fs::read(&file).unwrap();
    let mut changed = whole.clone();
    changed[50_000] ^= 1;
    for bad in [Some(&changed[..]), Some(&whole[..99_999]), None] {
        match bad {
            Some(octets) => std::fs::write(&file, octets).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        assert_eq!(account.store().verify().unwrap().problems.len(), 1);
    }
    std::fs::write(&file, whole).unwrap();
}

#[test]
fn damaged_databases_are_refused_with_one_line_and_left_as_they_are() {
    let whole = database(closed_account().path()).unwrap();
    let mut header = whole.clone();
    header[..16].fill(0);
    let mut schema_page = whole.clone();
    schema_page[100..4096].fill(0x55);
    for (octets, what) in [
        (Vec::new(), "empty"),
        (b"not a database, but longer than a header, as a text file may be, or a mail ".repeat(100), "text"),
        (header, "no header"),
        (schema_page, "schema overwritten"),
        (whole[..4096 * 3].to_vec(), "truncated at a page"),
        (whole[..5000].to_vec(), "truncated within a page"),
        (whole[..50].to_vec(), "truncated within the header"),
    ] {
        let dir = closed_account();
        std::fs::write(dir.path().join("account.sqlite"), octets).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
    }
}

#[test]
fn another_programs_database_is_refused() {
    let dir = closed_account();
    std::fs::remove_file(dir.path().join("account.sqlite")).unwrap();
    let other = rusqlite_connection(dir.path());
    other.execute_batch("CREATE TABLE x (y); INSERT INTO x VALUES (1)").unwrap();
    drop(other);
    assert!(matches!(refused(dir.path()), StoreError::Damaged { .. }));
}

/// Attack class 41: a later version's database is left alone.
#[test]
fn a_later_schema_is_refused_with_both_numbers() {
    let dir = closed_account();
    let other = rusqlite_connection(dir.path());
    other.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(other);
    assert!(matches!(refused(dir.path()), StoreError::NewerSchema { found: 99, known: 1..=98, .. }));
}

#[test]
fn a_missing_database_beside_other_files_is_not_replaced() {
    for kept in ["account.state", "msg", "account.sqlite-wal"] {
        let dir = closed_account();
        std::fs::write(dir.path().join("account.sqlite-wal"), b"log").unwrap();
        for name in ["account.sqlite", "account.state", "account.sqlite-wal"] {
            if name != kept {
                std::fs::remove_file(dir.path().join(name)).unwrap();
            }
        }
        if kept != "msg" {
            std::fs::remove_dir_all(dir.path().join("msg")).unwrap();
        }
        assert!(matches!(refused(dir.path()), StoreError::Missing { .. }), "{kept}");
        assert!(database(dir.path()).is_none());
    }
}

#[test]
fn an_interrupted_first_start_is_begun_anew() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("account.sqlite.new"), b"half").unwrap();
    drop(Store::open(dir.path()).unwrap());
    assert!(!dir.path().join("account.sqlite.new").exists());
}

#[test]
fn one_store_at_a_time_opens_a_directory() {
    let account = Account::new();
    assert!(matches!(Store::open(account.path()), Err(StoreError::InUse { .. })));
    account.store().close().unwrap();
    Store::open(account.path()).unwrap().close().unwrap();
    let mut account = account;
    account.reopen();
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("no");
    let error = Store::open(&missing).unwrap_err();
    assert!(error.to_string().contains("/no"), "{error}");
    assert!(matches!(error, StoreError::Open { .. }));
}

/// Attack class 25: links planted in the place of what the store writes are refused, and nothing is written through.
#[test]
fn planted_links_are_not_followed() {
    for planted in ["account.sqlite", "account.state", "msg"] {
        let (dir, outside) = (closed_account(), TempDir::new().unwrap());
        let (place, target) = (dir.path().join(planted), outside.path().join("target"));
        std::fs::rename(&place, &target).unwrap();
        symlink(&target, &place).unwrap();
        let before = database_or_list(&target);
        assert!(Store::open(dir.path()).is_err(), "{planted}");
        assert_eq!(database_or_list(&target), before, "{planted}");
    }
    // A directory of bodies: the next large message would go there.
    let (account, outside) = (Account::new(), TempDir::new().unwrap());
    for directory in 0..=255 {
        symlink(outside.path(), account.path().join(format!("msg/{directory:02x}"))).unwrap();
    }
    let refused = account.try_deliver("INBOX", &vec![b'x'; 100_000], fresh_id());
    assert!(matches!(refused, Err(StoreError::Fault(_))), "{refused:?}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    for directory in 0..=255 {
        std::fs::remove_file(account.path().join(format!("msg/{directory:02x}"))).unwrap();
    }
}

/// Attack class 40: what was being parsed when the process died is known at the next open, and so are the crashes.
#[test]
fn a_delivery_in_hand_at_a_crash_is_poisoned_and_one_that_was_finished_is_not() {
    let account = Account::new();
    let (done, in_hand) = (fresh_id(), fresh_id());
    drop(account.store().begin_parse(done).unwrap());
    let mark = account.store().begin_parse(in_hand).unwrap();
    let mut killed = account.killed_now();
    drop(mark);
    let quiet = account.killed_now();
    assert!(killed.store().is_poisoned(in_hand) && !killed.store().is_poisoned(done));
    assert!(!quiet.store().is_poisoned(in_hand));
    assert_eq!(killed.store().crashes().iter().map(|crash| crash.parsing).collect::<Vec<_>>(), [true]);
    assert_eq!(quiet.store().crashes().iter().map(|crash| crash.parsing).collect::<Vec<_>>(), [false]);
    for crashes in 2..12 {
        killed = killed.killed_now();
        assert_eq!(killed.store().crashes().len(), crashes.min(8));
    }
    // Closed in order: the memory stays, nothing is added.
    killed.reopen();
    assert!(killed.store().is_poisoned(in_hand));
    assert_eq!(killed.store().crashes().len(), 8);
}

/// Attack class 40: who watched the process says whose fault its end was, and only its own counts.
#[test]
fn an_end_by_the_fault_of_others_poisons_nothing_and_is_no_crash() {
    for (last, with_mark, poisoned, crashes, reason) in [
        (LastEnd::Harmless, true, false, 0, "killed by others"),
        (LastEnd::Crash { busy: false }, true, true, 1, "with a message in hand"),
        (LastEnd::Crash { busy: true }, false, false, 1, "with sessions"),
        (LastEnd::Crash { busy: false }, false, false, 0, "with nothing in hand"),
    ] {
        let account = Account::new();
        let id = fresh_id();
        let mark = with_mark.then(|| account.store().begin_parse(id).unwrap());
        let copy = TempDir::new().unwrap();
        copy_tree(account.path(), copy.path());
        drop(mark);
        let store = Store::open_after(copy.path(), last).unwrap();
        assert_eq!(store.is_poisoned(id), poisoned, "{reason}");
        assert_eq!(store.crashes().len(), crashes, "{reason}");
        store.close().unwrap();
    }
}

#[test]
fn so_many_deliveries_can_be_in_hand_and_no_more() {
    let account = Account::new();
    let mut marks: Vec<_> = (0..64).map(|_| account.store().begin_parse(fresh_id()).unwrap()).collect();
    assert!(matches!(account.store().begin_parse(fresh_id()), Err(StoreError::TooMany(_))));
    marks.pop();
    account.store().begin_parse(fresh_id()).unwrap();
}

#[test]
fn a_state_file_that_makes_no_sense_is_taken_for_none() {
    let mut account = Account::new();
    let path = account.path().join("account.state");
    for octets in [Vec::new(), vec![0xff; 10], vec![0xff; 100_000]] {
        account.store().close().unwrap();
        std::fs::write(&path, octets).unwrap();
        account.reopen();
        assert!(account.store().crashes().is_empty());
    }
}

fn database_or_list(path: &Path) -> Vec<u8> {
    if path.is_dir() { format!("{:?}", files_below(path)).into_bytes() } else { std::fs::read(path).unwrap() }
}

fn rusqlite_connection(dir: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join("account.sqlite")).unwrap()
}
