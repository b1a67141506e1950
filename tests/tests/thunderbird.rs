//! Thunderbird, with its windows on a display that nobody sees: what it shows and what moxd saw of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use moxd_tests::{ACCOUNT, ADDRESS, Imap, Instance, PASSWORD, client, mail::message, process::eventually};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// It takes a few seconds to start, on a busy machine many.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where an open message's text is, below its header.
const TEXT: &str = "900x600+60+200";

/// A program that is ended with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

/// An X server of its own.
struct Display {
    name: String,
    _xvfb: Running,
}

impl Display {
    fn start() -> Self {
        let mut xvfb = Command::new("Xvfb");
        xvfb.args(["-displayfd", "1", "-screen", "0", "1152x900x24", "-nolisten", "tcp"]);
        xvfb.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut xvfb = Running(xvfb.spawn().unwrap());
        let mut number = String::new();
        BufReader::new(xvfb.0.stdout.take().unwrap()).read_line(&mut number).unwrap();
        Self { name: format!(":{}", number.trim()), _xvfb: xvfb }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", &self.name);
        command
    }

    /// The window with this in its title, as soon as there is one.
    fn window(&self, title: &str) -> String {
        let mut found = String::new();
        let shown = eventually(PATIENCE, || {
            found = self.windows(title);
            !found.is_empty()
        });
        assert!(shown, "no window {title:?}; there are {:?}", self.titles());
        found.lines().next().unwrap().to_owned()
    }

    fn windows(&self, title: &str) -> String {
        let mut search = self.command("xdotool");
        let output = client::output(search.args(["search", "--onlyvisible", "--name", title]));
        String::from_utf8(output.stdout).unwrap()
    }

    fn titles(&self) -> String {
        let all = ["search", "--onlyvisible", "--name", ".", "getwindowname", "%@"];
        String::from_utf8_lossy(&client::output(self.command("xdotool").args(all)).stdout).into_owned()
    }

    fn focus(&self, window: &str) {
        client::run(self.command("xdotool").args(["windowfocus", "--sync", window]));
    }

    fn press(&self, key: &str) {
        client::run(self.command("xdotool").args(["key", key]));
    }

    fn write(&self, text: &str) {
        client::run(self.command("xdotool").args(["type", text]));
    }

    /// How many colours there are in a part of it: `WIDTHxHEIGHT+X+Y`.
    fn colours(&self, part: &str) -> u32 {
        let mut import = self.command("import");
        import.args(["-window", "root", "-crop", part, "-format", "%k", "info:"]);
        client::run(&mut import).parse().unwrap()
    }

    /// A picture of all of it, kept for people.
    fn picture(&self, name: &str) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        client::run(self.command("import").args(["-window", "root"]).arg(&path));
        assert!(fs::metadata(&path).unwrap().len() > 0, "{} is empty", path.display());
    }
}

/// A profile that needs no wizard: one account, its identity, its servers, and the instance's certificate as one that was
/// accepted by hand. `reads`: it looks at the inbox first of all, and is asked for its password.
fn profile(instance: &Instance, reads: bool) -> PathBuf {
    let profile = instance.home().path().join("thunderbird");
    fs::create_dir(&profile).unwrap();
    let (imaps, submissions) = (instance.imaps().port(), instance.submissions().port());
    let implicit_tls = "3";
    let typed_password = "3";
    let text = |text: &str| format!("\"{text}\"");
    let settings = [
        ("mail.accountmanager.accounts", text("account1")),
        ("mail.accountmanager.defaultaccount", text("account1")),
        ("mail.account.account1.identities", text("id1")),
        ("mail.account.account1.server", text("server1")),
        ("mail.identity.id1.fullName", text("Mox")),
        ("mail.identity.id1.useremail", text(ADDRESS)),
        ("mail.identity.id1.smtpServer", text("smtp1")),
        ("mail.identity.id1.valid", "true".into()),
        // A copy of what is sent would ask for the password to the mailboxes, too.
        ("mail.identity.id1.fcc", reads.to_string()),
        ("mail.warn_on_send_accel_key", "false".into()),
        ("mail.server.server1.type", text("imap")),
        ("mail.server.server1.hostname", text("localhost")),
        ("mail.server.server1.port", imaps.to_string()),
        ("mail.server.server1.socketType", implicit_tls.into()),
        ("mail.server.server1.authMethod", typed_password.into()),
        ("mail.server.server1.userName", text(ADDRESS)),
        ("mail.server.server1.name", text(ADDRESS)),
        ("mail.server.server1.login_at_startup", reads.to_string()),
        ("mail.smtpservers", text("smtp1")),
        ("mail.smtp.defaultserver", text("smtp1")),
        ("mail.smtpserver.smtp1.hostname", text("localhost")),
        ("mail.smtpserver.smtp1.port", submissions.to_string()),
        ("mail.smtpserver.smtp1.try_ssl", implicit_tls.into()),
        ("mail.smtpserver.smtp1.authMethod", typed_password.into()),
        ("mail.smtpserver.smtp1.username", text(ADDRESS)),
        // No windows, pages and connections but those of the account.
        ("mail.spotlight.firstRunDone", "true".into()),
        ("mail.shell.checkDefaultClient", "false".into()),
        ("mailnews.start_page.enabled", "false".into()),
        ("mail.rights.version", "1".into()),
        ("mail.inappnotifications.enabled", "false".into()),
        ("datareporting.policy.dataSubmissionEnabled", "false".into()),
        ("app.update.enabled", "false".into()),
        ("extensions.update.enabled", "false".into()),
    ];
    let mut file = String::new();
    for (name, value) in settings {
        writeln!(file, "user_pref(\"{name}\", {value});").unwrap();
    }
    fs::write(profile.join("user.js"), file).unwrap();

    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(client::certificate(instance));
    let said = client::run(&mut openssl);
    let (_, fingerprint) = said.trim().split_once('=').unwrap();
    // host:port:origin, the hash's OID (SHA-256), the hash. One certificate is for all that mail clients use.
    let accepted = [imaps, submissions]
        .map(|port| format!("localhost:{port}:\tOID.2.16.840.1.101.3.4.2.1\t{fingerprint}\t\n"))
        .concat();
    fs::write(profile.join("cert_override.txt"), accepted).unwrap();
    profile
}

