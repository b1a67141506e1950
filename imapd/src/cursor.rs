//! Reads the words of one complete command: atoms, strings, numbers (RFC 3501 §9, RFC 9051 §9).

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::mailbox_name::{NameError, NameForm};

/// How deep parentheses, NOT and OR may nest in one command. Clients that build a search from a form stay
/// under ten; the stack is safe far beyond.
pub const NESTING_LIMIT: usize = 50;

/// Why a command was not understood. The text is shown to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The line does not begin with a tag.
    #[error("a command begins with a tag")]
    Tag,
    /// No such command, or not one that is announced.
    #[error("unknown command")]
    UnknownCommand,
    /// Something else stands where the named thing must stand.
    #[error("expected {0}")]
    Expected(&'static str),
    /// Octets are left over behind a complete command.
    #[error("unexpected text at the end of the command")]
    TrailingText,
    /// A number does not fit its type, or is zero where it must not be.
    #[error("number out of range")]
    Number,
    /// See [`NESTING_LIMIT`].
    #[error("nested too deeply")]
    TooDeep,
    /// A list in the command has more entries than are served.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// A mailbox name that cannot be decoded.
    #[error("mailbox name: {0}")]
    MailboxName(#[from] NameError),
    /// A search in a charset other than US-ASCII and UTF-8; answered with `NO [BADCHARSET]` (RFC 3501 §6.4.4).
    #[error("charset not supported")]
    Charset,
    /// Text that its charset cannot contain.
    #[error("text is not valid UTF-8")]
    NotUtf8,
    /// A synchronising literal above its limit; the client has not sent it.
    #[error("literal too large")]
    LiteralTooLarge,
    /// AUTHENTICATE with an initial response that is not base64 (RFC 4959 §3).
    #[error("initial response is not base64")]
    InitialResponse,
}

/// The unread rest of a command. Every method either takes what it names or fails.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    names: NameForm,
}

