//! Responses of an IMAP server, taken apart as they come; sans-io.
//!
//! A response is held whole, up to a bound; the octets of a message are not: they go through in the pieces in which they
//! came.

use std::mem;

/// The longest line, octets.
const MAX_LINE: usize = 64 * 1024;
/// The largest literal that is not a message, octets.
const MAX_LITERAL: u64 = 64 * 1024;
/// Words of one response.
const MAX_TOKENS: usize = 8192;
/// Octets of all words of one response.
const MAX_HELD: usize = 256 * 1024;
/// No message is larger.
const MAX_MESSAGE: u64 = 1 << 40;

/// A word of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// `(`
    Open,
    /// `)`
    Close,
    /// A word, a number, NIL.
    Atom(Vec<u8>),
    /// In quotes or as a literal.
    String(Vec<u8>),
}

/// How a command ended, or what an untagged state says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Done.
    Ok,
    /// Refused.
    No,
    /// Not understood.
    Bad,
    /// The server goes.
    Bye,
    /// No login is needed.
    Preauth,
}

/// One thing that the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// `+`: it waits for more.
    Continue(Vec<u8>),
    /// A state: its tag, the code in brackets without them, the text.
    State {
        /// `*` for none.
        tag: Vec<u8>,
        /// What.
        state: State,
        /// Such as `UIDVALIDITY 7`.
        code: Option<Vec<u8>>,
        /// For people.
        text: Vec<u8>,
    },
    /// Any other untagged response: the words behind `*`.
    Data(Vec<Token>),
    /// A message begins in the middle of a FETCH response: the words so far.
    Message {
        /// Behind `*`.
        before: &'a [Token],
        /// Octets that come.
        size: u64,
    },
    /// Octets of the message.
    Octets(&'a [u8]),
    /// The message is whole; the response goes on.
    MessageEnd,
}

/// What no server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Over a bound.
    #[error("a response that is too long")]
    TooLong,
    /// Not a response.
    #[error("something that is no response")]
    Malformed,
}

#[derive(Debug)]
enum Literal {
    None,
    Word { left: u64, octets: Vec<u8> },
    Message { left: u64 },
    MessageEnd,
}

/// Takes octets as they come and gives what was said.
#[derive(Debug)]
pub struct Responses {
    buffer: Vec<u8>,
    start: usize,
    tokens: Vec<Token>,
    held: usize,
    literal: Literal,
}

impl Default for Responses {
    fn default() -> Self {
        Self { buffer: Vec::new(), start: 0, tokens: Vec::new(), held: 0, literal: Literal::None }
    }
}

