//! A field that names one mailbox (RFC 5322 §3.4), read strictly: whoever reads it finds the same address or none.

use super::parameter::skip_comment;
use crate::address::{Address, Path, parse_path};

/// The one address in a From or Sender field's value, still folded. `None`: there is no such, or there are several, a
/// group, a route, an obsolete form, or anything else that readers understand in different ways.
#[must_use]
pub fn sole_mailbox(value: &[u8]) -> Option<Address> {
    let value = super::unfold(value);
    let text = std::str::from_utf8(&value).ok()?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return None;
    }
    let start = skip_cfws(text.as_bytes())?;
    let (address, rest) = bare(start).or_else(|| in_brackets(start))?;
    // Some readers decode it, and then find another address (RFC 2047 §5: no encoded word within an address).
    let encoded = address.localpart.as_str().contains("=?");
    (skip_cfws(rest)?.is_empty() && !encoded).then_some(address)
}

/// `local@domain`, without white space and comments inside.
fn bare(octets: &[u8]) -> Option<(Address, &[u8])> {
    let unquoted = match octets.strip_prefix(b"\"") {
        Some(quoted) => skip_quoted(quoted)?,
        None => octets,
    };
    let is_end = |octet: &u8| matches!(octet, b' ' | b'\t' | b'(');
    let end = unquoted.iter().position(is_end).unwrap_or(unquoted.len());
    let (text, rest) = octets.split_at_checked(octets.len() - unquoted.len() + end)?;
    Some((Address::parse(std::str::from_utf8(text).ok()?).ok()?, rest))
}

/// A display name, or none, and `<local@domain>`.
fn in_brackets(octets: &[u8]) -> Option<(Address, &[u8])> {
    let mut rest = octets;
    loop {
        rest = skip_cfws(rest)?;
        rest = match rest {
            [b'<', b'@', ..] => return None,
            [b'<', ..] => {
                let (path, used) = parse_path(rest, true).ok()?;
                return match path {
                    Path::Address(address) => Some((address, rest.get(used..)?)),
                    Path::Null | Path::Postmaster => None,
                };
            }
            [b'"', quoted @ ..] => skip_quoted(quoted)?,
            _ => skip_word(rest)?,
        };
    }
}

/// An atom, with the dots of initials (RFC 5322 §4.1, obs-phrase).
fn skip_word(octets: &[u8]) -> Option<&[u8]> {
    let is_special = |octet: &u8| octet.is_ascii_whitespace() || b"()<>[]:;@\\,\"".contains(octet);
    let end = octets.iter().position(is_special).unwrap_or(octets.len());
    octets.get(end..).filter(|_| end > 0)
}

/// Behind the closing quote.
fn skip_quoted(quoted: &[u8]) -> Option<&[u8]> {
    let mut rest = quoted;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return None,
        };
    }
}

