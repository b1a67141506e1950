//! Clients that come and take what is new: getmail and fetchmail.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use moxd_tests::{ACCOUNT, ADDRESS, Imap, Instance, PASSWORD, Smtp, client, mail::message};

/// Three messages, and a directory for what a client writes.
fn with_three(name: &str) -> (Instance, PathBuf, PathBuf) {
    let instance = Instance::start();
    deliver(&instance, &["one", "two", "three"]);
    let certificate = client::certificate(&instance);
    let home = instance.home().path().join(name);
    fs::create_dir(&home).unwrap();
    (instance, certificate, home)
}

fn deliver(instance: &Instance, names: &[&str]) {
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    for name in names {
        smtp.must_deliver(ADDRESS, &message(name, 700));
    }
}

/// What the client wrote one after the other.
fn taken(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

/// What is stored, one after the other, with the ends of lines that files have.
fn whole(instance: &Instance) -> String {
    let messages = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
    String::from_utf8(messages.concat()).unwrap().replace("\r\n", "\n")
}

#[test]
fn getmail_takes_each_message_once() {
    let (instance, certificate, home) = with_three("getmail");
    let file = home.join("all");
    let settings = format!(
        "[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = localhost\nport = {}\nusername = {ACCOUNT}\n\
         password = {PASSWORD}\nca_certs = {}\nmailboxes = (\"INBOX\",)\n[destination]\ntype = MDA_external\n\
         path = /usr/bin/tee\narguments = (\"-a\", \"{}\")\nallow_root_commands = true\n[options]\n\
         read_all = false\ndelivered_to = false\nreceived = false\n",
        instance.imaps().port(),
        certificate.display(),
        file.display(),
    );
    fs::write(home.join("rc"), settings).unwrap();
    let get = || client::run(Command::new("getmail").arg("-g").arg(&home).args(["-r", "rc"]));
    let taken = || {
        let ours = |line: &&str| !line.starts_with("X-getmail-retrieved-from-mailbox:");
        taken(&file).split_inclusive('\n').filter(ours).collect::<String>()
    };
    assert!(get().contains("3 messages"));
    assert_eq!(taken(), whole(&instance));
    assert!(get().contains("0 messages"));
    deliver(&instance, &["four"]);
    let printed = get();
    assert!(printed.contains("1 messages") && printed.contains("3 skipped"), "{printed}");
    assert_eq!(taken(), whole(&instance));
    instance.finish();
}

#[test]
fn fetchmail_takes_what_is_unseen() {
    const NOTHING_NEW: i32 = 1;

    let (instance, certificate, home) = with_three("fetchmail");
    let (file, settings) = (home.join("all"), home.join("rc"));
    let text = format!(
        "set invisible\npoll localhost service {} protocol imap user \"{ACCOUNT}\" password \"{PASSWORD}\" ssl sslcertck \
         sslcertfile \"{}\" keep no rewrite mda \"cat >> {}\"\n",
        instance.imaps().port(),
        certificate.display(),
        file.display(),
    );
    fs::write(&settings, text).unwrap();
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o600)).unwrap();
    let fetch = || -> Output {
        let mut fetchmail = Command::new("fetchmail");
        fetchmail.env("HOME", &home).env("FETCHMAILHOME", &home).arg("--fetchmailrc").arg(&settings);
        client::output(&mut fetchmail)
    };
    let succeeds = || {
        let fetched = fetch();
        assert!(fetched.status.success(), "{fetched:?}");
    };
    succeeds();
    assert_eq!(taken(&file), whole(&instance));
    assert_eq!(fetch().status.code(), Some(NOTHING_NEW));
    deliver(&instance, &["four"]);
    succeeds();
    assert_eq!(taken(&file), whole(&instance));
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("EXAMINE INBOX").unwrap();
    let unseen = imap.command("UID SEARCH UNSEEN").unwrap();
    assert!(unseen.iter().any(|response| response.text == "* SEARCH"), "{unseen:?}");
    instance.finish();
}
