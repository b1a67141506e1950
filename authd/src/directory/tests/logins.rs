//! App passwords and the log of attempts.

use std::collections::HashMap;

use ipc_proto::{
    logins::{AppPasswordInfo, LoginInfo, LoginResult, MAX_APP_PASSWORDS, Protocols},
    sasl::Mechanism,
    types::{ClientAddress, Protocol, Timestamp},
};
use rusqlite::Connection;

use super::*;
use crate::attempts::{Counted, Kind};

const IMAP: Protocols = Protocols { imap: true, submission: false };

fn with_mox() -> (TempDir, Directory, AccountId) {
    let (at, mut directory) = new();
    let id = add(&mut directory, "mox", None);
    (at, directory, id)
}

fn app(name: &str, protocols: Protocols, expires: Option<i64>) -> AdminToAuthd {
    let expires = expires.map(|seconds| Timestamp { seconds, nanoseconds: 0 });
    AdminToAuthd::AppPasswordAdd { account: "mox".into(), name: name.into(), protocols, expires }
}

fn made(directory: &mut Directory, name: &str, protocols: Protocols, expires: Option<i64>) -> Password {
    let applied = directory.apply(app(name, protocols, expires)).unwrap();
    assert_eq!(applied.cut, None);
    let AuthdToAdmin::AppPassword(secret) = applied.reply else { panic!() };
    Password::prepare(&secret).unwrap()
}

fn listed(directory: &mut Directory) -> Vec<AppPasswordInfo> {
    match directory.apply(AdminToAuthd::AppPasswordList("mox".into())).unwrap().reply {
        AuthdToAdmin::AppPasswords(infos) => infos,
        other => panic!("{other:?}"),
    }
}

fn opens(directory: &Directory, id: AccountId, password: &Password, now: i64) -> Option<Credential> {
    let book = directory.book();
    let keyring = book.read().account(id).unwrap().keyring(Protocol::Imap, now);
    keyring.and_then(|keyring| keyring.check(password))
}

fn typed(text: &str) -> Password {
    Password::prepare(&Secret(text.as_bytes().to_vec())).unwrap()
}

#[test]
fn app_passwords_open_their_protocols_until_they_expire_and_survive_a_restart() {
    let (at, mut directory, id) = with_mox();
    done(&mut directory, password("mox", "moxmoxmox"));
    let now = Timestamp::now().seconds;
    let phone = made(&mut directory, "phone", IMAP, Some(now + 100));
    let printer = made(&mut directory, "printer", Protocols { imap: false, submission: true }, None);
    let text = String::from_utf8(phone.octets().to_vec()).unwrap();
    assert!(text.len() == 24 && text.split('-').all(|group| group.len() == 4), "{text}");
    assert_ne!(phone.octets(), printer.octets());
    let phone_is = Some(Credential::App("phone".into()));
    for directory in [&directory, &open(&at)] {
        assert_eq!(opens(directory, id, &phone, now), phone_is);
        assert_eq!(opens(directory, id, &phone, now + 100), None, "expired");
        assert_eq!(opens(directory, id, &printer, now), None, "not for reading mail");
        assert_eq!(opens(directory, id, &typed("moxmoxmox"), now), Some(Credential::Password));
    }

    // The account's own password changes; the phone's goes on: all share the salt.
    done(&mut directory, password("mox", "otherother"));
    assert_eq!(opens(&directory, id, &phone, now), phone_is);
    assert_eq!(opens(&directory, id, &typed("moxmoxmox"), now), None);
    assert_eq!(opens(&directory, id, &typed("otherother"), now), Some(Credential::Password));

    let network = Network::of("192.0.2.7".parse().unwrap());
    directory.book().write().logged_in(id, network, now + 5, &Credential::App("phone".into()));
    directory.save_logins([id]).unwrap();
    drop(directory);
    let mut directory = open(&at);
    let infos = listed(&mut directory);
    let names: Vec<_> = infos.iter().map(|info| (info.name.as_str(), info.last_use.is_some())).collect();
    assert_eq!(names, [("phone", true), ("printer", false)]);
    assert_eq!(infos[0].expires.unwrap().seconds, now + 100);

    let remove = |name: &str| AdminToAuthd::AppPasswordRemove { account: "mox".into(), name: name.into() };
    assert_eq!(done(&mut directory, remove("phone")), Some(id), "its sessions end");
    assert_eq!(opens(&directory, id, &phone, now), None);
    assert_eq!(listed(&mut directory).len(), 1);
    let refused = directory.apply(remove("phone")).unwrap_err().to_string();
    assert_eq!(refused, "no app password of that name; see `moxctl apppassword list mox`");
}

