//! Clients that keep a copy of all mail: mbsync and offlineimap.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use moxd_tests::{
    ACCOUNT, ADDRESS, Home, Imap, Instance, PASSWORD, Smtp, client,
    mail::{assert_same, behind_prefix, message, prefix},
};

fn mbsync(home: &Home, instance: &Instance) -> PathBuf {
    let at = home.path();
    let certificate = at.join("localhost.pem");
    client::save_certificate(instance.imaps(), &certificate);
    let (maildir, port) = (at.join("maildir"), instance.imaps().port());
    fs::create_dir_all(&maildir).unwrap();
    let text = format!(
        "IMAPStore there\nHost localhost\nPort {port}\nUser {ACCOUNT}\nPass {PASSWORD}\nSSLType IMAPS\n\
         CertificateFile {}\n\nMaildirStore here\nPath {1}/\nInbox {1}/INBOX\nSubFolders Verbatim\n\n\
         Channel moxd\nFar :there:\nNear :here:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
        certificate.display(),
        maildir.display(),
    );
    fs::write(at.join("mbsyncrc"), text).unwrap();
    maildir
}

fn sync(home: &Home) -> String {
    let mut mbsync = Command::new("mbsync");
    mbsync.env("HOME", home.path()).arg("-V").arg("-c").arg(home.path().join("mbsyncrc")).arg("moxd");
    client::run(&mut mbsync)
}

/// Every file of `INBOX/cur` and `INBOX/new`, as it was on the wire.
fn maildir_messages(maildir: &Path) -> Vec<Vec<u8>> {
    files_of(&maildir.join("INBOX")).map(|file| on_the_wire(&fs::read(file).unwrap())).collect()
}

/// With CRLF, without the fields that the clients add.
fn on_the_wire(text: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(text.len() + text.len() / 32);
    let mut header = true;
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        header = header && !line.is_empty();
        if header && (line.starts_with(b"X-TUID: ") || line.starts_with(b"X-OfflineIMAP: ")) {
            continue;
        }
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    message
}

/// The files' names and times: what a transfer of any kind would change.
fn state_of(maildir: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut state: Vec<_> = files_of(&maildir.join("INBOX"))
        .map(|file| {
            let changed = file.metadata().unwrap().modified().unwrap();
            (file, changed)
        })
        .collect();
    state.sort();
    state
}

#[test]
fn what_swaks_delivers_plain_and_over_starttls_mbsync_fetches_octet_by_octet_and_only_once() {
    let instance = Instance::start();
    let mut sent = Vec::new();
    for (name, size) in [("1k", 1 << 10), ("3m", 3 << 20), ("40m", 40 << 20)] {
        for tls in [false, true] {
            let message = message(&format!("{name}-{}", if tls { "starttls" } else { "plain" }), size);
            client::swaks(&instance, &message, tls);
            sent.push((tls, message));
        }
    }

    let stored = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
    assert_eq!(stored.len(), sent.len());
    for ((tls, sent), stored) in sent.iter().zip(&stored) {
        assert_same(behind_prefix(stored), sent);
        let prefix = String::from_utf8(prefix(stored).to_vec()).unwrap();
        assert!(prefix.starts_with("Return-Path: <sender@example.org>\r\n"), "{prefix}");
        let with = if *tls { "with ESMTPS" } else { "with ESMTP\r\n" };
        assert!(prefix.contains("\r\nReceived: from ") && prefix.contains(with), "{prefix}");
    }

    let maildir = mbsync(instance.home(), &instance);
    sync(instance.home());
    let mut fetched = maildir_messages(&maildir);
    let mut expected = stored;
    fetched.sort();
    expected.sort();
    assert_eq!(fetched.len(), expected.len());
    for (fetched, expected) in fetched.iter().zip(&expected) {
        assert_same(fetched, expected);
    }

    let before = state_of(&maildir);
    sync(instance.home());
    assert_eq!(state_of(&maildir), before, "the second run transferred something");

    // A second start finds all of it, and what was fetched is known by the same UIDs.
    let instance = Instance::start_in(instance.finish());
    sync(instance.home());
    assert_eq!(state_of(&maildir), before, "after a restart something was transferred again");
    instance.finish();
}

#[test]
fn flags_set_on_either_side_are_seen_on_the_other() {
    let instance = Instance::start();
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    smtp.must_deliver(ADDRESS, &message("first", 500));
    smtp.must_deliver(ADDRESS, &message("second", 500));
    let maildir = mbsync(instance.home(), &instance);
    sync(instance.home());

    // Flagged there, seen here.
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("SELECT INBOX").unwrap();
    imap.command("STORE 1 +FLAGS (\\Flagged)").unwrap();
    let second = state_of(&maildir)
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).contains("Subject: second"))
        .unwrap();
    let name = second.file_name().unwrap().to_str().unwrap();
    let base = name.split(":2,").next().unwrap();
    fs::rename(&second, maildir.join("INBOX/cur").join(format!("{base}:2,S"))).unwrap();
    sync(instance.home());

    let flagged = |(path, _): &(PathBuf, _)| path.to_string_lossy().ends_with(":2,F");
    assert_eq!(state_of(&maildir).iter().filter(|file| flagged(file)).count(), 1);
    let responses = imap.command("FETCH 2 (FLAGS)").unwrap();
    assert!(responses.iter().any(|response| response.text.contains("\\Seen")), "{responses:?}");
    instance.finish();
}

