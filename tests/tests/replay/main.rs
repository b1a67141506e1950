//! Power cuts: what the processes write and sync while mail comes in is recorded, and what a crash at any moment of the
//! record may have left is opened again.
//!
//! ```text
//! moxd under strace ──▶ record ──▶ steps in accounts/1 and in queue, each with the sync that made it certain
//!   clients deliver                   │ at every step: all of it, only what is certain, that and some of the rest
//!                                     ▼
//!                              a directory in memory ──▶ opened and verified ──▶ which messages are there
//! ```
//! Never a row without its body, never a message missing whose 250 went out before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod check;
mod disk;
mod record;

mod as_root {
    use std::{
        collections::BTreeMap,
        fs,
        net::SocketAddr,
        path::{Path, PathBuf},
        sync::Mutex,
        thread,
        time::Duration,
    };

    use moxd_tests::{
        ADDRESS, Home, Imap, Instance, Smtp,
        mail::message,
        process::eventually,
        smtp::{Reply, stuffed},
    };

    use crate::{
        check::{self, Broken, Extent, Message, Place, Span, all_kept},
        disk::{Disk, World},
        record::{self, Line, Record, What},
    };

    /// Everything at every step, and so many that are made up of parts.
    const FULL: Extent = Extent { all: true, some: 1000 };
    /// Enough to see what a missing sync costs.
    const SYNCED: Extent = Extent { all: false, some: 0 };

