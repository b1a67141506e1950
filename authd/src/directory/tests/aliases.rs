//! Addresses whose mail goes to several accounts.

use ipc_proto::alias::{AliasInfo, AliasOptions, AliasRequest, MAX_MEMBERS, MemberInfo, Post};

use super::*;

const OPEN: AliasOptions = AliasOptions { post: Post::Anyone, list_members: false, from: false };

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn addresses(text: &[&str]) -> Vec<Address> {
    text.iter().map(|text| address(text)).collect()
}

fn alias_add(alias: &str, members: &[&str], options: AliasOptions) -> AdminToAuthd {
    let (alias, members) = (address(alias), addresses(members));
    AdminToAuthd::Alias(AliasRequest::Add { alias, members, options })
}

fn aliases(directory: &mut Directory) -> Vec<AliasInfo> {
    match directory.apply(AdminToAuthd::Alias(AliasRequest::List { after: None })).unwrap().reply {
        AuthdToAdmin::Aliases(all) => all,
        other => panic!("{other:?}"),
    }
}

fn members(directory: &mut Directory, alias: &str) -> Vec<MemberInfo> {
    let request = AliasRequest::Members { alias: address(alias), after: None };
    match directory.apply(AdminToAuthd::Alias(request)).unwrap().reply {
        AuthdToAdmin::Members(all) => all,
        other => panic!("{other:?}"),
    }
}

fn owner_of(directory: &Directory, text: &str, from: &str) -> Owner {
    directory.book().read().owner(&address(text), Some(&address(from)))
}

fn recipient_from(directory: &Directory, text: &str, from: Option<&str>) -> Recipient {
    let from = from.map(address);
    directory.book().read().recipient(RecipientQuery::Address(address(text)), from.as_ref())
}

/// alice, bob and carol with an address each and example.org.
fn three() -> (TempDir, Directory, [AccountId; 3]) {
    let (at, mut directory) = new();
    done(&mut directory, AdminToAuthd::DomainAdd("example.org".into()));
    let accounts =
        ["alice", "bob", "carol"].map(|name| add(&mut directory, name, Some(&format!("{name}@example.org"))));
    (at, directory, accounts)
}

#[test]
fn mail_to_an_alias_goes_to_each_members_account_once() {
    let (at, mut directory, [alice, bob, carol]) = three();
    done(&mut directory, address_add("alice", "a@example.org"));
    let all = &["alice@example.org", "A@Example.org", "bob@example.org", "carol@example.org"];
    done(&mut directory, alias_add("Team@example.org", all, OPEN));
    for directory in [&directory, &open(&at)] {
        assert_eq!(owner(directory, "TEAM@example.org"), Owner::Members(vec![alice, bob, carol]));
        let local = Recipient::Local(address("team@example.org"));
        assert_eq!(recipient(directory, "team@example.org"), local);
        let from_bob = owner_of(directory, "team@example.org", "bob@example.org");
        assert_eq!(from_bob, Owner::Members(vec![alice, carol]), "the sender has it");
        let from_outside = owner_of(directory, "team@example.org", "bob@example.net");
        assert_eq!(from_outside, Owner::Members(vec![alice, bob, carol]));
        assert!(directory.book().read().login(&LoginName::parse("team@example.org")).is_none());
    }
    let info = aliases(&mut directory);
    assert_eq!((info.len(), info[0].members, info[0].disabled), (1, 4, false));
    done(&mut directory, alias_add("alone@example.org", &["bob@example.org"], OPEN));
    let alone = owner_of(&directory, "alone@example.org", "bob@example.org");
    assert_eq!(alone, Owner::Members(vec![bob]), "nothing is lost where nobody else is there");
}

