//! The program itself, against a control socket that the test serves: what is asked, what is printed, which code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod aliases;
mod care;
mod codes;
mod localserve;
mod login_keys;
mod logins;
mod prompt;
mod quotas;
mod served;

use ipc_proto::{
    AccountId, Secret,
    admin::{AccountdToAdmin, Verified},
    authd::{AccountInfo, AddressInfo, AdminToAuthd, AuthdToAdmin, DomainInfo, PAGE, Pattern},
    capability::Capabilities,
    logins::{Fingerprint, LoginKeyInfo, Protocols},
    types::Timestamp,
};

use served::{Instance, moxctl};

fn account(number: u32, name: &str) -> AccountInfo {
    AccountInfo {
        id: AccountId::new(number).unwrap(),
        name: name.to_owned(),
        disabled: false,
        password: true,
        addresses: 1,
        last_login: None,
        without: Default::default(),
    }
}

#[test]
fn what_is_asked_of_the_directory_is_what_was_typed() {
    let pattern = |text| Pattern::parse(text).unwrap();
    for (arguments, asked) in [
        ("domain add Example.ORG", AdminToAuthd::DomainAdd("example.org".into())),
        ("domain rm example.org", AdminToAuthd::DomainRemove("example.org".into())),
        ("domain disable example.org", AdminToAuthd::DomainDisable("example.org".into(), true)),
        ("domain enable example.org", AdminToAuthd::DomainDisable("example.org".into(), false)),
        ("account rm alice", AdminToAuthd::AccountRemove("alice".into())),
        ("account disable alice", AdminToAuthd::AccountDisable("alice".into(), true)),
        ("account enable alice", AdminToAuthd::AccountDisable("alice".into(), false)),
        (
            "account capabilities alice --without move,QUOTA",
            AdminToAuthd::AccountWithout(
                "alice".into(),
                Capabilities::parse(["QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE", "MOVE"]).unwrap(),
            ),
        ),
        (
            "account capabilities alice --all",
            AdminToAuthd::AccountWithout("alice".into(), Capabilities::NONE),
        ),
        ("address disable @*", AdminToAuthd::AddressDisable(Pattern::Everything, true)),
        ("address enable @*", AdminToAuthd::AddressDisable(Pattern::Everything, false)),
        ("address rm a@example.org", AdminToAuthd::AddressRemove(pattern("a@example.org"))),
        (
            "address add @* alice",
            AdminToAuthd::AddressAdd { account: "alice".into(), pattern: Pattern::Everything },
        ),
    ] {
        let instance = Instance::with_directory(move |request| {
            assert_eq!(*request, asked, "{arguments}");
            AuthdToAdmin::Done
        });
        let done = moxctl(&instance, arguments, "");
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{arguments}: {}", done.stderr);
        assert_eq!(done.stdout.lines().count(), 1, "{arguments}: {}", done.stdout);
        let json = moxctl(&instance, &format!("{arguments} --json"), "");
        assert_eq!(json.json(), serde_json::json!({ "done": true }), "{arguments}");
    }
}

#[test]
fn a_new_account_shows_its_number() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::AccountAdd { name, address: Some(_) } if name == "alice" => {
            AuthdToAdmin::Added(AccountId::new(7).unwrap())
        }
        other => panic!("{other:?}"),
    });
    let done = moxctl(&instance, "account add alice alice@example.org --json", "");
    assert_eq!(done.json(), serde_json::json!({ "number": 7, "name": "alice" }));
}

#[test]
fn a_list_longer_than_a_page_is_whole() {
    let all: Vec<_> = (1..=450).map(|number| account(number, &format!("user{number:04}"))).collect();
    let instance = Instance::with_directory(move |request| match request {
        AdminToAuthd::AccountList { after } => {
            let start =
                after.as_ref().map_or(0, |after| all.iter().position(|one| one.name == *after).unwrap() + 1);
            AuthdToAdmin::Accounts(all[start..].iter().take(PAGE).cloned().collect())
        }
        other => panic!("{other:?}"),
    });
    let list = moxctl(&instance, "account list --json", "").json();
    assert_eq!(list.as_array().unwrap().len(), 450);
    assert_eq!(list[449]["name"], "user0450");
    // And a heading.
    assert_eq!(moxctl(&instance, "account list", "").stdout.lines().count(), 451);
}

#[test]
fn lists_are_tables() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::DomainList { .. } => AuthdToAdmin::Domains(vec![DomainInfo {
            name: "example.org".into(),
            disabled: true,
            addresses: 3,
        }]),
        AdminToAuthd::AddressList { .. } => AuthdToAdmin::Addresses(vec![AddressInfo {
            pattern: Pattern::Everything,
            account: "mox".into(),
            disabled: false,
        }]),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        moxctl(&instance, "domain list", "").stdout,
        "DOMAIN       STATE     ADDRESSES\nexample.org  disabled  3\n"
    );
    assert_eq!(
        moxctl(&instance, "address list", "").stdout,
        "ADDRESS  ACCOUNT  STATE\n@*       mox      takes mail\n"
    );
}

