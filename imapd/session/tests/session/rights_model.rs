//! Rights at random: each command of a guest ends as the table of RFC 4314 §4 says, whatever else the guest may do.

use crate::harness::{Client, message};
use crate::neighbours::Street;

const PLANS: &str = "\"Other Users/bob/Plans\"";
const LETTERS: &str = "lrswipkxtea";
const ROUNDS: usize = 120;

/// Numbers from a fixed generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Any subset, with few and with many letters alike.
    fn rights(&mut self) -> String {
        let (bits, more) = (self.next(), self.next());
        let thin = self.next().is_multiple_of(2);
        let chosen = if thin { bits & more } else { bits | more };
        LETTERS.char_indices().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, letter)| letter).collect()
    }
}

fn ok(client: &mut Client, command: &str) {
    let answer = client.command(command);
    assert!(answer.last().unwrap().starts_with("t OK"), "{command}: {answer:?}");
}

/// The tagged answer is OK where all of `needed` are among the rights; else NO, which tells that the mailbox is there only to
/// who may see it.
fn check(alice: &mut Client, rights: &str, command: &str, needed: &str, named: bool) -> bool {
    let answer = alice.command(command).pop().unwrap();
    let may = needed.chars().all(|letter| rights.contains(letter));
    let expected = match (may, named && !rights.contains('l')) {
        (true, _) => "t OK",
        (false, true) => "t NO [NONEXISTENT]",
        (false, false) => "t NO [NOPERM]",
    };
    assert!(answer.starts_with(expected), "with `{rights}`: {command}: {answer}, expected {expected}");
    may
}

#[test]
fn every_command_needs_its_right_and_no_other() {
    let street = Street::new(&["alice", "bob"]);
    let (mut alice, mut bob) = (street.log_in("alice"), street.log_in("bob"));
    ok(&mut bob, "CREATE Plans");
    street.account("bob").file("Plans", &message("simple.eml"));
    let mut random = Random(20);
    for round in 0..ROUNDS {
        let rights = random.rights();
        ok(&mut bob, &format!("SETACL Plans alice \"{rights}\""));
        // It has the same rights.
        ok(&mut bob, "CREATE Plans/sub");
        let listed = alice.command(&format!("LIST \"\" {PLANS}"));
        let shown = listed.iter().any(|line| line.contains(PLANS));
        assert_eq!(shown, rights.contains('l'), "`{rights}`: {listed:?}");
        let told = alice.command(&format!("MYRIGHTS {PLANS}"));
        assert_eq!(told.len() == 2, !rights.is_empty(), "`{rights}`: {told:?}");
        check(&mut alice, &rights, &format!("STATUS {PLANS} (MESSAGES)"), "r", true);
        check(&mut alice, &rights, &format!("GETACL {PLANS}"), "a", true);
        check(&mut alice, &rights, &format!("LISTRIGHTS {PLANS} alice"), "a", true);
        check(&mut alice, &rights, "DELETE \"Other Users/bob/Plans/sub\"", "x", true);
        let made = alice.command("CREATE \"Other Users/bob/Plans/made\"").pop().unwrap();
        assert_eq!(made.starts_with("t OK"), rights.contains('k'), "`{rights}`: {made}");
        for name in ["Plans/sub", "Plans/made"] {
            bob.command(&format!("DELETE {name}"));
        }
        let appended = alice.append(PLANS, b"a: b\r\n\r\n");
        assert_eq!(appended.starts_with("t OK"), rights.contains('i'), "`{rights}`: {appended}");
        if check(&mut alice, &rights, &format!("SELECT {PLANS}"), "r", true) {
            for (command, needed) in [
                ("FETCH 1 (UID)", "r"),
                ("SEARCH ALL", "r"),
                ("SORT (SUBJECT) UTF-8 ALL", "r"),
                ("THREAD REFERENCES UTF-8 ALL", "r"),
                ("STORE 1 +FLAGS (\\Seen)", "s"),
                ("STORE 1 -FLAGS.SILENT (\\Seen)", "s"),
                ("STORE 1 +FLAGS (\\Flagged)", "w"),
                ("STORE 1 -FLAGS (\\Flagged word)", "w"),
                ("STORE 1 +FLAGS (\\Deleted)", "t"),
                ("STORE 1 -FLAGS (\\Deleted)", "t"),
                ("EXPUNGE", "e"),
                ("UID EXPUNGE 1", "e"),
                ("COPY 1 \"Other Users/bob/Plans\"", "i"),
                ("COPY 1 INBOX", "r"),
            ] {
                // Of a mailbox that is selected it is known that it is there; a target is named.
                let target = command.starts_with("COPY 1 \"");
                if target && !rights.contains('i') && !rights.contains('l') {
                    let answer = alice.command(command).pop().unwrap();
                    assert!(answer.starts_with("t NO [TRYCREATE]"), "`{rights}`: {command}: {answer}");
                    continue;
                }
                check(&mut alice, &rights, command, needed, false);
            }
            let one_of = |wanted: &str| wanted.chars().any(|letter| rights.contains(letter));
            let answer = alice.command("STORE 1 FLAGS (\\Seen \\Flagged \\Deleted)").pop().unwrap();
            assert_eq!(answer.starts_with("t OK"), one_of("swt"), "`{rights}`: {answer}");
            ok(&mut alice, "NOOP");
            ok(&mut alice, "UNSELECT");
        }
        // A mailbox beside it is never to be seen.
        let secret = alice.command("STATUS \"Other Users/bob/Sent\" (MESSAGES)").pop().unwrap();
        assert!(secret.starts_with("t NO [NONEXISTENT]"), "round {round}: {secret}");
        let flags = "STORE 1:* FLAGS ()";
        for command in ["SELECT Plans", flags, "UNSELECT"] {
            ok(&mut bob, command);
        }
    }
}
