//! Sessions that sleep while their account's process is gone, and what wakes and ends them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{fs, time::Duration};

use moxd_tests::{
    ACCOUNT, ADDRESS, Home, Imap, Instance, PASSWORD, Smtp,
    mail::{behind_prefix, message},
    process::eventually,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A hang is a failure after this.
const LIMIT: Duration = Duration::from_secs(20);

const ACCOUNTD: &str = "mox-accountd";

/// Where sessions sleep after a moment.
fn start_with(limits: &str) -> Instance {
    let home = Instance::start().stop();
    let before = fs::read_to_string(home.configuration()).unwrap();
    let limits = format!("{before}\n[limits]\nhibernate_after = \"300ms\"\n{limits}\n");
    fs::write(home.configuration(), limits).unwrap();
    Instance::start_in(home)
}

fn start() -> Instance {
    start_with("")
}

/// A session in IDLE, in INBOX.
fn idle(instance: &Instance) -> Imap {
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("SELECT INBOX").unwrap();
    imap.idle().unwrap();
    imap
}

fn deliver(instance: &Instance, token: &str) {
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message(token, 1000));
}

/// Its processes are gone.
fn asleep(instance: &Instance) {
    assert!(eventually(LIMIT, || instance.pid(ACCOUNTD).is_none()), "{:?}", instance.pids());
}

fn killed(instance: &Instance, name: &str) {
    let pid = instance.pid(name).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let gone = || instance.pid(name).is_none_or(|now| now != pid);
    assert!(eventually(LIMIT, gone), "{name}");
}

fn texts(responses: Vec<moxd_tests::imap::Response>) -> Vec<String> {
    responses.into_iter().map(|response| response.text).collect()
}

fn is_over(imap: &mut Imap) -> bool {
    // Cut, or told BYE and then cut.
    std::iter::from_fn(|| imap.response().ok()).all(|response| response.text.starts_with("* BYE"))
}

#[test]
fn the_clients_next_words_wake_its_session() {
    let instance = start();
    let mut imap = idle(&instance);
    asleep(&instance);
    assert_eq!(texts(imap.done().unwrap()), Vec::<String>::new());
    deliver(&instance, "awake");
    // Told with the answer to the next command, as without sleep.
    assert_eq!(texts(imap.command("NOOP").unwrap())[0], "* 1 EXISTS");
    let fetched = imap.command("FETCH 1 BODY.PEEK[]").unwrap();
    assert_eq!(behind_prefix(&fetched[0].literals[0]), message("awake", 1000));
    // Again, and with more behind DONE than a line.
    imap.idle().unwrap();
    asleep(&instance);
    imap.say("DO").unwrap();
    assert!(eventually(LIMIT, || instance.pid(ACCOUNTD).is_some()));
    imap.say("NE\r\nx STORE 1 +FLAGS (\\Flagged)\r\ny LOGOUT\r\n").unwrap();
    let mut said = Vec::new();
    while let Ok(response) = imap.response() {
        said.push(response.text);
    }
    assert!(said.iter().any(|text| text.starts_with("x OK")), "{said:?}");
    assert!(said.iter().any(|text| text.starts_with("y OK")), "{said:?}");
    instance.finish();
}

#[test]
fn a_delivery_wakes_all_sessions_of_the_account() {
    let instance = start();
    // More than the supervisor reads events at once.
    let mut clients: Vec<_> = (0..90).map(|_| idle(&instance)).collect();
    for count in 1..=3 {
        asleep(&instance);
        deliver(&instance, &format!("number{count}"));
        for imap in &mut clients {
            assert_eq!(imap.response().unwrap().text, format!("* {count} EXISTS"));
            assert!(imap.response().unwrap().text.ends_with(" RECENT"));
        }
    }
    for imap in &mut clients {
        assert_eq!(texts(imap.done().unwrap()), Vec::<String>::new());
        let fetched = imap.command("FETCH 3 BODY.PEEK[]").unwrap();
        assert_eq!(behind_prefix(&fetched[0].literals[0]), message("number3", 1000));
    }
    instance.finish();
}

