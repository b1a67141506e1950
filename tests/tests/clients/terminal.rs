//! Clients in a terminal: mutt and neomutt.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use moxd_tests::{
    ACCOUNT, ADDRESS, Imap, Instance, PASSWORD, Smtp, client, mail::message, process::eventually,
};

use crate::with_some_mail;

/// A terminal of its own, which is gone with it.
struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    fn start(home: &Path, command: &str) -> Self {
        let tmux = Self { socket: home.join("tmux.sock") };
        let mut start = tmux.command();
        start.env("HOME", home).env("TERM", "screen").args(["-f", "/dev/null", "new-session", "-d"]);
        client::run(start.args(["-x", "120", "-y", "40"]).arg(command));
        tmux
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket);
        command
    }

    fn keys(&self, keys: &[&str]) {
        client::run(self.command().arg("send-keys").args(keys));
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&client::output(self.command().args(["capture-pane", "-p"])).stdout)
            .into_owned()
    }

    fn shows(&self, text: &str) {
        let mut screen = String::new();
        let shown = eventually(Duration::from_secs(30), || {
            screen = self.screen();
            screen.contains(text)
        });
        assert!(shown, "no {text:?} on the screen:\n{screen}");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = client::output(self.command().arg("kill-server"));
    }
}

/// A mutt or neomutt of its own, in its list of INBOX.
fn open_inbox(instance: &Instance, program: &str, more: &str) -> Tmux {
    let home = instance.home().path().join(program);
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let certificate = client::certificate(instance);
    let folder = format!("imaps://localhost:{}/", instance.imaps().port());
    let settings = format!(
        "set certificate_file=\"{}\"\nset folder={folder}\nset imap_user={ACCOUNT}\nset imap_pass={PASSWORD}\n\
         set header_cache=\nset sort=mailbox-order\nset wait_key=no\n{more}",
        certificate.display()
    );
    fs::write(home.join("rc"), settings).unwrap();
    let tmux = Tmux::start(&home, &format!("{program} -n -F {}/rc -f =INBOX", home.display()));
    tmux.shows("hello-reader");
    tmux
}

#[test]
fn mutt_shows_the_list_and_the_message() {
    let instance = with_some_mail();
    let tmux = open_inbox(&instance, "mutt", "");
    tmux.keys(&["1", "Enter", "Enter"]);
    tmux.shows("line 000000000000");
    drop(tmux);
    instance.finish();
}

/// With CONDSTORE and QRESYNC, which neomutt uses where it may.
#[test]
fn neomutt_reads_flags_and_deletes() {
    let instance = with_some_mail();
    let more =
        "set imap_condstore=yes\nset imap_qresync=yes\nset delete=yes\nset mail_check=1\nset timeout=1\n";
    let tmux = open_inbox(&instance, "neomutt", more);
    tmux.keys(&["1", "Enter", "Enter"]);
    tmux.shows("line 000000000000");
    tmux.keys(&["i", "F", "2", "Enter", "d", "$"]);
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("EXAMINE INBOX").unwrap();
    let mut flags: Vec<String> = Vec::new();
    let written = eventually(Duration::from_secs(30), || {
        flags =
            imap.command("UID FETCH 1:* (FLAGS)").unwrap().into_iter().map(|answer| answer.text).collect();
        matches!(&*flags, [one] if one.contains("UID 1 ") && one.contains("\\Seen") && one.contains("\\Flagged"))
    });
    assert!(written, "{flags:?}\n{}", tmux.screen());
    // What comes meanwhile is shown without a key.
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("come-later", 500));
    tmux.shows("come-later");
    drop(tmux);
    instance.finish();
}
