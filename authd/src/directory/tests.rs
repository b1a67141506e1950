use std::fs;

use ipc_proto::authd::{Owner, Recipient, RecipientQuery};
use mail_lib::address::Address;
use tempfile::TempDir;

use super::{database::FILE_NAME, *};
use crate::{limits::Network, name::LoginName, verifier::Credential};

mod aliases;
mod keys;
mod logins;
mod quotas;

fn open(at: &TempDir) -> Directory {
    Directory::open(at.path(), "mail.example.org", 16).unwrap()
}

fn new() -> (TempDir, Directory) {
    let at = TempDir::new().unwrap();
    let directory = open(&at);
    (at, directory)
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn add(directory: &mut Directory, name: &str, address: Option<&str>) -> AccountId {
    let request = AdminToAuthd::AccountAdd { name: name.into(), address: address.map(pattern) };
    match directory.apply(request).unwrap() {
        Applied { reply: AuthdToAdmin::Added(id), cut: None, create: Some(created) } if id == created => id,
        other => panic!("{other:?}"),
    }
}

fn done(directory: &mut Directory, request: AdminToAuthd) -> Option<AccountId> {
    let applied = directory.apply(request).unwrap();
    assert_eq!(applied.reply, AuthdToAdmin::Done);
    applied.cut
}

fn password(account: &str, password: &str) -> AdminToAuthd {
    AdminToAuthd::PasswordSet { account: account.into(), password: Secret(password.as_bytes().to_vec()) }
}

fn address_add(account: &str, text: &str) -> AdminToAuthd {
    AdminToAuthd::AddressAdd { account: account.into(), pattern: pattern(text) }
}

fn recipient(directory: &Directory, text: &str) -> Recipient {
    directory.book().read().recipient(RecipientQuery::Address(Address::parse(text).unwrap()), None)
}

fn owner(directory: &Directory, text: &str) -> Owner {
    directory.book().read().owner(&Address::parse(text).unwrap(), None)
}

fn proves(directory: &Directory, user: &str, typed: &str) -> bool {
    let password = Password::prepare(&Secret(typed.as_bytes().to_vec())).unwrap();
    let book = directory.book();
    let book = book.read();
    let verifier = book.login(&LoginName::parse(user)).and_then(|account| account.verifier.clone());
    verifier.is_some_and(|verifier| verifier.check(&password))
}

#[test]
fn an_address_goes_before_its_domains_catch_all_and_that_before_everything() {
    let (_at, mut directory) = new();
    for domain in ["example.org", "Example.NET", "localhost", "bücher.example"] {
        done(&mut directory, AdminToAuthd::DomainAdd(domain.into()));
    }
    let alice = add(&mut directory, "alice", Some("Alice@example.org"));
    let bob = add(&mut directory, "bob", Some("@example.net"));
    for (address, gets, judged) in [
        ("alice@example.org", Owner::Account(alice), true),
        ("ALICE@EXAMPLE.ORG", Owner::Account(alice), true),
        ("\"alice\"@example.org", Owner::Account(alice), true),
        ("anyone@example.net", Owner::Account(bob), true),
        ("nobody@example.org", Owner::Nobody, false),
        ("nobody@bücher.example", Owner::Nobody, false),
        ("\"@example.net\"@example.org", Owner::Nobody, false),
    ] {
        assert_eq!(owner(&directory, address), gets, "{address}");
        let expected =
            if judged { Recipient::Local(Address::parse(address).unwrap()) } else { Recipient::Unknown };
        assert_eq!(recipient(&directory, address), expected, "{address}");
    }
    assert_eq!(recipient(&directory, "alice@elsewhere.org"), Recipient::NotLocal);
    assert_eq!(owner(&directory, "alice@elsewhere.org"), Owner::Nobody);
    let mox = add(&mut directory, "mox", Some("mox@localhost"));
    done(&mut directory, address_add("mox", "@*"));
    assert_eq!(owner(&directory, "mox@localhost"), Owner::Account(mox));
    assert_eq!(owner(&directory, "alice@elsewhere.org"), Owner::Account(mox));
    assert_eq!(owner(&directory, "nobody@example.org"), Owner::Account(mox));
    assert_eq!(owner(&directory, "a@[192.0.2.1]"), Owner::Account(mox));
    assert_eq!(owner(&directory, "alice@example.org"), Owner::Account(alice));
    assert_eq!(owner(&directory, "anyone@example.net"), Owner::Account(bob));
}

#[test]
fn disabled_domains_and_accounts_take_no_mail_for_now() {
    let (_at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    let alice = add(&mut directory, "alice", Some("alice@example.org"));
    let cut = done(&mut directory, AdminToAuthd::AccountDisable("Alice".into(), true));
    assert_eq!(cut, Some(alice), "its sessions end");
    assert_eq!(owner(&directory, "alice@example.org"), Owner::Disabled);
    assert_eq!(recipient(&directory, "alice@example.org"), Recipient::Disabled);
    assert_eq!(done(&mut directory, AdminToAuthd::AccountDisable("alice".into(), false)), None);
    assert_eq!(owner(&directory, "alice@example.org"), Owner::Account(alice));
    done(&mut directory, AdminToAuthd::DomainDisable("EXAMPLE.org".into(), true));
    assert_eq!(recipient(&directory, "alice@example.org"), Recipient::Disabled);
    assert_eq!(recipient(&directory, "postmaster@example.org"), Recipient::Disabled);
    done(&mut directory, AdminToAuthd::DomainDisable("example.org".into(), false));
    assert_eq!(owner(&directory, "alice@example.org"), Owner::Account(alice));
}

#[test]
fn a_disabled_address_takes_no_mail_and_no_catch_all_gets_it() {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    let alice = add(&mut directory, "alice", Some("alice@example.org"));
    done(&mut directory, address_add("alice", "sales@example.org"));
    add(&mut directory, "bob", Some("@example.org"));
    done(&mut directory, password("alice", "moxmoxmox"));
    let disable = |text, disabled| AdminToAuthd::AddressDisable(pattern(text), disabled);
    done(&mut directory, disable("Sales@example.org", true));
    for directory in [&directory, &open(&at)] {
        assert_eq!(recipient(directory, "sales@example.org"), Recipient::Disabled);
        assert_eq!(owner(directory, "sales@example.org"), Owner::Disabled);
        assert_eq!(owner(directory, "alice@example.org"), Owner::Account(alice), "her other address");
        assert!(!proves(directory, "sales@example.org", "moxmoxmox"));
        assert!(proves(directory, "alice@example.org", "moxmoxmox"));
    }
    done(&mut directory, disable("sales@example.org", false));
    assert_eq!(owner(&directory, "sales@example.org"), Owner::Account(alice));
    let refused = directory.apply(disable("nobody@example.org", true)).unwrap_err().to_string();
    assert!(refused.contains("nobody has the address"), "{refused}");
}

#[test]
fn postmaster_always_reaches_somebody() {
    let (_at, mut directory) = new();
    let hosts = "postmaster@mail.example.org";
    let bare = |directory: &Directory| directory.book().read().recipient(RecipientQuery::Postmaster, None);
    assert_eq!(bare(&directory), Recipient::Unknown, "there is nobody at all");
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    let alice = add(&mut directory, "alice", Some("alice@example.org"));
    let bob = add(&mut directory, "bob", Some("bob@example.org"));
    assert_eq!(bare(&directory), Recipient::Local(Address::parse(hosts).unwrap()));
    for address in [hosts, "PostMaster@example.org", "\"postmaster\"@Example.org"] {
        assert_eq!(owner(&directory, address), Owner::Account(alice), "{address}: the first account");
    }
    assert_eq!(owner(&directory, "postmaster@elsewhere.org"), Owner::Nobody);
    assert_eq!(owner(&directory, "\"postmaster@x\"@example.org"), Owner::Nobody);
    done(&mut directory, AdminToAuthd::AccountDisable("alice".into(), true));
    assert_eq!(owner(&directory, hosts), Owner::Account(bob), "the first that takes mail");
    done(&mut directory, AdminToAuthd::AccountDisable("alice".into(), false));
    done(&mut directory, address_add("bob", "@example.org"));
    assert_eq!(owner(&directory, "postmaster@example.org"), Owner::Account(bob), "the catch-all");
    done(&mut directory, address_add("alice", "postmaster@example.org"));
    assert_eq!(owner(&directory, "postmaster@example.org"), Owner::Account(alice), "the address itself");
    done(&mut directory, AdminToAuthd::AccountDisable("alice".into(), true));
    done(&mut directory, AdminToAuthd::AccountDisable("bob".into(), true));
    assert_eq!(bare(&directory), Recipient::Disabled, "nobody now, so try later");
}

#[test]
fn bad_wishes_are_refused_in_one_line_that_says_what_to_do() {
    let (_at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    add(&mut directory, "alice", Some("alice@example.org"));
    let account_add = |name: &str, address: Option<&str>| AdminToAuthd::AccountAdd {
        name: name.into(),
        address: address.map(pattern),
    };
    let long = "x".repeat(1025);
    for (request, line) in [
        (AdminToAuthd::AccountRemove("bob".into()), "no account named bob; see `moxctl account list`"),
        (AdminToAuthd::AccountDisable("bob".into(), true), "no account named bob; see `moxctl account list`"),
        (password("bob", "moxmoxmox"), "no account named bob; see `moxctl account list`"),
        (address_add("bob", "bob@example.org"), "no account named bob; see `moxctl account list`"),
        (
            account_add("ALICE", None),
            "there is already an account named alice; choose another name, or see `moxctl account list`",
        ),
        (
            account_add("../1", None),
            "an account's name is 1 to 64 of a-z, 0-9, `.`, `-` and `_`, and starts with a letter or digit",
        ),
        (
            account_add("bob", Some("bob@example.net")),
            "no domain example.net; add it with `moxctl domain add example.net`, or see `moxctl domain list`",
        ),
        (
            account_add("bob", Some("ALICE@example.org")),
            "ALICE@example.org belongs to the account alice; remove it first with `moxctl address rm ALICE@example.org`",
        ),
        (
            address_add("alice", "@example.net"),
            "no domain example.net; add it with `moxctl domain add example.net`, or see `moxctl domain list`",
        ),
        (
            AdminToAuthd::AddressRemove(pattern("bob@example.org")),
            "nobody has the address bob@example.org; see `moxctl address list`",
        ),
        (
            AdminToAuthd::AddressRemove(Pattern::Everything),
            "nobody has the address @*; see `moxctl address list`",
        ),
        (
            AdminToAuthd::AddressList { after: Some("no\r\naddress".into()) },
            "no\\r\\naddress is not an address; write it like name@example.org, @example.org or @*",
        ),
        (
            AdminToAuthd::DomainAdd("EXAMPLE.org".into()),
            "the domain example.org is there already; see `moxctl domain list`",
        ),
        (
            AdminToAuthd::DomainAdd("exa\u{1b}mple".into()),
            "exa\\u{1b}mple is not a domain name; write it like example.org",
        ),
        (
            AdminToAuthd::DomainAdd("[192.0.2.1]".into()),
            "[192.0.2.1] is not a domain name; write it like example.org",
        ),
        (
            AdminToAuthd::DomainRemove("example.org".into()),
            "the domain example.org still has 1 address(es); remove them first, see `moxctl address list` and `moxctl alias list`",
        ),
        (
            AdminToAuthd::DomainRemove("example.net".into()),
            "no domain example.net; add it with `moxctl domain add example.net`, or see `moxctl domain list`",
        ),
        (AdminToAuthd::DomainDisable("".into(), true), " is not a domain name; write it like example.org"),
        (password("alice", "short"), "the password is too short; choose one of at least 8 characters"),
        (password("alice", &long), "the password is too long; choose one of at most 1024 octets"),
    ] {
        let asked = format!("{request:?}");
        let refusal = directory.apply(request).unwrap_err().to_string();
        assert_eq!(refusal, line, "{asked}");
    }
    assert_eq!(directory.book().read().accounts_after(None).len(), 1, "nothing changed");
}

/// Attack class 18: names are values, never a part of a statement.
#[test]
fn names_that_look_like_sql_are_names() {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    let hostile = "\"x'); DROP TABLE account; --\"@example.org";
    let id = add(&mut directory, "alice", Some(hostile));
    drop(directory);
    let directory = open(&at);
    assert_eq!(owner(&directory, hostile), Owner::Account(id));
    for user in ["' OR 1=1 --", "*", "%", "alice'--", "alice\0", "\u{202e}alice"] {
        assert!(directory.book().read().login(&LoginName::parse(user)).is_none(), "{user:?}");
    }
}

#[test]
fn the_directory_survives_a_restart() {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    done(&mut directory, AdminToAuthd::DomainAdd("example.net".into()));
    done(&mut directory, AdminToAuthd::DomainDisable("example.net".into(), true));
    let alice = add(&mut directory, "alice", Some("Alice.B@example.org"));
    let bob = add(&mut directory, "bob", Some("@*"));
    done(&mut directory, password("alice", "moxmoxmox"));
    done(&mut directory, AdminToAuthd::AccountDisable("bob".into(), true));
    directory.prepared(alice).unwrap();
    let home = Network::of("192.0.2.7".parse().unwrap());
    directory.book().write().logged_in(alice, home, 1_700_000_000, &Credential::Password);
    directory.save_logins([alice]).unwrap();
    let secret = directory.secret.clone();
    let lists = |directory: &Directory| {
        let book = directory.book();
        let book = book.read();
        (book.accounts_after(None), book.addresses_after(None), book.domains_after(None), book.unprepared())
    };
    let before = lists(&directory);
    assert_eq!(before.3, [bob]);
    // As after kill -9: nothing is closed in order.
    std::mem::forget(directory);
    let directory = open(&at);
    assert_eq!(lists(&directory), before);
    assert_eq!(directory.secret, secret, "pretended salts stay the same");
    assert!(proves(&directory, "ALICE.b@example.org", "moxmoxmox"));
    assert!(!proves(&directory, "alice", "moxmoxmo"));
    assert!(directory.book().read().account(alice).unwrap().knows(home, 1_700_000_000));
    assert!(!directory.book().read().account(alice).unwrap().knows(home, 1_800_000_000), "too long ago");
}

/// Attack class 32: what one account had is never another's.
#[test]
fn numbers_are_never_given_twice() {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    let mut given = Vec::new();
    for round in 0..20 {
        let id = add(&mut directory, "alice", Some("alice@example.org"));
        assert!(!given.contains(&id), "{id} in round {round}");
        assert!(!proves(&directory, "alice", "moxmoxmox"), "the password of the one before");
        assert!(directory.book().read().account(id).unwrap().networks.is_empty());
        assert_eq!(owner(&directory, "alice@example.org"), Owner::Account(id));
        given.push(id);
        done(&mut directory, password("alice", "moxmoxmox"));
        directory.book().write().logged_in(
            id,
            Network::of("192.0.2.7".parse().unwrap()),
            1,
            &Credential::Password,
        );
        directory.save_logins([id]).unwrap();
        assert_eq!(done(&mut directory, AdminToAuthd::AccountRemove("alice".into())), Some(id));
        assert_eq!(owner(&directory, "alice@example.org"), Owner::Nobody);
        if round % 3 == 0 {
            drop(directory);
            directory = open(&at);
        }
    }
    let left: i64 = directory
        .database
        .query_row(
            "SELECT (SELECT count(*) FROM account) + (SELECT count(*) FROM address)
                  + (SELECT count(*) FROM verifier) + (SELECT count(*) FROM network)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

/// Attack class 32: under load too, a name and its address are the same account's, and no reader ever sees one of an
/// account that was there before.
#[test]
fn readers_never_see_a_mixture_of_accounts() {
    let (_at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    let book = directory.book();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut newest, mut seen) = (0, 0);
            let (name, address) = (LoginName::parse("alice"), LoginName::parse("alice@example.org"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let book = book.read();
                let named = book.login(&name).map(|account| account.id);
                assert_eq!(book.login(&address).map(|account| account.id), named);
                match (named, book.owner(&Address::parse("alice@example.org").unwrap(), None)) {
                    (None, Owner::Nobody) => {}
                    (Some(id), Owner::Account(owner)) => {
                        assert_eq!(id, owner);
                        assert!(id.number() >= newest, "{id} after {newest}");
                        newest = id.number();
                        seen += 1;
                    }
                    mixture => panic!("{mixture:?}"),
                }
            }
            seen
        });
        for _ in 0..50 {
            add(&mut directory, "alice", Some("alice@example.org"));
            done(&mut directory, AdminToAuthd::AccountRemove("alice".into()));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn every_change_that_logins_depend_on_makes_a_new_version() {
    let (_at, mut directory) = new();
    let id = add(&mut directory, "alice", None);
    let version = |directory: &Directory| directory.book().read().account(id).unwrap().version;
    let mut seen = vec![version(&directory)];
    for request in [
        password("alice", "moxmoxmox"),
        password("alice", "moxmoxmox"),
        AdminToAuthd::AccountDisable("alice".into(), true),
        AdminToAuthd::AccountDisable("alice".into(), false),
    ] {
        done(&mut directory, request);
        let now = version(&directory);
        assert!(!seen.contains(&now));
        seen.push(now);
    }
    done(&mut directory, AdminToAuthd::AccountRemove("alice".into()));
    let other = add(&mut directory, "alice", None);
    assert!(!seen.contains(&directory.book().read().account(other).unwrap().version));
}

#[test]
fn lists_come_in_pages_and_miss_nothing() {
    let (_at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    done(&mut directory, AdminToAuthd::DomainAdd("example.net".into()));
    add(&mut directory, "all", Some("@example.org"));
    {
        // Past the database: 450 commits would take a while.
        let book = directory.book();
        let mut book = book.write();
        for number in 1000..1450 {
            let id = AccountId::new(number).unwrap();
            book.insert_account(Account::new(id, AccountName::parse(&format!("user{number}")).unwrap()));
            book.insert_address(pattern(&format!("\"User {number}\"@example.org")), id);
            book.insert_domain(&format!("d{number}.example"), false);
        }
    }
    let (mut accounts, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let reply = directory.apply(AdminToAuthd::AccountList { after: after.clone() }).unwrap().reply;
        let AuthdToAdmin::Accounts(page) = reply else { panic!("{reply:?}") };
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        accounts.extend(page);
        pages += 1;
    }
    assert_eq!((accounts.len(), pages), (451, 3));
    assert!(accounts.is_sorted_by(|one, two| one.name < two.name));
    assert!(accounts.iter().all(|account| account.addresses == 1));
    let (mut addresses, mut after) = (Vec::new(), None);
    loop {
        let reply = directory.apply(AdminToAuthd::AddressList { after: after.clone() }).unwrap().reply;
        let AuthdToAdmin::Addresses(page) = reply else { panic!("{reply:?}") };
        let Some(last) = page.last() else { break };
        after = Some(last.pattern.to_string());
        addresses.extend(page);
    }
    assert_eq!(addresses.len(), 451);
    assert_eq!(addresses[0].pattern, Pattern::Domain("example.org".into()));
    let (mut domains, mut after) = (Vec::new(), None);
    loop {
        let reply = directory.apply(AdminToAuthd::DomainList { after: after.clone() }).unwrap().reply;
        let AuthdToAdmin::Domains(page) = reply else { panic!("{reply:?}") };
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        domains.extend(page);
    }
    assert_eq!(domains.len(), 452);
    assert_eq!(domains.iter().find(|domain| domain.name == "example.org").unwrap().addresses, 451);
}

fn files(at: &TempDir) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(at.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        // SQLite's shared memory, and an empty log beside what it could not open.
        .filter(|(name, octets)| !name.to_string_lossy().ends_with("-shm") && !octets.is_empty())
        .collect();
    files.sort();
    files
}

#[test]
fn a_damaged_database_is_refused_in_one_line_and_left_as_it_is() {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    for number in 0..60 {
        add(&mut directory, &format!("account{number}"), Some(&format!("a{number}@example.org")));
    }
    drop(directory);
    let path = at.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let mut page = whole.clone();
    page[4096..3 * 4096].fill(0xa5);
    let mut header = whole.clone();
    header[..16].fill(b'x');
    for (octets, why) in [
        (Vec::new(), "emptied"),
        (half, "cut in half"),
        (whole[..100].to_vec(), "only a header"),
        (page, "two pages overwritten"),
        (header, "not a database"),
    ] {
        fs::write(&path, &octets).unwrap();
        let before = files(&at);
        let error = Directory::open(at.path(), "mail.example.org", 16).unwrap_err();
        let line = error.to_string();
        assert!(matches!(error, OpenError::Damaged { .. }), "{why}: {line}");
        assert!(
            line.contains("restore the directory from a backup") && !line.contains('\n'),
            "{why}: {line}"
        );
        assert!(files(&at) == before, "{why}: a file changed");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(open(&at).book().read().accounts_after(None).len(), 60);
    fs::rename(&path, at.path().join("moved")).unwrap();
    fs::write(at.path().join(format!("{FILE_NAME}-wal")), b"left over").unwrap();
    assert!(matches!(Directory::open(at.path(), "x.org", 16).unwrap_err(), OpenError::Damaged { .. }));
}

#[test]
fn a_database_of_the_future_and_an_unreadable_one_are_refused() {
    let (at, directory) = new();
    directory.database.pragma_update(None, "user_version", 99).unwrap();
    drop(directory);
    let error = Directory::open(at.path(), "mail.example.org", 16).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, known: 5..=98, .. }), "{error}");
    let error = Directory::open(&at.path().join("nowhere"), "mail.example.org", 16).unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    let error = Directory::open(at.path(), "not a host", 16).unwrap_err();
    assert!(error.to_string().contains("[host]"), "{error}");
}

/// Attack class 40: killed while the database is made, the next start makes it again.
#[test]
fn a_half_made_database_is_made_again() {
    use std::os::unix::fs::PermissionsExt;
    let at = TempDir::new().unwrap();
    fs::write(at.path().join("new.sqlite"), b"half").unwrap();
    fs::write(at.path().join("new.sqlite-journal"), b"half").unwrap();
    let directory = open(&at);
    assert!(directory.book().read().accounts_after(None).is_empty());
    assert!(!at.path().join("new.sqlite").exists());
    assert_eq!(fs::metadata(at.path().join(FILE_NAME)).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Attack class 39: what cannot be written did not happen.
#[test]
fn a_write_that_fails_changes_nothing() {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    directory.database.execute_batch("PRAGMA query_only = ON").unwrap();
    let refusal = directory
        .apply(AdminToAuthd::AccountAdd { name: "alice".into(), address: Some(pattern("a@example.org")) })
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Database(_)));
    assert!(refusal.to_string().contains("nothing was changed"), "{refusal}");
    assert!(directory.book().read().accounts_after(None).is_empty());
    assert_eq!(owner(&directory, "a@example.org"), Owner::Nobody);
    directory.database.execute_batch("PRAGMA query_only = OFF").unwrap();
    let id = add(&mut directory, "alice", Some("a@example.org"));
    drop(directory);
    assert_eq!(owner(&open(&at), "a@example.org"), Owner::Account(id));
}