/// What one side has: of each message its text and whether it was read.
type Side = BTreeMap<Vec<u8>, bool>;

fn there(imap: &mut Imap, mailbox: &str) -> Side {
    imap.command(&format!("EXAMINE {mailbox}")).unwrap();
    let responses = imap.command("UID FETCH 1:* (FLAGS BODY.PEEK[])").unwrap();
    let messages = responses.into_iter().filter(|response| response.text.contains(" FETCH "));
    messages.map(|one| (on_the_wire(&one.literals[0]), one.text.contains("\\Seen"))).collect()
}

fn here(maildir: &Path, mailbox: &str) -> Side {
    let files = files_of(&maildir.join(mailbox));
    files.map(|file| (on_the_wire(&fs::read(&file).unwrap()), is_seen(&file))).collect()
}

fn files_of(mailbox: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let parts = ["cur", "new"].map(|part| fs::read_dir(mailbox.join(part)).unwrap());
    parts.into_iter().flatten().map(|file| file.unwrap().path())
}

fn is_seen(file: &Path) -> bool {
    file.to_str().unwrap().rsplit_once(":2,").is_some_and(|(_, flags)| flags.contains('S'))
}

/// Says of a file that it was read.
fn see(file: &Path) {
    let (base, flags) = file.file_name().unwrap().to_str().unwrap().split_once(":2,").unwrap();
    fs::rename(file, file.with_file_name(format!("{base}:2,{flags}S"))).unwrap();
}

fn put(mailbox: &Path, name: &str) {
    let message = String::from_utf8(message(name, 600)).unwrap().replace("\r\n", "\n");
    fs::write(mailbox.join("new").join(name), message).unwrap();
}

fn assert_same_sides(there: &Side, here: &Side, mailbox: &str) {
    assert_eq!(there.len(), here.len(), "{mailbox}");
    for (message, seen) in there {
        let text = String::from_utf8_lossy(&message[..message.len().min(400)]);
        assert_eq!(here.get(message), Some(seen), "{mailbox}: {text}");
    }
}

/// What any change at the server moves.
fn moved_by_changes(imap: &mut Imap) -> Vec<String> {
    let status = "LIST \"\" * RETURN (STATUS (UIDNEXT UIDVALIDITY HIGHESTMODSEQ))";
    imap.command(status)
        .unwrap()
        .into_iter()
        .map(|response| response.text)
        .filter(|line| line.starts_with("* STATUS "))
        .collect()
}