#[test]
fn an_account_without_a_password_of_its_own_may_have_app_passwords() {
    let (at, mut directory, id) = with_mox();
    let phone = made(&mut directory, "phone", IMAP, None);
    assert!(opens(&open(&at), id, &phone, 0).is_some());
    done(&mut directory, password("mox", "moxmoxmox"));
    assert!(
        opens(&open(&at), id, &phone, 0).is_some() && opens(&directory, id, &typed("moxmoxmox"), 0).is_some()
    );
}

#[test]
fn app_passwords_that_cannot_be_are_refused_with_the_reason() {
    let (_at, mut directory, _) = with_mox();
    made(&mut directory, "phone", IMAP, None);
    let neither = Protocols { imap: false, submission: false };
    for (name, protocols, expires, reason) in [
        ("phone", IMAP, None, "there is already an app password named phone"),
        ("", IMAP, None, "1 to 64 octets"),
        (&"x".repeat(65), IMAP, None, "1 to 64 octets"),
        ("a\nb", IMAP, None, "1 to 64 octets"),
        ("old", IMAP, Some(1000), "a time to come"),
        ("none", neither, None, "needs a protocol"),
    ] {
        let refused = directory.apply(app(name, protocols, expires)).unwrap_err().to_string();
        assert!(refused.contains(reason), "{name:?}: {refused}");
    }
    for number in 1..MAX_APP_PASSWORDS {
        made(&mut directory, &format!("phone{number}"), IMAP, None);
    }
    let refused = directory.apply(app("one more", IMAP, None)).unwrap_err().to_string();
    assert!(refused.contains("as many app passwords as it may"), "{refused}");
    let other = AdminToAuthd::AppPasswordList("nobody".into());
    assert!(directory.apply(other).unwrap_err().to_string().contains("no account named nobody"));
}

/// Attack class 40: a directory of the first schema is taken over whole.
#[test]
fn an_older_directory_is_upgraded_and_keeps_everything() {
    let (at, mut directory, id) = with_mox();
    done(&mut directory, password("mox", "moxmoxmox"));
    drop(directory);
    let database = Connection::open(at.path().join(FILE_NAME)).unwrap();
    let back = "ALTER TABLE account DROP COLUMN without; DROP TABLE share; DROP TABLE quota; DROP TABLE alias_member;
                DROP TABLE alias; DROP TABLE login_key;
                DROP TABLE app_password; DROP TABLE attempt;
                ALTER TABLE address DROP COLUMN disabled;
                PRAGMA user_version = 1;";
    database.execute_batch(back).unwrap();
    drop(database);
    let mut directory = open(&at);
    assert!(opens(&directory, id, &typed("moxmoxmox"), 0).is_some());
    made(&mut directory, "phone", IMAP, None);
    drop(directory);
    assert_eq!(listed(&mut open(&at)).len(), 1);
}

fn kind(account: Option<AccountId>, user: &str, result: LoginResult, hour: i64) -> Kind {
    Kind {
        account,
        user: Some(user.into()),
        network: Network::of("192.0.2.1".parse().unwrap()),
        protocol: Protocol::Imap,
        mechanism: Some(Mechanism::Plain),
        app_password: Some("phone".into()),
        result,
        hour,
    }
}

fn counted(first: i64, last: i64, count: u32) -> Counted {
    Counted { first, last, count, address: ClientAddress("192.0.2.1".parse().unwrap()) }
}

fn logins(directory: &mut Directory, account: Option<&str>, before: Option<u64>) -> Vec<LoginInfo> {
    let account = account.map(str::to_owned);
    match directory.apply(AdminToAuthd::LoginList { account, before }).unwrap().reply {
        AuthdToAdmin::Logins(infos) => infos,
        other => panic!("{other:?}"),
    }
}

