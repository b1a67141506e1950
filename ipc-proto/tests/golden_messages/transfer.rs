//! Mail in bulk: what moxctl and an account's process say to each other, and the stream of mail.

use ipc_proto::{
    admin::{AccountdToAdmin, AdminAccountd, AdminToAccountd},
    transfer::*,
};

use super::{Sample, reply, request, samples_of};

const KEY: ImportKey = ImportKey([0x11; 16]);

pub(super) fn samples() -> Vec<Sample> {
    let mut all = import();
    all.extend(export());
    all.extend(stream());
    all
}

fn import() -> Vec<Sample> {
    let ask = |name: &str, message| {
        request::<AdminAccountd>(&format!("Import {name}"), AdminToAccountd::Import(message))
    };
    let answer = |name: &str, message| {
        reply::<AdminAccountd>(&format!("Import {name}"), AccountdToAdmin::Import(message))
    };
    let mut all = samples_of!(ask, ImportRequest {
        ImportRequest::Begin(_) => "Begin": ImportRequest::Begin(ImportTarget {
            mailbox: "Sent".to_owned(),
            source: "mbox:/srv/sent".to_owned(),
            special_use: Some("\\Sent".to_owned()),
            subscribed: true,
            uids: Some((3, 4)),
            skip_duplicates: true,
            again: false,
        }),
        ImportRequest::Known { .. } => "Known": ImportRequest::Known { after: Some(KEY) },
        ImportRequest::Block { .. } => "Block": ImportRequest::Block { octets: 5 },
        ImportRequest::Subscribe(_) => "Subscribe": ImportRequest::Subscribe(vec!["a/b".to_owned()]),
    });
    let outcomes =
        vec![Imported::Filed, Imported::Renumbered, Imported::Known, Imported::Duplicate, Imported::TooLarge];
    all.extend(samples_of!(answer, ImportReply {
        ImportReply::Ready { .. } => "Ready": ImportReply::Ready { keeps_uids: true },
        ImportReply::Known(_) => "Known": ImportReply::Known(vec![KEY]),
        ImportReply::Filed(_) => "Filed": ImportReply::Filed(outcomes),
        ImportReply::Done => "Done": ImportReply::Done,
    }));
    all
}

fn export() -> Vec<Sample> {
    let ask = |name: &str, message| {
        request::<AdminAccountd>(&format!("Export {name}"), AdminToAccountd::Export(message))
    };
    let answer = |name: &str, message| {
        reply::<AdminAccountd>(&format!("Export {name}"), AccountdToAdmin::Export(message))
    };
    let mut all = samples_of!(ask, ExportRequest {
        ExportRequest::Mailboxes { .. } => "Mailboxes": ExportRequest::Mailboxes { after: Some("a".to_owned()) },
        ExportRequest::Subscriptions { .. } => "Subscriptions": ExportRequest::Subscriptions { after: None },
        ExportRequest::Messages { .. } => "Messages":
            ExportRequest::Messages { mailbox: "INBOX".to_owned(), from: 7, offset: u64::MAX },
    });
    let mailbox = ExportMailbox {
        name: "Sent".to_owned(),
        special_use: Some("\\Sent".to_owned()),
        uidvalidity: 1,
        uidnext: 2,
        messages: 3,
        octets: 4,
    };
    all.extend(samples_of!(answer, ExportReply {
        ExportReply::Mailboxes(_) => "Mailboxes": ExportReply::Mailboxes(vec![mailbox]),
        ExportReply::Subscriptions(_) => "Subscriptions": ExportReply::Subscriptions(vec!["a".to_owned()]),
        ExportReply::Written { .. } => "Written": ExportReply::Written { octets: 9, next: Some((8, 7)) },
    }));
    all
}

fn stream() -> Vec<Sample> {
    let value = |name: &str, message: Mail| {
        let mut octets = Vec::new();
        write_value(&message, &mut octets).unwrap();
        let comes_back = Box::new(move |octets: &[u8]| {
            let mut reader = PieceReader::<Mail>::default();
            reader.push(octets);
            matches!(reader.next_piece(), Ok(Some(Piece::Value(value))) if value == message)
        });
        Sample { name: format!("Mail {name}"), octets, comes_back }
    };
    samples_of!(value, Mail {
        Mail::Begin(_) => "Begin": Mail::Begin(MailHead {
            key: KEY,
            uid: Some(9),
            flags: MailFlags { system: 0x1f, keywords: vec!["$Forwarded".to_owned()] },
            received: -2,
        }),
        Mail::End => "End": Mail::End,
        Mail::Gone => "Gone": Mail::Gone,
    })
}
