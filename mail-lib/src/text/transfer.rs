//! Content-Transfer-Encoding undone (RFC 2045 §6.7, §6.8), in chunks, tolerant of what is malformed.

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

/// A `=` that starts neither two hexadecimal digits nor a soft line break stands for itself.
#[derive(Debug, Default)]
pub(crate) struct QuotedPrintable {
    state: State,
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
