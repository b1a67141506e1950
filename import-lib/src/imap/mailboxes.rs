//! Mailboxes as a server lists them, and messages as it numbers them.

use ipc_proto::transfer::ImportKey;

use super::Token;
use crate::name;

/// Attributes of mailboxes that have a use here (RFC 6154 §2).
const USES: [&str; 5] = ["\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash"];

/// One mailbox of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As the server wrote it.
    pub wire: Vec<u8>,
    /// Its name here.
    pub name: String,
    /// What it is for.
    pub special_use: Option<String>,
    /// It can be selected.
    pub selectable: bool,
    /// It is subscribed, if the list tells.
    pub subscribed: bool,
}

impl Listed {
    /// From a LIST or LSUB response. `prefix`: the namespace of one's own mailboxes, which is not part of names here.
    #[must_use]
    pub fn parse(tokens: &[Token], prefix: &[u8]) -> Option<Self> {
        let [Token::Atom(list), Token::Open, rest @ ..] = tokens else { return None };
        if !list.eq_ignore_ascii_case(b"LIST") && !list.eq_ignore_ascii_case(b"LSUB") {
            return None;
        }
        let end = rest.iter().position(|token| *token == Token::Close)?;
        let attributes: Vec<String> = rest.get(..end)?.iter().filter_map(text).collect();
        let (delimiter, wire) = match rest.get(end + 1..)? {
            [Token::String(delimiter), Token::Atom(name) | Token::String(name), ..] => {
                (delimiter.first().copied(), name)
            }
            [Token::Atom(_), Token::Atom(name) | Token::String(name), ..] => (None, name),
            _ => return None,
        };
        let has = |wanted: &str| attributes.iter().any(|attribute| attribute.eq_ignore_ascii_case(wanted));
        let special_use = USES.into_iter().find(|special_use| has(special_use)).map(str::to_owned);
        Some(Self {
            name: local(wire, delimiter, prefix),
            wire: wire.clone(),
            special_use,
            selectable: !has("\\Noselect") && !has("\\NonExistent"),
            subscribed: has("\\Subscribed") || list.eq_ignore_ascii_case(b"LSUB"),
        })
    }
}

fn text(token: &Token) -> Option<String> {
    match token {
        Token::Atom(octets) => Some(String::from_utf8_lossy(octets).into_owned()),
        Token::Open | Token::Close | Token::String(_) => None,
    }
}

fn local(wire: &[u8], delimiter: Option<u8>, prefix: &[u8]) -> String {
    if wire.eq_ignore_ascii_case(b"INBOX") {
        return "INBOX".to_owned();
    }
    let own = wire.strip_prefix(prefix).filter(|own| !own.is_empty()).unwrap_or(wire);
    let levels: Vec<String> = match delimiter {
        Some(delimiter) => own.split(|octet| *octet == delimiter).map(name::decoded).collect(),
        None => vec![name::decoded(own)],
    };
    let name = name::from_levels(levels.iter().map(String::as_str));
    // One that a server has beside its INBOX.
    if name.eq_ignore_ascii_case("INBOX") { format!("{name}_") } else { name }
}

/// The prefix of one's own mailboxes, from a NAMESPACE response (RFC 2342).
#[must_use]
pub fn prefix(tokens: &[Token]) -> Option<Vec<u8>> {
    match tokens {
        [Token::Atom(word), Token::Open, Token::Open, Token::String(prefix), ..]
            if word.eq_ignore_ascii_case(b"NAMESPACE") =>
        {
            Some(prefix.clone())
        }
        _ => None,
    }
}

/// Names a message of a mailbox for all time (RFC 9051 §2.3.1.1).
#[must_use]
pub fn key(uidvalidity: u32, uid: u32) -> ImportKey {
    let hash = blake3::hash(&[uidvalidity.to_le_bytes(), uid.to_le_bytes()].concat());
    ImportKey(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// A sequence set of rising UIDs.
#[must_use]
pub fn set_of(uids: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*uid) => *last = *uid,
            Some(_) | None => ranges.push((*uid, *uid)),
        }
    }
    let range = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}:{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// A quoted string. `None`: it holds what none may hold.
#[must_use]
pub fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    if text.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')) {
        return None;
    }
    let mut out = vec![b'"'];
    for octet in text {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::{Event, Responses};

    fn listed(line: &str, prefix: &str) -> Option<Listed> {
        let mut responses = Responses::default();
        responses.push(format!("* {line}\r\n").as_bytes());
        match responses.next_event() {
            Ok(Some(Event::Data(tokens))) => Listed::parse(&tokens, prefix.as_bytes()),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn names_of_servers_become_names_here() {
        for (line, prefix, name) in [
            ("LIST (\\HasNoChildren) \"/\" \"inbox\"", "", "INBOX"),
            ("LIST () \".\" INBOX.Lists.rust", "INBOX.", "Lists/rust"),
            ("LIST () \".\" INBOX.Sub", "", "INBOX/Sub"),
            ("LIST () \"/\" Entw&APw-rfe", "", "Entwürfe"),
            ("LIST () \"/\" \"../../etc\"", "", "_/_/etc"),
            ("LIST () NIL \"a/b\"", "", "a_b"),
            ("LIST () \".\" INBOX.Inbox", "INBOX.", "Inbox_"),
        ] {
            assert_eq!(listed(line, prefix).unwrap().name, name, "{line}");
        }
        let sent = listed("LIST (\\Sent \\Subscribed) \"/\" \"Sent Items\"", "").unwrap();
        assert_eq!(
            (sent.special_use.as_deref(), sent.selectable, sent.subscribed),
            (Some("\\Sent"), true, true)
        );
        assert!(!listed("LIST (\\noselect) \"/\" a", "").unwrap().selectable);
        assert!(listed("LSUB () \"/\" a", "").unwrap().subscribed);
        for line in ["LIST", "LIST (", "LIST () NIL", "FLAGS (a)"] {
            assert_eq!(listed(line, ""), None, "{line}");
        }
    }

    #[test]
    fn sets_are_short_and_strings_quoted() {
        assert_eq!(set_of(&[1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(set_of(&[u32::MAX]), "4294967295");
        assert_eq!(quoted(b"a\"b\\").unwrap(), b"\"a\\\"b\\\\\"");
        assert_eq!(quoted(b"a\r\nb"), None);
    }
}
