//! What a session in another account's process answers, looked at before a client sees it.
//!
//! That process may be captured. It can say what it likes of its own mailboxes; it can say nothing of others, end no
//! command but the one that was passed on, and write no line that a client reads in another way than this does.

use std::borrow::Cow;

use imapd::NameForm;
use imapd::response::Status;

/// Octets of a line that is looked at as a whole.
const SHORT_LINE: usize = 64 << 10;
/// Octets at the end of a line in which the size of a literal stands.
const TAIL: usize = 24;
/// Octets of text in a tagged answer.
const TEXT: usize = 300;

/// That process broke the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another account's process broke the protocol: {0}")]
pub(crate) struct Violation(pub(crate) &'static str);

/// A part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'i> {
    /// A whole line without its end; it has no literal.
    Line(Vec<u8>),
    /// A piece of a line about messages, which may be long; its end is part of it.
    Text(Cow<'i, [u8]>),
    /// A piece of a literal in such a line.
    Literal(&'i [u8]),
}

#[derive(Debug)]
enum State {
    /// At the beginning of a line, of which so much is known.
    Head(Vec<u8>),
    /// In a line about messages.
    Text { quoted: bool, escaped: bool, after_cr: bool, tail: Vec<u8> },
    /// In a literal of it that lacks so many octets.
    Literal(u64),
}

/// Octets in, items out.
#[derive(Debug)]
pub(crate) struct Answers(State);

/// What a line begins with decides how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Too little of it is known.
    Unknown,
    /// It may be long and have literals.
    Messages,
    Short,
}

impl Answers {
    pub(crate) fn new() -> Self {
        Self(State::Head(Vec::new()))
    }

    /// Takes octets from the front of `input` up to the next item. `None`: all are taken, bring more.
    pub(crate) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Item<'i>>, Violation> {
        match &mut self.0 {
            State::Head(line) => {
                while let Some((octet, rest)) = input.split_first() {
                    *input = rest;
                    line.push(*octet);
                    if classify(line) == Class::Messages {
                        let head = std::mem::take(line);
                        self.0 =
                            State::Text { quoted: false, escaped: false, after_cr: false, tail: Vec::new() };
                        return Ok(Some(Item::Text(Cow::Owned(head))));
                    }
                    if *octet == b'\n' {
                        let line = std::mem::take(line);
                        let text = line.strip_suffix(b"\r\n").ok_or(Violation("a bare line feed"))?;
                        if text.iter().any(|octet| matches!(octet, 0..=0x1f | 0x7f)) {
                            return Err(Violation("a control character"));
                        }
                        return Ok(Some(Item::Line(text.to_vec())));
                    }
                    if line.len() > SHORT_LINE {
                        return Err(Violation("a line too long"));
                    }
                }
                Ok(None)
            }
            State::Text { quoted, escaped, after_cr, tail } => {
                let mut used = 0;
                let mut next = None;
                for octet in *input {
                    used += 1;
                    match (*octet, *after_cr) {
                        (b'\n', true) if *quoted => return Err(Violation("a line end in a string")),
                        (b'\n', true) => {
                            next = Some(literal_size(tail).map_or(State::Head(Vec::new()), State::Literal));
                            break;
                        }
                        (_, true) | (b'\n' | 0, false) => return Err(Violation("a control character")),
                        (b'\r', false) => *after_cr = true,
                        (b'\\', false) if *quoted && !*escaped => *escaped = true,
                        (b'"', false) if !*escaped => *quoted = !*quoted,
                        (_, false) => *escaped = false,
                    }
                    if *octet != b'\r' {
                        if tail.len() == TAIL {
                            tail.remove(0);
                        }
                        tail.push(*octet);
                    }
                }
                if let Some(next) = next {
                    self.0 = next;
                }
                let (piece, rest) = input.split_at_checked(used).unwrap_or((input, &[]));
                *input = rest;
                Ok((!piece.is_empty()).then_some(Item::Text(Cow::Borrowed(piece))))
            }
            State::Literal(left) => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
                let (piece, rest) = input.split_at_checked(wanted).unwrap_or((input, &[]));
                *input = rest;
                *left -= piece.len() as u64;
                let (done, empty) = (*left == 0, piece.is_empty());
                if done {
                    self.0 = State::Text { quoted: false, escaped: false, after_cr: false, tail: Vec::new() };
                    if empty {
                        return self.next(input);
                    }
                }
                Ok((!empty).then_some(Item::Literal(piece)))
            }
        }
    }
}