/// `writes`: a message to begin with, in the place of reading.
fn thunderbird(instance: &Instance, display: &Display, writes: Option<&str>) -> Running {
    let profile = profile(instance, writes.is_none());
    let log = File::create(instance.home().path().join("thunderbird.log")).unwrap();
    let mut thunderbird = display.command("thunderbird");
    thunderbird.env("HOME", &profile).env("MOZ_CRASHREPORTER_DISABLE", "1");
    thunderbird.args(["--no-remote", "--profile"]).arg(&profile);
    if let Some(message) = writes {
        thunderbird.args(["-compose", message]);
    }
    thunderbird.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Running(thunderbird.spawn().unwrap())
}

fn is_seen(imap: &mut Imap) -> bool {
    let responses = imap.command("FETCH 1 (FLAGS)").unwrap();
    responses.iter().any(|response| response.text.contains("\\Seen"))
}

#[test]
fn thunderbird_asks_for_the_password_lists_the_inbox_and_opens_what_swaks_delivered() {
    let instance = Instance::start();
    client::swaks(&instance, &message("hello-thunderbird", 1000), true);
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("SELECT INBOX").unwrap();
    assert!(!is_seen(&mut imap));

    let display = Display::start();
    assert_eq!(display.colours(TEXT), 1, "nothing is shown yet");
    let thunderbird = thunderbird(&instance, &display, None);
    let question = display.window("Enter your password");
    display.focus(&question);
    display.write(PASSWORD);
    display.press("Return");
    let inbox = display.window("^Inbox - ");
    assert_eq!(display.windows("Enter your password"), "", "it asks again");

    // `f` opens the next message; while the list is empty there is none.
    display.focus(&inbox);
    let read = eventually(PATIENCE, || {
        display.press("f");
        eventually(Duration::from_secs(1), || is_seen(&mut imap))
    });
    assert!(read, "the message is not read; there are {:?}", display.titles());
    display.press("Return");
    display.window("^hello-thunderbird - ");
    // Smooth letters have many greys.
    let shown = eventually(PATIENCE, || display.colours(TEXT) > 10);
    display.picture("thunderbird.png");
    assert!(shown, "the message's text is not shown: see thunderbird.png in target/tmp");

    // And what moxd knows of it: one login in the manner of the profile, none that was wrong.
    let attempts = instance.json(&["login", "list", ACCOUNT]);
    let rows: Vec<_> =
        attempts.as_array().unwrap().iter().filter(|row| row["mechanism"] == "PLAIN").collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["result"] == "ok"), "{attempts}");
    drop(thunderbird);
    drop(imap);
    instance.finish();
}

#[test]
fn thunderbird_sends_what_was_written_in_it() {
    let instance = Instance::start();
    let display = Display::start();
    let message = format!("to='{ADDRESS}',subject='by-thunderbird',body='The text of it.'");
    let thunderbird = thunderbird(&instance, &display, Some(&message));
    let writing = display.window("^Write: by-thunderbird");
    display.focus(&writing);
    // Until the window has loaded its message there is nothing to send.
    let question = "^Password Required for Outgoing";
    let asked = eventually(PATIENCE, || {
        let sending = !display.windows("^Sending Message").is_empty();
        if !sending {
            display.press("ctrl+Return");
        }
        eventually(Duration::from_secs(2), || !display.windows(question).is_empty())
    });
    assert!(asked, "it does not send; there are {:?}", display.titles());
    display.focus(&display.window(question));
    display.write(PASSWORD);
    display.press("Return");
    let gone = eventually(PATIENCE, || display.windows("^Write: by-thunderbird").is_empty());
    display.picture("thunderbird-sent.png");
    assert!(gone, "it is not sent; there are {:?}", display.titles());

    let mut imap = Imap::login(instance.imap()).unwrap();
    let mut messages = Vec::new();
    let there = eventually(PATIENCE, || {
        messages = imap.messages("INBOX").unwrap();
        !messages.is_empty()
    });
    assert!(there, "it was sent and is not there");
    let text = String::from_utf8_lossy(&messages[0]);
    assert!(text.contains("Subject: by-thunderbird\r\n") && text.contains("The text of it."), "{text}");
    assert_eq!(messages.len(), 1, "it was sent more than once");
    drop(thunderbird);
    instance.finish();
}
