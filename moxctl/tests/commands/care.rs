//! What takes care of an account's mail.

use std::sync::{Arc, Mutex};

use ipc_proto::{
    AccountId,
    admin::{AccountdToAdmin, AdminToAccountd},
    authd::AuthdToAdmin,
    care::{DELETED_PAGE, DeletedInfo, RetentionInfo, RetentionRule, Then, Undeleted, Which},
    types::Timestamp,
};

use crate::{
    account,
    served::{Instance, moxctl},
};

fn deleted(id: u64) -> DeletedInfo {
    DeletedInfo {
        id,
        mailbox: (id > 1).then(|| "Sent".to_owned()),
        at: Timestamp { seconds: 1_700_000_000, nanoseconds: 0 },
        received: Timestamp { seconds: 1_600_000_000, nanoseconds: 0 },
        size: 10,
        from: "Ada".to_owned(),
        subject: "a\u{1b}[2J".to_owned(),
    }
}

/// An account with so many expunged messages, and what it is asked.
fn served(messages: u64) -> (Instance, Arc<Mutex<Vec<AdminToAccountd>>>) {
    let asked = Arc::<Mutex<Vec<_>>>::default();
    let heard = Arc::clone(&asked);
    let instance = Instance::new(
        |_| AuthdToAdmin::Accounts(vec![account(3, "alice")]),
        move |id, request| {
            assert_eq!(id, AccountId::new(3).unwrap());
            heard.lock().unwrap().push(request.clone());
            match request {
                AdminToAccountd::DeletedList { after, .. } => {
                    let ids = (after + 1..=messages).take(DELETED_PAGE);
                    AccountdToAdmin::Deleted(ids.map(deleted).collect())
                }
                AdminToAccountd::Undelete { .. } => {
                    let mailboxes = vec![("Sent".to_owned(), messages)];
                    AccountdToAdmin::Undeleted(Undeleted { messages, mailboxes })
                }
                AdminToAccountd::RetentionList => AccountdToAdmin::Retentions(vec![RetentionInfo {
                    mailbox: "Junk".to_owned(),
                    rule: RetentionRule { days: 30, then: Then::Trash },
                }]),
                AdminToAccountd::RetentionSet { .. } => AccountdToAdmin::Done,
                AdminToAccountd::Verify | AdminToAccountd::Import(_) | AdminToAccountd::Export(_) => {
                    AccountdToAdmin::Refused("not here".to_owned())
                }
            }
        },
    );
    (instance, asked)
}

#[test]
fn what_could_come_back_is_listed_page_by_page() {
    let messages = DELETED_PAGE as u64 + 2;
    let (instance, asked) = served(messages);
    let listed = moxctl(&instance, "account undelete Alice --list --mailbox Sent --json", "").json();
    assert_eq!(listed.as_array().unwrap().len(), DELETED_PAGE + 2);
    assert_eq!(listed[0]["mailbox"], serde_json::Value::Null);
    assert_eq!(listed[1]["expunged"], "2023-11-14T22:13:20Z");
    let which = Which { mailbox: Some("Sent".to_owned()), ..Which::default() };
    let pages =
        [0, DELETED_PAGE as u64].map(|after| AdminToAccountd::DeletedList { which: which.clone(), after });
    assert_eq!(*asked.lock().unwrap(), pages);
    let text = moxctl(&instance, "account undelete alice --list --message 2", "").stdout;
    assert!(text.contains("a\\u{1b}[2J") && text.lines().count() == 2, "{text}");
}

#[test]
fn messages_come_back_as_they_are_chosen() {
    let which = |ids: Option<Vec<u64>>, mailbox: Option<&str>| Which {
        ids,
        mailbox: mailbox.map(str::to_owned),
        since: None,
    };
    for (chosen, meant, into) in [
        ("--all", which(None, None), None),
        ("--message 3,4 --into Back", which(Some(vec![3, 4]), None), Some("Back")),
        ("--mailbox Sent", which(None, Some("Sent")), None),
    ] {
        let (instance, asked) = served(2);
        let done = moxctl(&instance, &format!("account undelete alice {chosen}"), "");
        assert_eq!((done.code, &*done.stdout), (0, "2 message(s) came back\n  Sent: 2\n"), "{}", done.stderr);
        let into = into.map(str::to_owned);
        assert_eq!(*asked.lock().unwrap(), [AdminToAccountd::Undelete { which: meant, into }]);
    }
    let (instance, asked) = served(0);
    assert_eq!(moxctl(&instance, "account undelete alice --since 3d", "").code, 1, "nothing is there");
    for wrong in ["", "--all --mailbox Sent", "--message 1 --since 3d", "--since soon"] {
        let done = moxctl(&instance, &format!("account undelete alice {wrong}"), "");
        assert_eq!(done.code, 2, "{wrong}: {}", done.stderr);
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn retention_rules_are_shown_set_and_taken_away() {
    let (instance, asked) = served(0);
    let listed = moxctl(&instance, "account retention alice --json", "").json();
    assert_eq!(listed, serde_json::json!([{ "mailbox": "Junk", "days": 30, "then": "trash" }]));
    let rule = |days, then| Some(RetentionRule { days, then });
    for (arguments, mailbox, rule) in [
        ("Trash --days 30 --then expunge", "Trash", rule(30, Then::Expunge)),
        ("Junk --days 7 --then trash", "Junk", rule(7, Then::Trash)),
        ("Junk --off", "Junk", None),
    ] {
        asked.lock().unwrap().clear();
        let done = moxctl(&instance, &format!("account retention alice {arguments}"), "");
        assert_eq!(done.code, 0, "{}", done.stderr);
        let mailbox = mailbox.to_owned();
        assert_eq!(*asked.lock().unwrap(), [AdminToAccountd::RetentionSet { mailbox, rule }]);
    }
    for wrong in
        ["--days 3 --then trash", "Junk --days 3", "Junk --then trash", "Junk --days 0 --then trash", "--off"]
    {
        let done = moxctl(&instance, &format!("account retention alice {wrong}"), "");
        assert_eq!(done.code, 2, "{wrong}: {}", done.stderr);
    }
}