/// Attack class 32: an address that is another account's now does not bring the alias's mail along.
#[test]
fn members_who_take_no_mail_or_are_gone_are_left_out() {
    let (at, mut directory, [alice, bob, _]) = three();
    done(&mut directory, alias_add("team@example.org", &["alice@example.org", "bob@example.org"], OPEN));
    done(&mut directory, AdminToAuthd::AccountDisable("alice".into(), true));
    assert_eq!(owner(&directory, "team@example.org"), Owner::Members(vec![bob]));
    assert!(members(&mut directory, "team@example.org")[0].disabled);
    done(&mut directory, AdminToAuthd::AddressDisable(pattern("bob@example.org"), true));
    assert_eq!(owner(&directory, "team@example.org"), Owner::Disabled, "nobody now: try later");
    assert_eq!(recipient(&directory, "team@example.org"), Recipient::Disabled);
    done(&mut directory, AdminToAuthd::AccountDisable("alice".into(), false));
    done(&mut directory, AdminToAuthd::AccountRemove("bob".into()));
    done(&mut directory, address_add("carol", "bob@example.org"));
    drop(directory);
    let mut directory = open(&at);
    assert_eq!(owner(&directory, "team@example.org"), Owner::Members(vec![alice]));
    assert_eq!(members(&mut directory, "team@example.org").len(), 1);
    done(&mut directory, AdminToAuthd::AddressRemove(pattern("alice@example.org")));
    assert_eq!(owner(&directory, "team@example.org"), Owner::Disabled);
}

#[test]
fn where_only_members_may_post_others_are_refused() {
    let (_at, mut directory, _) = three();
    done(&mut directory, address_add("carol", "@example.org"));
    let closed = AliasOptions { post: Post::Members, ..OPEN };
    done(&mut directory, alias_add("team@example.org", &["alice@example.org", "bob@example.org"], closed));
    let local = Recipient::Local(address("team@example.org"));
    for (from, expected, reason) in [
        (Some("alice@example.org"), local.clone(), "a member"),
        (Some("ALICE@Example.org"), local.clone(), "however it is written"),
        (Some("carol@example.org"), Recipient::MembersOnly, "one of ours and no member"),
        (Some("whoever@example.org"), Recipient::MembersOnly, "the catch-all's account is no member"),
        (Some("alice@example.net"), Recipient::MembersOnly, "a stranger"),
        (Some("team@example.org"), Recipient::MembersOnly, "the alias itself is nobody"),
        (None, Recipient::MembersOnly, "the null reverse-path"),
    ] {
        assert_eq!(recipient_from(&directory, "team@example.org", from), expected, "{reason}");
    }
    let alias = address("team@example.org");
    let set = AliasRequest::Set { alias, post: Some(Post::Anyone), list_members: None, from: Some(true) };
    done(&mut directory, AdminToAuthd::Alias(set));
    assert_eq!(recipient_from(&directory, "team@example.org", None), local);
    let options = aliases(&mut directory)[0].options;
    assert_eq!(options, AliasOptions { post: Post::Anyone, list_members: false, from: true });
}