/// `{12}`, or `~{12}`, at the end of a line.
pub(super) fn literal_size(tail: &[u8]) -> Option<u64> {
    let inner = tail.strip_suffix(b"}")?;
    let at = inner.iter().rposition(|octet| *octet == b'{')?;
    let digits = inner.get(at + 1..)?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn classify(line: &[u8]) -> Class {
    let Some(rest) = line.strip_prefix(b"* ") else {
        return if b"* ".starts_with(line) { Class::Unknown } else { Class::Short };
    };
    let mut words = rest.split(|octet| matches!(octet, b' ' | b'\r'));
    let Some(mut word) = words.next() else { return Class::Unknown };
    let mut ended = rest.len() > word.len();
    if ended && !word.is_empty() && word.iter().all(u8::is_ascii_digit) {
        let first = word.len();
        word = words.next().unwrap_or_default();
        ended = rest.len() > first + 1 + word.len();
    }
    if !ended {
        return if rest.len() > 64 { Class::Short } else { Class::Unknown };
    }
    match word {
        b"FETCH" | b"UIDFETCH" | b"SEARCH" | b"ESEARCH" | b"SORT" | b"THREAD" | b"VANISHED" => {
            Class::Messages
        }
        _ => Class::Short,
    }
}

/// A tagged answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) status: Status,
    /// With a response code that is known here, if there was one.
    pub(crate) text: String,
}

/// What a short line is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// The client gets it, as it stands here.
    Shown(Vec<u8>),
    /// It says nothing to the client.
    Dropped,
    Tagged(Tagged),
}

/// Response codes that are about the command or the mailbox; others could be about anything.
const CODES: &[&str] = &[
    "ALREADYEXISTS",
    "APPENDUID",
    "BADCHARSET",
    "BADURL",
    "CANNOT",
    "COPYUID",
    "CORRUPTION",
    "EXPUNGEISSUED",
    "HASCHILDREN",
    "HIGHESTMODSEQ",
    "INPROGRESS",
    "LIMIT",
    "MAILBOXID",
    "MESSAGELIMIT",
    "MODIFIED",
    "NONEXISTENT",
    "NOPERM",
    "NOTSAVED",
    "NOUPDATE",
    "OVERQUOTA",
    "PERMANENTFLAGS",
    "READ-ONLY",
    "READ-WRITE",
    "SERVERBUG",
    "TOOBIG",
    "TRYCREATE",
    "UIDNEXT",
    "UIDREQUIRED",
    "UIDVALIDITY",
    "UNAVAILABLE",
    "UNDEFINED-FILTER",
    "UNKNOWN-CTE",
    "UNSEEN",
    "USEATTR",
];

/// What an answer is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Of the command that was passed on; empty where none was.
    pub(crate) tag: &'a [u8],
    /// Before the names of that account's mailboxes.
    pub(crate) prefix: &'a str,
    /// How names travel.
    pub(crate) form: NameForm,
    /// The client has a mailbox of that account selected, or is about to: it can be told of messages.
    pub(crate) selected: bool,
}