    /// What was never synced, which syncs those are, and what is seen then.
    type Control<'a> = (&'a str, &'a dyn Fn(&str) -> bool, &'a str);

    /// What was sent, by the id that the server gave it.
    #[derive(Default)]
    struct Sent(Mutex<BTreeMap<String, Message>>);

    impl Sent {
        fn deliver(&self, to: SocketAddr, recipients: &[String], token: &str, size: usize) {
            let message = message(token, size);
            let mut smtp = Smtp::connect(to).unwrap();
            assert_eq!(smtp.command("MAIL FROM:<sender@example.org>").unwrap().code, 250);
            for recipient in recipients {
                assert_eq!(smtp.command(&format!("RCPT TO:<{recipient}>")).unwrap().code, 250);
            }
            assert_eq!(smtp.command("DATA").unwrap().code, 354);
            smtp.send(&stuffed(&message)).unwrap();
            let Reply { code, text } = smtp.command(".").unwrap();
            assert_eq!(code, 250, "{text}");
            let id = text.rsplit(' ').next().unwrap().to_owned();
            self.0.lock().unwrap().insert(id, *blake3::hash(&message).as_bytes());
        }
    }

    /// Mail of all kinds: into rows, into files, at once, through the queue, before and after the log is folded in.
    fn mail(instance: &Instance) -> Sent {
        let (sent, smtp, one) = (Sent::default(), instance.smtp(), [ADDRESS.to_owned()]);
        for number in 0..4 {
            sent.deliver(smtp, &one, &format!("alone-{number}"), 1500);
        }
        sent.deliver(smtp, &one, "large-alone", 150_000);
        thread::scope(|scope| {
            for client in 0..8 {
                let (sent, one) = (&sent, &one);
                scope.spawn(move || {
                    for number in 0..3 {
                        let size = if client % 4 == 0 { 90_000 } else { 2000 };
                        sent.deliver(smtp, one, &format!("group-{client}-{number}"), size);
                    }
                });
            }
        });
        // More recipients than are delivered to at once.
        let many: Vec<_> = (0..30).map(|number| format!("name{number}@localhost")).collect();
        for (number, size) in [2000, 200_000, 2_000_000].into_iter().enumerate() {
            sent.deliver(smtp, &many, &format!("queued-{number}"), size);
        }
        let database = instance.home().data().join("accounts/1/account.sqlite");
        let size = || fs::metadata(&database).unwrap().len();
        let before = size();
        // As much as the log may hold when nothing comes for a moment.
        for number in 0..24 {
            sent.deliver(smtp, &one, &format!("middle-{number}"), 45_000);
        }
        assert!(eventually(Duration::from_secs(30), || size() > before), "the log is never folded in");
        for number in 0..3 {
            sent.deliver(smtp, &one, &format!("after-{number}"), 1500);
        }
        sent.deliver(smtp, &one, "large-after", 150_000);
        let count = sent.0.lock().unwrap().len();
        let all = eventually(Duration::from_secs(30), || {
            Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap().len() == count
        });
        assert!(all, "not all of it comes out of the queue");
        sent
    }

    struct Replayed {
        states: usize,
        account: Vec<Span>,
    }

    /// Everything about one record.
    fn replay(
        record: &Record,
        data: &Path,
        told: &BTreeMap<Line, Message>,
        extent: Extent,
    ) -> Result<Replayed, Broken> {
        let look = |place: Place, below: &str| {
            check::replay(&World::of(record, data, &data.join(below)), data, place, extent)
        };
        let (accounts, account) = look(Place::Account, "accounts/1")?;
        let (queues, queue) = look(Place::Queue, "queue")?;
        all_kept(told, &account, &queue)?;
        Ok(Replayed { states: accounts + queues, account })
    }

    /// The record is complete: what it makes is what is there. SQLite's shared memory is none of a disk's.
    fn assert_complete(record: &Record, data: &Path, below: &str) {
        let root = data.join(below);
        let mut disk = Disk::default();
        World::of(record, data, &root).steps.iter().for_each(|step| disk.apply(&step.change));
        let recorded = disk.files(&root);
        let mut found = BTreeMap::new();
        let mut todo = vec![root.clone()];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else if !path.to_string_lossy().ends_with("-shm") {
                    found.insert(path.strip_prefix(&root).unwrap().to_owned(), fs::read(path).unwrap());
                }
            }
        }
        let names: Vec<_> = found.keys().map(PathBuf::as_path).collect();
        assert_eq!(recorded.keys().copied().collect::<Vec<_>>(), names);
        for (path, octets) in &found {
            assert!(recorded[path.as_path()] == octets.as_slice(), "{} is not as recorded", path.display());
        }
    }

    /// The record as it would be if some syncs had not been made.
    fn without(record: &Record, sync: impl Fn(&str) -> bool) -> Record {
        let mut poorer = record.clone();
        let missing = |what: &What| matches!(what, What::Sync(path) if sync(&path.to_string_lossy()));
        poorer.done.retain(|done| !missing(&done.what));
        assert!(poorer.done.len() < record.done.len(), "there was no such sync");
        poorer
    }

    /// Attack class 40: power cuts at every step of a delivery.
    #[test]
    fn a_power_cut_at_any_step_leaves_every_acknowledged_message_and_no_row_without_its_body() {
        let instance = record::start(Home::new());
        let sent = mail(&instance).0.into_inner().unwrap();
        let home = instance.finish();
        let (record, data) = (Record::read(&home), home.data());
        for below in ["accounts/1", "queue"] {
            assert_complete(&record, &data, below);
        }
        let line = |id: &String| *record.kept.get(id).unwrap_or_else(|| panic!("no answer about {id}"));
        let told: BTreeMap<Line, Message> = sent.iter().map(|(id, message)| (line(id), *message)).collect();
        assert_eq!(told.len(), sent.len());

        // It would be seen if a sync were missing: of a body, of its name, of the log, of what is queued, of a directory.
        let in_msg = |path: &str| path.contains("/accounts/1/msg/");
        let controls: [Control<'_>; 6] = [
            ("a body", &|path| in_msg(path) && path.ends_with(".tmp"), "a body is damaged"),
            ("its name", &|path| in_msg(path) && !path.ends_with(".tmp"), "its file is missing"),
            ("the log", &|path| path.ends_with("/account.sqlite-wal"), "is gone"),
            ("the queue's log", &|path| path.ends_with("/queue.sqlite-wal"), "is gone"),
            (
                "a queued message",
                &|path| path.contains("/queue/new-") && !path.contains("sqlite"),
                "has other octets",
            ),
            ("the account's directory", &|path| path.ends_with("/accounts"), "is gone"),
        ];
        for (what, sync, seen) in controls {
            match replay(&without(&record, sync), &data, &told, SYNCED) {
                Ok(_) => panic!("nobody sees that {what} was never synced"),
                Err(broken) => assert!(broken.why.contains(seen), "{what}: {broken}"),
            }
        }

        let replayed = replay(&record, &data, &told, FULL).unwrap_or_else(|broken| panic!("{broken}"));
        let last = &replayed.account.last().unwrap().kept;
        assert_eq!(last.len(), sent.len(), "not all of it ended up in the account");
        assert!(replayed.states > 1000, "only {} states", replayed.states);
    }
}
