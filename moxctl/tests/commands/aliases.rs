//! Aliases and the queue: what is asked, what is printed.

use ipc_proto::{
    ConnectionId, DeliveryId,
    alias::{AliasInfo, AliasOptions, AliasRequest, MemberInfo, Post},
    authd::{AdminToAuthd, AuthdToAdmin},
    queue::{
        AdminToQueued, QUEUE_PAGE, QueuedDetail, QueuedMessage, QueuedRecipient, QueuedToAdmin, WaitReason,
    },
    types::Timestamp,
};
use mail_lib::address::Address;

use crate::served::{Instance, moxctl};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn team() -> Address {
    address("team@example.org")
}

#[test]
fn what_is_asked_about_aliases_is_what_was_typed() {
    let options = |post, list_members, from| AliasOptions { post, list_members, from };
    let add = |members: &[&str], options| AliasRequest::Add {
        alias: team(),
        members: members.iter().map(|text| address(text)).collect(),
        options,
    };
    let set = |post, list_members, from| AliasRequest::Set { alias: team(), post, list_members, from };
    let two = || vec![address("a@example.org"), address("b@example.org")];
    for (arguments, asked) in [
        (
            "add team@example.org --member a@example.org --member b@example.org",
            add(&["a@example.org", "b@example.org"], options(Post::Anyone, false, false)),
        ),
        (
            "add team@example.org --member a@example.org --post members --list-members --from",
            add(&["a@example.org"], options(Post::Members, true, true)),
        ),
        ("set team@example.org --post anyone", set(Some(Post::Anyone), None, None)),
        ("set team@example.org --list-members=no --from", set(None, Some(false), Some(true))),
        (
            "member add team@example.org a@example.org b@example.org",
            AliasRequest::MemberAdd { alias: team(), members: two() },
        ),
        (
            "member rm team@example.org a@example.org b@example.org",
            AliasRequest::MemberRemove { alias: team(), members: two() },
        ),
        ("disable team@example.org", AliasRequest::Disable(team(), true)),
        ("enable team@example.org", AliasRequest::Disable(team(), false)),
        ("rm team@example.org", AliasRequest::Remove(team())),
    ] {
        let instance = Instance::with_directory(move |request| {
            assert_eq!(*request, AdminToAuthd::Alias(asked.clone()), "{arguments}");
            AuthdToAdmin::Done
        });
        let done = moxctl(&instance, &format!("alias {arguments}"), "");
        assert_eq!((done.code, done.stderr.as_str(), done.stdout.lines().count()), (0, "", 1), "{arguments}");
        let json = moxctl(&instance, &format!("alias {arguments} --json"), "").json();
        assert_eq!(json, serde_json::json!({ "done": true }), "{arguments}");
    }
    let instance = Instance::with_directory(|_| panic!("nothing is asked"));
    for wrong in [
        "alias add team@example.org",
        "alias add team --member a@example.org",
        "alias set team@example.org",
        "alias set team@example.org --post nobody",
        "alias member add team@example.org",
        "alias member rm team@example.org",
    ] {
        assert_eq!(moxctl(&instance, wrong, "").code, 2, "{wrong}");
    }
}

