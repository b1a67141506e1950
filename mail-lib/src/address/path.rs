//! Paths of MAIL FROM and RCPT TO.

use super::{Address, AddressError, Domain};

/// RFC 5321 §4.5.3.1.3, with the angle brackets.
const LIMIT: usize = 256;

/// What may stand between the angle brackets of MAIL FROM and RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `<>`: only a reverse-path (RFC 5321 §4.5.5).
    Null,
    /// `<Postmaster>` without a domain: only a forward-path (RFC 5321 §4.5.1).
    Postmaster,
    /// A mailbox.
    Address(Address),
}

/// Parses the path at the start of `input`, from `<` to `>`, and tells how many octets it took. A source route is
/// read and dropped (RFC 5321 §4.1.2, appendix C). `utf8`: whether SMTPUTF8 allows octets above 127.
pub fn parse_path(input: &[u8], utf8: bool) -> Result<(Path, usize), AddressError> {
    let end = closing_bracket(input)?;
    let inside = input.get(1..end).unwrap_or_default();
    if !utf8 && let Some(at) = inside.iter().position(|octet| !octet.is_ascii()) {
        return Err(AddressError::Forbidden { at: at + 1 });
    }
    let inside = std::str::from_utf8(inside)
        .map_err(|error| AddressError::Forbidden { at: error.valid_up_to() + 1 })?;
    let path = match inside {
        "" => Path::Null,
        name if name.eq_ignore_ascii_case("postmaster") => Path::Postmaster,
        text => {
            let mailbox = without_route(text)?;
            let skipped = text.len() - mailbox.len() + 1;
            Path::Address(Address::parse(mailbox).map_err(|error| moved(error, skipped))?)
        }
    };
    Ok((path, end + 1))
}

/// Where the path ends: the first `>` outside quotes.
fn closing_bracket(input: &[u8]) -> Result<usize, AddressError> {
    let mut quoted = false;
    let mut octets = input.iter().enumerate();
    match octets.next() {
        Some((_, b'<')) => {}
        Some(_) | None => return Err(AddressError::Incomplete),
    }
    while let Some((at, octet)) = octets.next() {
        if at >= LIMIT {
            return Err(AddressError::TooLong { limit: LIMIT });
        }
        match octet {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                octets.next();
            }
            b'>' if !quoted => return Ok(at),
            octet if octet.is_ascii_control() => return Err(AddressError::Forbidden { at }),
            _ => {}
        }
    }
    Err(AddressError::Incomplete)
}

/// A-d-l = "@" Domain *("," "@" Domain), then ":".
fn without_route(text: &str) -> Result<&str, AddressError> {
    let Some(mut rest) = text.strip_prefix('@') else { return Ok(text) };
    loop {
        let end = rest.find([',', ':']).ok_or(AddressError::Incomplete)?;
        let (domain, after) = rest.split_at_checked(end).ok_or(AddressError::Incomplete)?;
        Domain::parse(domain)?;
        if let Some(mailbox) = after.strip_prefix(':') {
            return Ok(mailbox);
        }
        rest = after.strip_prefix(",@").ok_or(AddressError::Incomplete)?;
    }
}

/// An error's offset counts from the start of the path.
fn moved(error: AddressError, by: usize) -> AddressError {
    match error {
        AddressError::Forbidden { at } => AddressError::Forbidden { at: at + by },
        error @ (AddressError::Incomplete | AddressError::TooLong { .. } | AddressError::Domain) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &Path) -> String {
        match path {
            Path::Null => "null".to_owned(),
            Path::Postmaster => "postmaster".to_owned(),
            Path::Address(address) => address.to_string(),
        }
    }

    #[test]
    fn paths_are_read_up_to_their_bracket() {
        for (input, expected, used) in [
            ("<>", "null", 2),
            ("<> SIZE=5", "null", 2),
            ("<PostMaster>", "postmaster", 12),
            ("<postmaster@x.org>", "postmaster@x.org", 18),
            ("<a@b.org> BODY=8BITMIME", "a@b.org", 9),
            ("<@x.org,@y.org:a@b.org>", "a@b.org", 23),
            ("<@x.org:a@b.org>", "a@b.org", 16),
            ("<\"a>b\"@c.org>", "\"a>b\"@c.org", 13),
            ("<\"a\\\">b\"@c.org>", "\"a\\\">b\"@c.org", 15),
            ("<a@[IPv6:::1]>", "a@[IPv6:::1]", 14),
        ] {
            let (path, at) = parse_path(input.as_bytes(), false).unwrap_or_else(|e| panic!("{input}: {e}"));
            assert_eq!((shown(&path).as_str(), at), (expected, used), "{input}");
        }
    }

    #[test]
    fn malformed_paths_are_refused_with_the_reason() {
        let long = format!("<{}@x.org>", "a".repeat(300));
        let route = format!("<{}:a@x.org>", vec!["@a.org"; 50].join(","));
        for (input, reason) in [
            ("", AddressError::Incomplete),
            ("a@b.org", AddressError::Incomplete),
            ("<a@b.org", AddressError::Incomplete),
            ("<a>", AddressError::Incomplete),
            ("<@x.org>", AddressError::Incomplete),
            ("<@x.org:>", AddressError::Incomplete),
            ("<@x.org,y.org:a@b.org>", AddressError::Incomplete),
            ("<@x org:a@b.org>", AddressError::Domain),
            ("<a@b.org\r\n>", AddressError::Forbidden { at: 8 }),
            ("< a@b.org>", AddressError::Forbidden { at: 1 }),
            ("<a@b.org >", AddressError::Domain),
            ("<@x.org:a b@c.org>", AddressError::Forbidden { at: 9 }),
            ("<\"a>", AddressError::Incomplete),
            ("<ü@b.org>", AddressError::Forbidden { at: 1 }),
            (long.as_str(), AddressError::TooLong { limit: 256 }),
            (route.as_str(), AddressError::TooLong { limit: 256 }),
        ] {
            assert_eq!(parse_path(input.as_bytes(), false), Err(reason), "{input:?}");
        }
    }

    #[test]
    fn octets_above_127_need_smtputf8_and_have_to_be_utf8() {
        let path = "<jürgen@bücher.example>".as_bytes();
        assert!(matches!(parse_path(path, true), Ok((Path::Address(_), used)) if used == path.len()));
        assert_eq!(parse_path(path, false), Err(AddressError::Forbidden { at: 2 }));
        assert_eq!(parse_path(b"<a\xff@b.org>", true), Err(AddressError::Forbidden { at: 2 }));
    }
}
