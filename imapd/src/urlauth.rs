//! URLAUTH (RFC 4467, RFC 5092 §6.1) and URLAUTH=BINARY (RFC 5524): URLs of messages that say who may read them.

use crate::command::Command;
use crate::cursor::{Cursor, SyntaxError};
use crate::date::parse_rfc3339;
use crate::url::{MessageUrl, unescape};

/// URLs in one command.
const URL_LIMIT: usize = 100;
/// Mechanisms in one RESETKEY; there is one.
const MECHANISM_LIMIT: usize = 10;
/// `;URLAUTH=`, in any case.
const URLAUTH: &[u8] = b";URLAUTH=";
const EXPIRE: &[u8] = b";EXPIRE=";
/// Octets of a token, of which the server alone knows what they mean.
const TOKEN: usize = 32;

/// `imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred`, and `:internal:` and a token behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorisedUrl {
    /// Whose mailbox it is.
    pub user: String,
    /// What it names there.
    pub message: MessageUrl,
    /// EXPIRE: in seconds since 1970; not to be used from then on.
    pub expire: Option<i64>,
    /// Who may use it.
    pub access: Access,
    /// What is authorised: the URL without mechanism and token.
    pub rump: Vec<u8>,
    /// Of INTERNAL; `None`: it is not authorised yet.
    pub token: Option<[u8; TOKEN]>,
}

/// Who may use a URL (RFC 4467 §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Who submits mail on behalf of this user.
    Submit(String),
    /// This user.
    User(String),
    /// Whoever is logged in.
    AuthUser,
    /// Anybody.
    Anonymous,
}

/// A URL of URLFETCH, as the client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlFetch {
    /// Not yet checked in any way.
    pub url: Vec<u8>,
    /// What to tell; `None` of RFC 4467: the data, as it stands.
    pub items: Option<UrlItems>,
}

/// RFC 5524 §3.1; one at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UrlItems {
    /// BODYPARTSTRUCTURE
    pub structure: bool,
    /// BODY: the data, as it stands.
    pub body: bool,
    /// BINARY: the data without its transfer encoding.
    pub binary: bool,
}

impl AuthorisedUrl {
    /// `None`: it is none.
    pub fn parse(url: &[u8]) -> Option<Self> {
        let (scheme, rest) = url.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"imap://") {
            return None;
        }
        let (authority, path) = rest.split_at_checked(rest.iter().position(|octet| *octet == b'/')?)?;
        let at = authority.iter().rposition(|octet| *octet == b'@')?;
        let (user, host) = (authority.get(..at)?, authority.get(at + 1..)?);
        // How to log in is nothing to somebody who is (RFC 5092 §4).
        let user = name(user.split(|octet| *octet == b';').next()?)?;
        if host.is_empty() || !host.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let (path, authorisation) = split_last(path, URLAUTH)?;
        let (path, expire) = match split_last(path, EXPIRE) {
            Some((path, time)) => (path, Some(parse_rfc3339(time)?)),
            None => (path, None),
        };
        let message = MessageUrl::parse(path).filter(|message| message.mailbox.is_some())?;
        let mut pieces = authorisation.splitn(3, |octet| *octet == b':');
        let access = pieces.next()?;
        let (rump, token) = match (pieces.next(), pieces.next()) {
            (None, _) => (url, None),
            (Some(mechanism), Some(token)) if mechanism.eq_ignore_ascii_case(b"INTERNAL") => {
                (url.get(..url.len() - mechanism.len() - token.len() - 2)?, Some(octets(token)?))
            }
            (Some(_), _) => return None,
        };
        Some(Self { user, message, expire, access: Access::parse(access)?, rump: rump.to_vec(), token })
    }

    /// The same with a token.
    pub fn with_token(&self, token: &[u8; TOKEN]) -> Vec<u8> {
        let mut url = self.rump.clone();
        url.extend_from_slice(b":internal:");
        for octet in token {
            url.extend_from_slice(format!("{octet:02x}").as_bytes());
        }
        url
    }
}

impl Access {
    fn parse(text: &[u8]) -> Option<Self> {
        let of = |prefix: &[u8]| {
            let (found, user) = text.split_at_checked(prefix.len())?;
            found.eq_ignore_ascii_case(prefix).then_some(user)
        };
        match (of(b"submit+"), of(b"user+")) {
            (Some(user), _) => Some(Self::Submit(name(user)?)),
            (None, Some(user)) => Some(Self::User(name(user)?)),
            (None, None) if text.eq_ignore_ascii_case(b"authuser") => Some(Self::AuthUser),
            (None, None) => text.eq_ignore_ascii_case(b"anonymous").then_some(Self::Anonymous),
        }
    }
}