#[test]
fn aliases_are_listed_and_shown_with_their_members() {
    let instance = Instance::with_directory(|request| match request {
        AdminToAuthd::Alias(AliasRequest::List { after: None }) => AuthdToAdmin::Aliases(vec![AliasInfo {
            alias: team(),
            options: AliasOptions { post: Post::Members, list_members: false, from: true },
            disabled: false,
            members: 2,
        }]),
        AdminToAuthd::Alias(AliasRequest::Members { alias, after: None })
            if *alias == address("Team@example.org") =>
        {
            let member = |name: &str, disabled| MemberInfo {
                address: address(&format!("{name}@example.org")),
                account: name.into(),
                disabled,
            };
            AuthdToAdmin::Members(vec![member("alice", false), member("bob", true)])
        }
        AdminToAuthd::Alias(AliasRequest::Members { .. }) => AuthdToAdmin::Refused("no alias".into()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        moxctl(&instance, "alias show Team@example.org", "").stdout,
        "ALIAS             MEMBERS  POSTED TO BY  MEMBERS MAY  STATE\n\
         team@example.org  2        members       send as it   takes mail\n\
         \x20 member: alice@example.org, account alice\n\
         \x20 member: bob@example.org, account bob (takes no mail now)\n"
    );
    let shown = moxctl(&instance, "alias show Team@example.org --json", "").json();
    assert_eq!(shown["members"][1]["disabled"], true);
    assert_eq!(shown["alias"], moxctl(&instance, "alias list --json", "").json()[0]);
    assert_eq!(moxctl(&instance, "alias show x@example.org", "").code, 1);
}

/// 1 to 120, the oldest first.
fn message(number: u8) -> QueuedMessage {
    let at = |seconds| Timestamp { seconds: 1_700_000_000 + seconds, nanoseconds: 0 };
    QueuedMessage {
        id: DeliveryId([number; 16]),
        from: Some(address("sender@example.net")),
        recipients: 3,
        first: Some(team()),
        size: 4711,
        stored: at(i64::from(number)),
        attempts: 2,
        next: at(3600),
        reason: Some(WaitReason::Unreachable),
    }
}

fn queue(request: &AdminToQueued) -> QueuedToAdmin {
    match request {
        AdminToQueued::List { after } => {
            let from = after.map_or(1, |(_, id)| id.0[0] + 1);
            QueuedToAdmin::Messages((from..=120).map(message).take(QUEUE_PAGE).collect())
        }
        AdminToQueued::Show(id) if id.0 == [7; 16] => QueuedToAdmin::Message(Box::new(QueuedDetail {
            message: message(7),
            connection: ConnectionId(0xabc),
            recipients: vec![QueuedRecipient {
                address: team(),
                members: Some(2),
                reason: Some(WaitReason::MailboxFull),
            }],
            header: b"Subject: \x1b[2J\xff\r\nTo: x\r\n".to_vec(),
            cut: true,
        })),
        AdminToQueued::Show(_) => QueuedToAdmin::NoMessage,
    }
}

/// Attack class 33: a header is a stranger's text, and goes to a terminal.
#[test]
fn the_queue_is_listed_whole_and_one_message_shown_with_its_header() {
    let instance = Instance::with_queue(queue);
    let list = moxctl(&instance, "queue list --json", "").json();
    assert_eq!(list.as_array().unwrap().len(), 120);
    assert_eq!(list[6]["id"], "07".repeat(16));
    assert_eq!(list[6]["next_attempt"], "2023-11-14T23:13:20Z");
    let text = moxctl(&instance, "queue list", "").stdout;
    let line = text.lines().nth(1).unwrap();
    assert!(line.contains("sender@example.net  team@example.org and 2 more  4711"), "{line}");
    assert!(line.ends_with("the account's process cannot be reached; its log says more"), "{line}");

    let id = "07".repeat(16);
    let shown = moxctl(&instance, &format!("queue show {id}"), "").stdout;
    assert!(shown.contains("  waits for: team@example.org (2 member(s)): the mailbox is full\n"), "{shown}");
    assert!(shown.ends_with("\nSubject: \\u{1b}[2J\u{fffd}\nTo: x\n(the header goes on)\n"), "{shown}");
    let json = moxctl(&instance, &format!("queue show {} --json", id.to_uppercase()), "").json();
    assert_eq!(json["recipients"][0]["members"], 2);
    assert_eq!(json["message"]["id"], id);
    let gone = moxctl(&instance, &format!("queue show {}", "00".repeat(16)), "");
    assert_eq!((gone.code, gone.stdout.as_str()), (1, ""));
    for wrong in ["queue show 07", "queue show +7070707070707070707070707070707", "queue"] {
        assert_eq!(moxctl(&instance, wrong, "").code, 2, "{wrong}");
    }
}
