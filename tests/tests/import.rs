//! Import and export on the real binaries: what goes in comes out, however often and however interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use moxd_tests::{ACCOUNT, Imap, Instance, PASSWORD, instance::programs};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

fn import(instance: &Instance, arguments: &[&str]) -> Value {
    instance.json(&[&["account", "import"], arguments].concat())
}

/// The counts of one mailbox of a report.
fn counts(report: &Value, mailbox: &str) -> [u64; 5] {
    let mailboxes = report["mailboxes"].as_array().unwrap();
    let found = mailboxes.iter().find(|counts| counts["mailbox"] == mailbox).expect("the mailbox");
    ["imported", "known", "duplicates", "too_large", "left"].map(|count| found[count].as_u64().unwrap())
}

/// UID, flags, date and octets of every message.
fn listing(imap: &mut Imap, mailbox: &str) -> Vec<(String, Vec<u8>)> {
    imap.command(&format!("EXAMINE {mailbox}")).unwrap();
    let responses = imap.command("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])").unwrap();
    let fetched = responses.into_iter().filter(|response| response.text.contains(" FETCH "));
    fetched.map(|response| (response.text.replace("\\Recent", ""), response.literals[0].clone())).collect()
}

/// The same without UIDs.
fn content(imap: &mut Imap, mailbox: &str) -> Vec<(String, Vec<u8>)> {
    let without = |text: String| {
        let (uid, rest) = text.split_once("UID ").unwrap();
        let number = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let sequence = uid.split_once('(').unwrap().1;
        let mut words: Vec<String> = format!("{sequence}{}", &rest[number..])
            .split_whitespace()
            .map(|word| word.trim_matches(['(', ')']).to_owned())
            .collect();
        words.sort();
        words.retain(|word| !word.is_empty() && !word.starts_with('{'));
        words.join(" ")
    };
    listing(imap, mailbox).into_iter().map(|(text, octets)| (without(text), octets)).collect()
}

fn status(imap: &mut Imap, mailbox: &str) -> String {
    imap.command(&format!("STATUS {mailbox} (MESSAGES UIDVALIDITY)")).unwrap()[0].text.clone()
}

fn append(imap: &mut Imap, mailbox: &str, flags: &str, date: &str, octets: &[u8]) {
    imap.append(mailbox, flags, date, octets).unwrap();
}

/// Messages that are hard on every format.
const ODD: [&[u8]; 7] = [
    b"Subject: plain\r\nMessage-Id: <plain@x>\r\n\r\ntext\r\n",
    b"Status: RO\r\nX-Keywords: no\r\nSubject: no end of line\r\n\r\ntext",
    b"Subject: bare\n\nLF\nand\rCR\r\r\n",
    b"\r\nno header\r\n",
    b"Subject: From lines\r\n\r\nFrom a@b Sat Nov 28 16:25:28 2026\r\n>From x\r\n\r\nFrom a@b Sat Nov 28 16:25:28 2026\r\nSubject: forged\r\n\r\n",
    b"Subject: empty lines\r\n\r\n\r\n\r\n",
    b"X-Moxd-Message: lf 3\r\nContent-Length: 1\r\nSubject: forged\r\n\r\nabc\r\n",
];

fn fill(instance: &Instance) -> Imap {
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("CREATE \"Lists/a.b &- c\"").unwrap();
    imap.command("CREATE Templates").unwrap();
    imap.command("SUBSCRIBE Nowhere").unwrap();
    for (place, octets) in ODD.iter().enumerate() {
        let flags =
            ["", "\\Seen", "\\Flagged $Forwarded", "\\Answered \\Draft", "\\Deleted work", "work \\Seen", ""];
        let date = format!("\"{:02}-Nov-2026 01:02:03 +0000\"", place + 1);
        append(&mut imap, "INBOX", flags[place], &date, octets);
        append(&mut imap, "\"Lists/a.b &- c\"", flags[6 - place], &date, octets);
    }
    let large =
        [&b"Subject: large\r\n\r\n"[..], &b"From the beginning of a line\r\n".repeat(100_000)].concat();
    append(&mut imap, "Sent", "\\Seen", "\"01-Jan-1990 00:00:00 +0000\"", &large);
    imap
}