/// Behind white space and comments; `None`: a comment does not close.
fn skip_cfws(octets: &[u8]) -> Option<&[u8]> {
    let mut rest = octets.trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"(") {
        let (inside, after) = skip_comment(comment);
        if inside.len() == comment.len() {
            return None;
        }
        rest = after.trim_ascii_start();
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        address::{Domain, Localpart},
        header::{Addresses, Entry},
    };

    #[test]
    fn one_address_is_read_with_its_name_and_comments() {
        for (value, expected) in [
            ("a@b.org", "a@b.org"),
            (" \"a b\"@c.org ", "\"a b\"@c.org"),
            ("Alice <a@b.org>", "a@b.org"),
            ("Alice Q. Public\r\n <a@b.org>", "a@b.org"),
            ("\"Public, Alice\" <a@b.org>", "a@b.org"),
            ("\"evil@x.org\" <a@b.org>", "a@b.org"),
            ("=?utf-8?q?J=C3=BCrgen?= <A@B.org>", "A@b.org"),
            ("J\u{fc}rgen <j\u{fc}rgen@b.org>", "j\u{fc}rgen@b.org"),
            ("a@b.org (Alice (of B))", "a@b.org"),
            ("(to whom) Alice (it may) <a@b.org> (concern)", "a@b.org"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("Alice<\"a>b\"@c.org>", "\"a>b\"@c.org"),
        ] {
            assert_eq!(
                sole_mailbox(value.as_bytes()).map(|a| a.to_string()).as_deref(),
                Some(expected),
                "{value}"
            );
        }
    }

    /// Attack class 18: what one reader takes for one address and the next one for another.
    #[test]
    fn what_could_be_read_as_another_address_is_none() {
        for (value, reason) in [
            ("", "nothing"),
            ("<>", "nobody"),
            ("Alice", "no address"),
            ("<postmaster>", "no domain"),
            ("a@b.org, c@d.org", "two"),
            ("a@b.org,", "an empty second one"),
            (",a@b.org", "an empty first one"),
            ("a@b.org; c@d.org", "two, as some write them"),
            ("<a@b.org> <c@d.org>", "two in brackets"),
            ("c@d.org <a@b.org>", "one before the brackets"),
            ("<a@b.org> c@d.org", "one behind the brackets"),
            ("c@d.org a@b.org", "two with a space between"),
            ("Group: a@b.org;", "a group"),
            ("Group:;", "an empty group"),
            ("<@d.org:a@b.org>", "a route"),
            ("<a@b.org", "open bracket"),
            ("a@b.org>", "stray bracket"),
            ("<<a@b.org>>", "brackets in brackets"),
            ("\"Alice <a@b.org>", "open quote"),
            ("a@b.org (Alice", "open comment"),
            ("a@b.org) Alice", "stray parenthesis"),
            ("a @ b.org", "spaces"),
            ("a(comment)@b.org", "a comment within"),
            ("a@b.org@d.org", "two signs"),
            ("=?utf-8?q?c=40d.org=3E?=@b.org", "an encoded word as localpart"),
            ("<=?utf-8?q?c=40d.org?=@b.org>", "the same in brackets"),
            ("a@b.org\u{1}", "a control"),
            ("Alice\u{85}<a@b.org>", "a control outside ASCII"),
        ] {
            assert_eq!(sole_mailbox(value.as_bytes()), None, "{reason}: {value}");
        }
        assert_eq!(sole_mailbox(b"J\xfcrgen <a@b.org>"), None, "not UTF-8");
    }

    proptest! {
        /// What the mailbox shows (IMAP's ENVELOPE) is what was judged.
        #[test]
        fn the_tolerant_reader_finds_the_same_address_and_no_other(
            pieces in proptest::collection::vec(prop_oneof![
                Just("a@b.org"), Just("<a@b.org>"), Just("\"x y\"@z.org"), Just("<\"x>\"@z.org>"), Just("Alice"),
                Just("\"A, B\""), Just("(c (d))"), Just(" "), Just(","), Just(";"), Just(":"), Just("<"), Just(">"),
                Just("@"), Just("\""), Just("("), Just(")"), Just("\\"), Just("."), Just("\r\n "), Just("[1.2.3.4]"),
                Just("<@r.org:a@b.org>"), Just("=?utf-8?q?x?="), Just("\u{fc}"),
            ], 0..8),
        ) {
            let value = pieces.concat();
            if let Some(address) = sole_mailbox(value.as_bytes()) {
                let entries: Vec<_> = Addresses::new(value.as_bytes()).collect();
                let [Entry::Mailbox(found)] = entries.as_slice() else {
                    panic!("{value:?}: {entries:?}");
                };
                let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
                prop_assert_eq!(&found.route, &None);
                prop_assert_eq!(Localpart::parse(&text(&found.localpart)).unwrap(), address.localpart);
                prop_assert_eq!(Domain::parse(&text(&found.domain)).unwrap(), address.domain);
            }
        }

        #[test]
        fn any_octets_name_one_address_or_none(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(address) = sole_mailbox(&value) {
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
        }
    }
}
