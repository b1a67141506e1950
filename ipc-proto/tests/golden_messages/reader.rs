//! What moxctl and its confined reader say to each other.

use ipc_proto::{Secret, channel::Message, reader::*, transfer::*};

use super::{Sample, samples_of};

pub(super) fn samples() -> Vec<Sample> {
    let mut all = to_reader();
    all.extend(from_reader());
    all
}

fn piece<T: Message + PartialEq>(name: String, message: T) -> Sample {
    let mut octets = Vec::new();
    write_value(&message, &mut octets).unwrap();
    let comes_back = Box::new(move |octets: &[u8]| {
        let mut reader = PieceReader::<T>::default();
        reader.push(octets);
        matches!(reader.next_piece(), Ok(Some(Piece::Value(value))) if value == message)
    });
    Sample { name, octets, comes_back }
}

fn imap(tls: ImapTls) -> ToReader {
    ToReader::Job(Job::Imap(Box::new(ImapJob {
        host: "imap.example.org".to_owned(),
        user: "mox".to_owned(),
        password: Secret(b"secret".to_vec()),
        tls,
        insecure: true,
        mailboxes: vec!["INBOX".to_owned()],
    })))
}

fn to_reader() -> Vec<Sample> {
    let to = |name: &str, message| piece(format!("ToReader {name}"), message);
    let mbox = |quoting| ToReader::Job(Job::Mbox { size: 7, quoting });
    let mut all = samples_of!(to, ToReader {
        ToReader::Root(_) => "Root": ToReader::Root(vec![0x30]),
        ToReader::Job(_) => "Job Maildir": ToReader::Job(Job::Maildir),
        ToReader::Known(_) => "Known": ToReader::Known(vec![ImportKey([0x22; 16])]),
        ToReader::Read => "Read": ToReader::Read,
        ToReader::Skip => "Skip": ToReader::Skip,
        ToReader::Name { .. } => "Name": ToReader::Name { new: true, name: b"1.a".to_vec() },
        ToReader::File { .. } => "File": ToReader::File { modified: -1, size: 2 },
        ToReader::FileEnd => "FileEnd": ToReader::FileEnd,
        ToReader::FileGone => "FileGone": ToReader::FileGone,
    });
    let tls = [ImapTls::Implicit, ImapTls::Starttls, ImapTls::None];
    all.extend(tls.map(|tls| to(&format!("Job Imap {tls:?}"), imap(tls))));
    let quoting = [Quoting::Mboxrd, Quoting::Mboxo, Quoting::Mboxcl2];
    all.extend(quoting.map(|quoting| to(&format!("Job Mbox {quoting:?}"), mbox(quoting))));
    all
}

fn from_reader() -> Vec<Sample> {
    let from = |name: &str, message| piece(format!("FromReader {name}"), message);
    samples_of!(from, FromReader {
        FromReader::Ready => "Ready": FromReader::Ready,
        FromReader::Totals { .. } => "Totals": FromReader::Totals { messages: 1, octets: 2 },
        FromReader::Mailbox(_) => "Mailbox": FromReader::Mailbox(SourceMailbox {
            source: "INBOX.Sent".to_owned(),
            name: "Sent".to_owned(),
            special_use: Some("\\Sent".to_owned()),
            uids: Some((1, 2)),
            messages: 3,
        }),
        FromReader::Known(_) => "Known": FromReader::Known(4),
        FromReader::Want(_) => "Want": FromReader::Want(vec![0, 5]),
        FromReader::Mail(_) => "Mail": FromReader::Mail(Mail::End),
        FromReader::Left { .. } => "Left": FromReader::Left { what: "1".to_owned(), why: "gone".to_owned() },
        FromReader::Subscribed(_) => "Subscribed": FromReader::Subscribed(vec!["a".to_owned()]),
        FromReader::Done => "Done": FromReader::Done,
        FromReader::Failed { .. } => "Failed":
            FromReader::Failed { again: true, why: "the connection ended".to_owned() },
    })
}
