//! Where secrets are: the memory of every process is searched for them.
//!
//! A private key is in keyd and nowhere else, a verifier in authd and nowhere else, a password that was typed in none.
//! What is searched for is the form in which the owner has it: it has to be found there first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod memory;

mod as_root {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        io::Write,
        num::NonZeroU32,
        path::Path,
        process::{Child, Command, Stdio},
        time::Duration,
    };

    use aws_lc_rs::{hmac, pbkdf2};
    use moxd_tests::{
        ACCOUNT, ADDRESS, Imap, Instance, Smtp, client, instance::programs, mail::message,
        process::eventually,
    };
    use rusqlite::{Connection, OpenFlags};

    use crate::memory::{Needle, Search};

    /// Like no text that is anywhere by itself; 24 octets, so that it has one form in base64 wherever it begins at a
    /// multiple of three.
    const TYPED: &str = "Zq7vKx2mWb9tRj4nHs6dLy3c";
    const MISTYPED: &str = "Gf5pUe8wXa1kBn7rTo2zMi9h";

    /// Every process of the instance, the supervisor and what started it among them.
    fn processes(instance: &Instance) -> BTreeMap<String, i32> {
        let mut all: BTreeMap<_, _> = instance.pids().into_iter().collect();
        let supervisor = i32::try_from(instance.status()["pid"].as_i64().unwrap()).unwrap();
        all.insert("moxd".to_owned(), supervisor);
        all.insert("moxctl".to_owned(), parent(supervisor));
        assert_eq!(all.len(), 10, "eight roles, the supervisor, localserve: {all:?}");
        all
    }

    fn parent(pid: i32) -> i32 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        line.trim().parse().unwrap()
    }

    /// Who has what.
    fn found<'a>(
        processes: &BTreeMap<String, i32>,
        needles: &'a [Needle],
    ) -> BTreeMap<&'a str, BTreeSet<String>> {
        let search = Search::new(needles);
        let mut who: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (name, pid) in processes {
            let (found, read) = search.process(*pid).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(read > 1 << 16, "only {read} octets of {name} could be read");
            for needle in found {
                who.entry(needle).or_default().insert(name.clone());
            }
        }
        who
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// Without the octets that share a digit with what stands before or behind.
    fn base64(octets: &[u8], lead: usize) -> Vec<u8> {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let octets = &octets[lead..];
        let digits = |three: &[u8]| {
            let bits = three.iter().fold(0_usize, |bits, octet| bits << 8 | usize::from(*octet));
            [18, 12, 6, 0].map(|shift| DIGITS[bits >> shift & 63])
        };
        octets.chunks_exact(3).flat_map(digits).collect()
    }

    /// Raw, turned round, in hex of both cases, and in base64 wherever it begins.
    fn forms(name: &str, octets: &[u8]) -> Vec<Needle> {
        let reversed: Vec<_> = octets.iter().rev().copied().collect();
        let mut forms = vec![
            Needle::new(format!("{name}: raw"), octets),
            Needle::new(format!("{name}: last octet first"), &reversed),
            Needle::new(format!("{name}: hex"), hex(octets).as_bytes()),
            Needle::new(format!("{name}: HEX"), hex(octets).to_uppercase().as_bytes()),
        ];
        forms.extend(
            (0..3).map(|lead| Needle::new(format!("{name}: base64 + {lead}"), &base64(octets, lead))),
        );
        forms
    }

    /// The private numbers of the keys on disk: RFC 5915's privateKey, 32 octets behind version 1.
    fn private_keys(keys: &Path) -> Vec<Needle> {
        let number = |group: &str| {
            let der = fs::read(keys.join(format!("{group}.key"))).unwrap();
            let version = [0x02, 0x01, 0x01, 0x04, 0x20];
            let at = der.windows(version.len()).position(|octets| octets == version).unwrap() + version.len();
            forms(&format!("key of {group}"), &der[at..at + 32])
        };
        ["mx", "mail", "web"].into_iter().flat_map(number).collect()
    }

    struct Kept {
        /// As authd stores it.
        verifier: Vec<Needle>,
        /// What the password becomes on the way there: whoever has one of these can log in.
        on_the_way: Vec<Needle>,
    }

    fn verifier(directory: &Path, password: &str) -> Kept {
        let database =
            Connection::open_with_flags(directory.join("directory.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY);
        type Row = (Vec<u8>, u32, [u8; 32], [u8; 32]);
        let (salt, rounds, stored, server): Row = database
            .unwrap()
            .query_row(
                "SELECT salt, rounds, stored_key, server_key FROM verifier JOIN account ON account.id = account
                 WHERE name = ?1",
                [ACCOUNT],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(rounds).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        // These are the right ones.
        assert_eq!(hmac::sign(&key, b"Server Key").as_ref(), server);
        let client = hmac::sign(&key, b"Client Key");
        Kept {
            verifier: [forms("StoredKey", &stored), forms("ServerKey", &server)].concat(),
            on_the_way: [forms("SaltedPassword", &salted), forms("ClientKey", client.as_ref())].concat(),
        }
    }

    /// In base64 as AUTHENTICATE PLAIN has it too.
    fn typed(password: &str) -> Vec<Needle> {
        forms(&format!("password {}...", &password[..2]), password.as_bytes())
    }

    fn set_password(instance: &Instance, password: &str) {
        let mut moxctl = Command::new(programs().join("moxctl"));
        moxctl.arg("--dir").arg(instance.home().data()).args(["password", "set", ACCOUNT]);
        let mut child = moxctl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// A login with each of the ways in, right and wrong. Those that were refused may stay, and do.
    fn logins(instance: &Instance, certificate: &Path) -> Vec<Imap> {
        let mut refused = Vec::new();
        let plain = |password: &str| {
            let octets = format!("\0{ACCOUNT}\0{password}");
            let mut text = base64(octets.as_bytes(), 0);
            // As many octets as three times something.
            assert_eq!(octets.len() % 3, 2);
            let rest = &octets.as_bytes()[octets.len() - 2..];
            text.extend(&base64(&[rest[0], rest[1], 0], 0)[..3]);
            text.push(b'=');
            String::from_utf8(text).unwrap()
        };
        for (password, right) in [(TYPED, true), (MISTYPED, false)] {
            let commands = [
                format!("LOGIN {ACCOUNT} {password}"),
                format!("LOGIN \"{ACCOUNT}\" \"{password}\""),
                format!("LOGIN {ACCOUNT} {{{}+}}\r\n{password}", password.len()),
                format!("AUTHENTICATE PLAIN {}", plain(password)),
            ];
            for command in commands {
                let mut imap = Imap::open(instance.imap()).unwrap();
                assert_eq!(imap.command(&command).is_ok(), right, "{command}");
                if !right {
                    refused.push(imap);
                }
            }
        }
        for (password, right) in [(TYPED, true), (MISTYPED, false)] {
            let mut smtp = Smtp::connect(instance.submission()).unwrap();
            let reply = smtp.command(&format!("AUTH PLAIN {}", plain(password))).unwrap();
            assert_eq!(reply.code, if right { 235 } else { 535 });
            let mut smtp = Smtp::connect(instance.submission()).unwrap();
            assert_eq!(smtp.command("AUTH LOGIN").unwrap().code, 334);
            let octets = |text: &str| String::from_utf8(base64(text.as_bytes(), 0)).unwrap();
            // The name is as long as three octets, the password as 24.
            assert_eq!(smtp.command(&octets(ACCOUNT)).unwrap().code, 334);
            let reply = smtp.command(&octets(password)).unwrap();
            assert_eq!(reply.code, if right { 235 } else { 535 });
        }
        for (password, right) in [(TYPED, true), (MISTYPED, false)] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--max-time", "20", "--cacert"]).arg(certificate);
            curl.args(["--user", &format!("{ACCOUNT}:{password}")]);
            curl.arg(format!("imaps://localhost:{}/INBOX", instance.imaps().port()));
            assert_eq!(client::output(&mut curl).status.success(), right);
        }
        refused
    }

    /// Attack class 29: whoever reads the memory of another process finds no key, no verifier, no password.
    #[test]
    fn keys_are_in_keyd_only_verifiers_in_authd_only_and_typed_passwords_nowhere() {
        let instance = Instance::start();
        let data = instance.home().data();
        let certificate = instance.home().path().join("localhost.pem");
        client::save_certificate(instance.imaps(), &certificate);
        set_password(&instance, TYPED);
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        for size in [1000, 200_000] {
            smtp.must_deliver(ADDRESS, &message(&format!("of-{size}"), size));
        }
        // Handshakes with every key.
        let mut starttls = Command::new("openssl");
        let port = format!("localhost:{}", instance.smtp().port());
        client::run(starttls.args(["s_client", "-starttls", "smtp", "-connect", &port]));
        client::save_certificate(instance.https(), &instance.home().path().join("web.pem"));
        let _refused = logins(&instance, &certificate);
        // And a session that goes on.
        let mut session = Imap::open(instance.imap()).unwrap();
        session.command(&format!("LOGIN {ACCOUNT} {TYPED}")).unwrap();
        session.command("SELECT INBOX").unwrap();

        let keys = private_keys(&data.join("keys"));
        let Kept { verifier, on_the_way } = verifier(&data.join("directory"), TYPED);
        let nobodys = [on_the_way, typed(TYPED), typed(MISTYPED)].concat();
        let processes = processes(&instance);
        let needles = [keys.clone(), verifier.clone(), nobodys].concat();
        let mut found = found(&processes, &needles);
        // What owners have, in some form, and nobody else in any.
        for (owner, secrets) in [("mox-keyd", keys), ("mox-authd", verifier)] {
            let mut seen = BTreeSet::new();
            for form in &secrets {
                if let Some(who) = found.remove(form.name.as_str()) {
                    assert_eq!(who, BTreeSet::from([owner.to_owned()]), "{}", form.name);
                    seen.insert(form.secret());
                }
            }
            let all: BTreeSet<_> = secrets.iter().map(Needle::secret).collect();
            assert_eq!(seen, all, "{owner} does not have them in a form that was searched for");
        }
        assert_eq!(found, BTreeMap::new());
        session.command("LOGOUT").unwrap();
        instance.finish();
    }

    /// What it searches is there to be found: a password that a process is given to keep is seen in its memory.
    #[test]
    fn the_search_finds_a_secret_in_the_memory_of_another_process() {
        struct Keeper(Child);
        impl Drop for Keeper {
            fn drop(&mut self) {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
        }
        let mut sleep = Command::new("sleep");
        sleep.arg("600").env("KEPT", TYPED).stdout(Stdio::null()).stderr(Stdio::null());
        let keeper = Keeper(sleep.spawn().unwrap());
        let process = BTreeMap::from([("sleep".to_owned(), i32::try_from(keeper.0.id()).unwrap())]);
        let needles = [typed(TYPED), typed(MISTYPED)].concat();
        let mut who = BTreeMap::new();
        // It has its environment when it runs the program, and no earlier.
        let there = eventually(Duration::from_secs(10), || {
            who = found(&process, &needles);
            !who.is_empty()
        });
        assert!(there, "it is not found");
        assert_eq!(who.into_keys().collect::<Vec<_>>(), [typed(TYPED)[0].name.as_str()]);
    }
}