impl<'a> Cursor<'a> {
    /// `text` is a whole command without its final CRLF; literals stand in it as they came.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self::with_names(text, NameForm::default())
    }

    /// The same, with mailbox names in this form.
    pub(crate) fn with_names(text: &'a [u8], names: NameForm) -> Self {
        Self { rest: text, names }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes `octet` if it comes next.
    pub(crate) fn accept(&mut self, octet: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == octet => {
                self.rest = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(crate) fn expect(&mut self, octet: u8, what: &'static str) -> Result<(), SyntaxError> {
        if self.accept(octet) { Ok(()) } else { Err(SyntaxError::Expected(what)) }
    }

    pub(crate) fn space(&mut self) -> Result<(), SyntaxError> {
        self.expect(b' ', "a space")
    }

    pub(crate) fn end(&self) -> Result<(), SyntaxError> {
        if self.rest.is_empty() { Ok(()) } else { Err(SyntaxError::TrailingText) }
    }

    /// The octets from the front that satisfy `belongs`; may be none.
    pub(crate) fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|octet| !belongs(*octet)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    pub(crate) fn tag(&mut self) -> Result<&'a [u8], SyntaxError> {
        match self.take_while(|octet| is_astring_char(octet) && octet != b'+') {
            [] => Err(SyntaxError::Tag),
            // Echoed in the answer; a tag is a counter, not a message.
            tag if tag.len() > 128 => Err(SyntaxError::Tag),
            tag => Ok(tag),
        }
    }

    pub(crate) fn atom(&mut self) -> Result<&'a [u8], SyntaxError> {
        match self.take_while(is_atom_char) {
            [] => Err(SyntaxError::Expected("an atom")),
            atom => Ok(atom),
        }
    }

    pub(crate) fn astring(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.take_while(is_astring_char) {
                [] => Err(SyntaxError::Expected("an atom or a string")),
                atom => Ok(Cow::Borrowed(atom)),
            },
        }
    }

    pub(crate) fn string(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            _ => Err(SyntaxError::Expected("a string")),
        }
    }

    /// A string, or NIL for none.
    pub(crate) fn nstring(&mut self) -> Result<Option<Cow<'a, [u8]>>, SyntaxError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string().map(Some),
            _ if self.take_while(is_atom_char).eq_ignore_ascii_case(b"NIL") => Ok(None),
            _ => Err(SyntaxError::Expected("a string or NIL")),
        }
    }

    /// Octets above 127 are let through: passwords and search texts come in UTF-8, and what takes a quoted
    /// string checks its own alphabet.
    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        self.expect(b'"', "a quoted string")?;
        let plain = self.take_while(is_quoted_char);
        if self.accept(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            if self.accept(b'"') {
                return Ok(Cow::Owned(text));
            }
            self.expect(b'\\', "the end of the quoted string")?;
            match self.rest.split_first() {
                Some((escaped @ (b'"' | b'\\'), rest)) => {
                    text.push(*escaped);
                    self.rest = rest;
                }
                Some(_) | None => return Err(SyntaxError::Expected("`\\\"` or `\\\\`")),
            }
            text.extend_from_slice(self.take_while(is_quoted_char));
        }
    }

    /// The parser has framed the command by the same rule, so the octets announced here are all present.
    fn literal(&mut self) -> Result<&'a [u8], SyntaxError> {
        let data = self.octets()?;
        // CHAR8 is any octet but NUL (RFC 3501 §9).
        if data.contains(&0) { Err(SyntaxError::Expected("a literal without NUL")) } else { Ok(data) }
    }

    /// `~{size}` and any octets (RFC 3516 §4.4, RFC 9051 §4.3.1).
    pub(crate) fn literal8(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.expect(b'~', "`~`")?;
        self.octets()
    }

    fn octets(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.expect(b'{', "a literal")?;
        let size = self.digits()?;
        self.accept(b'+');
        self.expect(b'}', "the end of the literal's size")?;
        self.expect(b'\r', "the end of the line")?;
        self.expect(b'\n', "the end of the line")?;
        let size = usize::try_from(size).map_err(|_| SyntaxError::Number)?;
        let (data, rest) = self.rest.split_at_checked(size).ok_or(SyntaxError::Expected("a literal"))?;
        self.rest = rest;
        Ok(data)
    }

    fn digits(&mut self) -> Result<u64, SyntaxError> {
        match self.take_while(|octet| octet.is_ascii_digit()) {
            [] => Err(SyntaxError::Expected("a number")),
            digits => decimal(digits).ok_or(SyntaxError::Number),
        }
    }

    /// `number64`: 63 bits (RFC 9051 §9).
    pub(crate) fn number64(&mut self) -> Result<u64, SyntaxError> {
        self.digits().and_then(|number| {
            if i64::try_from(number).is_ok() { Ok(number) } else { Err(SyntaxError::Number) }
        })
    }

    pub(crate) fn number(&mut self) -> Result<u32, SyntaxError> {
        u32::try_from(self.digits()?).map_err(|_| SyntaxError::Number)
    }

    pub(crate) fn nonzero(&mut self) -> Result<NonZeroU32, SyntaxError> {
        NonZeroU32::new(self.number()?).ok_or(SyntaxError::Number)
    }

    /// A mailbox name, decoded to UTF-8.
    pub(crate) fn mailbox(&mut self) -> Result<String, SyntaxError> {
        Ok(self.names.decode(&self.astring()?)?)
    }

    /// The pattern of LIST and LSUB: a mailbox name in which `*` and `%` may stand unquoted.
    pub(crate) fn mailbox_pattern(&mut self) -> Result<String, SyntaxError> {
        let pattern = match self.peek() {
            Some(b'"' | b'{') => self.string()?,
            _ => match self.take_while(|octet| is_astring_char(octet) || octet == b'%' || octet == b'*') {
                [] => return Err(SyntaxError::Expected("a mailbox pattern")),
                pattern => Cow::Borrowed(pattern),
            },
        };
        Ok(self.names.decode(&pattern)?)
    }

    /// `(` item *(SP item) `)`, at least one item, at most `limit`.
    pub(crate) fn list<T>(
        &mut self,
        limit: usize,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        self.expect(b'(', "an opening parenthesis")?;
        let mut items = vec![item(self)?];
        while !self.accept(b')') {
            self.space()?;
            if items.len() >= limit {
                return Err(SyntaxError::TooMany(what));
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// The same, where the list may be empty.
    pub(crate) fn list_or_none<T>(
        &mut self,
        limit: usize,
        what: &'static str,
        item: impl FnMut(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        let mut ahead = self.clone();
        if ahead.accept(b'(') && ahead.accept(b')') {
            *self = ahead;
            return Ok(Vec::new());
        }
        self.list(limit, what, item)
    }

    /// Takes `word` in any case, if it is the next atom.
    pub(crate) fn accept_word(&mut self, word: &str) -> bool {
        let mut ahead = self.clone();
        let found = ahead.take_while(is_atom_char).eq_ignore_ascii_case(word.as_bytes());
        if found {
            *self = ahead;
        }
        found
    }
}

/// `None` when the number exceeds 64 bits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0')))
    })
}