/// On a test instance whose one account gets everything, strangers are not that account.
#[test]
fn who_gets_everything_is_not_the_sender_of_everything() {
    let (_at, mut directory, [alice, ..]) = three();
    done(&mut directory, address_add("alice", "@*"));
    let closed = AliasOptions { post: Post::Members, ..OPEN };
    done(&mut directory, alias_add("team@example.org", &["alice@example.org", "bob@example.org"], closed));
    let stranger = recipient_from(&directory, "team@example.org", Some("x@example.net"));
    assert_eq!(stranger, Recipient::MembersOnly);
    match owner_of(&directory, "team@example.org", "x@example.net") {
        Owner::Members(accounts) => assert!(accounts.contains(&alice)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_postmaster_is_reached_whatever_its_alias_says() {
    let (_at, mut directory, [alice, bob, carol]) = three();
    let hosts = "postmaster@example.org";
    done(&mut directory, alias_add(hosts, &["bob@example.org", "carol@example.org"], OPEN));
    assert_eq!(owner(&directory, hosts), Owner::Members(vec![bob, carol]));
    let post = Some(Post::Members);
    let set = AliasRequest::Set { alias: address(hosts), post, list_members: None, from: None };
    done(&mut directory, AdminToAuthd::Alias(set));
    assert_eq!(owner(&directory, hosts), Owner::Account(alice), "anybody may write to it (RFC 5321 §4.5.1)");
    done(&mut directory, AdminToAuthd::Alias(AliasRequest::Disable(address(hosts), true)));
    assert_eq!(owner(&directory, hosts), Owner::Account(alice));
}

#[test]
fn an_account_sends_as_itself_and_as_an_alias_that_lets_it() {
    let (_at, mut directory, [alice, bob, carol]) = three();
    done(&mut directory, AdminToAuthd::DomainAdd("example.net".into()));
    done(&mut directory, address_add("carol", "@example.net"));
    done(&mut directory, address_add("bob", "bob@example.net"));
    let team = &["alice@example.org", "bob@example.org"];
    done(&mut directory, alias_add("team@example.org", team, AliasOptions { from: true, ..OPEN }));
    done(&mut directory, alias_add("quiet@example.org", team, OPEN));
    let may =
        |directory: &Directory, account, text| directory.book().read().may_send_as(account, &address(text));
    for (account, text, expected, reason) in [
        (alice, "Alice@example.org", true, "its own"),
        (alice, "bob@example.org", false, "another's"),
        (alice, "nobody@example.org", false, "nobody's"),
        (alice, "alice@elsewhere.example", false, "not of this host"),
        (carol, "anything@example.net", true, "by its catch-all"),
        (carol, "bob@example.net", false, "held by another before the catch-all"),
        (alice, "team@example.org", true, "a member"),
        (carol, "team@example.org", false, "not a member"),
        (alice, "quiet@example.org", false, "an alias that does not allow it"),
    ] {
        assert_eq!(may(&directory, account, text), expected, "{text}: {reason}");
    }
    done(&mut directory, AdminToAuthd::Alias(AliasRequest::Disable(address("team@example.org"), true)));
    assert!(!may(&directory, alice, "team@example.org"), "disabled");
    done(&mut directory, AdminToAuthd::AddressDisable(pattern("bob@example.org"), true));
    assert!(!may(&directory, bob, "bob@example.org"));
    done(&mut directory, AdminToAuthd::AccountDisable("alice".into(), true));
    assert!(!may(&directory, alice, "alice@example.org"));
    done(&mut directory, address_add("carol", "@*"));
    assert!(may(&directory, carol, "whoever@elsewhere.example"), "a test instance");
    assert!(!may(&directory, carol, "alice@example.org"));
}

#[test]
fn wrong_wishes_about_aliases_change_nothing_and_say_what_to_do() {
    let (_at, mut directory, _) = three();
    done(&mut directory, alias_add("team@example.org", &["alice@example.org"], OPEN));
    let team = || address("team@example.org");
    let many: Vec<_> = (0..=MAX_MEMBERS).map(|number| address(&format!("u{number}@example.org"))).collect();
    let member_add = |members| AliasRequest::MemberAdd { alias: team(), members };
    let member_remove = |members| AliasRequest::MemberRemove { alias: team(), members };
    let aliases_request = AdminToAuthd::Alias;
    let an_alias = "team@example.org is an alias; remove it first with `moxctl alias rm team@example.org`";
    for (request, line) in [
        (
            alias_add("x@example.org", &["team@example.org"], OPEN),
            "team@example.org is an alias, and an alias has no aliases in it; add its members one by one",
        ),
        (
            alias_add("x@example.org", &["x@example.net"], OPEN),
            "no account has the address x@example.net, so it cannot be a member; see `moxctl address list`",
        ),
        (
            alias_add("x@example.org", &[], OPEN),
            "an alias has at least one member; name one, or use `moxctl alias rm` or `moxctl alias disable`",
        ),
        (
            alias_add("bob@example.org", &["alice@example.org"], OPEN),
            "bob@example.org belongs to the account bob; remove it first with `moxctl address rm bob@example.org`",
        ),
        (
            alias_add("Team@example.org", &["alice@example.org"], OPEN),
            "Team@example.org is an alias; remove it first with `moxctl alias rm Team@example.org`",
        ),
        (address_add("bob", "team@example.org"), an_alias),
        (
            alias_add("x@example.net", &["alice@example.org"], OPEN),
            "no domain example.net; add it with `moxctl domain add example.net`, or see `moxctl domain list`",
        ),
        (
            aliases_request(member_add(many)),
            "an alias has at most 1000 members; make a second alias for the others",
        ),
        (
            aliases_request(member_remove(addresses(&["bob@example.org"]))),
            "bob@example.org is not a member of team@example.org; see `moxctl alias show team@example.org`",
        ),
        (
            aliases_request(member_remove(addresses(&["alice@example.org"]))),
            "an alias has at least one member; name one, or use `moxctl alias rm` or `moxctl alias disable`",
        ),
        (
            aliases_request(AliasRequest::Remove(address("x@example.org"))),
            "no alias x@example.org; see `moxctl alias list`",
        ),
        (
            AdminToAuthd::DomainRemove("example.org".into()),
            "the domain example.org still has 4 address(es); remove them first, see `moxctl address list` and `moxctl alias list`",
        ),
    ] {
        let asked = format!("{request:?}");
        assert_eq!(directory.apply(request).unwrap_err().to_string(), line, "{asked}");
    }
    assert_eq!(aliases(&mut directory).len(), 1);
    done(
        &mut directory,
        AdminToAuthd::Alias(member_add(addresses(&["bob@example.org", "ALICE@example.org"]))),
    );
    assert_eq!(members(&mut directory, "team@example.org").len(), 2);
    done(&mut directory, AdminToAuthd::Alias(member_remove(addresses(&["Alice@example.org"]))));
    assert_eq!(members(&mut directory, "team@example.org")[0].account, "bob");
    done(&mut directory, AdminToAuthd::Alias(AliasRequest::Remove(team())));
    assert_eq!(recipient(&directory, "team@example.org"), Recipient::Unknown);
    let AuthdToAdmin::Domains(domains) =
        directory.apply(AdminToAuthd::DomainList { after: None }).unwrap().reply
    else {
        panic!("no domains")
    };
    assert_eq!(domains[0].addresses, 3, "the alias counts no more");
}

/// A directory from before there were aliases is brought forward, with all that is in it.
#[test]
fn a_directory_of_the_schema_before_gets_aliases() {
    let (at, directory, [alice, ..]) = three();
    drop(directory);
    let database = rusqlite::Connection::open(at.path().join(FILE_NAME)).unwrap();
    database
        .execute_batch(
            "ALTER TABLE account DROP COLUMN without; DROP TABLE share; DROP TABLE quota; DROP TABLE alias_member;
             DROP TABLE alias; PRAGMA user_version = 3;",
        )
        .unwrap();
    drop(database);
    let mut directory = open(&at);
    assert_eq!(owner(&directory, "alice@example.org"), Owner::Account(alice));
    assert_eq!(aliases(&mut directory), []);
    done(&mut directory, alias_add("team@example.org", &["alice@example.org"], OPEN));
    drop(directory);
    assert_eq!(owner(&open(&at), "team@example.org"), Owner::Members(vec![alice]));
}

#[test]
fn an_alias_with_as_many_members_as_may_be_is_listed_page_by_page() {
    let (_at, mut directory, _) = three();
    let all: Vec<_> = (0..MAX_MEMBERS).map(|number| format!("u{number:04}@example.org")).collect();
    {
        // Past the database: so many commits would take a while.
        let book = directory.book();
        let mut book = book.write();
        let id = book.account_named(&AccountName::parse("alice").unwrap()).unwrap().id;
        all.iter().for_each(|text| book.insert_address(pattern(text), id));
        let members = all.iter().cloned().collect();
        let address = address("team@example.org");
        book.insert_alias(super::super::book::Alias { address, options: OPEN, disabled: false, members });
    }
    let (mut found, mut after): (Vec<MemberInfo>, _) = (Vec::new(), None);
    loop {
        let request = AliasRequest::Members { alias: address("team@example.org"), after };
        let reply = directory.apply(AdminToAuthd::Alias(request)).unwrap().reply;
        let AuthdToAdmin::Members(page) = reply else { panic!("{reply:?}") };
        let Some(last) = page.last() else { break };
        after = Some(last.address.clone());
        found.extend(page);
    }
    let found: Vec<_> = found.iter().map(|member| member.address.to_string()).collect();
    assert_eq!(found, all);
}