#[test]
fn one_thing_is_shown_with_what_belongs_to_it() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::AccountList { .. } => {
            AuthdToAdmin::Accounts(vec![account(3, "alice"), account(4, "bob")])
        }
        AdminToAuthd::AddressList { .. } => {
            let of = |text, account: &str| AddressInfo {
                pattern: Pattern::parse(text).unwrap(),
                account: account.into(),
                disabled: true,
            };
            AuthdToAdmin::Addresses(vec![of("a@example.org", "alice"), of("b@example.org", "bob")])
        }
        AdminToAuthd::AppPasswordList(account) if account == "alice" => {
            AuthdToAdmin::AppPasswords(Vec::new())
        }
        AdminToAuthd::LoginKeyList(account) if account == "alice" => {
            AuthdToAdmin::LoginKeys(vec![LoginKeyInfo {
                name: "laptop".into(),
                fingerprint: Fingerprint([1; 32]),
                protocols: Protocols::ALL,
                created: Timestamp { seconds: 0, nanoseconds: 0 },
                expires: None,
                last_use: None,
            }])
        }
        AdminToAuthd::DomainList { .. } => AuthdToAdmin::Domains(vec![DomainInfo {
            name: "example.org".into(),
            disabled: false,
            addresses: 2,
        }]),
        other => panic!("{other:?}"),
    });
    let alice = moxctl(&instance, "account show Alice --json", "").json();
    assert_eq!(alice["account"]["number"], 3);
    assert_eq!(alice["addresses"], serde_json::json!(["a@example.org"]));
    assert_eq!(alice["login_keys"], serde_json::json!(["laptop"]));
    let shown = moxctl(&instance, "account show alice", "").stdout;
    assert!(shown.ends_with("  address: a@example.org\n  login key: laptop\n"), "{shown}");
    assert_eq!(moxctl(&instance, "address show B@Example.org --json", "").json()["account"], "bob");
    assert_eq!(moxctl(&instance, "domain show Example.org --json", "").json()["addresses"], 2);
    for missing in ["account show carol", "address show c@example.org", "domain show example.net"] {
        assert_eq!(moxctl(&instance, missing, "").code, 1, "{missing}");
    }
}

#[test]
fn a_refusal_is_its_one_line_and_code_1() {
    let instance = Instance::with_directory(|_| AuthdToAdmin::Refused("no account named x\u{1b}[1m".into()));
    let refused = moxctl(&instance, "account rm x", "");
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert_eq!(refused.stderr, "moxctl: no account named x\\u{1b}[1m\n");
}

#[test]
fn a_password_is_read_from_stdin() {
    let instance = Instance::with_directory(|request| {
        let password = Secret(b"correct horse".to_vec());
        assert_eq!(*request, AdminToAuthd::PasswordSet { account: "alice".into(), password });
        AuthdToAdmin::Done
    });
    let done = moxctl(&instance, "password set alice", "correct horse\nsecond line\n");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let empty = moxctl(&instance, "password set alice", "");
    assert_eq!(empty.code, 2);
    assert!(empty.stderr.contains("no password was given"), "{}", empty.stderr);
}

#[test]
fn a_verification_that_finds_something_fails() {
    for (problems, code) in [(vec![], 0), (vec!["INBOX: uid 1: its bytes changed".to_owned()], 1)] {
        let found = problems.clone();
        let instance = Instance::new(
            |_| AuthdToAdmin::Accounts(vec![account(3, "alice")]),
            move |asked, _| {
                assert_eq!(asked, AccountId::new(3).unwrap());
                let problems = found.clone();
                AccountdToAdmin::Verified(Verified { mailboxes: 6, messages: 10, octets: 1000, problems })
            },
        );
        let done = moxctl(&instance, "account verify Alice", "");
        assert_eq!(done.code, code, "{}", done.stderr);
        assert!(done.stdout.starts_with("alice: 6 mailboxes, 10 messages, 1000 octets: "), "{}", done.stdout);
        assert!(problems.iter().all(|problem| done.stdout.contains(problem)));
        let missing = moxctl(&instance, "account verify bob", "");
        assert_eq!((missing.code, missing.stdout.as_str()), (1, ""));
    }
}

#[test]
fn stop_returns_when_all_is_down() {
    let instance = Instance::with_directory(|_| AuthdToAdmin::Done);
    let done = moxctl(&instance, "stop", "");
    assert_eq!((done.code, done.stdout.as_str()), (0, "moxd has stopped\n"));
    assert_eq!(instance.was_waited_for(), Some(true));
}

#[test]
fn nobody_there_is_code_69_and_a_wrong_word_code_2() {
    let nobody = served::run(&["status", "--socket", "/nonexistent/control.sock"], "");
    assert_eq!(nobody.code, 69);
    assert!(
        nobody.stderr.starts_with("moxctl: moxd is not running on /nonexistent/control.sock: No such file")
    );
    assert_eq!(nobody.stderr.lines().count(), 1);
    assert_eq!(served::run(&["stat"], "").code, 2);
    assert_eq!(served::run(&["--help"], "").code, 0);
}

#[test]
fn somebody_who_is_not_moxd_is_code_69() {
    let instance = Instance::speaking(b"220 mail.example.org ESMTP\r\n");
    let odd = moxctl(&instance, "status", "");
    assert_eq!(odd.code, 69);
    assert_eq!(odd.stderr.lines().count(), 1, "{}", odd.stderr);
}