/// Looks at a short line.
pub(crate) fn short(line: &[u8], expected: Expected<'_>) -> Result<Short, Violation> {
    let Expected { tag, prefix, form, selected } = expected;
    if let Some(rest) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(b" ")) {
        let (status, text) = status(rest).ok_or(Violation("a tagged answer that is none"))?;
        let (code, words) = code(text);
        let mut text = code.map_or_else(String::new, |code| format!("[{code}] "));
        text.push_str(&readable(words));
        return Ok(Short::Tagged(Tagged { status, text }));
    }
    if line.starts_with(b"+") {
        return Ok(Short::Dropped);
    }
    let rest = line.strip_prefix(b"* ").ok_or(Violation("an answer to nothing"))?;
    if let Some((status, text)) = status(rest) {
        let word: &[u8] = match status {
            Status::Ok => b"* OK [",
            Status::No => b"* NO [",
            Status::Bad => b"* BAD [",
        };
        let (Some(code), true) = (code(text).0, selected) else { return Ok(Short::Dropped) };
        return Ok(Short::Shown([word, code.as_bytes(), b"] shared mailbox"].concat()));
    }
    let mut words = rest.splitn(2, |octet| *octet == b' ');
    let (word, behind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let name = match word {
        b"LIST" => {
            let at = behind.windows(6).position(|octets| octets == b") \"/\" ");
            let from = at.ok_or(Violation("a LIST response without a name"))? + 6;
            Some(behind.get(from..).unwrap_or_default())
        }
        b"STATUS" | b"ACL" | b"MYRIGHTS" | b"LISTRIGHTS" => Some(behind),
        b"FLAGS" if selected => None,
        b"ENABLED" => return Ok(Short::Dropped),
        digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => match behind {
            b"EXISTS" | b"RECENT" | b"EXPUNGE" if selected => None,
            _ => return Err(Violation("a response that is not for a shared mailbox")),
        },
        _ => return Err(Violation("a response that is not for a shared mailbox")),
    };
    if let Some(text) = name {
        let name = first_name(text, form).ok_or(Violation("a name that is none"))?;
        if !name.starts_with(prefix) {
            return Err(Violation("a mailbox of somebody else"));
        }
        // A client would read a literal here.
        if literal_size(text).is_some() {
            return Err(Violation("a literal"));
        }
    }
    Ok(Short::Shown(line.to_vec()))
}

fn status(text: &[u8]) -> Option<(Status, &[u8])> {
    let (word, rest) = text.split_at_checked(text.iter().position(|octet| *octet == b' ')?)?;
    let status = match word {
        b"OK" => Status::Ok,
        b"NO" => Status::No,
        b"BAD" => Status::Bad,
        _ => return None,
    };
    Some((status, rest.get(1..)?))
}

/// The response code, if it is known here, and the text behind it.
fn code(text: &[u8]) -> (Option<String>, &[u8]) {
    let Some(inner) = text.strip_prefix(b"[") else { return (None, text) };
    let Some(end) = inner.iter().position(|octet| *octet == b']') else { return (None, b"") };
    let (code, rest) = inner.split_at_checked(end).unwrap_or_default();
    let rest = rest.get(1..).unwrap_or_default();
    let word = code.split(|octet| *octet == b' ').next().unwrap_or_default();
    let known = CODES.iter().any(|known| known.as_bytes() == word) && code.is_ascii();
    (known.then(|| String::from_utf8_lossy(code).into_owned()), rest.strip_prefix(b" ").unwrap_or(rest))
}

/// A text for people: short, printable, and not like a literal.
fn readable(text: &[u8]) -> String {
    let printable = text.iter().filter(|octet| matches!(octet, 0x20..=0x7e) && !b"{}[]".contains(octet));
    let text: String = printable.take(TEXT).map(|octet| char::from(*octet)).collect();
    if text.trim().is_empty() { "answered".to_owned() } else { text }
}

/// The mailbox name at the beginning of a text: an atom or a quoted string.
fn first_name(text: &[u8], form: NameForm) -> Option<String> {
    let wire = match text.strip_prefix(b"\"") {
        None => text.split(|octet| *octet == b' ').next()?.to_vec(),
        Some(inner) => {
            let (mut name, mut escaped, mut ended) = (Vec::new(), false, false);
            for octet in inner {
                match octet {
                    b'\\' if !escaped => escaped = true,
                    b'"' if !escaped => {
                        ended = true;
                        break;
                    }
                    octet => {
                        name.push(*octet);
                        escaped = false;
                    }
                }
            }
            ended.then_some(name)?
        }
    };
    form.decode(&wire).ok()
}

#[cfg(test)]
mod tests;