fn account(instance: &Instance, name: &str) -> Imap {
    instance.add_account(name, "secret-enough");
    Imap::login_as(instance.imap(), name, "secret-enough").unwrap()
}

#[test]
fn what_was_exported_comes_back_octet_for_octet_in_every_format() {
    let instance = Instance::start();
    let mut from = fill(&instance);
    let place = instance.home().path().to_owned();
    for format in ["mbox", "maildir", "tar"] {
        let exported = place.join(format!("as-{format}"));
        let written =
            instance.json(&["account", "export", ACCOUNT, exported.to_str().unwrap(), "--format", format]);
        assert_eq!((&written["messages"], &written["mailboxes"]), (&json!(15), &json!(9)), "{written}");
        let source = if format == "tar" {
            let unpacked = place.join("unpacked");
            fs::create_dir(&unpacked).unwrap();
            let tar = Command::new("tar").arg("-xf").arg(&exported).arg("-C").arg(&unpacked).status();
            assert!(tar.unwrap().success());
            unpacked
        } else {
            exported
        };
        let kind = if format == "mbox" { "mbox" } else { "maildir" };
        let mut to = account(&instance, format);
        let report = import(&instance, &[kind, format, source.to_str().unwrap()]);
        assert_eq!(counts(&report, "INBOX"), [7, 0, 0, 0, 0], "{report}");
        for mailbox in ["INBOX", "\"Lists/a.b &- c\"", "Sent", "Templates"] {
            assert_eq!(content(&mut to, mailbox), content(&mut from, mailbox), "{format}: {mailbox}");
            if kind == "maildir" && mailbox != "Templates" {
                assert_eq!(listing(&mut to, mailbox).len(), listing(&mut from, mailbox).len());
                assert_eq!(listing(&mut to, mailbox), listing(&mut from, mailbox), "UIDs are kept");
                assert_eq!(status(&mut to, mailbox), status(&mut from, mailbox), "UIDVALIDITY is kept");
            }
        }
        let subscribed = |imap: &mut Imap| -> Vec<String> {
            imap.command("LSUB \"\" *").unwrap().into_iter().map(|response| response.text).collect()
        };
        assert!(subscribed(&mut to).iter().any(|line| line.contains("Nowhere")), "{format}");
        // Nothing of it comes twice, and nothing at the source has changed.
        let again = import(&instance, &[kind, format, source.to_str().unwrap()]);
        assert_eq!(counts(&again, "INBOX"), [0, 7, 0, 0, 0], "{again}");
        let verified = instance.moxctl(&["account", "verify", format]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
    instance.finish();
}

fn mbox_of(path: &Path, messages: std::ops::Range<u32>, text: usize) {
    let mut file = BufWriter::new(File::options().create(true).append(true).open(path).unwrap());
    let line = format!("{}\n", "x".repeat(71)).repeat(text / 72);
    for number in messages {
        write!(
            file,
            "From a@example.org Sat Nov 28 16:25:28 2026\nStatus: RO\nMessage-Id: <{number}@example.org>\n\
             From: <a@example.org>\nTo: <mox@localhost>\nSubject: message {number}\n\n{line}\n"
        )
        .unwrap();
    }
    file.flush().unwrap();
}

#[test]
fn an_import_that_is_killed_at_any_point_goes_on_without_a_gap_or_a_double() {
    const MESSAGES: u32 = 6000;
    let instance = Instance::start();
    let file = instance.home().path().join("old.mbox");
    mbox_of(&file, 0..MESSAGES, 3000);
    let start = |rate: &str| -> Child {
        let mut moxctl = Command::new(programs().join("moxctl"));
        moxctl.arg("--dir").arg(instance.home().data()).args(["account", "import", "mbox", ACCOUNT]);
        moxctl
            .arg(&file)
            .args(["--rate", rate])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        moxctl.spawn().unwrap()
    };
    let count = || -> u64 {
        // Whose process has just died is told to come again.
        let since = Instant::now();
        let mut imap = loop {
            match Imap::login(instance.imap()) {
                Ok(imap) => break imap,
                Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
            }
        };
        let status = status(&mut imap, "INBOX");
        let messages = status.split("MESSAGES ").nth(1).unwrap();
        messages.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let mut before = 0;
    for who in ["moxctl", "accountd", "moxctl"] {
        // Slow enough to be met under way.
        let mut child = start("4000");
        let since = Instant::now();
        while count() < before + 300 {
            assert!(since.elapsed() < Duration::from_secs(60), "nothing comes");
            assert!(child.try_wait().unwrap().is_none(), "it was too fast to be killed");
        }
        if who == "moxctl" {
            child.kill().unwrap();
        } else {
            let accountd = instance.pids().into_iter().find(|(name, _)| name.contains("accountd"));
            kill(Pid::from_raw(accountd.unwrap().1), Signal::SIGKILL).unwrap();
        }
        assert!(!child.wait().unwrap().success());
        before = count();
    }
    // The source changes in between: messages come, and the first one goes.
    let text = fs::read_to_string(&file).unwrap();
    let second = text[1..].find("\nFrom a@").unwrap() + 2;
    fs::write(&file, &text[second..]).unwrap();
    mbox_of(&file, MESSAGES..MESSAGES + 10, 3000);
    let report = import(&instance, &["mbox", ACCOUNT, file.to_str().unwrap()]);
    let [imported, known, ..] = counts(&report, "INBOX");
    assert_eq!(imported + known, u64::from(MESSAGES) - 1 + 10, "{report}");
    assert!(known >= before - 1 && imported >= 10, "{report}");
    let mut imap = Imap::login(instance.imap()).unwrap();
    let mut numbers: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for message in imap.messages("INBOX").unwrap() {
        *numbers.entry(message).or_default() += 1;
    }
    assert_eq!(numbers.len(), usize::try_from(MESSAGES).unwrap() + 10);
    assert!(numbers.values().all(|times| *times == 1), "a message came twice");
    instance.finish();
}

/// A certificate for localhost, and its key, in PEM.
fn certificate() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = |label: &str, der: &[u8]| {
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    (pem("CERTIFICATE", pair.cert.der()), pem("PRIVATE KEY", &pair.signing_key.serialize_der()))
}

/// Passes octets on, and cuts its first connection when the server has said so many.
fn cutting_proxy(server: SocketAddr, after: usize) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (Ok(mut client), Ok(mut server)) = (client, TcpStream::connect(server)) else { return };
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Both);
            });
            let left = if number == 0 { after as u64 } else { u64::MAX };
            let _ = std::io::copy(&mut Read::by_ref(&mut server).take(left), &mut client);
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        }
    });
    address
}

