//! What the supervisor does for accounts' processes that crash, that are too many, and that find another's mail, and for
//! the admin who keeps a connection open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ipc_proto::{
    admin::{AdminSupervisor, AdminToSupervisor, SupervisorToAdmin},
    blocking::Asker,
};
use moxd_tests::{
    ADDRESS, Home, Imap, Instance, Smtp, instance::programs, mail::message, process::eventually,
    smtp::Delivery,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A hang is a failure after this.
const LIMIT: Duration = Duration::from_secs(20);

/// An instance with this in its configuration.
fn start_with(configuration: &str) -> Instance {
    let home = Instance::start().stop();
    let before = fs::read_to_string(home.configuration()).unwrap();
    fs::write(home.configuration(), format!("{before}\n{configuration}")).unwrap();
    Instance::start_in(home)
}

/// An account with a password of its own.
fn add_account(instance: &Instance, name: &str) {
    let added = instance.moxctl(&["account", "add", name, &format!("{name}@localhost")]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let mut moxctl = Command::new(programs().join("moxctl"));
    moxctl.arg("--dir").arg(instance.home().data()).args(["password", "set", name]);
    let mut child = moxctl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"moxmoxmox\n").unwrap();
    assert!(child.wait().unwrap().success());
}

fn login(instance: &Instance, name: &str) -> std::io::Result<Imap> {
    let mut imap = Imap::open(instance.imap())?;
    imap.command(&format!("LOGIN {name} moxmoxmox"))?;
    // Answered by the account's process: it has the session.
    imap.command("SELECT INBOX")?;
    Ok(imap)
}

/// The process of an account, if it runs.
fn accountd(instance: &Instance, account: u64) -> Option<Pid> {
    let status = instance.status();
    let processes = status["processes"].as_array().unwrap();
    let found = processes.iter().find(|process| process["account"] == account)?;
    Some(Pid::from_raw(i32::try_from(found["pid"].as_i64()?).unwrap()))
}

fn log(instance: &Instance) -> String {
    fs::read_to_string(instance.home().log()).unwrap()
}

mod places {
    use super::*;

    fn full() -> Instance {
        let instance = start_with("[limits]\naccount_processes = 2\n");
        add_account(&instance, "second");
        add_account(&instance, "third");
        instance
    }

    #[test]
    fn where_all_places_are_taken_the_longest_quiet_process_leaves_and_the_login_waits_for_it() {
        let instance = full();
        let first = login(&instance, "mox").unwrap();
        let second = login(&instance, "second").unwrap();
        // Quiet now, the first one for longer. (Sessions end when the process says so, in its own time.)
        drop(first);
        let old = accountd(&instance, 1).unwrap();
        assert!(eventually(LIMIT, || fs::read_dir(format!("/proc/{old}/task")).unwrap().count() <= 3));
        drop(second);
        let third = login(&instance, "third").expect("there is a place for it");
        assert_eq!(accountd(&instance, 1), None, "the one that was quiet for longest has left");
        drop(third);
        instance.finish();
    }

    #[test]
    fn where_nobody_is_quiet_logins_are_told_to_come_again_and_mail_is_kept() {
        let instance = full();
        let (first, second) = (login(&instance, "mox").unwrap(), login(&instance, "second").unwrap());
        let began = Instant::now();
        let refused = login(&instance, "third").expect_err("there is no place");
        assert!(refused.to_string().contains("UNAVAILABLE"), "{refused}");
        assert!(began.elapsed() >= Duration::from_secs(1), "it waited for a place");
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        smtp.must_deliver("third@localhost", &message("kept", 1000));
        assert_eq!(accountd(&instance, 3), None);
        drop((first, second));
        let arrived = eventually(LIMIT, || {
            login(&instance, "third").is_ok_and(|mut imap| imap.messages("INBOX").unwrap().len() == 1)
        });
        assert!(arrived, "the stored message came when there was a place");
        instance.finish();
    }
}

/// Two parts; the second names the message.
fn multipart(token: &str, size: usize) -> Vec<u8> {
    let mut octets = format!(
        "Subject: {token}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
    )
    .into_bytes();
    octets.extend(message(token, size));
    octets.extend_from_slice(b"\r\n--b--\r\n");
    octets
}

/// BODYSTRUCTURE of the message with this number.
fn structure(imap: &mut Imap, number: usize) -> String {
    let responses = imap.command(&format!("FETCH {number} BODYSTRUCTURE")).unwrap();
    responses
        .into_iter()
        .find(|response| response.text.contains("BODYSTRUCTURE"))
        .unwrap()
        .text
        .to_lowercase()
}

fn is_one_text(structure: &str) -> bool {
    structure.contains("bodystructure (\"text\" \"plain\"")
}

fn gone(pid: Pid) {
    assert!(eventually(LIMIT, || kill(pid, None).is_err()), "{pid} does not end");
}

mod crashes {
    use super::*;

    /// Ends the account's process with a session open, so often. (Not by SIGSEGV: the runtime takes one that is only sent.)
    fn end_with_a_session(instance: &Instance, signal: Signal, times: u32) {
        for _ in 0..times {
            let session = login(instance, "mox").unwrap();
            let pid = accountd(instance, 1).unwrap();
            kill(pid, signal).unwrap();
            gone(pid);
            drop(session);
        }
    }

    /// Attack class 9: an account whose process dies again and again is served without being looked into.
    #[test]
    fn three_crashes_with_a_session_open_make_the_account_serve_raw() {
        let instance = Instance::start();
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        smtp.must_deliver(ADDRESS, &multipart("before", 1000));
        let mut imap = login(&instance, "mox").unwrap();
        assert!(structure(&mut imap, 1).contains("\"mixed\""), "looked into");
        drop(imap);

        end_with_a_session(&instance, Signal::SIGILL, 2);
        let mut imap = login(&instance, "mox").unwrap();
        assert!(structure(&mut imap, 1).contains("\"mixed\""), "two are bad luck");
        drop(imap);

        end_with_a_session(&instance, Signal::SIGABRT, 1);
        smtp.must_deliver(ADDRESS, &multipart("after", 1000));
        let mut imap = login(&instance, "mox").unwrap();
        for number in [1, 2] {
            let structure = structure(&mut imap, number);
            assert!(is_one_text(&structure), "{number}: {structure}");
        }
        assert_eq!(imap.messages("INBOX").unwrap().len(), 2, "whole, as they came");
        drop(imap);
        assert!(log(&instance).contains("safe mode after several crashes"));
        instance.finish();
    }

    #[test]
    fn kills_from_outside_are_no_crashes() {
        let instance = Instance::start();
        Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &multipart("one", 1000));
        end_with_a_session(&instance, Signal::SIGKILL, 5);
        let mut imap = login(&instance, "mox").unwrap();
        assert!(structure(&mut imap, 1).contains("\"mixed\""));
        drop(imap);
        assert!(!log(&instance).contains("safe mode"));
        instance.finish();
    }

    /// Attack class 9: the message that was being parsed when the process died is not parsed again, and is there once.
    #[test]
    fn the_message_that_was_in_hand_is_filed_and_shown_as_plain_text() {
        for (signal, looked_into) in [(Signal::SIGILL, false), (Signal::SIGKILL, true)] {
            let instance = Instance::start();
            let mut smtp = Smtp::connect(instance.smtp()).unwrap();
            smtp.must_deliver(ADDRESS, &multipart("small", 1000));
            let pid = accountd(&instance, 1).unwrap();
            let state = instance.home().data().join("accounts/1/account.state");
            let killer = thread::spawn(move || {
                assert!(stopped_with_a_message_in_hand(pid, &state), "no message was ever in hand");
                kill(pid, signal).unwrap();
                kill(pid, Signal::SIGCONT).unwrap();
            });
            // Staged by one who takes long enough to be caught at it.
            let outcome = smtp.deliver(ADDRESS, &multipart("large", 40 << 20));
            killer.join().unwrap();
            assert!(matches!(outcome, Delivery::Acknowledged), "{outcome:?}");
            gone(pid);
            // Where the next process was not there at once, queued keeps the message for a moment.
            let mut imap = login(&instance, "mox").unwrap();
            let arrived = || imap.messages("INBOX").unwrap().len() == 2;
            assert!(eventually(LIMIT, arrived), "acknowledged, so it comes");
            assert!(structure(&mut imap, 1).contains("\"mixed\""), "only the one in hand");
            let structure = structure(&mut imap, 2);
            assert_eq!(is_one_text(&structure), !looked_into, "{signal}: {structure}");
            assert_eq!(imap.messages("INBOX").unwrap().len(), 2, "once");
            drop(imap);
            instance.finish();
        }
    }

    /// Stops the process while `account.state` names a delivery that is being parsed (store-lib's `hand`).
    fn stopped_with_a_message_in_hand(pid: Pid, state: &Path) -> bool {
        let in_hand = || fs::read(state).unwrap()[160..160 + 64 * 32].chunks(32).any(|slot| slot[16] == 1);
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if in_hand() {
                kill(pid, Signal::SIGSTOP).unwrap();
                if in_hand() {
                    return true;
                }
                // It was done just before.
                kill(pid, Signal::SIGCONT).unwrap();
            }
            thread::yield_now();
        }
        false
    }
}

