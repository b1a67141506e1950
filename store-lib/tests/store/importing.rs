//! Mail from elsewhere: once, in one commit, with the source's UIDs where that can be.

use store_lib::{
    Budget, Duplicates, Flags, Import, ImportKey, ImportMessage, ImportTarget, Imported, Keyword,
    MAX_KEYWORDS_PER_MAILBOX, MailboxName, Parse, SpecialUse, StoreError, UnixSeconds,
};

use crate::account::{Account, LIMIT, nobody, uid_of};

fn target(mailbox: &str, uids: Option<(u32, u32)>) -> ImportTarget {
    ImportTarget {
        mailbox: MailboxName::parse(mailbox).unwrap(),
        source: "imap://old.example/x".to_owned(),
        special_use: None,
        subscribed: false,
        uids,
    }
}

fn key(number: u32) -> ImportKey {
    ImportKey(u128::from(number).to_be_bytes())
}

fn message(account: &Account, number: u32, uid: Option<u32>, octets: &[u8]) -> ImportMessage {
    let staged = account.store().stage(b"", &mut &*octets, Parse::Yes, LIMIT).unwrap();
    let received = UnixSeconds(i64::from(number));
    ImportMessage { key: key(number), staged, flags: Flags::NONE, received, uid: uid.map(uid_of) }
}

fn import(account: &Account, import: Import, numbers: &[(u32, Option<u32>)]) -> Vec<Imported> {
    let octets = |number: u32| format!("Subject: {number}\r\n\r\ntext\r\n").into_bytes();
    let messages =
        numbers.iter().map(|(number, uid)| message(account, *number, *uid, &octets(*number))).collect();
    account.store().import(import, messages, nobody()).unwrap()
}

fn filed(uid: u32, as_asked: bool) -> Imported {
    Imported::Filed { uid: uid_of(uid), as_asked }
}

#[test]
fn what_came_once_does_not_come_again_from_the_same_source() {
    let mut account = Account::new();
    let begun = account.store().begin_import(target("Old/Lists", None)).unwrap();
    assert!(!begun.keeps_uids());
    assert_eq!(import(&account, begun, &[(1, None), (2, None)]), [filed(1, true), filed(2, true)]);
    account.reopen();
    let begun = account.store().begin_import(target("Old/Lists", None)).unwrap();
    assert_eq!(import(&account, begun, &[(2, None), (3, None)]), [Imported::Known, filed(3, true)]);
    let known = account.store().read(&Budget::default(), |reader| {
        assert!(reader.is_imported(begun, key(3))? && !reader.is_imported(begun, key(4))?);
        Ok([reader.imported(begun, None, 2)?, reader.imported(begun, Some(key(2)), 2)?])
    });
    assert_eq!(known.unwrap(), [vec![key(1), key(2)], vec![key(3)]]);
    let mut other = target("Old/Lists", None);
    other.source = "mbox:/elsewhere".to_owned();
    let other = account.store().begin_import(other).unwrap();
    assert_eq!(import(&account, other, &[(1, None)]), [filed(4, true)]);
    account.store().forget_imported(begun).unwrap();
    assert_eq!(import(&account, begun, &[(1, None)]), [filed(5, true)]);
}