mod as_root {
    use moxd_tests::dovecot::{Dovecot, PASSWORD, USER};

    use super::*;

    #[test]
    fn mail_of_a_dovecot_comes_over_with_all_that_belongs_to_it() {
        let instance = Instance::start();
        let place = instance.home().path().to_owned();
        let (certificate, key) = certificate();
        let dovecot = Dovecot::start(&place, &certificate, &key);
        let (ca, password) = (place.join("ca.pem"), place.join("password"));
        fs::write(&ca, &certificate).unwrap();
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let (ca, password) = (ca.to_str().unwrap(), password.to_str().unwrap());
        let mut old = Imap::login_as(dovecot.imap, USER, PASSWORD).unwrap();
        old.command("CREATE INBOX.Lists.rust").unwrap();
        old.command("SUBSCRIBE INBOX.Lists.rust").unwrap();
        // Dovecot keeps CRLF for every line end.
        let clean: Vec<Vec<u8>> = (0..40)
            .map(|number| {
                format!(
                    "Message-Id: <{number}@old>\r\nSubject: {number}\r\n\r\n{}",
                    "text\r\n".repeat(number * 40)
                )
                .into_bytes()
            })
            .collect();
        for (number, octets) in clean.iter().enumerate() {
            let flags = ["", "\\Seen", "\\Flagged $Forwarded", "\\Answered \\Draft work"][number % 4];
            let date = format!("\"{:02}-Jan-2020 10:11:12 +0200\"", number % 28 + 1);
            for mailbox in ["INBOX", "INBOX.Lists.rust", "INBOX.Outgoing"] {
                append(&mut old, mailbox, flags, &date, octets);
            }
        }
        old.command("SELECT INBOX").unwrap();
        old.command("UID STORE 3,5:7 +FLAGS (\\Deleted)").unwrap();
        old.command("EXPUNGE").unwrap();
        let by_tls = format!("localhost:{}", dovecot.imaps.port());
        let options = ["--user", USER, "--password-file", password];
        let run = |server: &str, more: &[&str]| {
            instance.moxctl(
                &[&["--json", "account", "import", "imap", ACCOUNT, server], &options[..], more].concat(),
            )
        };
        // Nobody vouches for its certificate, and it is not that address's.
        for more in [&[][..], &["--ca", ca]] {
            let server = if more.is_empty() { by_tls.clone() } else { dovecot.imaps.to_string() };
            let refused = run(&server, more);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(refused.status.code() == Some(1) && said.contains("ertificate"), "{said}");
        }
        let report: Value = serde_json::from_slice(&run(&by_tls, &["--ca", ca]).stdout).unwrap();
        assert_eq!(counts(&report, "INBOX"), [36, 0, 0, 0, 0], "{report}");
        assert_eq!(counts(&report, "Lists/rust"), [40, 0, 0, 0, 0], "{report}");
        let mut new = Imap::login(instance.imap()).unwrap();
        for (there, here) in
            [("INBOX", "INBOX"), ("INBOX.Lists.rust", "Lists/rust"), ("INBOX.Outgoing", "Outgoing")]
        {
            assert_eq!(sorted_listing(&mut new, here), sorted_listing(&mut old, there), "{here}");
            assert_eq!(
                status(&mut new, here).split('(').nth(1),
                status(&mut old, there).split('(').nth(1),
                "{here}"
            );
        }
        let sent = new.command("LIST (SPECIAL-USE) \"\" *").unwrap();
        assert!(
            sent.iter().any(|line| line.text.contains("Outgoing") && line.text.contains("\\Sent")),
            "{sent:?}"
        );
        let subscribed = new.command("LSUB \"\" *").unwrap();
        assert!(subscribed.iter().any(|line| line.text.contains("Lists/rust")), "{subscribed:?}");
        // The source changes, and so does what was imported.
        append(&mut old, "INBOX", "\\Seen", "\"01-Feb-2020 00:00:00 +0000\"", b"Subject: late\r\n\r\n");
        old.command("SELECT INBOX").unwrap();
        old.command("UID STORE 10 +FLAGS (\\Deleted)").unwrap();
        old.command("EXPUNGE").unwrap();
        new.command("SELECT INBOX").unwrap();
        new.command("UID STORE 12 +FLAGS (\\Deleted)").unwrap();
        new.command("EXPUNGE").unwrap();
        let starttls = format!("localhost:{}", dovecot.imap.port());
        let report: Value =
            serde_json::from_slice(&run(&starttls, &["--ca", ca, "--tls", "starttls"]).stdout).unwrap();
        assert_eq!(
            counts(&report, "INBOX"),
            [1, 35, 0, 0, 0],
            "by another port it is the same mail: {report}"
        );
        let report: Value = serde_json::from_slice(&run(&by_tls, &["--insecure"]).stdout).unwrap();
        assert_eq!(counts(&report, "INBOX"), [0, 36, 0, 0, 0], "{report}");
        assert_eq!(new.messages("INBOX").unwrap().len(), 36, "one came, one was removed here");
        instance.finish();
    }

