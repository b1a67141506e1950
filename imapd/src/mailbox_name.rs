//! Mailbox names on the wire: UTF-8 in IMAP4rev2 (RFC 9051 §5.1), modified UTF-7 in IMAP4rev1 (RFC 3501 §5.1.3).
//!
//! In modified UTF-7 printable US-ASCII stands for itself, `&` is `&-`, everything else is UTF-16 in base64 with `,`
//! for `/` and no padding, between `&` and `-`. Every name has exactly one encoding, and only that one is accepted:
//! else two different texts on the wire would name one mailbox.

/// How mailbox names travel in a session. IMAP4rev1 until the client enables IMAP4rev2 (RFC 9051 §A.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameForm {
    /// IMAP4rev1.
    #[default]
    ModifiedUtf7,
    /// IMAP4rev2: an ampersand is an ampersand.
    Utf8,
}

/// Why a mailbox name on the wire is not one. The text is shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// An octet outside printable US-ASCII.
    #[error("only printable US-ASCII and modified UTF-7 are allowed")]
    NotPrintable,
    /// A shift sequence without its closing `-`.
    #[error("`&` without `-`; a plain ampersand is written `&-`")]
    Unterminated,
    /// Not the base64 alphabet of RFC 3501, or bits left over.
    #[error("invalid base64 in modified UTF-7")]
    Base64,
    /// Not a sequence of Unicode characters.
    #[error("invalid UTF-16 in modified UTF-7")]
    Utf16,
    /// Encoded although it could stand for itself, or in two shifts that should be one.
    #[error("not the shortest modified UTF-7")]
    Superfluous,
    /// Octets that are no UTF-8, where names are UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

impl NameForm {
    /// To the wire.
    #[must_use]
    pub fn encode(self, name: &str) -> String {
        match self {
            Self::ModifiedUtf7 => encode_mailbox_name(name),
            Self::Utf8 => name.to_owned(),
        }
    }

    /// From the wire.
    pub fn decode(self, wire: &[u8]) -> Result<String, NameError> {
        match self {
            Self::ModifiedUtf7 => decode_mailbox_name(wire),
            Self::Utf8 => String::from_utf8(wire.to_vec()).map_err(|_| NameError::NotUtf8),
        }
    }
}

/// From modified UTF-7.
fn decode_mailbox_name(wire: &[u8]) -> Result<String, NameError> {
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    let mut after_shift = false;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        if octet != b'&' {
            if !matches!(octet, 0x20..=0x7e) {
                return Err(NameError::NotPrintable);
            }
            name.push(char::from(octet));
            after_shift = false;
            continue;
        }
        let end = rest.iter().position(|octet| *octet == b'-').ok_or(NameError::Unterminated)?;
        let (encoded, tail) = rest.split_at_checked(end).ok_or(NameError::Unterminated)?;
        rest = tail.get(1..).unwrap_or_default();
        if encoded.is_empty() {
            name.push('&');
            after_shift = false;
            continue;
        }
        // "…&Abc-&Def-…" must be one shift (RFC 3501 §5.1.3, superfluous shifts).
        if after_shift {
            return Err(NameError::Superfluous);
        }
        decode_shifted(encoded, &mut name)?;
        after_shift = true;
    }
    Ok(name)
}

fn decode_shifted(encoded: &[u8], name: &mut String) -> Result<(), NameError> {
    let mut units = Vec::with_capacity(encoded.len() * 3 / 8);
    let (mut bits, mut held) = (0u32, 0u32);
    for octet in encoded {
        let value = ALPHABET.iter().position(|letter| letter == octet).ok_or(NameError::Base64)?;
        bits = (bits << 6) | u32::try_from(value).map_err(|_| NameError::Base64)?;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push(u16::try_from((bits >> held) & 0xffff).map_err(|_| NameError::Base64)?);
            bits &= (1 << held) - 1;
        }
    }
    // Fewer than six bits of padding, all zero.
    if held >= 6 || bits != 0 {
        return Err(NameError::Base64);
    }
    for character in char::decode_utf16(units) {
        match character.map_err(|_| NameError::Utf16)? {
            ' '..='~' => return Err(NameError::Superfluous),
            character => name.push(character),
        }
    }
    Ok(())
}