#[test]
fn what_another_session_does_is_told_to_those_that_slept() {
    let instance = start();
    (0..3).for_each(|number| deliver(&instance, &format!("number{number}")));
    let mut sleeper = idle(&instance);
    asleep(&instance);
    let mut other = Imap::login(instance.imap()).unwrap();
    other.command("SELECT INBOX").unwrap();
    other.command("STORE 2 +FLAGS (\\Deleted)").unwrap();
    other.command("EXPUNGE").unwrap();
    other.command("STORE 2 +FLAGS (\\Answered)").unwrap();
    let told: Vec<_> = (0..2).map(|_| sleeper.response().unwrap().text).collect();
    // The flag may have been told before the message went.
    let expunged = told.iter().any(|text| text == "* 2 EXPUNGE");
    assert!(expunged, "{told:?}");
    sleeper.done().unwrap();
    let flags = texts(sleeper.command("FETCH 1:* FLAGS").unwrap());
    assert_eq!(flags.len(), 2, "{flags:?}");
    assert!(flags[1].contains("\\Answered"), "{flags:?}");
    instance.finish();
}

/// Attack class 31: a new password, a disabled and a removed account end sessions that sleep, as all others.
#[test]
fn what_ends_sessions_ends_those_that_sleep() {
    let instance = start();
    for how in ["password", "disable", "rm"] {
        let name = format!("some{how}");
        instance.add_account(&name, PASSWORD);
        let mut imap = Imap::login_as(instance.imap(), &name, PASSWORD).unwrap();
        imap.command("SELECT INBOX").unwrap();
        imap.idle().unwrap();
        asleep(&instance);
        if how == "password" {
            instance.set_password(&name, "another of them");
        } else {
            let done = instance.moxctl(&["account", how, &name]);
            assert!(done.status.success(), "{how}: {}", String::from_utf8_lossy(&done.stderr));
        }
        assert!(is_over(&mut imap), "{how}");
        assert!(instance.pid(ACCOUNTD).is_none(), "{how}: nobody had to be woken for that");
    }
    instance.finish();
}

#[test]
fn a_client_that_leaves_wakes_nobody_and_its_state_goes() {
    let instance = start();
    let (first, mut second) = (idle(&instance), idle(&instance));
    asleep(&instance);
    drop(first);
    // The front says so when its end is over, which the supervisor's end of it has to be first.
    let over = || fs::read_to_string(instance.home().log()).unwrap().contains("ended: by the session");
    assert!(eventually(LIMIT, over));
    assert!(instance.pid(ACCOUNTD).is_none());
    second.done().unwrap();
    second.command("LOGOUT").unwrap();
    instance.finish();
}

#[test]
fn a_session_that_slept_for_too_long_is_told_bye() {
    let instance = start_with("hibernate_expiry = \"3s\"");
    let mut imap = idle(&instance);
    asleep(&instance);
    assert_eq!(imap.response().unwrap().text, "* BYE idle for too long");
    assert!(imap.response().is_err());
    instance.finish();
}

#[test]
fn sessions_with_more_to_them_keep_their_process() {
    let instance = start();
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("SELECT INBOX").unwrap();
    imap.command("NOTIFY SET (SELECTED (MessageNew MessageExpunge))").unwrap();
    imap.idle().unwrap();
    let pid = instance.pid(ACCOUNTD).unwrap();
    assert!(!eventually(Duration::from_secs(2), || instance.pid(ACCOUNTD) != Some(pid)));
    imap.done().unwrap();
    instance.finish();
}

