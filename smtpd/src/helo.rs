//! How clients introduce themselves.

use std::fmt;

use crate::command::CommandError;

/// The longest name, octets.
const MAX_NAME: usize = 255;

/// The client's name for itself: a domain name or an address literal by its letters, 1 to 255 octets of ASCII without
/// anything that means something in a header field or a log. Underscores are let pass: many hosts have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeloName(String);

impl HeloName {
    /// Checks a name.
    pub fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let bare = match text {
            [b'[', inside @ .., b']'] => inside,
            name => name,
        };
        let literal = bare.len() != text.len();
        let allowed = |octet: &u8| match octet {
            b'-' | b'.' | b'_' => true,
            b':' => literal,
            octet => octet.is_ascii_alphanumeric(),
        };
        if bare.is_empty() || text.len() > MAX_NAME || !bare.iter().all(allowed) {
            return Err(CommandError::HeloName);
        }
        String::from_utf8(text.to_vec()).map(Self).map_err(|_| CommandError::HeloName)
    }

    /// Of mail programs, which say whatever they find, or nothing: octets that could mean something elsewhere become `-`.
    #[must_use]
    pub fn of_anything(text: &[u8]) -> Self {
        if let Ok(name) = Self::parse(text) {
            return name;
        }
        let harmless = |octet: &u8| match octet {
            b'.' | b'_' => char::from(*octet),
            octet if octet.is_ascii_alphanumeric() => char::from(*octet),
            _ => '-',
        };
        let name: String = text.iter().take(MAX_NAME).map(harmless).collect();
        Self(if name.is_empty() { "unknown".to_owned() } else { name })
    }

    /// An address in brackets.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }

    /// As given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack class 18: whatever a mail program says can stand in a header field and in a log.
    #[test]
    fn any_name_becomes_a_harmless_one() {
        let long = "x".repeat(300);
        for (text, name) in [
            ("client.example", "client.example"),
            ("[192.168.1.5]", "[192.168.1.5]"),
            ("Anna_s-PC", "Anna_s-PC"),
            ("localhost", "localhost"),
            ("", "unknown"),
            ("[]", "--"),
            ("Anna's PC", "Anna-s-PC"),
            ("a) (b; c", "a---b--c"),
            ("bücher", "b--cher"),
            (long.as_str(), &long[..MAX_NAME]),
        ] {
            assert_eq!(HeloName::of_anything(text.as_bytes()).as_str(), name, "{text}");
        }
    }
}
