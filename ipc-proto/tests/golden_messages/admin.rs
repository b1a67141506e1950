//! What the admin asks about aliases, of an account and of the queue.

use ipc_proto::{admin::*, alias::*, authd::*, care::*, queue::*, transfer::*};

use super::{CONNECTION, DELIVERY, Sample, address, at, reply, request, samples_of};

const OPTIONS: AliasOptions = AliasOptions { post: Post::Members, list_members: true, from: false };

pub(super) fn alias_add() -> AliasRequest {
    let members = vec![address("alice@example.org"), address("bob@example.org")];
    AliasRequest::Add { alias: address("team@example.org"), members, options: OPTIONS }
}

pub(super) fn alias_requests() -> Vec<Sample> {
    let ask = |name: &str, request: AliasRequest| {
        super::request::<AdminAuthd>(&format!("Alias {name}"), AdminToAuthd::Alias(request))
    };
    let (alias, members) = (|| address("team@example.org"), || vec![address("alice@example.org")]);
    samples_of!(ask, AliasRequest {
        AliasRequest::Add { .. } => "Add anyone": AliasRequest::Add {
            alias: alias(),
            members: members(),
            options: AliasOptions { post: Post::Anyone, ..OPTIONS },
        },
        AliasRequest::Remove(_) => "Remove": AliasRequest::Remove(alias()),
        AliasRequest::Disable(..) => "Disable": AliasRequest::Disable(alias(), true),
        AliasRequest::Set { .. } => "Set":
            AliasRequest::Set { alias: alias(), post: Some(Post::Anyone), list_members: None, from: Some(true) },
        AliasRequest::MemberAdd { .. } => "MemberAdd":
            AliasRequest::MemberAdd { alias: alias(), members: members() },
        AliasRequest::MemberRemove { .. } => "MemberRemove":
            AliasRequest::MemberRemove { alias: alias(), members: members() },
        AliasRequest::List { .. } => "List": AliasRequest::List { after: Some(alias()) },
        AliasRequest::Members { .. } => "Members": AliasRequest::Members { alias: alias(), after: None },
    })
}

pub(super) fn aliases() -> Vec<AliasInfo> {
    vec![AliasInfo { alias: address("team@example.org"), options: OPTIONS, disabled: true, members: 2 }]
}

pub(super) fn members() -> Vec<MemberInfo> {
    vec![MemberInfo { address: address("alice@example.org"), account: "alice".to_owned(), disabled: false }]
}

pub(super) fn accountd() -> Vec<Sample> {
    let (ask, answer) = (request::<AdminAccountd>, reply::<AdminAccountd>);
    let mut all = samples_of!(ask, AdminToAccountd {
        AdminToAccountd::Verify => "Verify": AdminToAccountd::Verify,
        AdminToAccountd::DeletedList { .. } => "DeletedList":
            AdminToAccountd::DeletedList { which: Which::default(), after: 3 },
        AdminToAccountd::Undelete { .. } => "Undelete": AdminToAccountd::Undelete {
            which: Which { ids: Some(vec![1, 2]), mailbox: Some("INBOX".to_owned()), since: Some(at()) },
            into: Some("Recovered".to_owned()),
        },
        AdminToAccountd::RetentionList => "RetentionList": AdminToAccountd::RetentionList,
        AdminToAccountd::RetentionSet { .. } => "RetentionSet": AdminToAccountd::RetentionSet {
            mailbox: "Trash".to_owned(),
            rule: Some(RetentionRule { days: 30, then: Then::Expunge }),
        },
        AdminToAccountd::Import(_) => "Import": AdminToAccountd::Import(ImportRequest::Known { after: None }),
        AdminToAccountd::Export(_) => "Export": AdminToAccountd::Export(ExportRequest::Mailboxes { after: None }),
    });
    all.extend(samples_of!(answer, AccountdToAdmin {
        AccountdToAdmin::Verified(_) => "Verified": AccountdToAdmin::Verified(Verified {
            mailboxes: 1,
            messages: 2,
            octets: 3,
            problems: vec!["a row without its body".to_owned()],
        }),
        AccountdToAdmin::Deleted(_) => "Deleted": AccountdToAdmin::Deleted(vec![DeletedInfo {
            id: 1,
            mailbox: Some("INBOX".to_owned()),
            at: at(),
            received: at(),
            size: 2,
            from: "Ada".to_owned(),
            subject: "x".to_owned(),
        }]),
        AccountdToAdmin::Undeleted(_) => "Undeleted": AccountdToAdmin::Undeleted(Undeleted {
            messages: 2,
            mailboxes: vec![("INBOX".to_owned(), 2)],
        }),
        AccountdToAdmin::Retentions(_) => "Retentions": AccountdToAdmin::Retentions(vec![RetentionInfo {
            mailbox: "Junk".to_owned(),
            rule: RetentionRule { days: 30, then: Then::Trash },
        }]),
        AccountdToAdmin::Done => "Done": AccountdToAdmin::Done,
        AccountdToAdmin::Refused(_) => "Refused": AccountdToAdmin::Refused("busy".to_owned()),
        AccountdToAdmin::Import(_) => "Import": AccountdToAdmin::Import(ImportReply::Done),
        AccountdToAdmin::Export(_) => "Export": AccountdToAdmin::Export(ExportReply::Mailboxes(Vec::new())),
    }));
    all
}

fn message() -> QueuedMessage {
    QueuedMessage {
        id: DELIVERY,
        from: Some(address("from@example.org")),
        recipients: 2,
        first: Some(address("a@example.org")),
        size: u64::MAX,
        stored: at(),
        attempts: 3,
        next: at(),
        reason: Some(WaitReason::Unreachable),
    }
}

pub(super) fn queued() -> Vec<Sample> {
    let (ask, answer) = (request::<AdminQueued>, reply::<AdminQueued>);
    let mut all = samples_of!(ask, AdminToQueued {
        AdminToQueued::List { after: None } => "List": AdminToQueued::List { after: None },
        AdminToQueued::List { after: Some(_) } => "List after":
            AdminToQueued::List { after: Some((at(), DELIVERY)) },
        AdminToQueued::Show(_) => "Show": AdminToQueued::Show(DELIVERY),
    });
    let reasons = [
        WaitReason::Disabled,
        WaitReason::Gone,
        WaitReason::NoAnswer,
        WaitReason::Unreachable,
        WaitReason::MailboxFull,
        WaitReason::NoSpace,
        WaitReason::Fault,
        WaitReason::Damaged,
    ];
    let recipient = |reason| QueuedRecipient {
        address: address("a@example.org"),
        members: Some(2),
        reason: Some(reason),
    };
    all.extend(samples_of!(answer, QueuedToAdmin {
        QueuedToAdmin::Messages(_) => "Messages":
            QueuedToAdmin::Messages(vec![message(), QueuedMessage { from: None, first: None, reason: None, ..message() }]),
        QueuedToAdmin::Message(_) => "Message": QueuedToAdmin::Message(Box::new(QueuedDetail {
            message: message(),
            connection: CONNECTION,
            recipients: reasons.map(recipient).to_vec(),
            header: b"Subject: x\r\n".to_vec(),
            cut: true,
        })),
        QueuedToAdmin::NoMessage => "NoMessage": QueuedToAdmin::NoMessage,
        QueuedToAdmin::Refused(_) => "Refused": QueuedToAdmin::Refused("damaged".to_owned()),
    }));
    all
}
