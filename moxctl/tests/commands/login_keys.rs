//! Login keys: what is asked, what is printed, and what is not asked at all.

use ipc_proto::{
    authd::{AdminToAuthd, AuthdToAdmin},
    logins::{Fingerprint, LoginKeyInfo, Protocols},
    types::Timestamp,
};

use crate::served::{Instance, moxctl};

const AT: Timestamp = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };

/// A public key of Ed25519, and what `openssl pkey -pubin -outform DER | sha256sum` says of it.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
                   MCowBQYDK2VwAyEACQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n\
                   -----END PUBLIC KEY-----\n";
const FINGERPRINT: &str = "6882e88a9f5ac7395d194db92b5d00853e7d4672e54d8740876cbe77607e0ef6";

#[test]
fn a_login_key_is_asked_for_by_its_fingerprint_whatever_it_came_from() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), KEY).unwrap();
    let path = file.path().display();
    let imap = Protocols { imap: true, submission: false };
    for (arguments, protocols, expires) in [
        (format!("--certificate {path}"), Protocols::ALL, None),
        (format!("--fingerprint {FINGERPRINT} --protocols imap"), imap, None),
        (
            format!("--certificate {path} --protocols submission,imap --expires 2023-11-14T22:13:20Z"),
            Protocols::ALL,
            Some(AT),
        ),
    ] {
        let instance = Instance::with_directory(move |request| {
            let (account, name) = ("alice".to_owned(), "laptop".to_owned());
            let fingerprint = Fingerprint::parse(FINGERPRINT).unwrap();
            let asked = AdminToAuthd::LoginKeyAdd { account, name, fingerprint, protocols, expires };
            assert_eq!(*request, asked);
            AuthdToAdmin::Done
        });
        let arguments = format!("loginkey add alice laptop {arguments}");
        assert_eq!(moxctl(&instance, &arguments, "").stdout, format!("{FINGERPRINT}\n"));
        let json = moxctl(&instance, &format!("{arguments} --json"), "").json();
        let expected =
            serde_json::json!({ "account": "alice", "name": "laptop", "fingerprint": FINGERPRINT });
        assert_eq!(json, expected);
    }
    let instance = Instance::with_directory(|_| panic!("nothing is asked"));
    for wrong in [
        "loginkey add alice laptop".to_owned(),
        "loginkey add alice laptop --certificate /nowhere".to_owned(),
        "loginkey add alice laptop --fingerprint 00ff".to_owned(),
        format!("loginkey add alice laptop --fingerprint {FINGERPRINT} --certificate {path}"),
        format!("loginkey add alice laptop --fingerprint {FINGERPRINT} --protocols pop3"),
    ] {
        assert_eq!(moxctl(&instance, &wrong, "").code, 2, "{wrong}");
    }
}

#[test]
fn login_keys_are_listed_and_removed_by_name() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::LoginKeyList(account) if account == "alice" => {
            AuthdToAdmin::LoginKeys(vec![LoginKeyInfo {
                name: "laptop\u{1b}".into(),
                fingerprint: Fingerprint([0xf1; 32]),
                protocols: Protocols { imap: true, submission: false },
                created: AT,
                expires: Some(AT),
                last_use: None,
            }])
        }
        AdminToAuthd::LoginKeyRemove { account, name } if account == "alice" && name == "laptop" => {
            AuthdToAdmin::Done
        }
        other => panic!("{other:?}"),
    });
    let list = moxctl(&instance, "loginkey list alice", "").stdout;
    let at = "2023-11-14T22:13:20Z";
    let line = format!("laptop\\u{{1b}}  imap  {at}  {at}  never     {}\n", "f1".repeat(32));
    assert!(list.contains(&line), "{list}");
    let json = moxctl(&instance, "loginkey list alice --json", "").json();
    assert_eq!(json[0]["fingerprint"], "f1".repeat(32));
    assert_eq!(json[0]["last_use"], serde_json::Value::Null);
    let removed = moxctl(&instance, "loginkey rm alice laptop", "").stdout;
    assert_eq!(removed, "login key laptop of account alice removed; its sessions were ended\n");
}