mod admin {
    use super::*;

    fn connect(instance: &Instance) -> Asker<AdminSupervisor> {
        let stream = UnixStream::connect(instance.home().data().join("run/control.sock")).unwrap();
        Asker::new(stream).unwrap()
    }

    fn answers(asker: &Asker<AdminSupervisor>) -> bool {
        let answer = asker.call(&AdminToSupervisor::Status, Vec::new());
        if let Err(error) = &answer {
            eprintln!("{error:?}");
        }
        matches!(answer, Ok((SupervisorToAdmin::Status(_), _)))
    }

    #[test]
    fn an_idle_connection_is_kept_until_others_need_its_place() {
        let instance = Instance::start();
        let (kept, idlest) = (connect(&instance), connect(&instance));
        assert!(answers(&idlest) && answers(&kept));
        // Others come and go, and workers are started again.
        for _ in 0..100 {
            assert!(answers(&connect(&instance)));
        }
        let imapd = instance.pid("mox-imapd").unwrap();
        kill(Pid::from_raw(imapd), Signal::SIGKILL).unwrap();
        assert!(eventually(LIMIT, || login(&instance, "mox").is_ok()));
        assert!(answers(&idlest) && answers(&kept), "nobody needed their places");

        assert!(answers(&kept));
        let others: Vec<_> = (0..31).map(|_| connect(&instance)).collect();
        assert!(others.iter().all(answers), "there is always a place for one more");
        assert!(answers(&kept), "used after the other one");
        assert!(!answers(&idlest), "it was idle for longest");
        drop((kept, others));
        instance.finish();
    }
}

#[test]
fn a_new_account_is_not_given_the_mail_of_one_that_a_lost_directory_knew() {
    let instance = Instance::start();
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("kept", 1000));
    let home = instance.finish();
    let (directory, aside) = (home.data().join("directory"), home.path().join("directory.aside"));
    copy(&directory, &aside);
    for file in fs::read_dir(&directory).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let refused = home.try_start().expect_err("it started with somebody else's mail");
    let last = refused.stderr.trim_end().lines().last().unwrap();
    for part in ["accounts/1 holds mail", "restore directory/ from a backup"] {
        assert!(last.contains(part), "no {part:?} in: {}", refused.stderr);
    }
    copy(&aside, &directory);
    let home: Home = refused.home;
    let instance = Instance::start_in(home);
    assert_eq!(login(&instance, "mox").unwrap().messages("INBOX").unwrap().len(), 1);
    instance.finish();
}

/// All files of a directory with their owner; what was there is taken away.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(to).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let copied = to.join(file.file_name());
        fs::copy(file.path(), &copied).unwrap();
        let _ = std::os::unix::fs::chown(&copied, Some(uid_of(&file.path())), None);
    }
}

fn uid_of(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap())
}
