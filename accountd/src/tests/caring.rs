//! What moxctl asks for the care of an account's mail.

use ipc_proto::{
    admin::{AccountdToAdmin, AdminToAccountd},
    care::{RetentionInfo, RetentionRule, Then, Undeleted, Which},
};
use store_lib::{FlagChange, Flags, Origin, SystemFlag};

use super::*;

fn expunge_inbox(world: &World) {
    let store = &world.account.store;
    let inbox =
        store.read(&Budget::default(), |reader| reader.find(&MailboxName::inbox())).unwrap().unwrap().id;
    let uids = store.read(&Budget::default(), |reader| reader.uids(inbox)).unwrap();
    let mark = FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
    store.change_flags(inbox, &uids, mark, Origin::NONE).unwrap();
    store.expunge(inbox, None, Origin::NONE).unwrap();
}

#[test]
fn an_expunged_message_is_listed_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    deliver(&world.queued(), 1, TEXT);
    expunge_inbox(&world);
    let moxctl = world.moxctl();
    let ask = |request| moxctl.call(&request, Vec::new()).unwrap().0;
    let list = || AdminToAccountd::DeletedList { which: Which::default(), after: 0 };
    let AccountdToAdmin::Deleted(listed) = ask(list()) else { panic!() };
    let shown: Vec<_> = listed.iter().map(|one| (one.mailbox.as_deref(), &*one.subject)).collect();
    assert_eq!(shown, [(Some("INBOX"), "hello")]);
    let undelete = |mailbox: &str| AdminToAccountd::Undelete {
        which: Which { mailbox: Some(mailbox.to_owned()), ..Which::default() },
        into: None,
    };
    assert_eq!(
        ask(undelete("Sent")),
        AccountdToAdmin::Undeleted(Undeleted { messages: 0, mailboxes: Vec::new() })
    );
    let back = Undeleted { messages: 1, mailboxes: vec![("INBOX".to_owned(), 1)] };
    assert_eq!(ask(undelete("inbox")), AccountdToAdmin::Undeleted(back));
    assert_eq!(ask(list()), AccountdToAdmin::Deleted(Vec::new()));
    assert!(matches!(ask(undelete("a//b")), AccountdToAdmin::Refused(_)), "not a name");
    assert_eq!(world.inbox().len(), 1);
    world.check();
}

#[test]
fn retention_rules_are_set_and_listed() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let moxctl = world.moxctl();
    let ask = |request| moxctl.call(&request, Vec::new()).unwrap().0;
    let set = |mailbox: &str, rule| ask(AdminToAccountd::RetentionSet { mailbox: mailbox.to_owned(), rule });
    let rule = |then| RetentionRule { days: 30, then };
    assert_eq!(set("Trash", Some(rule(Then::Expunge))), AccountdToAdmin::Done);
    assert_eq!(set("Junk", Some(rule(Then::Trash))), AccountdToAdmin::Done);
    for (mailbox, why) in [("Trash", "trash cannot"), ("Nowhere", "no such mailbox"), ("", "no empty level")]
    {
        match set(mailbox, Some(rule(Then::Trash))) {
            AccountdToAdmin::Refused(line) => assert!(line.contains(why), "{line}"),
            other => panic!("{other:?}"),
        }
    }
    let info = |mailbox: &str, then| RetentionInfo { mailbox: mailbox.to_owned(), rule: rule(then) };
    let all = vec![info("Junk", Then::Trash), info("Trash", Then::Expunge)];
    assert_eq!(ask(AdminToAccountd::RetentionList), AccountdToAdmin::Retentions(all));
    assert_eq!(set("Junk", None), AccountdToAdmin::Done);
    let AccountdToAdmin::Retentions(left) = ask(AdminToAccountd::RetentionList) else { panic!() };
    assert_eq!(left.len(), 1);
    drop(moxctl);
    world.check();
}