#[test]
fn a_mailbox_that_was_deleted_takes_the_memory_of_its_sources_along() {
    let account = Account::new();
    let name = MailboxName::parse("Old").unwrap();
    let begun = account.store().begin_import(target("Old", None)).unwrap();
    import(&account, begun, &[(1, None)]);
    account.store().delete(&name, nobody()).unwrap();
    let late = account.store().import(begun, vec![message(&account, 2, None, b"x")], nobody());
    assert!(matches!(late, Err(StoreError::NoSuchMailbox)), "{late:?}");
    let again = account.store().begin_import(target("Old", None)).unwrap();
    assert_eq!(import(&account, again, &[(1, None)]), [filed(1, true)]);
    // The chores come when it is quiet.
    let gone = || account.store().read(&Budget::default(), |reader| reader.imported(begun, None, 9)).unwrap();
    while !gone().is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn a_mailbox_that_never_had_a_message_keeps_the_uids_of_its_source() {
    let account = Account::new();
    let begun = account.store().begin_import(target("INBOX", Some((77, 100)))).unwrap();
    assert!(begun.keeps_uids());
    assert_eq!(account.mailbox("INBOX").uidvalidity.value(), 77);
    assert_eq!(import(&account, begun, &[(1, Some(10)), (2, Some(99))]), [filed(10, true), filed(99, true)]);
    // Mail that comes meanwhile stays out of the way of what still comes from there.
    let delivered = account.deliver(b"Subject: new\r\n\r\n").uid.value();
    assert!(delivered > 1000, "{delivered}");
    assert_eq!(
        import(&account, begun, &[(3, Some(50)), (4, Some(101))]),
        [filed(50, true), filed(101, true)]
    );
    assert_eq!(account.uids(begun.mailbox()), [10, 50, 99, 101, delivered]);
    // The same source goes on; with another UIDVALIDITY it is another source.
    let again = account.store().begin_import(target("INBOX", Some((77, 103)))).unwrap();
    assert!(again.keeps_uids());
    assert!(!account.store().begin_import(target("INBOX", Some((78, 103)))).unwrap().keeps_uids());
    // No UID is used twice, neither one that is in use nor one that was.
    account.store().expunge(begun.mailbox(), Some(&[]), nobody()).unwrap();
    let [Imported::Filed { uid, as_asked: false }] = import(&account, again, &[(5, Some(50))])[..] else {
        panic!("UID 50 is in use")
    };
    assert_eq!(uid.value(), delivered + 1);
}

#[test]
fn uids_are_not_taken_over_where_they_would_lie() {
    let account = Account::new();
    account.deliver(b"Subject: first\r\n\r\n");
    let taken = account.mailbox("INBOX").uidvalidity.value();
    for (mailbox, uids, reason) in [
        ("INBOX", (77, 5), "it had a message"),
        ("Sent", (0, 5), "not a UIDVALIDITY"),
        ("Sent", (u32::MAX, 5), "later mailboxes need higher ones"),
        ("Sent", (77, u32::MAX), "no UIDs left"),
        ("Sent", (taken, 5), "another mailbox has it"),
    ] {
        let mut target = target(mailbox, Some(uids));
        target.source = reason.to_owned();
        let before = account.mailbox(mailbox).uidvalidity;
        assert!(!account.store().begin_import(target).unwrap().keeps_uids(), "{reason}");
        assert_eq!(account.mailbox(mailbox).uidvalidity, before, "{reason}");
    }
    // One that no message ever had makes way.
    let junk = account.mailbox("Junk").uidvalidity;
    assert!(account.store().begin_import(target("Sent", Some((junk.value(), 5)))).unwrap().keeps_uids());
    assert!(account.mailbox("Sent").uidvalidity == junk && account.mailbox("Junk").uidvalidity > junk);
    // Above every UIDVALIDITY that was taken over.
    account.store().begin_import(target("Drafts", Some((3_000_000_000, 5)))).unwrap();
    account.store().begin_import(target("New", None)).unwrap();
    assert!(account.mailbox("New").uidvalidity.value() > 3_000_000_000);
}

#[test]
fn uses_go_to_the_mailbox_that_brings_mail() {
    let account = Account::new();
    let with_use = |mailbox: &str, special_use| ImportTarget {
        special_use: Some(special_use),
        subscribed: true,
        ..target(mailbox, None)
    };
    account.store().begin_import(with_use("Sent Items", SpecialUse::Sent)).unwrap();
    let mailbox = account.mailbox("Sent Items");
    assert!(mailbox.special_use == Some(SpecialUse::Sent) && mailbox.subscribed);
    assert_eq!(account.mailbox("Sent").special_use, None);
    // Not away from one that is in use, and no mailbox has two.
    let drafts = account.store().begin_import(target("Drafts", None)).unwrap();
    import(&account, drafts, &[(1, None)]);
    account.store().begin_import(with_use("Entwürfe", SpecialUse::Drafts)).unwrap();
    account.store().begin_import(with_use("Junk", SpecialUse::Trash)).unwrap();
    assert_eq!(account.mailbox("Entwürfe").special_use, None);
    assert_eq!(account.mailbox("Drafts").special_use, Some(SpecialUse::Drafts));
    assert_eq!(account.mailbox("Junk").special_use, Some(SpecialUse::Junk));
}

#[test]
fn keywords_without_room_are_left_out_and_the_message_stays() {
    let account = Account::new();
    let begun = account.store().begin_import(target("Old", None)).unwrap();
    let messages = (0..=u32::try_from(MAX_KEYWORDS_PER_MAILBOX).unwrap()).map(|number| {
        let mut message = message(&account, number, None, b"x");
        message.flags.add_keyword(Keyword::parse(&format!("k{number}")).unwrap()).unwrap();
        message
    });
    account.store().import(begun, messages.collect(), nobody()).unwrap();
    let listing = account.listing(begun.mailbox());
    assert_eq!(listing.len(), MAX_KEYWORDS_PER_MAILBOX + 1);
    assert_eq!(listing[MAX_KEYWORDS_PER_MAILBOX - 1].1.keywords().len(), 1);
    assert_eq!(listing[MAX_KEYWORDS_PER_MAILBOX].1.keywords().len(), 0);
}

#[test]
fn a_kill_between_two_commits_leaves_whole_commits_and_their_keys() {
    let account = Account::new();
    let begun = account.store().begin_import(target("Old", None)).unwrap();
    import(&account, begun, &[(1, None), (2, None)]);
    let large = vec![b'x'; 200_000];
    account.store().import(begun, vec![message(&account, 3, None, &large)], nobody()).unwrap();
    let killed = account.killed_now();
    let again = killed.store().begin_import(target("Old", None)).unwrap();
    assert_eq!(import(&killed, again, &[(2, None), (3, None), (4, None)])[..2], [Imported::Known; 2]);
    assert_eq!(killed.uids(again.mailbox()).len(), 4);
    assert_eq!(killed.files().len(), 1);
}

#[test]
fn duplicates_are_told_by_message_id_and_text_or_by_all_octets() {
    let account = Account::new();
    let begun = account.store().begin_import(target("Old", None)).unwrap();
    let large = "long line\r\n".repeat(10_000);
    let stored = [
        "Message-Id: <a@b>\r\nReceived: one\r\n\r\ntext\r\n".to_owned(),
        "Subject: no id\r\n\r\ntext\r\n".to_owned(),
        format!("Message-ID: <large@b>\r\nX: 1\r\n\r\n{large}"),
    ];
    let messages =
        (0..).zip(&stored).map(|(number, octets)| message(&account, number, None, octets.as_bytes()));
    account.store().import(begun, messages.collect(), nobody()).unwrap();
    let mut duplicates = Duplicates::of(account.store(), begun.mailbox()).unwrap();
    let has = |duplicates: &Duplicates, octets: &str| {
        let staged = account.store().stage(b"", &mut octets.as_bytes(), Parse::Yes, LIMIT).unwrap();
        duplicates.has(account.store(), &staged).unwrap()
    };
    for (octets, expected, reason) in [
        (stored[0].as_str(), true, "the same"),
        (&stored[1], true, "the same"),
        ("Received: two\r\nMessage-Id: <a@b>\r\n\r\ntext\r\n", true, "by another way"),
        ("Message-Id: <a@b>\r\nReceived: one\r\n\r\nother text\r\n", false, "an id that was used twice"),
        ("Message-Id: <c@b>\r\nReceived: one\r\n\r\ntext\r\n", false, "another message with this text"),
        ("Subject: no Id\r\n\r\ntext\r\n", false, "without an id every octet counts"),
        (&format!("Message-ID: <large@b>\r\nX: 2\r\n\r\n{large}"), true, "in a file"),
        (&format!("Message-ID: <large@b>\r\nX: 2\r\n\r\n{large}."), false, "in a file"),
    ] {
        assert_eq!(has(&duplicates, octets), expected, "{reason}: {octets:.60}");
    }
    let new = "Message-Id: <new@b>\r\n\r\n1";
    assert!(!has(&duplicates, new));
    let new_message = message(&account, 9, None, new.as_bytes());
    let mark = Duplicates::mark(&new_message.staged);
    let imported = account.store().import(begun, vec![new_message], nobody()).unwrap();
    let [Imported::Filed { uid, .. }] = imported[..] else { panic!() };
    duplicates.add(mark, uid);
    assert!(has(&duplicates, new));
}