#[test]
fn attempts_are_kept_for_thirty_days_and_added_up_by_the_hour() {
    let (at, mut directory, id) = with_mox();
    let now = Timestamp::now().seconds;
    let one = || kind(Some(id), "mox", LoginResult::Denied, 7);
    directory.save_attempts(HashMap::from([(one(), counted(now - 50, now - 40, 3))])).unwrap();
    let nobody = kind(None, "nobody@example.org", LoginResult::Denied, 7);
    directory.save_attempts(HashMap::from([(one(), counted(now - 30, now - 20, 4))])).unwrap();
    directory.save_attempts(HashMap::from([(nobody, counted(now, now, 1))])).unwrap();
    let old = kind(Some(id), "mox", LoginResult::Ok, 1);
    let long_ago = now - 31 * 24 * 3600;
    directory.save_attempts(HashMap::from([(old, counted(long_ago, long_ago, 1))])).unwrap();
    drop(directory);
    let mut directory = open(&at);
    let infos = logins(&mut directory, None, None);
    assert_eq!(infos.len(), 2, "{infos:?}");
    assert_eq!((infos[0].account.as_deref(), infos[0].user.as_deref()), (None, Some("nobody@example.org")));
    let mox = &infos[1];
    assert_eq!((mox.first.seconds, mox.last.seconds, mox.count), (now - 50, now - 20, 7));
    assert_eq!((mox.account.as_deref(), mox.app_password.as_deref()), (Some("mox"), Some("phone")));
    assert_eq!((mox.mechanism, mox.result), (Some(Mechanism::Plain), LoginResult::Denied));
    assert_eq!(logins(&mut directory, Some("mox"), None), infos[1..]);
    assert_eq!(logins(&mut directory, None, Some(infos[0].number)), infos[1..]);
    done(&mut directory, AdminToAuthd::AccountRemove("mox".into()));
    assert_eq!(logins(&mut directory, None, None).len(), 1, "they go with the account");
    let gone = kind(Some(id), "mox", LoginResult::Ok, 9);
    directory.save_attempts(HashMap::from([(gone, counted(now, now, 1))])).unwrap();
    assert_eq!(logins(&mut directory, None, None).len(), 1, "an attempt that comes too late is nobody's");
}

/// Attack class 16: a flood of guesses fills its own share of the log and drives out nobody else's.
#[test]
fn the_log_of_attempts_has_a_bound_for_each_account_and_for_strangers() {
    let (_at, mut directory, id) = with_mox();
    let bob = add(&mut directory, "bob", None);
    let now = Timestamp::now().seconds;
    directory
        .save_attempts(HashMap::from([(kind(Some(bob), "bob", LoginResult::Ok, 1), counted(now, now, 1))]))
        .unwrap();
    for (account, most) in [(Some(id), 2000), (None, 10_000)] {
        let flood =
            (0..most + 500).map(|hour| (kind(account, "x", LoginResult::Denied, hour), counted(now, now, 1)));
        directory.save_attempts(flood.collect()).unwrap();
        let left: i64 = directory
            .database
            .query_row(
                "SELECT count(*) FROM attempt WHERE account IS ?1",
                [account.map(AccountId::number)],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(left, most);
    }
    assert_eq!(logins(&mut directory, Some("bob"), None).len(), 1);
    assert_eq!(logins(&mut directory, None, None).len(), 200, "a page");
}

#[test]
fn what_is_switched_off_is_kept_and_ends_the_accounts_sessions() {
    let (at, mut directory) = new();
    let alice = add(&mut directory, "alice", None);
    let without = Capabilities::parse(["IDLE", "LIST-EXTENDED"]).unwrap();
    let request = |without| AdminToAuthd::AccountWithout("alice".into(), without);
    assert_eq!(done(&mut directory, request(without)), Some(alice));
    drop(directory);
    let mut directory = open(&at);
    let off = |directory: &Directory| directory.book().read().account(alice).unwrap().without;
    assert_eq!(off(&directory), without);
    assert_eq!(done(&mut directory, request(Capabilities::NONE)), Some(alice));
    assert!(off(&directory).is_empty());
    let nobody = AdminToAuthd::AccountWithout("bob".into(), without);
    assert!(directory.apply(nobody).is_err());
}