/// Whoever dies while sessions sleep: they go on, or they end; none goes on with anything wrong.
#[test]
fn sessions_that_sleep_survive_an_account_process_and_end_with_authd_and_the_front() {
    let instance = start();
    // The process that a delivery started: the session it woke ends with it, the message is there.
    let mut imap = idle(&instance);
    asleep(&instance);
    deliver(&instance, "first");
    assert_eq!(imap.response().unwrap().text, "* 1 EXISTS");
    killed(&instance, ACCOUNTD);
    assert!(is_over_after_recent(&mut imap));

    // authd: what it had opened it has forgotten, so nothing of it goes on.
    let mut imap = idle(&instance);
    asleep(&instance);
    killed(&instance, "mox-authd");
    assert!(eventually(LIMIT, || instance.pid("mox-authd").is_some() && instance.status()["ready"] == true));
    imap.say("DONE\r\n").unwrap();
    assert!(is_over(&mut imap));

    // The front: with it goes its end, and nobody is woken.
    let mut imap = None;
    assert!(eventually(LIMIT, || {
        imap = Imap::login(instance.imap()).ok();
        imap.is_some()
    }));
    let mut imap = imap.unwrap();
    imap.command("SELECT INBOX").unwrap();
    imap.idle().unwrap();
    asleep(&instance);
    killed(&instance, "mox-imapd");
    assert!(is_over(&mut imap));
    assert!(instance.pid(ACCOUNTD).is_none());
    let mut imap = None;
    assert!(eventually(LIMIT, || {
        imap = Imap::login(instance.imap()).ok();
        imap.is_some()
    }));
    let mut imap = imap.unwrap();
    let messages = imap.messages("INBOX").unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(behind_prefix(&messages[0]), message("first", 1000));
    instance.finish();
}

fn is_over_after_recent(imap: &mut Imap) -> bool {
    std::iter::from_fn(|| imap.response().ok()).all(|response| response.text.ends_with(" RECENT"))
}

/// A kill at any moment around falling asleep and waking up.
#[test]
fn whenever_the_account_process_is_killed_nothing_acknowledged_is_lost() {
    let instance = start();
    let mut known = 0;
    let mut imap = idle(&instance);
    for round in 0..12 {
        // From at work to asleep, in twelve steps.
        std::thread::sleep(Duration::from_millis(60 * round));
        if let Some(pid) = instance.pid(ACCOUNTD) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        deliver(&instance, &format!("round{round}"));
        known += 1;
        // The session is told of it, or is over: never anything else.
        let mut last = 0;
        let alive = loop {
            match imap.response() {
                Ok(response) if response.text.ends_with(" EXISTS") => {
                    last = response.text.split(' ').nth(1).unwrap().parse().unwrap();
                }
                Ok(response) if response.text.ends_with(" RECENT") && last == known => break true,
                Ok(response) => assert!(response.text.ends_with(" RECENT"), "{}", response.text),
                Err(_) => break false,
            }
        };
        if !alive {
            imap = idle(&instance);
        }
    }
    drop(imap);
    // What was acknowledged while no process could be had is filed later, behind others.
    let mut rounds: Vec<_> = (0..12).map(|round| message(&format!("round{round}"), 1000)).collect();
    rounds.sort();
    let mut found = Vec::new();
    let all = eventually(LIMIT, || {
        let messages = Imap::login(instance.imap()).and_then(|mut imap| imap.messages("INBOX"));
        found = messages.unwrap_or_default().iter().map(|found| behind_prefix(found).to_vec()).collect();
        found.sort();
        found == rounds
    });
    assert!(all, "{} messages", found.len());
    instance.finish();
}

/// A stop ends sessions that sleep; what they had is void in the next life.
#[test]
fn a_stop_ends_sessions_that_sleep() {
    let instance = start();
    let mut imap = idle(&instance);
    asleep(&instance);
    let home: Home = instance.stop();
    assert!(is_over(&mut imap));
    let instance = Instance::start_in(home);
    let mut imap = Imap::login_as(instance.imap(), ACCOUNT, PASSWORD).unwrap();
    imap.command("SELECT INBOX").unwrap();
    instance.finish();
}