impl Responses {
    /// The next octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// Whether octets wait that nobody looked at: before TLS begins there may be none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// What it costs in memory.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.held + self.buffer.len()
    }

    /// What was said next; `None`: more octets are needed.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Wrong> {
        loop {
            match mem::replace(&mut self.literal, Literal::None) {
                Literal::None => {}
                Literal::MessageEnd => return Ok(Some(Event::MessageEnd)),
                Literal::Message { left } => {
                    let piece = self.take(left);
                    if piece.is_empty() && left > 0 {
                        self.literal = Literal::Message { left };
                        return Ok(None);
                    }
                    let left = left - piece.len() as u64;
                    self.literal = if left == 0 { Literal::MessageEnd } else { Literal::Message { left } };
                    return Ok(Some(Event::Octets(self.buffer.get(piece).unwrap_or_default())));
                }
                Literal::Word { left, mut octets } => {
                    let piece = self.take(left);
                    let left = left - piece.len() as u64;
                    octets.extend_from_slice(self.buffer.get(piece).unwrap_or_default());
                    if left > 0 {
                        self.literal = Literal::Word { left, octets };
                        return Ok(None);
                    }
                    self.word(Token::String(octets))?;
                }
            }
            let Some(line) = self.line()? else { return Ok(None) };
            let line = self.buffer.get(line).unwrap_or_default().to_vec();
            if self.tokens.is_empty()
                && let Some(event) = state_or_continue(&line)?
            {
                return Ok(Some(event));
            }
            let (text, literal) = literal_at_end(&line);
            self.words(text)?;
            let Some(size) = literal else {
                self.held = 0;
                let tokens = mem::take(&mut self.tokens);
                return data(tokens).map(Some);
            };
            if self.is_message() {
                if size > MAX_MESSAGE {
                    return Err(Wrong::TooLong);
                }
                self.literal = if size == 0 { Literal::MessageEnd } else { Literal::Message { left: size } };
                let before = self.tokens.get(1..).unwrap_or_default();
                return Ok(Some(Event::Message { before, size }));
            }
            if size > MAX_LITERAL {
                return Err(Wrong::TooLong);
            }
            self.literal = Literal::Word { left: size, octets: Vec::new() };
        }
    }

    /// Takes at most so many octets of the buffer.
    fn take(&mut self, most: u64) -> std::ops::Range<usize> {
        let there = self.buffer.len() - self.start;
        let taken = usize::try_from(most).unwrap_or(usize::MAX).min(there);
        let piece = self.start..self.start + taken;
        self.start = piece.end;
        piece
    }

    /// Takes a whole line, without its end.
    fn line(&mut self) -> Result<Option<std::ops::Range<usize>>, Wrong> {
        let unread = self.buffer.get(self.start..).unwrap_or_default();
        match unread.iter().take(MAX_LINE).position(|octet| *octet == b'\n') {
            Some(end) => {
                let text = unread.get(..end).unwrap_or_default();
                let length = text.strip_suffix(b"\r").unwrap_or(text).len();
                let line = self.start..self.start + length;
                self.start += end + 1;
                Ok(Some(line))
            }
            None if unread.len() >= MAX_LINE => Err(Wrong::TooLong),
            None => Ok(None),
        }
    }

    /// `* 5 FETCH ( ... BODY[]`, at the first level of parentheses.
    fn is_message(&self) -> bool {
        let atom = |place: usize, name: &str| matches!(self.tokens.get(place), Some(Token::Atom(atom)) if atom.eq_ignore_ascii_case(name.as_bytes()));
        let last = self.tokens.len().saturating_sub(1);
        atom(2, "FETCH") && (atom(last, "BODY[]") || atom(last, "RFC822"))
    }

    fn word(&mut self, token: Token) -> Result<(), Wrong> {
        self.held += match &token {
            Token::Open | Token::Close => 1,
            Token::Atom(octets) | Token::String(octets) => octets.len() + mem::size_of::<Token>(),
        };
        if self.tokens.len() >= MAX_TOKENS || self.held > MAX_HELD {
            return Err(Wrong::TooLong);
        }
        self.tokens.push(token);
        Ok(())
    }

    fn words(&mut self, text: &[u8]) -> Result<(), Wrong> {
        let mut rest = text;
        while let Some((octet, after)) = rest.split_first() {
            rest = match octet {
                b' ' => after,
                b'(' => {
                    self.word(Token::Open)?;
                    after
                }
                b')' => {
                    self.word(Token::Close)?;
                    after
                }
                b'"' => {
                    let (string, after) = quoted_string(after).ok_or(Wrong::Malformed)?;
                    self.word(Token::String(string))?;
                    after
                }
                _ => {
                    let end = atom_end(rest);
                    let (atom, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    self.word(Token::Atom(atom.to_vec()))?;
                    after
                }
            };
        }
        Ok(())
    }
}

/// Up to a space, a parenthesis or a quote; brackets, as in `BODY[HEADER.FIELDS (DATE)]`, hold them.
fn atom_end(text: &[u8]) -> usize {
    let mut brackets = 0_usize;
    let end = text.iter().position(|octet| {
        match octet {
            b'[' => brackets += 1,
            b']' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        brackets == 0 && matches!(octet, b' ' | b'(' | b')' | b'"')
    });
    end.unwrap_or(text.len()).max(1)
}

fn quoted_string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut string = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [b'"', after @ ..] => return Some((string, after)),
            [b'\\', octet, after @ ..] | [octet, after @ ..] => {
                string.push(*octet);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// `{12}`, `{12+}` or `~{12}` at the end of a line.
fn literal_at_end(line: &[u8]) -> (&[u8], Option<u64>) {
    let size = || -> Option<(&[u8], u64)> {
        let inner = line.strip_suffix(b"}")?;
        let brace = inner.iter().rposition(|octet| *octet == b'{')?;
        let (before, digits) = inner.split_at_checked(brace)?;
        let digits = digits.get(1..)?;
        let digits = digits.strip_suffix(b"+").unwrap_or(digits);
        let size = std::str::from_utf8(digits).ok()?;
        let size = size.bytes().all(|octet| octet.is_ascii_digit()).then(|| size.parse().ok())??;
        Some((before.strip_suffix(b"~").unwrap_or(before), size))
    };
    match size() {
        Some((before, size)) => (before, Some(size)),
        None => (line, None),
    }
}

/// A line that is a state or a continuation: its text is for people and may hold anything.
fn state_or_continue(line: &[u8]) -> Result<Option<Event<'static>>, Wrong> {
    let (tag, rest) = split_word(line);
    if tag == b"+" {
        return Ok(Some(Event::Continue(rest.to_vec())));
    }
    let (word, rest) = split_word(rest);
    let states: [(&[u8], State); 5] = [
        (b"OK", State::Ok),
        (b"NO", State::No),
        (b"BAD", State::Bad),
        (b"BYE", State::Bye),
        (b"PREAUTH", State::Preauth),
    ];
    let Some((_, state)) = states.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) else {
        return if tag == b"*" { Ok(None) } else { Err(Wrong::Malformed) };
    };
    let (code, text) = match rest.strip_prefix(b"[") {
        Some(inner) => match inner.iter().position(|octet| *octet == b']') {
            Some(end) => {
                let (code, text) = inner.split_at_checked(end).unwrap_or((inner, &[]));
                (Some(code.to_vec()), text.get(1..).unwrap_or_default())
            }
            None => (None, rest),
        },
        None => (None, rest),
    };
    Ok(Some(Event::State { tag: tag.to_vec(), state, code, text: text.trim_ascii().to_vec() }))
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|octet| *octet == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.get(1..).unwrap_or_default())
}

