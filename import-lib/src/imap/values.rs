//! What responses say: FETCH, STATUS, numbers in codes.

use imapd::parse_date_time;
use ipc_proto::transfer::MailFlags;

use super::Token;

/// Keywords of one message.
const MAX_KEYWORDS: usize = 32;

/// What is known of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Its UID; 0 if it was not told.
    pub uid: u32,
    /// Its flags, if they were told.
    pub flags: Option<MailFlags>,
    /// INTERNALDATE, seconds since 1970 UTC.
    pub received: Option<i64>,
    /// All of it, where it was a quoted string.
    pub body: Option<Vec<u8>>,
}

/// From a FETCH response, as far as it came.
#[must_use]
pub fn fetched(tokens: &[Token]) -> Option<Fetched> {
    let [Token::Atom(_), Token::Atom(fetch), Token::Open, items @ ..] = tokens else { return None };
    if !fetch.eq_ignore_ascii_case(b"FETCH") {
        return None;
    }
    let mut fetched = Fetched::default();
    let mut rest = items;
    while let [Token::Atom(name), value, after @ ..] = rest {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match value {
            Token::Atom(number) if is("UID") => fetched.uid = number_of(number).unwrap_or_default(),
            Token::String(date) if is("INTERNALDATE") => {
                fetched.received = parse_date_time(&[b"\"", date.as_slice(), b"\""].concat());
            }
            Token::String(body) if is("BODY[]") || is("RFC822") => fetched.body = Some(body.clone()),
            Token::Open if is("FLAGS") => fetched.flags = Some(flags(after)),
            Token::Open | Token::Close | Token::Atom(_) | Token::String(_) => {}
        }
        rest = behind(value, after);
    }
    Some(fetched)
}

/// What comes behind a value.
fn behind<'a>(value: &Token, after: &'a [Token]) -> &'a [Token] {
    if *value != Token::Open {
        return after;
    }
    let mut depth = 1_usize;
    let end = after.iter().position(|token| {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            Token::Atom(_) | Token::String(_) => {}
        }
        depth == 0
    });
    end.and_then(|end| after.get(end + 1..)).unwrap_or_default()
}

/// Up to the closing parenthesis.
fn flags(tokens: &[Token]) -> MailFlags {
    let mut flags = MailFlags::default();
    let atoms = tokens.iter().map_while(|token| match token {
        Token::Atom(atom) => Some(atom),
        Token::Open | Token::Close | Token::String(_) => None,
    });
    for atom in atoms {
        let known: [(&[u8], u8); 5] =
            [(b"\\Seen", 1), (b"\\Answered", 2), (b"\\Flagged", 4), (b"\\Deleted", 8), (b"\\Draft", 16)];
        match known.iter().find(|(name, _)| name.eq_ignore_ascii_case(atom)) {
            Some((_, bit)) => flags.system |= bit,
            // \Recent is the session's, and no other is known.
            None if atom.starts_with(b"\\") => {}
            None => {
                let word = std::str::from_utf8(atom).ok().filter(|word| word.len() <= 64);
                if let Some(word) = word.filter(|_| flags.keywords.len() < MAX_KEYWORDS) {
                    flags.keywords.push(word.to_owned());
                }
            }
        }
    }
    flags
}

/// What STATUS says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// MESSAGES
    pub messages: u64,
    /// SIZE (RFC 8438)
    pub size: u64,
}

/// From a STATUS response.
#[must_use]
pub fn status(tokens: &[Token]) -> Option<Status> {
    let [Token::Atom(word), _, Token::Open, items @ ..] = tokens else { return None };
    if !word.eq_ignore_ascii_case(b"STATUS") {
        return None;
    }
    let mut status = Status::default();
    for pair in items.chunks_exact(2) {
        if let [Token::Atom(name), Token::Atom(value)] = pair {
            let value =
                std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or_default();
            if name.eq_ignore_ascii_case(b"MESSAGES") {
                status.messages = value;
            } else if name.eq_ignore_ascii_case(b"SIZE") {
                status.size = value;
            }
        }
    }
    Some(status)
}

/// The number behind a word, as in `UIDVALIDITY 7`.
#[must_use]
pub fn number_in(code: &[u8], name: &str) -> Option<u32> {
    let (word, number) = code.split_at_checked(name.len())?;
    word.eq_ignore_ascii_case(name.as_bytes()).then(|| number_of(number.trim_ascii()))?
}

fn number_of(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::{Event, Responses};

    fn tokens(line: &str) -> Vec<Token> {
        let mut responses = Responses::default();
        responses.push(format!("* {line}\r\n").as_bytes());
        match responses.next_event() {
            Ok(Some(Event::Data(tokens))) => tokens,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_fetch_tells_what_it_tells_in_any_order() {
        let line = "5 FETCH (FLAGS (\\Seen $Forwarded \\Recent \\*) MODSEQ (12) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[] \"x\" UID 9)";
        assert_eq!(
            fetched(&tokens(line)),
            Some(Fetched {
                uid: 9,
                flags: Some(MailFlags { system: 1, keywords: vec!["$Forwarded".to_owned()] }),
                received: Some(837_596_665),
                body: Some(b"x".to_vec()),
            })
        );
        assert_eq!(fetched(&tokens("5 FETCH (BODY[] NIL)")), Some(Fetched::default()));
        assert_eq!(fetched(&tokens("5 FETCH ((((")), Some(Fetched::default()));
        assert_eq!(fetched(&tokens("5 EXPUNGE")), None);
        assert_eq!(fetched(&tokens("FLAGS (a)")), None);
    }

    #[test]
    fn numbers_come_from_status_and_codes() {
        assert_eq!(
            status(&tokens("STATUS \"a b\" (UIDNEXT 4 MESSAGES 3 SIZE 77)")),
            Some(Status { messages: 3, size: 77 })
        );
        assert_eq!(status(&tokens("STATUS a (MESSAGES x")), Some(Status::default()));
        assert_eq!(number_in(b"UIDVALIDITY 7", "UIDVALIDITY"), Some(7));
        assert_eq!(number_in(b"uidnext 4294967296", "UIDNEXT"), None);
        assert_eq!(number_in(b"UID", "UIDNEXT"), None);
    }
}
