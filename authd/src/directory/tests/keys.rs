//! Login keys.

use ipc_proto::{
    logins::{Fingerprint, LoginKeyInfo, LoginResult, MAX_LOGIN_KEYS, Protocols},
    sasl::Mechanism,
    types::{ClientAddress, Protocol, Timestamp},
};
use rusqlite::Connection;

use super::*;
use crate::attempts::{Counted, Kind};

const IMAP: Protocols = Protocols { imap: true, submission: false };

fn key(account: &str, name: &str, number: u8, protocols: Protocols, expires: Option<i64>) -> AdminToAuthd {
    AdminToAuthd::LoginKeyAdd {
        account: account.into(),
        name: name.into(),
        fingerprint: Fingerprint([number; 32]),
        protocols,
        expires: expires.map(|seconds| Timestamp { seconds, nanoseconds: 0 }),
    }
}

fn remove(account: &str, name: &str) -> AdminToAuthd {
    AdminToAuthd::LoginKeyRemove { account: account.into(), name: name.into() }
}

fn listed(directory: &mut Directory, account: &str) -> Vec<LoginKeyInfo> {
    match directory.apply(AdminToAuthd::LoginKeyList(account.into())).unwrap().reply {
        AuthdToAdmin::LoginKeys(infos) => infos,
        other => panic!("{other:?}"),
    }
}

/// Whose key it is and what it is called there, if it opens IMAP.
fn opens(directory: &Directory, number: u8, now: i64) -> Option<(String, String)> {
    let book = directory.book();
    let book = book.read();
    let (account, name, key) = book.login_key(Fingerprint([number; 32]))?;
    key.counts(Protocol::Imap, now).then(|| (account.name.to_string(), name.to_string()))
}

fn is(account: &str, name: &str) -> Option<(String, String)> {
    Some((account.to_owned(), name.to_owned()))
}

#[test]
fn keys_open_their_protocols_until_they_expire_and_survive_a_restart() {
    let (at, mut directory) = new();
    let mox = add(&mut directory, "mox", None);
    add(&mut directory, "eve", None);
    let now = Timestamp::now().seconds;
    assert_eq!(done(&mut directory, key("mox", "laptop", 1, IMAP, Some(now + 100))), None);
    let submission = Protocols { imap: false, submission: true };
    done(&mut directory, key("mox", "printer", 2, submission, None));
    done(&mut directory, key("eve", "laptop", 3, Protocols::ALL, None));
    for directory in [&directory, &open(&at)] {
        assert_eq!(opens(directory, 1, now), is("mox", "laptop"));
        assert_eq!(opens(directory, 1, now + 100), None, "expired");
        assert_eq!(opens(directory, 2, now), None, "not for reading mail");
        assert_eq!(opens(directory, 3, now), is("eve", "laptop"));
        assert_eq!(opens(directory, 4, now), None, "nobody's");
    }

    let network = Network::of("192.0.2.7".parse().unwrap());
    directory.book().write().logged_in(mox, network, now + 5, &Credential::Key("laptop".into()));
    directory.save_logins([mox]).unwrap();
    drop(directory);
    let mut directory = open(&at);
    let infos = listed(&mut directory, "mox");
    let names: Vec<_> = infos.iter().map(|info| (info.name.as_str(), info.last_use.is_some())).collect();
    assert_eq!(names, [("laptop", true), ("printer", false)]);
    assert_eq!((infos[0].fingerprint, infos[0].expires.unwrap().seconds), (Fingerprint([1; 32]), now + 100));

    let version = |directory: &Directory| directory.book().read().account(mox).unwrap().version;
    let before = version(&directory);
    assert_eq!(done(&mut directory, remove("mox", "laptop")), Some(mox), "its sessions end");
    assert_ne!(version(&directory), before, "what was proved before counts no more");
    assert_eq!(opens(&directory, 1, now), None);
    let refused = directory.apply(remove("mox", "laptop")).unwrap_err().to_string();
    assert_eq!(refused, "no login key of that name; see `moxctl loginkey list mox`");
    done(&mut directory, key("eve", "found", 1, IMAP, None));
    assert_eq!(opens(&directory, 1, now), is("eve", "found"), "nobody's any more, it may be another's");

    done(&mut directory, AdminToAuthd::AccountRemove("eve".into()));
    for directory in [&directory, &open(&at)] {
        assert!(opens(directory, 1, now).is_none() && opens(directory, 3, now).is_none());
    }
    done(&mut directory, key("mox", "laptop", 3, IMAP, None));
}