fn data(tokens: Vec<Token>) -> Result<Event<'static>, Wrong> {
    let mut tokens = tokens.into_iter();
    match tokens.next() {
        Some(Token::Atom(star)) if star == b"*" => Ok(Event::Data(tokens.collect())),
        Some(_) | None => Err(Wrong::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::check::said;

    #[test]
    fn responses_of_servers_are_taken_apart() {
        for (stream, expected) in [
            ("* OK [CAPABILITY IMAP4rev1] ready\r\n", "* Ok [CAPABILITY IMAP4rev1] ready"),
            ("a1 NO [AUTHENTICATIONFAILED] no {5}\r\n", "a1 No [AUTHENTICATIONFAILED] no {5}"),
            ("* BYE going\r\n", "* Bye going"),
            ("+ \r\n", "+ "),
            ("+\r\n", "+ "),
            ("* LIST (\\Sent) \".\" \"a \\\"b\\\\\"\r\n", "LIST ( \\Sent ) '.' 'a \"b\\'"),
            ("* LIST () NIL {5}\r\na\r\nbc\r\n", "LIST ( ) NIL 'a\r\nbc'"),
            (
                "* 5 FETCH (UID 7 BODY[] {4}\r\nab\r\n FLAGS (\\Seen))\r\n",
                "message 4 after 5 FETCH ( UID 7 BODY[]; ab\r\n; 5 FETCH ( UID 7 BODY[] FLAGS ( \\Seen ) )",
            ),
            ("* 5 FETCH (BODY[] {0}\r\n)\r\n", "message 0 after 5 FETCH ( BODY[]; ; 5 FETCH ( BODY[] )"),
            (
                "* 5 FETCH (BODY[HEADER.FIELDS (DATE)] {2}\r\n\r\n)\r\n",
                "5 FETCH ( BODY[HEADER.FIELDS (DATE)] '\r\n' )",
            ),
            ("* 3 EXISTS\n", "3 EXISTS"),
        ] {
            let whole = said(stream.as_bytes(), stream.len()).unwrap().join("; ");
            assert_eq!(whole, expected, "{stream}");
            assert_eq!(said(stream.as_bytes(), 1).unwrap().join("; "), whole, "octet by octet");
        }
    }

    #[test]
    fn what_no_server_says_is_refused_before_it_is_held() {
        let long = "x".repeat(MAX_LINE + 1);
        let many = format!("* LIST {}\r\n", "(".repeat(MAX_TOKENS));
        let literals = format!("* LIST {}", format!("{{60000}}\r\n{}", "y".repeat(60_000)).repeat(6));
        for (stream, wrong) in [
            (long.as_str(), Wrong::TooLong),
            (&many, Wrong::TooLong),
            (&literals, Wrong::TooLong),
            ("* LIST () NIL {65537}\r\n", Wrong::TooLong),
            ("* 1 FETCH (BODY[] {99999999999999}\r\n", Wrong::TooLong),
            ("hello\r\n", Wrong::Malformed),
            ("\r\n", Wrong::Malformed),
            ("* LIST \"open\r\n", Wrong::Malformed),
            ("a1 LIST x\r\n", Wrong::Malformed),
        ] {
            assert_eq!(said(stream.as_bytes(), 4096), Err(wrong), "{stream:.40}");
        }
    }
}
