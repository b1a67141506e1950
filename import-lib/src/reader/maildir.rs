//! Reading one folder of a Maildir: moxctl lists and opens, the reader says what to open and what it means.

use ipc_proto::{
    Violation,
    reader::{FromReader, SourceMailbox, ToReader, WANTED},
    transfer::MailHead,
};

use super::{
    begin,
    link::{Link, Stop, Told},
};
use crate::maildir::{LineEnds, Lists, Name};

/// The longest line of a list.
const MAX_LINE: usize = 4096;

/// A file of the folder, as far as it is wanted.
struct Entry {
    number: u32,
    head: MailHead,
    as_is: bool,
    order: (u32, u64, Vec<u8>),
}

pub(super) fn read(link: &mut Link) -> Result<(), Stop> {
    let mut lists = Lists::default();
    list(link, |line| lists.uid_line(line))?;
    list(link, |line| lists.letter_line(line))?;
    list(link, |line| lists.message_line(line))?;
    let names = names(link)?;
    let messages = names.len() as u64;
    link.say(&FromReader::Totals { messages, octets: 0 })?;
    let mailbox = SourceMailbox {
        source: String::new(),
        name: String::new(),
        special_use: None,
        uids: lists.uids,
        messages,
    };
    let Some(known) = begin(link, mailbox)? else { return Ok(()) };
    let (mut entries, mut passed) = (Vec::new(), 0);
    for (number, (new, text)) in (0_u32..).zip(&names) {
        let Some(name) = Name::parse(text) else { continue };
        let key = name.key();
        if known.contains(&key) {
            passed += 1;
            continue;
        }
        let mut flags = lists.flags(&name);
        if *new {
            flags.system = 0;
        }
        let uid = lists.uid(&name);
        entries.push(Entry {
            number,
            head: MailHead { key, uid, flags, received: 0 },
            as_is: name.as_is,
            // Those without a UID came after those with one.
            order: (uid.unwrap_or(u32::MAX), name.seconds(), name.base.to_vec()),
        });
    }
    drop((names, known));
    entries.sort_by(|one, other| one.order.cmp(&other.order));
    for entries in entries.chunks(WANTED) {
        link.say(&FromReader::Want(entries.iter().map(|entry| entry.number).collect()))?;
        entries.iter().try_for_each(|entry| message(link, entry))?;
    }
    link.say(&FromReader::Known(passed))
}

/// A file of lines. Lines that are too long are none.
fn list(link: &mut Link, mut each: impl FnMut(&[u8])) -> Result<(), Stop> {
    let mut line = Vec::new();
    loop {
        match link.next()? {
            Told::Value(ToReader::File { .. }) => {}
            Told::Octets(octets) => {
                for octet in octets {
                    if octet == b'\n' {
                        if line.len() < MAX_LINE {
                            each(line.strip_suffix(b"\r").unwrap_or(&line));
                        }
                        line.clear();
                    } else if line.len() < MAX_LINE {
                        line.push(octet);
                    }
                }
            }
            Told::Value(ToReader::FileEnd | ToReader::FileGone) => {
                each(&line);
                return Ok(());
            }
            Told::Value(_) => return Err(Violation::Unexpected.into()),
        }
    }
}

/// All names, until moxctl says that these were all.
fn names(link: &mut Link) -> Result<Vec<(bool, Vec<u8>)>, Stop> {
    let mut names = Vec::new();
    loop {
        match link.next_value()? {
            ToReader::Name { new, name } => names.push((new, name)),
            ToReader::Read => return Ok(names),
            _ => return Err(Violation::Unexpected.into()),
        }
    }
}

fn message(link: &mut Link, entry: &Entry) -> Result<(), Stop> {
    match link.next_value()? {
        ToReader::File { modified, .. } => {
            link.begin(MailHead { received: modified, ..entry.head.clone() })?;
        }
        ToReader::FileGone => {
            return link.say(&FromReader::Left {
                what: format!("file {}", String::from_utf8_lossy(&entry.order.2)),
                why: "it is gone, no ordinary file, or cannot be read".to_owned(),
            });
        }
        _ => return Err(Violation::Unexpected.into()),
    }
    let mut ends = LineEnds::new(entry.as_is);
    loop {
        match link.next()? {
            Told::Octets(octets) => {
                let out = ends.push(&octets);
                link.octets(out)?;
            }
            Told::Value(ToReader::FileEnd) => return link.end(),
            Told::Value(ToReader::FileGone) => return link.gone(),
            Told::Value(_) => return Err(Violation::Unexpected.into()),
        }
    }
}