    #[test]
    fn a_maildir_of_dovecot_is_read_beside_it() {
        let instance = Instance::start();
        let place = instance.home().path().to_owned();
        let (certificate, key) = certificate();
        let dovecot = Dovecot::start(&place, &certificate, &key);
        let mut old = Imap::login_as(dovecot.imap, USER, PASSWORD).unwrap();
        old.command("CREATE INBOX.Lists").unwrap();
        for number in 0..10 {
            let octets = format!("Subject: {number}\r\n\r\nline\r\n");
            for mailbox in ["INBOX", "INBOX.Lists"] {
                append(
                    &mut old,
                    mailbox,
                    "\\Seen work $Junk",
                    "\"02-Mar-2021 03:04:05 +0000\"",
                    octets.as_bytes(),
                );
            }
        }
        old.command("EXAMINE INBOX.Lists").unwrap();
        let report = import(&instance, &["maildir", ACCOUNT, dovecot.mail.to_str().unwrap()]);
        assert_eq!(counts(&report, "Lists"), [10, 0, 0, 0, 0], "{report}");
        let mut new = Imap::login(instance.imap()).unwrap();
        for (there, here) in [("INBOX", "INBOX"), ("INBOX.Lists", "Lists")] {
            assert_eq!(sorted_listing(&mut new, here), sorted_listing(&mut old, there), "{here}");
            assert_eq!(
                status(&mut new, here).split('(').nth(1),
                status(&mut old, there).split('(').nth(1),
                "{here}"
            );
        }
        instance.finish();
    }
}