fn name(text: &[u8]) -> Option<String> {
    let name = String::from_utf8(unescape(text)?).ok()?;
    (!name.is_empty() && !name.contains(char::is_control)).then_some(name)
}

/// What stands before and behind the last `word`, which is in any case.
fn split_last<'a>(text: &'a [u8], word: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(word.len()).rposition(|found| found.eq_ignore_ascii_case(word))?;
    Some((text.get(..at)?, text.get(at + word.len()..)?))
}

fn octets(hex: &[u8]) -> Option<[u8; TOKEN]> {
    let mut octets = [0; TOKEN];
    if hex.len() != 2 * TOKEN {
        return None;
    }
    for (octet, digits) in octets.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let [high, low] = digits else { return None };
        *octet = digit(high)? << 4 | digit(low)?;
    }
    Some(octets)
}

/// What stands behind GENURLAUTH: URLs and mechanisms in turn.
pub(crate) fn parse_generate(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mut urls = Vec::new();
    loop {
        if urls.len() >= URL_LIMIT {
            return Err(SyntaxError::TooMany("URLs"));
        }
        let url = cursor.astring()?.into_owned();
        cursor.space()?;
        urls.push((url, mechanism(cursor)?));
        if cursor.is_empty() {
            return Ok(Command::GenUrlAuth(urls));
        }
        cursor.space()?;
    }
}

fn mechanism(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    Ok(String::from_utf8_lossy(cursor.atom()?).to_ascii_uppercase())
}

/// What stands behind RESETKEY: nothing, or a mailbox and mechanisms.
pub(crate) fn parse_reset(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    if cursor.is_empty() {
        return Ok(Command::ResetKey { mailbox: None, mechanisms: Vec::new() });
    }
    cursor.space()?;
    let mailbox = Some(cursor.mailbox()?);
    let mut mechanisms = Vec::new();
    while !cursor.is_empty() {
        if mechanisms.len() >= MECHANISM_LIMIT {
            return Err(SyntaxError::TooMany("mechanisms"));
        }
        cursor.space()?;
        mechanisms.push(mechanism(cursor)?);
    }
    Ok(Command::ResetKey { mailbox, mechanisms })
}

/// What stands behind URLFETCH: URLs, those in parentheses with what to tell of them.
pub(crate) fn parse_fetch(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mut urls = Vec::new();
    loop {
        if urls.len() >= URL_LIMIT {
            return Err(SyntaxError::TooMany("URLs"));
        }
        urls.push(UrlFetch::parse(cursor)?);
        if cursor.is_empty() {
            return Ok(Command::UrlFetch(urls));
        }
        cursor.space()?;
    }
}

