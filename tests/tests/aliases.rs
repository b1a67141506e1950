//! Aliases and the queue as their admin has them, on whole instances, with mail from swaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use moxd_tests::{Home, Imap, Instance, PASSWORD, client, process::eventually};
use serde_json::Value;

const TEAM: &str = "team@localhost";

/// The accounts of [`with_team`], behind mox, which is number 1.
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn done(instance: &Instance, line: &str) {
    let output = instance.moxctl(&line.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn json(instance: &Instance, line: &str) -> Value {
    let output = instance.moxctl(&["--json"].into_iter().chain(line.split_whitespace()).collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Three accounts who are the team.
fn with_team() -> Instance {
    let instance = Instance::start();
    NAMES.iter().for_each(|name| instance.add_account(name, PASSWORD));
    let members = NAMES.map(|name| format!("--member {name}@localhost")).join(" ");
    done(&instance, &format!("alias add {TEAM} {members}"));
    instance
}

fn swaks(instance: &Instance, from: &str, to: &str, subject: &str) -> Output {
    let mut swaks = Command::new("swaks");
    swaks.arg("--server").arg(instance.smtp().to_string());
    swaks.args(["--from", from, "--to", to, "--header", &format!("Subject: {subject}"), "--timeout", "60"]);
    client::output(&mut swaks)
}

fn sent(instance: &Instance, from: &str, to: &str, subject: &str) {
    let output = swaks(instance, from, to, subject);
    assert!(output.status.success(), "{to}: {}", String::from_utf8_lossy(&output.stdout));
}

fn refused(instance: &Instance, from: &str, to: &str, reply: &str) {
    let output = swaks(instance, from, to, "refused");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains(reply), "{from} to {to}, not {reply}: {said}");
}

/// How many messages with this subject each of the three has.
fn copies(instance: &Instance, subject: &str) -> [usize; 3] {
    NAMES.map(|name| {
        let all = Imap::login_as(instance.imap(), name, PASSWORD).unwrap().messages("INBOX").unwrap();
        let wanted = format!("Subject: {subject}\r\n");
        all.iter().filter(|mail| String::from_utf8_lossy(mail).contains(&wanted)).count()
    })
}

#[test]
fn mail_to_an_alias_reaches_every_member_once_and_a_removed_member_not_at_all() {
    let instance = with_team();
    sent(&instance, "sender@example.org", TEAM, "to-all");
    assert_eq!(copies(&instance, "to-all"), [1, 1, 1]);
    sent(&instance, "sender@example.org", &format!("{TEAM},bob@localhost"), "to-bob-twice");
    assert_eq!(copies(&instance, "to-bob-twice"), [1, 1, 1]);
    sent(&instance, "alice@localhost", TEAM, "from-alice");
    assert_eq!(copies(&instance, "from-alice"), [0, 1, 1], "who sent it has it");

    done(&instance, &format!("alias member rm {TEAM} carol@localhost"));
    sent(&instance, "sender@example.org", TEAM, "without-carol");
    assert_eq!(copies(&instance, "without-carol"), [1, 1, 0]);

    let instance = Instance::start_in(instance.finish());
    assert_eq!(json(&instance, &format!("alias show {TEAM}"))["members"].as_array().unwrap().len(), 2);
    sent(&instance, "sender@example.org", TEAM, "after-a-restart");
    assert_eq!(copies(&instance, "after-a-restart"), [1, 1, 0]);

    done(&instance, "account disable bob");
    sent(&instance, "sender@example.org", TEAM, "bob-is-away");
    done(&instance, "account enable bob");
    assert_eq!(copies(&instance, "bob-is-away"), [1, 0, 0], "and nobody was told");
    done(&instance, &format!("alias disable {TEAM}"));
    refused(&instance, "sender@example.org", TEAM, "450 4.2.1");
    done(&instance, &format!("alias rm {TEAM}"));
    instance.finish();
}

#[test]
fn only_members_post_where_the_admin_says_so() {
    let instance = with_team();
    done(&instance, &format!("alias member rm {TEAM} carol@localhost"));
    done(&instance, &format!("alias set {TEAM} --post members"));
    for stranger in ["sender@example.org", "carol@localhost", "<>"] {
        refused(&instance, stranger, TEAM, "550 5.7.1 only members may send to this address");
    }
    sent(&instance, "alice@localhost", TEAM, "from-a-member");
    assert_eq!(copies(&instance, "from-a-member"), [0, 1, 0]);
    done(&instance, &format!("alias set {TEAM} --post anyone"));
    sent(&instance, "sender@example.org", TEAM, "from-anyone");
    assert_eq!(copies(&instance, "from-anyone"), [1, 1, 0]);
    instance.finish();
}

/// Empties the database of an account that is not running: its process cannot be had then.
fn break_account(home: &Home, number: u32) -> Vec<u8> {
    let path = home.data().join(format!("accounts/{number}/account.sqlite"));
    let good = fs::read(&path).unwrap();
    fs::write(&path, "").unwrap();
    good
}

#[test]
fn what_waits_is_in_the_queues_list_until_it_is_delivered() {
    let instance = with_team();
    assert_eq!(json(&instance, "queue list"), serde_json::json!([]));
    // From then on it has a database.
    sent(&instance, "sender@example.org", "carol@localhost", "early");
    let home = instance.stop();
    let good = break_account(&home, 4);
    let instance = Instance::start_in(home);
    sent(&instance, "sender@example.org", TEAM, "late-for-carol");
    let list = json(&instance, "queue list");
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!((&list[0]["first_recipient"], &list[0]["recipients"]), (&TEAM.into(), &1.into()), "{list}");
    assert_eq!(list[0]["from"], "sender@example.org");
    assert!(list[0]["reason"].as_str().unwrap().contains("cannot be reached"), "{list}");
    let id = list[0]["id"].as_str().unwrap().to_owned();
    let shown = json(&instance, &format!("queue show {id}"));
    assert_eq!(shown["recipients"][0]["members"], 1, "{shown}");
    let header = shown["header"].as_array().unwrap();
    assert!(header.iter().any(|line| line == "Subject: late-for-carol"), "{shown}");
    assert!(header.iter().any(|line| line.as_str().unwrap().contains(&id)), "its Received field: {shown}");
    assert!(!shown.to_string().contains("This is a test mailing"), "swaks's body: {shown}");

    let home = instance.stop();
    fs::write(home.data().join("accounts/4/account.sqlite"), good).unwrap();
    let instance = Instance::start_in(home);
    let gone = || json(&instance, "queue list") == serde_json::json!([]);
    assert!(eventually(Duration::from_secs(60), gone), "{}", json(&instance, "queue list"));
    assert_eq!(copies(&instance, "late-for-carol"), [1, 1, 1]);
    let shown = instance.moxctl(&["--json", "queue", "show", &id]);
    assert_eq!(shown.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&shown.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "refused");
    instance.finish();
}

#[test]
fn every_command_prints_json_that_parses_and_has_all_six_verbs() {
    let instance = with_team();
    let configuration = instance.home().configuration();
    for line in [
        "domain add example.org",
        "account add dora dora@example.org",
        "address add d@example.org dora",
        "alias add all@example.org --member dora@example.org",
        "alias set all@example.org --from --list-members=no",
        "alias member add all@example.org d@example.org",
        "alias member rm all@example.org d@example.org",
        "domain list",
        "account list",
        "address list",
        "alias list",
        "domain show example.org",
        "account show dora",
        "address show d@example.org",
        "alias show all@example.org",
        "domain disable example.org",
        "account disable dora",
        "address disable d@example.org",
        "alias disable all@example.org",
        "domain enable example.org",
        "account enable dora",
        "address enable d@example.org",
        "alias enable all@example.org",
        "alias rm all@example.org",
        "address rm d@example.org",
        "account rm dora",
        "domain rm example.org",
        "apppassword add alice phone",
        "apppassword list alice",
        "apppassword rm alice phone",
        "login list",
        "abuse list",
        "abuse clear --all",
        "queue list",
        "account verify alice",
        "status",
        "reload",
        &format!("config check {}", configuration.display()),
    ] {
        let value = json(&instance, line);
        assert!(value.is_object() || value.is_array(), "{line}: {value}");
    }
    instance.finish();
}