#[test]
fn mbsync_keeps_ten_thousand_messages_the_same_on_both_sides() {
    const MESSAGES: usize = 10_000;

    let instance = Instance::start();
    let mbox = instance.home().path().join("mbox");
    let mut out = BufWriter::new(fs::File::create(&mbox).unwrap());
    for number in 0..MESSAGES {
        // Of half a kilobyte to eight, a few of a hundred.
        let size = if number % 500 == 0 { 100_000 } else { 500 + number * 7919 % 7500 };
        out.write_all(b"From sender@example.org Mon Nov 23 12:00:00 2026\n").unwrap();
        out.write_all(
            String::from_utf8(message(&format!("m{number}"), size)).unwrap().replace("\r\n", "\n").as_bytes(),
        )
        .unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.into_inner().unwrap().sync_all().unwrap();
    let imported = instance.moxctl(&["account", "import", "mbox", ACCOUNT, mbox.to_str().unwrap()]);
    assert!(imported.status.success(), "{imported:?}");

    let maildir = mbsync(instance.home(), &instance);
    sync(instance.home());
    let mut imap = Imap::login(instance.imap()).unwrap();
    let both = there(&mut imap, "INBOX");
    assert_eq!(both.len(), MESSAGES);
    assert_same_sides(&both, &here(&maildir, "INBOX"), "INBOX");

    let unchanged = |imap: &mut Imap| {
        let (at_server, files) = (moved_by_changes(imap), state_of(&maildir));
        sync(instance.home());
        assert_eq!(moved_by_changes(imap), at_server, "a second run changed something at the server");
        let changed: Vec<_> =
            state_of(&maildir).into_iter().filter(|file| !files.contains(file)).take(3).collect();
        assert!(changed.is_empty(), "a second run changed {changed:?}");
    };
    unchanged(&mut imap);

    // Changes at the server: read, gone, moved, new.
    imap.command("SELECT INBOX").unwrap();
    imap.command("UID STORE 1:1000 +FLAGS.SILENT (\\Seen)").unwrap();
    imap.command("UID STORE 1001:1300 +FLAGS.SILENT (\\Deleted)").unwrap();
    imap.command("EXPUNGE").unwrap();
    imap.command("UID MOVE 1301:1500 Archive").unwrap();
    for number in 0..100 {
        imap.append(
            "INBOX",
            "\\Seen",
            "\"23-Nov-2026 12:00:00 +0000\"",
            &message(&format!("appended-{number}"), 900),
        )
        .unwrap();
    }
    // And here, of other messages: read, gone, new, and a mailbox of its own.
    let inbox = maildir.join("INBOX");
    let unread: Vec<PathBuf> = files_of(&inbox)
        .filter(|file| {
            let uid: usize = file
                .to_str()
                .unwrap()
                .split(",U=")
                .nth(1)
                .unwrap()
                .split(':')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            uid > 1500
        })
        .collect();
    let (read, gone) = (&unread[..700], &unread[700..1000]);
    let seen_here: Vec<Vec<u8>> = read.iter().map(|file| on_the_wire(&fs::read(file).unwrap())).collect();
    read.iter().for_each(|file| see(file));
    gone.iter().for_each(|file| fs::remove_file(file).unwrap());
    for number in 0..150 {
        put(&inbox, &format!("written-{number}"));
    }
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join("Projects").join(part)).unwrap();
    }
    (0..50).for_each(|number| put(&maildir.join("Projects"), &format!("project-{number}")));

    sync(instance.home());
    let inbox = there(&mut imap, "INBOX");
    assert_eq!(inbox.len(), MESSAGES - 300 - 200 - 300 + 100 + 150);
    assert_eq!(inbox.values().filter(|seen| **seen).count(), 1000 + 100 + 700);
    assert!(seen_here.iter().all(|message| inbox.get(message) == Some(&true)));
    assert_same_sides(&inbox, &here(&maildir, "INBOX"), "INBOX");
    for (mailbox, messages) in [("Archive", 200), ("Projects", 50)] {
        let stored = there(&mut imap, mailbox);
        assert_eq!(stored.len(), messages);
        assert_same_sides(&stored, &here(&maildir, mailbox), mailbox);
    }
    unchanged(&mut imap);
    drop(imap);
    instance.finish();
}

#[test]
fn offlineimap_keeps_both_sides_the_same() {
    let instance = Instance::start();
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    for number in 0..20 {
        smtp.must_deliver(ADDRESS, &message(&format!("m{number}"), 500 + number * 1000));
    }
    let home = instance.home().path().join("offlineimap");
    fs::create_dir(&home).unwrap();
    let settings = format!(
        "[general]\naccounts = moxd\nmetadata = {0}/metadata\nui = basic\nsocktimeout = 60\n[Account moxd]\n\
         localrepository = here\nremoterepository = there\n[Repository here]\ntype = Maildir\n\
         localfolders = {0}/mail\n[Repository there]\ntype = IMAP\nremotehost = localhost\nremoteport = {1}\n\
         remoteuser = {ACCOUNT}\nremotepass = {PASSWORD}\nssl = yes\nsslcacertfile = {2}\n",
        home.display(),
        instance.imaps().port(),
        client::certificate(&instance).display(),
    );
    fs::write(home.join("rc"), settings).unwrap();
    let sync = || {
        let mut offlineimap = Command::new("offlineimap");
        client::run(offlineimap.env("HOME", &home).arg("-o").arg("-c").arg(home.join("rc")));
    };
    let maildir = home.join("mail");
    let mut imap = Imap::login(instance.imap()).unwrap();
    let same = |imap: &mut Imap| {
        let stored = there(imap, "INBOX");
        assert_same_sides(&stored, &here(&maildir, "INBOX"), "INBOX");
        stored
    };
    sync();
    assert_eq!(same(&mut imap).len(), 20);

    imap.command("SELECT INBOX").unwrap();
    imap.command("UID STORE 1:5 +FLAGS (\\Seen)").unwrap();
    imap.command("UID STORE 6:7 +FLAGS (\\Deleted)").unwrap();
    imap.command("UID EXPUNGE 6:7").unwrap();
    let ours: Vec<PathBuf> = files_of(&maildir.join("INBOX"))
        .filter(|file| (15..=18).any(|uid| file.to_str().unwrap().contains(&format!(",U={uid},"))))
        .collect();
    let file =
        |uid: u32| ours.iter().find(|file| file.to_str().unwrap().contains(&format!(",U={uid},"))).unwrap();
    fs::remove_file(file(15)).unwrap();
    see(file(16));
    see(file(17));
    put(&maildir.join("INBOX"), "written");
    sync();
    let both = same(&mut imap);
    assert_eq!(both.len(), 20 - 2 - 1 + 1);
    assert_eq!(both.values().filter(|seen| **seen).count(), 5 + 2);

    let (at_server, files) = (moved_by_changes(&mut imap), state_of(&maildir));
    sync();
    assert_eq!(moved_by_changes(&mut imap), at_server);
    assert_eq!(state_of(&maildir), files);
    drop(imap);
    instance.finish();
}
