//! A full disk: 4xx, nothing lost, and all is well when there is room again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod as_root {
    use std::{fs, os::unix::process::CommandExt, process::Command, time::Duration};

    use moxd_tests::{
        ADDRESS, Home, Imap, Instance, Smtp,
        mail::{assert_same, behind_prefix, message},
        process::eventually,
        smtp::Delivery,
    };

    /// What takes the room, seen from outside of the instance's mount namespace.
    fn filler(instance: &Instance) -> std::path::PathBuf {
        let moxd = instance.status()["pid"].as_u64().unwrap();
        std::path::PathBuf::from(format!("/proc/{moxd}/root{}/filler", instance.home().data().display()))
    }

    /// On a disk of its own, which nobody else sees and which is gone with the instance.
    fn start_on_a_small_disk(home: Home) -> Instance {
        let localserve = home.command();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount -t tmpfs -o size=24m,mode=0755 moxd-test \"$0\" && exec \"$@\"").arg(home.data());
        command.arg(localserve.get_program()).args(localserve.get_args()).process_group(0);
        home.try_start_with(command).unwrap_or_else(|refused| panic!("it did not start: {refused}"))
    }

    /// Attack class 39: a full disk costs the mail that comes then, for now, and none that was acknowledged before.
    #[test]
    fn a_full_disk_defers_mail_and_loses_none() {
        let home = Home::new();
        fs::create_dir(home.data()).unwrap();
        let instance = start_on_a_small_disk(home);
        let filler = filler(&instance);
        let mut sent = Vec::new();
        for round in 0..2 {
            let deliver = |number: usize| {
                // Into the database, and into files.
                let size = if number.is_multiple_of(2) { 2000 } else { 300_000 };
                let message = message(&format!("round{round}-number{number}"), size);
                let mut smtp = Smtp::connect(instance.smtp()).unwrap();
                (smtp.deliver(ADDRESS, &message), message)
            };
            let (outcome, message) = deliver(0);
            assert!(matches!(outcome, Delivery::Acknowledged), "{outcome:?}");
            sent.push(message);

            // Until not an octet is left.
            let full = fs::write(&filler, vec![0; 64 << 20]);
            assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
            let mut refused = 0;
            for number in 1..40 {
                match deliver(number) {
                    // The database may have had some room of its own.
                    (Delivery::Acknowledged, message) => sent.push(message),
                    (Delivery::Refused(reply), _) if (400..500).contains(&reply.code) => refused += 1,
                    (other, _) => panic!("{other:?}"),
                }
            }
            assert!(refused > 0, "a full disk refused nothing");
            // What is there can be read.
            assert!(Imap::login(instance.imap()).unwrap().messages("INBOX").is_ok());

            fs::remove_file(&filler).unwrap();
            let (mut again, mut number) = (None, 100);
            let recovered = eventually(Duration::from_secs(30), || {
                let (outcome, message) = deliver(number);
                number += 2;
                let taken = matches!(outcome, Delivery::Acknowledged);
                again = taken.then_some(message);
                taken
            });
            assert!(recovered, "it does not recover");
            sent.push(again.unwrap());
        }
        let mut stored = Vec::new();
        eventually(Duration::from_secs(30), || {
            stored = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
            stored.len() >= sent.len()
        });
        assert_eq!(stored.len(), sent.len());
        // Those from the queue may have come later than others.
        stored.iter_mut().for_each(|stored| *stored = behind_prefix(stored).to_vec());
        stored.sort();
        sent.sort();
        stored.iter().zip(&sent).for_each(|(stored, sent)| assert_same(stored, sent));
        instance.finish();
    }
}