/// To modified UTF-7.
pub(crate) fn encode_mailbox_name(name: &str) -> String {
    let mut wire = String::with_capacity(name.len());
    let mut shifted: Vec<u16> = Vec::new();
    for character in name.chars() {
        match character {
            ' '..='~' => {
                encode_shifted(&mut shifted, &mut wire);
                wire.push(character);
                if character == '&' {
                    wire.push('-');
                }
            }
            character => shifted.extend_from_slice(character.encode_utf16(&mut [0; 2])),
        }
    }
    encode_shifted(&mut shifted, &mut wire);
    wire
}

fn encode_shifted(units: &mut Vec<u16>, wire: &mut String) {
    if units.is_empty() {
        return;
    }
    wire.push('&');
    let (mut bits, mut held) = (0u32, 0u32);
    for unit in units.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            push_letter(wire, bits >> held);
            bits &= (1 << held) - 1;
        }
    }
    if held > 0 {
        push_letter(wire, bits << (6 - held));
    }
    wire.push('-');
}

fn push_letter(wire: &mut String, six_bits: u32) {
    let index = usize::try_from(six_bits & 63).unwrap_or_default();
    wire.extend(ALPHABET.get(index).map(|letter| char::from(*letter)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfc_decode() {
        // RFC 3501 §5.1.3.
        let wire = b"~peter/mail/&U,BTFw-/&ZeVnLIqe-";
        assert_eq!(decode_mailbox_name(wire).unwrap(), "~peter/mail/台北/日本語");
        assert_eq!(encode_mailbox_name("~peter/mail/台北/日本語").as_bytes(), wire);
        for (name, wire) in [("A&B", "A&-B"), ("Entwürfe", "Entw&APw-rfe"), ("😀", "&2D3eAA-"), ("", "")] {
            assert_eq!(encode_mailbox_name(name), wire);
            assert_eq!(decode_mailbox_name(wire.as_bytes()).as_deref(), Ok(name));
        }
    }

    /// Attack class 24: UTF-7 tricks that would let two texts name one mailbox, or smuggle a separator or a
    /// control past a check on the wire form.
    #[test]
    fn every_other_encoding_of_a_name_is_refused() {
        for (wire, error) in [
            (&b"&AC8-"[..], NameError::Superfluous),         // "/"
            (b"&AC4ALg-", NameError::Superfluous),           // ".."
            (b"&AGE-", NameError::Superfluous),              // "a"
            (b"&U,BTFw-&ZeVnLIqe-", NameError::Superfluous), // RFC 3501 §5.1.3's own bad example
            (b"R&D", NameError::Unterminated),
            (b"&Jjo!", NameError::Unterminated), // implicit unshift
            (b"&Jjo/-", NameError::Base64),      // RFC 2152's slash
            (b"&Jj-", NameError::Base64),        // bits left over
            (b"&Jjp-", NameError::Base64),       // padding bits not zero
            (b"&JjoA-", NameError::Base64),      // a whole letter of padding
            (b"&2D0-", NameError::Utf16),        // half a surrogate pair
            (b"&3gDYPQ-", NameError::Utf16),     // the pair reversed
            (b"caf\xc3\xa9", NameError::NotPrintable),
            (b"a\x00b", NameError::NotPrintable),
            (b"a\r\nb", NameError::NotPrintable),
            (b"\x7f", NameError::NotPrintable),
        ] {
            assert_eq!(decode_mailbox_name(wire), Err(error), "{}", wire.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn names_survive_the_wire(name in "\\PC{0,40}|[a-z&/\u{0}-\u{ff}\u{10000}-\u{10fff}]{0,20}") {
            let wire = encode_mailbox_name(&name);
            prop_assert!(wire.bytes().all(|octet| matches!(octet, 0x20..=0x7e)));
            prop_assert_eq!(decode_mailbox_name(wire.as_bytes()), Ok(name));
        }

        #[test]
        fn what_decodes_is_the_only_encoding(wire in "[ -~]{0,12}|(&[A-Za-z0-9+,]{0,9}-){1,3}") {
            if let Ok(name) = decode_mailbox_name(wire.as_bytes()) {
                prop_assert_eq!(encode_mailbox_name(&name), wire);
            }
        }
    }
}
