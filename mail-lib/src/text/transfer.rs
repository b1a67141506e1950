//! Content-Transfer-Encoding undone (RFC 2045 §6.7, §6.8), in chunks, tolerant of what is malformed.

use crate::mime::Encoding;

const INVALID: u8 = 255;

/// The value of each base64 digit.
const DIGITS: [u8; 256] = {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut digits = [INVALID; 256];
    let mut value: u8 = 0;
    while value < 64 {
        // Computed at compile time: an index out of bounds would not compile.
        #[allow(clippy::indexing_slicing)]
        {
            digits[ALPHABET[value as usize] as usize] = value;
        }
        value += 1;
    }
    digits
};

/// Undoes the transfer encoding of a body that comes in chunks. How it is cut does not change the octets.
#[derive(Debug)]
pub struct Transfer {
    undone: Undone,
    octets: Vec<u8>,
}

#[derive(Debug)]
enum Undone {
    Nothing,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Transfer {
    /// For that encoding; what is in an unknown one stays as it is.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        let undone = match encoding {
            Encoding::Base64 => Undone::Base64(Base64::default()),
            Encoding::QuotedPrintable => Undone::QuotedPrintable(QuotedPrintable::default()),
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary | Encoding::Other => Undone::Nothing,
        };
        Self { undone, octets: Vec::new() }
    }

    /// What the next octets stand for: hardly more than they are.
    pub fn decode<'a>(&'a mut self, chunk: &'a [u8]) -> &'a [u8] {
        self.octets.clear();
        match &mut self.undone {
            Undone::Nothing => return chunk,
            Undone::Base64(base64) => base64.decode(chunk, &mut self.octets),
            Undone::QuotedPrintable(quoted) => quoted.decode(chunk, &mut self.octets),
        }
        &self.octets
    }

    /// The end: what was held back.
    pub fn finish(&mut self) -> &[u8] {
        self.octets.clear();
        match &mut self.undone {
            Undone::Nothing | Undone::Base64(_) => {}
            Undone::QuotedPrintable(quoted) => quoted.finish(&mut self.octets),
        }
        &self.octets
    }
}

/// Octets outside the alphabet are passed over (§6.8); padding ends a group, and what follows starts a new one.
#[derive(Debug, Default)]
pub(crate) struct Base64 {
    bits: u32,
    count: u32,
}

impl Base64 {
    pub(crate) fn decode(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.reserve(input.len() / 4 * 3 + 3);
        for octet in input {
            let digit = DIGITS.get(usize::from(*octet)).copied().unwrap_or(INVALID);
            if digit == INVALID {
                if *octet == b'=' {
                    *self = Self::default();
                }
                continue;
            }
            self.bits = (self.bits << 6) | u32::from(digit);
            self.count += 6;
            if self.count >= 8 {
                self.count -= 8;
                let [.., octet] = (self.bits >> self.count).to_be_bytes();
                output.push(octet);
            }
        }
    }
}

/// White space that may stand at the end of a line, in octets; RFC 2045 §6.7 has lines of 76.
const MAX_HELD: usize = 1000;

/// A `=` that starts neither two hexadecimal digits nor a soft line break stands for itself. White space at the end of
/// a line was added on the way (§6.7 rule 3).
#[derive(Debug, Default)]
pub(crate) struct QuotedPrintable {
    state: State,
    /// White space that the line may end with.
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Text,
    /// Behind `=`.
    Equals,
    /// Behind `=` and one hexadecimal digit.
    Digit(u8),
    /// Behind `=` and white space (§6.7 rule 3) or CR: a soft line break if the line ends here.
    Padding,
}

impl QuotedPrintable {
    pub(crate) fn decode(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.reserve(input.len() + 2);
        for octet in input {
            if matches!(self.state, State::Text) {
                match octet {
                    b' ' | b'\t' if self.held.len() < MAX_HELD => {
                        self.held.push(*octet);
                        continue;
                    }
                    b'\r' | b'\n' => self.held.clear(),
                    _ => output.append(&mut self.held),
                }
            }
            self.state = match (self.state, octet) {
                (State::Text, octet) => text(*octet, output),
                (State::Equals | State::Padding, b'\n') => State::Text,
                (State::Equals | State::Padding, b'\r' | b' ' | b'\t') => State::Padding,
                (State::Equals, octet) if octet.is_ascii_hexdigit() => State::Digit(*octet),
                (State::Equals | State::Padding, octet) => {
                    output.push(b'=');
                    text(*octet, output)
                }
                (State::Digit(high), low) => match hex(high, *low) {
                    Some(octet) => {
                        output.push(octet);
                        State::Text
                    }
                    None => {
                        output.extend_from_slice(&[b'=', high]);
                        text(*low, output)
                    }
                },
            };
        }
    }

    pub(crate) fn finish(&mut self, output: &mut Vec<u8>) {
        match self.state {
            State::Text | State::Equals | State::Padding => {}
            State::Digit(digit) => output.extend_from_slice(&[b'=', digit]),
        }
        self.state = State::Text;
    }
}

fn text(octet: u8, output: &mut Vec<u8>) -> State {
    if octet == b'=' {
        return State::Equals;
    }
    output.push(octet);
    State::Text
}

/// The octet that two hexadecimal digits stand for.
pub(crate) fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}