/// The same with the words of each line in order: servers tell them in theirs.
fn sorted_listing(imap: &mut Imap, mailbox: &str) -> Vec<(Vec<String>, Vec<u8>)> {
    let words = |text: String| {
        let spaced = text.replace(" \" ", " \"0").replace(['(', ')'], " ");
        let mut words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
        words.retain(|word| !word.starts_with('{'));
        words.sort();
        words
    };
    listing(imap, mailbox).into_iter().map(|(text, octets)| (words(text), octets)).collect()
}

#[test]
fn mail_of_another_moxd_comes_over_a_connection_that_ends() {
    let instance = Instance::start();
    let mut from = fill(&instance);
    for number in 0..600 {
        let octets = format!(
            "Message-Id: <{number}@x>\r\nSubject: {number}\r\n\r\n{}",
            "text text text\r\n".repeat(60)
        );
        append(&mut from, "Archive", "\\Seen", "\"03-Apr-2022 05:06:07 +0000\"", octets.as_bytes());
    }
    let mut to = account(&instance, "new");
    let password = instance.home().path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let proxy = cutting_proxy(instance.imap(), 400_000);
    let arguments = [
        "imap",
        "new",
        &proxy.to_string(),
        "--user",
        ACCOUNT,
        "--password-file",
        password.to_str().unwrap(),
        "--tls",
        "none",
    ];
    let report = import(&instance, &arguments);
    let total: u64 = report["mailboxes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|counts| counts["imported"].as_u64().unwrap())
        .sum();
    assert_eq!(total, 615, "{report}");
    for mailbox in ["INBOX", "\"Lists/a.b &- c\"", "Sent", "Archive"] {
        assert_eq!(listing(&mut to, mailbox), listing(&mut from, mailbox), "{mailbox}");
        assert_eq!(status(&mut to, mailbox), status(&mut from, mailbox), "{mailbox}");
    }
    let again = import(&instance, &arguments);
    assert_eq!(counts(&again, "Archive"), [0, 600, 0, 0, 0], "{again}");
    // The same by way of a file, which is another source: all of it is there.
    let exported = instance.home().path().join("exported");
    let done =
        instance.moxctl(&["account", "export", ACCOUNT, exported.to_str().unwrap(), "--format", "mbox"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report = import(&instance, &["mbox", "new", exported.to_str().unwrap(), "--skip-duplicates"]);
    assert_eq!(counts(&report, "Archive"), [0, 0, 600, 0, 0], "{report}");
    instance.finish();
}

/// Attack class 25: links, pipes and files of others in a directory that the admin imports from.
#[test]
fn links_in_a_maildir_are_not_followed() {
    let instance = Instance::start();
    let maildir = instance.home().path().join("Maildir");
    for directory in ["cur", "new", "tmp", ".Folder/cur"] {
        fs::create_dir_all(maildir.join(directory)).unwrap();
    }
    let secret = instance.home().path().join("secret");
    fs::write(&secret, "Subject: secret\n\n").unwrap();
    fs::write(maildir.join("cur/1.mail:2,S"), "Subject: mail\n\ntext\n").unwrap();
    symlink(&secret, maildir.join("cur/2.link:2,S")).unwrap();
    symlink("/etc", maildir.join(".Linked")).unwrap();
    nix::unistd::mkfifo(&maildir.join("new/3.pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output =
        instance.moxctl(&["--json", "account", "import", "maildir", ACCOUNT, maildir.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts(&report, "INBOX"), [1, 0, 0, 0, 2], "{report}");
    assert_eq!(report["mailboxes"].as_array().unwrap().len(), 2, "{report}");
    let mut imap = Imap::login(instance.imap()).unwrap();
    assert_eq!(imap.messages("INBOX").unwrap(), [b"Subject: mail\r\n\r\ntext\r\n"]);
    instance.finish();
}

/// What a process used of memory at most, octets.
fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The reader says Ready, and gets its source, only behind its lock.
fn is_confined(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let has = |name: &str, value: &str| {
        status.lines().any(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.split_whitespace().all(|word| word == value))
        })
    };
    let user = !nix::unistd::geteuid().is_root() || has("Uid:", "1900000015");
    user && has("Seccomp:", "2") && has("NoNewPrivs:", "1") && has("CapEff:", "0000000000000000")
}

/// What grows with the number of messages is a set of keys, 16 octets each and what lies around them; 200,000 are the
/// benchmark's.
#[test]
fn a_large_import_stays_within_its_memory() {
    const MESSAGES: u32 = 30_000;
    let instance = Instance::start();
    let file = instance.home().path().join("large.mbox");
    mbox_of(&file, 0..MESSAGES, 3600);
    let large = format!("From - Sat Nov 28 16:25:28 2026\nSubject: large\n\n{}\n", "y".repeat(60 << 20));
    File::options().append(true).open(&file).unwrap().write_all(large.as_bytes()).unwrap();
    drop(large);
    let mut moxctl = Command::new(programs().join("moxctl"));
    moxctl.arg("--dir").arg(instance.home().data()).args(["account", "import", "mbox", ACCOUNT]).arg(&file);
    moxctl.arg("--skip-duplicates").stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = moxctl.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let (mut ours, mut reader, mut confined) = (0, 0, false);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        ours = ours.max(peak(pid).unwrap_or_default());
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace() {
            reader = reader.max(peak(child.parse().unwrap()).unwrap_or_default());
            confined |= is_confined(child);
        }
        // A process has no event for how much memory it uses.
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success());
    assert!(confined, "the reader was never seen behind its lock");
    let accountd = instance.pids().into_iter().find(|(name, _)| name.contains("accountd")).unwrap().1;
    let peaks = [("moxctl", ours), ("the reader", reader), ("accountd", peak(accountd).unwrap())];
    for (who, peak) in peaks {
        assert!(peak > 1 << 20 && peak < 100 << 20, "{who} used {peak} octets: {peaks:?}");
    }
    let mut imap = Imap::login(instance.imap()).unwrap();
    assert!(status_says(&mut imap, MESSAGES + 1));
    instance.finish();
}

fn status_says(imap: &mut Imap, messages: u32) -> bool {
    status(imap, "INBOX").contains(&format!("MESSAGES {messages} "))
}