impl UrlFetch {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if !cursor.accept(b'(') {
            return Ok(Self { url: cursor.astring()?.into_owned(), items: None });
        }
        let url = cursor.astring()?.into_owned();
        let mut items = UrlItems::default();
        while !cursor.accept(b')') {
            cursor.space()?;
            let item = match cursor.atom()?.to_ascii_uppercase().as_slice() {
                b"BODYPARTSTRUCTURE" => &mut items.structure,
                b"BODY" => &mut items.body,
                b"BINARY" => &mut items.binary,
                _ => return Err(SyntaxError::Expected("BODYPARTSTRUCTURE, BODY or BINARY")),
            };
            if std::mem::replace(item, true) {
                return Err(SyntaxError::Expected("each item once"));
            }
        }
        if items.body && items.binary {
            return Err(SyntaxError::Expected("either BODY or BINARY"));
        }
        // Without any it is as without parentheses (RFC 5524 §3).
        Ok(Self { url, items: Some(items).filter(|items| *items != UrlItems::default()) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4467 §7; the token is longer than the one there.
    const RUMP: &str = "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred";

    fn parse(url: &str) -> Option<AuthorisedUrl> {
        AuthorisedUrl::parse(url.as_bytes())
    }

    #[test]
    fn the_parts_of_an_authorised_url_are_read() {
        let rump = parse(RUMP).unwrap();
        assert_eq!((rump.user.as_str(), &rump.access), ("joe", &Access::Submit("fred".to_owned())));
        assert_eq!(rump.message, MessageUrl::parse(b"/INBOX/;uid=20/;section=1.2").unwrap());
        assert_eq!((rump.rump.as_slice(), rump.token, rump.expire), (RUMP.as_bytes(), None, None));
        let token = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        let full = rump.with_token(&token);
        assert_eq!(AuthorisedUrl::parse(&full), Some(AuthorisedUrl { token: Some(token), ..rump }));
        for (url, user, access, expire) in [
            (
                "IMAP://a%40b.example;AUTH=*@[::1]:143/x;UIDVALIDITY=3/;UID=1;URLAUTH=authuser",
                "a@b.example",
                Access::AuthUser,
                None,
            ),
            (
                "imap://j@h/x/;UID=1;EXPIRE=1970-01-01T01:00:00+01:00;URLAUTH=Anonymous",
                "j",
                Access::Anonymous,
                Some(0),
            ),
            (
                "imap://j@h/x/;UID=1/;PARTIAL=0.9;expire=2006-12-31T23:59:60.5Z;urlauth=USER+a%2Fb",
                "j",
                Access::User("a/b".to_owned()),
                Some(1_167_609_599),
            ),
        ] {
            let parsed = parse(url).unwrap();
            assert_eq!((parsed.user.as_str(), parsed.access, parsed.expire), (user, access, expire), "{url}");
        }
    }

    #[test]
    fn what_is_no_authorised_url_is_refused() {
        let hex = "0".repeat(64);
        for url in [
            "",
            "imap://",
            "imap://joe@h/INBOX/;uid=20",
            "http://joe@h/INBOX/;uid=20;urlauth=anonymous",
            "imap://h/INBOX/;uid=20;urlauth=anonymous",
            "imap://@h/INBOX/;uid=20;urlauth=anonymous",
            "imap://joe@/INBOX/;uid=20;urlauth=anonymous",
            // A server, mailboxes, a mailbox, a search (§3).
            "imap://joe@h/;urlauth=anonymous",
            "imap://joe@h/INBOX;urlauth=anonymous",
            "imap://joe@h/INBOX?SUBJECT%20x;urlauth=anonymous",
            "imap://joe@h/;uid=20;urlauth=anonymous",
            "imap://joe@h/INBOX/;uid=20;urlauth=",
            "imap://joe@h/INBOX/;uid=20;urlauth=nobody",
            "imap://joe@h/INBOX/;uid=20;urlauth=user+",
            "imap://joe@h/INBOX/;uid=20;urlauth=user+a%00b",
            "imap://joe@h/INBOX/;uid=20;expire=tomorrow;urlauth=anonymous",
            "imap://joe@h/INBOX/;uid=20;urlauth=anonymous;expire=2006-12-31T23:59:59Z",
            "imap://joe@h/INBOX/;uid=20;urlauth=anonymous:internal",
            "imap://joe@h/INBOX/;uid=20;urlauth=anonymous:internal:00",
            &format!("imap://joe@h/INBOX/;uid=20;urlauth=anonymous:XSAMPLE:{hex}"),
            &format!("imap://joe@h/INBOX/;uid=20;urlauth=anonymous:internal:{hex}0"),
            &format!("imap://joe@h/INBOX/;uid=20;urlauth=anonymous:internal:{}g", &hex[1..]),
        ] {
            assert_eq!(parse(url), None, "{url}");
        }
    }

    #[test]
    fn commands_are_read_and_refused() {
        let fetch = |text: &str| parse_fetch(&mut Cursor::new(text.as_bytes()));
        let of = |url: &str, items| UrlFetch { url: url.as_bytes().to_vec(), items };
        let both = UrlItems { structure: true, binary: true, body: false };
        assert_eq!(
            fetch("\"a b\" (c) (d BodyPartStructure BINARY)"),
            Ok(Command::UrlFetch(vec![of("a b", None), of("c", None), of("d", Some(both))]))
        );
        for text in ["", "()", "(a", "(a BODY BINARY)", "(a BODY BODY)", "(a SIZE)", "a  b", "a "] {
            assert!(fetch(text).is_err(), "{text}");
        }
        let many = vec!["a"; URL_LIMIT + 1].join(" ");
        assert_eq!(fetch(&many), Err(SyntaxError::TooMany("URLs")));
        for text in ["", "a", "a INTERNAL b", "a \"INTERNAL\""] {
            assert!(parse_generate(&mut Cursor::new(text.as_bytes())).is_err(), "{text}");
        }
        let many = vec!["a INTERNAL"; URL_LIMIT + 1].join(" ");
        assert_eq!(parse_generate(&mut Cursor::new(many.as_bytes())), Err(SyntaxError::TooMany("URLs")));
        assert!(parse_reset(&mut Cursor::new(b" INBOX")).is_ok());
        assert!(parse_reset(&mut Cursor::new(b" ")).is_err());
    }

    proptest! {
        #[test]
        fn any_octets_do_no_harm(url in "(imap://|j@|h|/x|/;UID=1|;EXPIRE=|;URLAUTH=|user\\+|:internal:|0|é){0,12}") {
            let _ = parse(&url);
        }
    }
}
