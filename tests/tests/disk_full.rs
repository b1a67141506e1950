//! A full disk: 4xx, nothing lost, and all is well when there is room again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod as_root {
    use std::{
        fs,
        path::{Path, PathBuf},
        time::Duration,
    };

    use moxd_tests::{
        ADDRESS, Home, Imap, Instance, Smtp,
        mail::{assert_same, behind_prefix, message},
        process::eventually,
        smtp::Delivery,
    };
    use nix::{
        mount::{MntFlags, MsFlags, mount, umount2},
        sched::{CloneFlags, unshare},
    };

    /// A disk that only this thread and what it starts can see.
    struct SmallDisk(PathBuf);

    impl SmallDisk {
        fn mount(at: &Path) -> Self {
            fs::create_dir(at).unwrap();
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let nothing = None::<&str>;
            mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
            mount(Some("moxd-test"), at, Some("tmpfs"), MsFlags::empty(), Some("size=24m,mode=0755"))
                .unwrap();
            Self(at.to_owned())
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = umount2(&self.0, MntFlags::MNT_DETACH);
            // The home above could not be removed with a disk in it.
            let _ = fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    /// Attack class 39: a full disk costs the mail that comes then, for now, and none that was acknowledged before.
    #[test]
    fn a_full_disk_defers_mail_and_loses_none() {
        let home = Home::new();
        let disk = SmallDisk::mount(&home.data());
        let filler = disk.0.join("filler");
        let instance = Instance::start_in(home);
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
