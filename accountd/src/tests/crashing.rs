//! Attack class 40, and the poisoned message of attack class 9: what a killed process leaves behind.
//!
//! The process that dies is this test binary once more, told by its environment what to do.

use std::process::Command;

use super::*;

const DIRECTORY: &str = "ACCOUNTD_TEST_DIRECTORY";
const IN_HAND: &str = "ACCOUNTD_TEST_IN_HAND";

/// Not a test by itself: in the process that dies it opens the account and dies with a message in hand.
#[test]
fn dies_where_it_is_told_to() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let world = World::open(Path::new(&directory));
    if let Ok(id) = std::env::var(IN_HAND) {
        let id = store_lib::DeliveryId([id.parse().unwrap(); 16]);
        std::mem::forget(world.account.store.begin_parse(id).unwrap());
    }
    // As by SIGKILL: nothing is closed, nothing is run.
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn crash(directory: &Path, in_hand: Option<u8>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::crashing::dies_where_it_is_told_to"]).env(DIRECTORY, directory);
    if let Some(id) = in_hand {
        command.env(IN_HAND, id.to_string());
    }
    assert!(!command.output().unwrap().status.success());
}

/// Attack class 9: a message that killed the process is filed the next time without being looked into.
#[test]
fn a_message_that_was_in_hand_is_not_parsed_again() {
    let directory = tempfile::tempdir().unwrap();
    crash(directory.path(), Some(1));
    let world = World::open_after(directory.path(), PreviousEnd::Crash { sessions: false });
    let queued = world.queued();
    assert_eq!(has(&queued, 1), AccountdToQueued::Known(false));
    assert_eq!(deliver(&queued, 1, TEXT), AccountdToQueued::Filed);
    assert_eq!(deliver(&queued, 2, TEXT), AccountdToQueued::Filed);
    assert_eq!(world.inbox(), [(1, stored(TEXT), false), (2, stored(TEXT), true)], "only that one");
    world.check();
}

/// Attack class 9: three ends by its own fault, with something in hand, and nothing is looked into any more.
#[test]
fn after_three_crashes_nothing_is_parsed_and_what_was_is_not_shown() {
    for (previous, in_hand, parsed, reason) in [
        (PreviousEnd::Crash { sessions: true }, None, false, "sessions were open"),
        (PreviousEnd::Crash { sessions: false }, Some(9), false, "a message was in hand"),
        (PreviousEnd::Crash { sessions: false }, None, true, "nothing was in hand"),
        (PreviousEnd::Harmless, Some(9), true, "somebody killed it"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::open(directory.path());
        assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
        world.check();
        for _ in 0..2 {
            crash(directory.path(), in_hand);
            // Looks at what was left, and is then itself killed by others.
            let world = World::open_after(directory.path(), previous);
            assert_eq!(world.inbox(), [(1, stored(TEXT), true)], "{reason}: two are not enough");
            std::mem::drop(world);
        }
        crash(directory.path(), in_hand);
        let world = World::open_after(directory.path(), previous);
        assert_eq!(deliver(&world.queued(), 2, TEXT), AccountdToQueued::Filed);
        let expected = [(1, stored(TEXT), parsed), (2, stored(TEXT), parsed)];
        assert_eq!(world.inbox(), expected, "{reason}");
        world.check();
    }
}

#[test]
fn an_orderly_end_is_no_crash() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..4 {
        World::open(directory.path()).account.close(PATIENCE).unwrap();
    }
    let world = World::open(directory.path());
    assert_eq!(world.account.store.crashes(), []);
    assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
    assert_eq!(world.inbox(), [(1, stored(TEXT), true)]);
    world.check();
}