#[test]
fn keys_that_cannot_be_are_refused_with_the_reason() {
    let (_at, mut directory) = new();
    add(&mut directory, "mox", None);
    add(&mut directory, "eve", None);
    done(&mut directory, key("mox", "laptop", 1, IMAP, None));
    let neither = Protocols { imap: false, submission: false };
    for (request, reason) in [
        (key("mox", "", 2, IMAP, None), "1 to 64 octets"),
        (key("mox", "a\nb", 2, IMAP, None), "1 to 64 octets"),
        (key("mox", &"a".repeat(65), 2, IMAP, None), "1 to 64 octets"),
        (key("mox", "laptop", 2, IMAP, None), "already a login key named laptop"),
        (key("mox", "again", 1, IMAP, None), "this key is laptop of the account mox"),
        (key("eve", "stolen", 1, IMAP, None), "this key is laptop of the account mox"),
        (key("mox", "never", 2, neither, None), "needs a protocol"),
        (key("mox", "late", 2, IMAP, Some(1_000_000_000)), "needs a protocol"),
        (key("nobody", "laptop", 2, IMAP, None), "no account named nobody"),
        (AdminToAuthd::LoginKeyList("nobody".into()), "no account named nobody"),
        (remove("eve", "laptop"), "no login key of that name"),
    ] {
        let refused = directory.apply(request.clone()).unwrap_err().to_string();
        assert!(refused.contains(reason), "{request:?}: {refused}");
    }
    for number in 1..MAX_LOGIN_KEYS {
        let octet = u8::try_from(number).unwrap() + 10;
        done(&mut directory, key("mox", &format!("key {number}"), octet, IMAP, None));
    }
    let refused = directory.apply(key("mox", "one more", 99, IMAP, None)).unwrap_err().to_string();
    assert!(refused.contains("as many login keys as it may"), "{refused}");
    assert_eq!(listed(&mut directory, "mox").len(), MAX_LOGIN_KEYS);
}

/// Attack class 40: a directory of the second schema is taken over whole, and its log of attempts still says by which
/// mechanism each was, though EXTERNAL is announced before all others.
#[test]
fn a_directory_without_keys_is_upgraded_and_keeps_its_log() {
    let (at, mut directory) = new();
    let mox = add(&mut directory, "mox", None);
    drop(directory);
    let database = Connection::open(at.path().join(FILE_NAME)).unwrap();
    let old = "ALTER TABLE account DROP COLUMN without; DROP TABLE share; DROP TABLE quota; DROP TABLE alias_member;
        DROP TABLE alias; DROP TABLE login_key; PRAGMA user_version = 2;
        INSERT INTO attempt (kind, account, address, protocol, mechanism, result, first, last, count)
        SELECT 'kind ' || ifnull(value, 'none'), 1, x'c0000201', 0, value, 0, unixepoch(), unixepoch(), 1
        FROM (SELECT 0 AS value UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT NULL);";
    database.execute_batch(old).unwrap();
    drop(database);
    let mut directory = open(&at);
    done(&mut directory, key("mox", "laptop", 1, IMAP, None));
    let external = Kind {
        account: Some(mox),
        user: None,
        network: Network::of("192.0.2.1".parse().unwrap()),
        protocol: Protocol::Imap,
        mechanism: Some(Mechanism::External),
        app_password: Some("laptop".into()),
        result: LoginResult::Ok,
        hour: 1,
    };
    let now = Timestamp::now().seconds;
    let address = ClientAddress("192.0.2.1".parse().unwrap());
    let counted = Counted { first: now, last: now, count: 1, address };
    directory.save_attempts([(external, counted)].into()).unwrap();
    drop(directory);
    let mut directory = open(&at);
    assert_eq!(opens(&directory, 1, now), is("mox", "laptop"));
    let reply = directory.apply(AdminToAuthd::LoginList { account: Some("mox".into()), before: None });
    let AuthdToAdmin::Logins(logins) = reply.unwrap().reply else { panic!() };
    let mut mechanisms: Vec<_> = logins.iter().map(|login| login.mechanism).collect();
    assert_eq!(mechanisms.remove(0), Some(Mechanism::External), "the latest first");
    assert_eq!(logins[0].app_password.as_deref(), Some("laptop"));
    let expected = [
        None,
        Some(Mechanism::ScramSha256Plus),
        Some(Mechanism::ScramSha256),
        Some(Mechanism::Plain),
        Some(Mechanism::Login),
    ];
    assert!(mechanisms.len() == 5 && expected.iter().all(|one| mechanisms.contains(one)), "{mechanisms:?}");
}
