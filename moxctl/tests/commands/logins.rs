//! App passwords, login attempts and the abuse memory: what is asked, what is printed.

use ipc_proto::{
    AccountId, Secret,
    authd::{AdminToAuthd, AuthdToAdmin, PAGE},
    logins::{AbuseClear, AbuseInfo, Abuser, AppPasswordInfo, LoginInfo, LoginResult, Protocols},
    sasl::Mechanism,
    types::{ClientAddress, Protocol, Timestamp},
};

use crate::{
    account,
    served::{Instance, moxctl},
};

const AT: Timestamp = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };

fn address(text: &str) -> ClientAddress {
    ClientAddress(text.parse().unwrap())
}

#[test]
fn an_app_password_is_printed_once_and_alone() {
    for (arguments, protocols, expires) in [
        ("apppassword add alice phone", Protocols::ALL, None),
        ("apppassword add alice phone --for imap", Protocols { imap: true, submission: false }, None),
        (
            "apppassword add alice phone --for submission,imap --expires 2023-11-14T22:13:20Z",
            Protocols::ALL,
            Some(AT),
        ),
    ] {
        let instance = Instance::with_directory(move |request| {
            let (account, name) = ("alice".to_owned(), "phone".to_owned());
            assert_eq!(
                *request,
                AdminToAuthd::AppPasswordAdd { account, name, protocols, expires },
                "{arguments}"
            );
            AuthdToAdmin::AppPassword(Secret(b"abcd-efgh".to_vec()))
        });
        assert_eq!(moxctl(&instance, arguments, "").stdout, "abcd-efgh\n");
        let json = moxctl(&instance, &format!("{arguments} --json"), "").json();
        assert_eq!(json, serde_json::json!({ "account": "alice", "name": "phone", "password": "abcd-efgh" }));
    }
    let instance = Instance::with_directory(|_| panic!("nothing is asked"));
    for wrong in
        ["apppassword add alice", "apppassword add a b --for pop3", "apppassword add a b --expires soon"]
    {
        assert_eq!(moxctl(&instance, wrong, "").code, 2, "{wrong}");
    }
}

#[test]
fn app_passwords_are_listed_with_what_they_are_for() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::AppPasswordList(account) if account == "alice" => {
            AuthdToAdmin::AppPasswords(vec![AppPasswordInfo {
                name: "phone\u{1b}".into(),
                protocols: Protocols { imap: true, submission: false },
                created: AT,
                expires: None,
                last_use: Some(AT),
            }])
        }
        other => panic!("{other:?}"),
    });
    let list = moxctl(&instance, "apppassword list alice", "").stdout;
    assert!(
        list.contains("phone\\u{1b}  imap  2023-11-14T22:13:20Z  never    2023-11-14T22:13:20Z\n"),
        "{list}"
    );
    let json = moxctl(&instance, "apppassword list alice --json", "").json();
    assert_eq!(json[0]["protocols"], serde_json::json!(["imap"]));
    assert_eq!(json[0]["expires"], serde_json::Value::Null);
}

#[test]
fn login_attempts_come_page_by_page_up_to_the_limit() {
    let all = |before: Option<u64>| -> Vec<LoginInfo> {
        let login = |number| LoginInfo {
            number,
            first: AT,
            last: AT,
            count: 3,
            account: Some("alice".into()),
            user: Some("alice@example.org".into()),
            address: address("192.0.2.1"),
            protocol: Protocol::Imap,
            mechanism: Some(Mechanism::ScramSha256Plus),
            app_password: Some("phone".into()),
            result: LoginResult::Denied,
        };
        (1..before.unwrap_or(451)).rev().take(PAGE).map(login).collect()
    };
    let instance = Instance::with_directory(move |request| match request {
        AdminToAuthd::LoginList { account: None, before } => AuthdToAdmin::Logins(all(*before)),
        other => panic!("{other:?}"),
    });
    for (arguments, lines) in
        [("login list", 100), ("login list --limit 300", 300), ("login list --limit 9999", 450)]
    {
        let json = moxctl(&instance, &format!("{arguments} --json"), "").json();
        assert_eq!(json.as_array().unwrap().len(), lines, "{arguments}");
    }
    let list = moxctl(&instance, "login list --limit 1", "").stdout;
    let line = "2023-11-14T22:13:20Z  3      alice    alice@example.org  192.0.2.1  SCRAM-SHA-256-PLUS (phone)  denied";
    assert!(list.contains(line), "{list}");
}

#[test]
fn who_misbehaved_is_listed_by_name_and_network() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::AccountList { .. } => AuthdToAdmin::Accounts(vec![account(3, "alice")]),
        AdminToAuthd::AbuseList { skip: 0 } => {
            let at = "192.0.2.0".parse().unwrap();
            let three = AccountId::new(3).unwrap();
            let who = [
                Abuser::Network { address: at, prefix: 26 },
                Abuser::Account(three),
                Abuser::Owner { account: AccountId::new(9).unwrap(), address: at, prefix: 26 },
                Abuser::Nobody,
            ];
            let info = |who| AbuseInfo { who, failures_minute: 1, failures_day: 2, points: 3, refused: true };
            AuthdToAdmin::Abuse(who.map(info).to_vec())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(
        moxctl(&instance, "abuse list", "").stdout,
        "KIND          NETWORK       ACCOUNT   FAILED/MIN  FAILED/DAY  POINTS  REFUSED\n\
         network       192.0.2.0/26  -         1           2           3       yes\n\
         account       -             alice     1           2           3       yes\n\
         owner         192.0.2.0/26  number 9  1           2           3       yes\n\
         unknown name  -             -         1           2           3       yes\n"
    );
}

#[test]
fn what_is_forgotten_is_an_address_an_account_or_everything() {
    for (arguments, asked) in [
        ("abuse clear 192.0.2.1", AbuseClear::Address(address("192.0.2.1"))),
        ("abuse clear 2001:db8::1", AbuseClear::Address(address("2001:db8::1"))),
        ("abuse clear alice", AbuseClear::Account("alice".into())),
        ("abuse clear --all", AbuseClear::Everything),
    ] {
        let instance = Instance::with_directory(move |request| {
            assert_eq!(*request, AdminToAuthd::AbuseClear(asked.clone()), "{arguments}");
            AuthdToAdmin::Cleared(4)
        });
        assert_eq!(moxctl(&instance, arguments, "").stdout, "4 entries forgotten\n");
        let json = moxctl(&instance, &format!("{arguments} --json"), "").json();
        assert_eq!(json, serde_json::json!({ "cleared": 4 }));
    }
    let instance = Instance::with_directory(|_| panic!("nothing is asked"));
    for wrong in ["abuse clear", "abuse clear --all alice"] {
        assert_eq!(moxctl(&instance, wrong, "").code, 2, "{wrong}");
    }
}
