//! The part before the `@`.

use std::{borrow::Cow, fmt, fmt::Write as _};

use icu_normalizer::ComposingNormalizerBorrowed;

use super::AddressError;

const LIMIT: usize = 64;

/// The part before `@`, unquoted. 1 to 64 octets (RFC 5321 §4.5.3.1.1), no controls, UTF-8 in normal form C
/// (RFC 6531 §3.3, RFC 6532 §3.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Localpart(String);

impl Localpart {
    /// Checks an already unquoted localpart.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Incomplete);
        }
        if text.len() > LIMIT {
            return Err(AddressError::TooLong { limit: LIMIT });
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
            return Err(AddressError::Forbidden { at });
        }
        let text = normal_form(text);
        if text.len() > LIMIT {
            return Err(AddressError::TooLong { limit: LIMIT });
        }
        Ok(Self(text.into_owned()))
    }

    /// For look-ups that ignore case: in lower case.
    #[must_use]
    pub fn folded(&self) -> String {
        if self.0.is_ascii() {
            return self.0.to_ascii_lowercase();
        }
        normal_form(&self.0.to_lowercase()).into_owned()
    }

    /// Unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn normal_form(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// As it stands in an address: quoted where the grammar asks for it.
impl fmt::Display for Localpart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

/// Dot-string = Atom *("." Atom), RFC 5321 §4.1.2.
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// atext of RFC 5322 §3.2.3, widened by RFC 6532 §3.2. White space outside ASCII is left to quotes: clients cut at it.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

/// Reads a localpart, quoted or not, at the start of `text`; also tells how many octets it took.
pub(super) fn scan(text: &str) -> Result<(Localpart, usize), AddressError> {
    let (unquoted, used) = match text.strip_prefix('"') {
        Some(quoted) => scan_quoted(quoted)?,
        None => scan_dot_string(text)?,
    };
    Ok((Localpart::parse(&unquoted)?, used))
}

fn scan_quoted(quoted: &str) -> Result<(Cow<'_, str>, usize), AddressError> {
    let mut unquoted = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        let (at, c) = match c {
            '"' => return Ok((Cow::Owned(unquoted), at + 2)),
            '\\' => chars.next().ok_or(AddressError::Incomplete)?,
            c => (at, c),
        };
        if c.is_control() {
            return Err(AddressError::Forbidden { at: at + 1 });
        }
        unquoted.push(c);
    }
    Err(AddressError::Incomplete)
}

fn scan_dot_string(text: &str) -> Result<(Cow<'_, str>, usize), AddressError> {
    let mut after_dot = true;
    let mut used = text.len();
    for (at, c) in text.char_indices() {
        match c {
            '.' if after_dot => return Err(AddressError::Forbidden { at }),
            '.' => after_dot = true,
            c if is_atext(c) => after_dot = false,
            _ => {
                used = at;
                break;
            }
        }
    }
    if used == 0 {
        return Err(match text.chars().next() {
            None | Some('@' | '>') => AddressError::Incomplete,
            Some(_) => AddressError::Forbidden { at: 0 },
        });
    }
    if after_dot {
        return Err(AddressError::Forbidden { at: used });
    }
    Ok((Cow::Borrowed(text.get(..used).unwrap_or_default()), used))
}
