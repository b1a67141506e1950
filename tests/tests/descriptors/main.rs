//! Which descriptors every process holds: those on a written-down list, and after ten thousand sessions no other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod kinds;
mod sessions;

mod as_root {
    use std::{
        collections::BTreeMap,
        fs,
        process::{Command, Stdio},
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    use moxd_tests::{ADDRESS, Imap, Instance, Smtp, client, mail::message, process::eventually};

    use crate::{
        kinds::{Kinds, Sockets, differences, kinds},
        sessions::Doors,
    };

    const SESSIONS: usize = 10_000;
    /// All may be in a session of the one account.
    const AT_ONCE: usize = 250;
    /// What it is allowed here: of clients that go without a word, sessions that are not over yet may be there too.
    const ALLOWED: usize = AT_ONCE + 50;

    /// Started by somebody who left something open.
    fn start() -> Instance {
        let home = Instance::start().stop();
        let configuration = fs::read_to_string(home.configuration()).unwrap();
        let more = format!("{configuration}\n[limits]\naccount_sessions = {ALLOWED}\n");
        fs::write(home.configuration(), more).unwrap();
        let plain = home.command();
        let program = "import os, sys; os.dup2(2, 77, inheritable=True); os.execv(sys.argv[1], sys.argv[1:])";
        let mut command = Command::new("python3");
        command.args(["-c", program]).arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
        home.try_start_with(command).unwrap_or_else(|refused| panic!("{refused}"))
    }

    fn all(instance: &Instance) -> BTreeMap<String, Kinds> {
        let mut pids: BTreeMap<_, _> = instance.pids().into_iter().collect();
        pids.insert("moxd".to_owned(), i32::try_from(instance.status()["pid"].as_i64().unwrap()).unwrap());
        let sockets = Sockets::read();
        let held = |pid: i32| kinds(pid, &instance.home().data(), &sockets);
        pids.into_iter().map(|(name, pid)| (name, held(pid))).collect()
    }

    /// Each has what the list says; what ends with the last sessions may take a moment.
    fn assert_expected(instance: &Instance, when: &str) {
        let mut wrong = Vec::new();
        eventually(Duration::from_secs(30), || {
            wrong = differences(&all(instance));
            wrong.is_empty()
        });
        assert!(wrong.is_empty(), "{when}:\n{}", wrong.join("\n"));
    }

    /// Attack class 28: after the start, and after ten thousand sessions, whole ones and broken ones, each process holds
    /// exactly the expected descriptors.
    #[test]
    fn after_ten_thousand_sessions_each_process_holds_the_expected_descriptors() {
        let instance = start();
        let large = || {
            let mut smtp = Smtp::connect(instance.smtp()).unwrap();
            smtp.must_deliver(ADDRESS, &message("large", 2_000_000));
        };
        large();
        assert_expected(&instance, "after the start");
        // One that is too many is seen.
        let open = Smtp::connect(instance.smtp()).unwrap();
        let seen = differences(&all(&instance));
        assert!(seen.iter().any(|line| line.starts_with("mox-smtpd has 1 of \"client\"")), "{seen:?}");
        drop(open);

        let certificates = ["smtp", "imaps", "https"].map(|name| instance.home().path().join(name));
        client::save_certificate(instance.imaps(), &certificates[1]);
        client::save_certificate(instance.https(), &certificates[2]);
        client::save_certificate_by_starttls(instance.smtp(), &certificates[0]);
        let doors = Doors::of(&instance, &certificates.each_ref().map(|path| path.as_path()));
        // Hashed once; the next ones are known.
        drop(Imap::login(instance.imap()).unwrap());
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= SESSIONS {
                            break;
                        }
                        doors.session(number);
                    }
                });
            }
        });
        assert_expected(&instance, "after ten thousand sessions");
        let status = instance.status();
        for process in status["processes"].as_array().unwrap() {
            assert_eq!((&process["restarts"], &process["violations"]), (&0.into(), &0.into()), "{process}");
        }
        instance.finish();
    }
}