/// ATOM-CHAR: CHAR but `(`, `)`, `{`, SP, CTL, `%`, `*`, `"`, `\`, `]` (RFC 3501 §9).
pub(crate) fn is_atom_char(octet: u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// ASTRING-CHAR: ATOM-CHAR or `]`.
pub(crate) fn is_astring_char(octet: u8) -> bool {
    is_atom_char(octet) || octet == b']'
}

fn is_quoted_char(octet: u8) -> bool {
    !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_form_are_read() {
        for (input, text) in [
            (&b"atom"[..], &b"atom"[..]),
            (b"a]b", b"a]b"),
            (b"\"\"", b""),
            (b"\"a b\"", b"a b"),
            (b"\"a\\\"b\\\\c\"", b"a\"b\\c"),
            (b"{3}\r\na b", b"a b"),
            (b"{3+}\r\n\"\r\n", b"\"\r\n"),
            (b"{0}\r\n", b""),
        ] {
            let mut cursor = Cursor::new(input);
            assert_eq!(cursor.astring().as_deref(), Ok(text), "{}", input.escape_ascii());
            assert_eq!(cursor.end(), Ok(()));
        }
    }

    #[test]
    fn broken_strings_are_refused() {
        for (input, reason) in [
            (&b""[..], "nothing"),
            (b"\"abc", "no closing quote"),
            (b"\"a\\b\"", "only quote and backslash may be escaped"),
            (b"\"a\rb\"", "CR in quoted"),
            (b"\"a\0b\"", "NUL in quoted"),
            (b"{4}\r\nabc", "shorter than announced"),
            (b"{1}\r\n\0", "NUL in literal"),
            (b"{99999999999999999999}\r\n", "size beyond 64 bits"),
            (b"(", "a special"),
            (b"\xc3\xa9", "8-bit atom"),
        ] {
            assert!(Cursor::new(input).astring().is_err(), "{reason}");
        }
    }

    #[test]
    fn numbers_keep_to_32_or_63_bits() {
        let cursor = |text: &'static [u8]| Cursor::new(text);
        assert_eq!(cursor(b"4294967295").number(), Ok(u32::MAX));
        assert_eq!(cursor(b"4294967296").number(), Err(SyntaxError::Number));
        assert_eq!(cursor(b"0").nonzero(), Err(SyntaxError::Number));
        assert_eq!(cursor(b"x").number(), Err(SyntaxError::Expected("a number")));
        assert_eq!(cursor(b"9223372036854775807").number64(), Ok(i64::MAX as u64));
        assert_eq!(cursor(b"9223372036854775808").number64(), Err(SyntaxError::Number));
    }
}
