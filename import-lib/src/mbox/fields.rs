//! Fields that programs write into the header of a message in an mbox, where there is no other place for what they know
//! of it. They are not the message's, and do not come along.

use ipc_proto::transfer::MailFlags;

/// Keywords that are kept of one message.
const MAX_KEYWORDS: usize = 32;

/// What is before a message that moxd exported, behind its other fields: nothing from there on is not the message's.
pub(crate) const OURS: &str = "X-Moxd-Message";

const SEEN: u8 = 1;
const ANSWERED: u8 = 2;
const FLAGGED: u8 = 4;
const DELETED: u8 = 8;
const DRAFT: u8 = 16;

/// What the fields of one message said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    pub(crate) flags: MailFlags,
    /// Octets of the text behind the header.
    pub(crate) content_length: Option<u64>,
    /// What moxd wrote about the octets that follow.
    pub(crate) ours: Option<Ours>,
    /// A field of the c-client library's own.
    pub(crate) internal: bool,
}

/// A message as moxd wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ours {
    /// Its lines end in LF here and in CRLF elsewhere; otherwise they are as they are.
    pub(crate) lines_end_in_lf: bool,
    /// In the file, from the next line on.
    pub(crate) octets: u64,
}

impl Found {
    /// Takes a field. `false`: it is the message's own.
    pub(crate) fn take(&mut self, name: &[u8], value: &[u8]) -> bool {
        let value = value.trim_ascii();
        let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        if is("Status") || is("X-Status") {
            value.iter().for_each(|letter| self.flags.system |= flag(*letter));
        } else if is("X-Keywords") || is("X-Mozilla-Keys") {
            self.keywords(value);
        } else if is("X-Mozilla-Status") {
            self.mozilla(value);
        } else if is("Content-Length") {
            self.content_length = number(value);
        } else if is("X-IMAP") || is("X-IMAPbase") {
            self.internal = true;
        } else if is(OURS) {
            self.ours = ours(value);
        } else {
            return is("X-UID") || is("X-Mozilla-Status2");
        }
        true
    }

    /// nsMsgMessageFlags of Thunderbird.
    fn mozilla(&mut self, value: &[u8]) {
        let Some(bits) = std::str::from_utf8(value).ok().and_then(|text| u32::from_str_radix(text, 16).ok())
        else {
            return;
        };
        for (bit, flag) in [(1, SEEN), (2, ANSWERED), (4, FLAGGED), (8, DELETED)] {
            if bits & bit != 0 {
                self.flags.system |= flag;
            }
        }
        if bits & 0x1000 != 0 {
            self.keywords(b"$Forwarded");
        }
    }

    fn keywords(&mut self, value: &[u8]) {
        let words = value.split(|octet| octet.is_ascii_whitespace() || *octet == b',');
        for word in words.filter_map(|word| std::str::from_utf8(word).ok()).filter(|word| !word.is_empty()) {
            if self.flags.keywords.len() < MAX_KEYWORDS && word.len() <= 64 {
                self.flags.keywords.push(word.to_owned());
            }
        }
    }
}

/// What comes before a message that moxd exports.
pub(crate) fn write(flags: &MailFlags, ours: Ours, to: &mut Vec<u8>) {
    let letters = |letters: &[(u8, char)]| -> String {
        letters.iter().filter(|(bit, _)| flags.system & bit != 0).map(|(_, letter)| *letter).collect()
    };
    let mut text = format!("Status: {}O\n", letters(&[(SEEN, 'R')]));
    let other = letters(&[(ANSWERED, 'A'), (FLAGGED, 'F'), (DELETED, 'D'), (DRAFT, 'T')]);
    if !other.is_empty() {
        text.push_str(&format!("X-Status: {other}\n"));
    }
    if !flags.keywords.is_empty() {
        text.push_str(&format!("X-Keywords: {}\n", flags.keywords.join(" ")));
    }
    let form = if ours.lines_end_in_lf { "lf" } else { "raw" };
    text.push_str(&format!("{OURS}: {form} {}\n", ours.octets));
    to.extend_from_slice(text.as_bytes());
}

/// Of Status: R was read, O is not new. Of X-Status: A F D T.
fn flag(letter: u8) -> u8 {
    match letter {
        b'R' => SEEN,
        b'A' => ANSWERED,
        b'F' => FLAGGED,
        b'D' => DELETED,
        b'T' => DRAFT,
        _ => 0,
    }
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn ours(value: &[u8]) -> Option<Ours> {
    let (form, octets) = value.split_at_checked(value.iter().position(|octet| *octet == b' ')?)?;
    let lines_end_in_lf = match form {
        b"lf" => true,
        b"raw" => false,
        _ => return None,
    };
    Some(Ours { lines_end_in_lf, octets: number(octets.trim_ascii())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fields: &[(&str, &str)]) -> Found {
        let mut found = Found::default();
        for (name, value) in fields {
            assert!(found.take(name.as_bytes(), value.as_bytes()), "{name}");
        }
        found
    }

    #[test]
    fn flags_come_from_the_fields_of_three_programs() {
        for (fields, system, keywords) in [
            (&[("Status", " RO"), ("X-Status", "AF")][..], SEEN | ANSWERED | FLAGGED, &[][..]),
            (&[("status", "O"), ("X-STATUS", "DT")], DELETED | DRAFT, &[]),
            (&[("X-Mozilla-Status", "1003"), ("X-Mozilla-Status2", "0")], SEEN | ANSWERED, &["$Forwarded"]),
            (&[("X-Mozilla-Status", "zzzz"), ("X-UID", "7")], 0, &[]),
            (&[("X-Keywords", "work  $Junk"), ("X-Mozilla-Keys", "later")], 0, &["work", "$Junk", "later"]),
        ] {
            let found = found(fields);
            assert_eq!(
                (found.flags.system, found.flags.keywords),
                (system, keywords.iter().map(|k| (*k).to_owned()).collect())
            );
        }
        assert!(!Found::default().take(b"Subject", b"Status: RO"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for system in 0..32 {
            let flags = MailFlags { system, keywords: vec!["a".to_owned(), "$b".to_owned()] };
            let mut octets = Vec::new();
            write(&flags, Ours { lines_end_in_lf: false, octets: 77 }, &mut octets);
            let text = String::from_utf8(octets).unwrap();
            let fields: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(':').unwrap()).collect();
            let found = found(&fields);
            assert_eq!(found.flags, flags);
            assert_eq!(found.ours, Some(Ours { lines_end_in_lf: false, octets: 77 }));
        }
    }
}
