//! Counts header fields as a message streams by.

use mail_lib::header::{MAX_FIELDS, MAX_SECTION};

use crate::data::Fault;

/// `Received` fields at most: more is a loop (RFC 5321 §6.3 asks for a limit of at least 100).
pub const MAX_RECEIVED: u32 = 100;

/// A field's name is at most a line (RFC 5322 §2.1.1).
const MAX_NAME: u16 = 998;

const RECEIVED: &[u8] = b"received";

/// Where in the header section the scan is. The section ends at an empty line, or at a line that is no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    /// Behind `octets` of a name; `received` while they are the first ones of `Received`.
    Name {
        octets: u16,
        received: bool,
    },
    /// White space between a name and its colon (RFC 5322 §4.5.8).
    AfterName {
        received: bool,
    },
    /// To the end of the line.
    Value,
    Over,
}

/// Fed with the message's octets after the dots are taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderScan {
    at: At,
    octets: usize,
    fields: usize,
    received: u32,
}

impl Default for HeaderScan {
    fn default() -> Self {
        Self { at: At::LineStart, octets: 0, fields: 0, received: 0 }
    }
}

impl HeaderScan {
    /// Whether the header section is behind.
    pub(crate) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// Takes the next octets of the message.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Result<(), Fault> {
        let result = self.count(input);
        if result.is_err() {
            self.at = At::Over;
        }
        result
    }

    fn count(&mut self, input: &[u8]) -> Result<(), Fault> {
        let mut rest = input;
        while let [octet, after @ ..] = rest {
            let mut next = after;
            self.at = match self.at {
                At::Over => break,
                At::LineStart => match octet {
                    b' ' | b'\t' => At::Value,
                    _ => name(0, true, *octet),
                },
                At::Name { octets, received } => match octet {
                    b':' => self.field(is_whole(octets, received))?,
                    b' ' | b'\t' => At::AfterName { received: is_whole(octets, received) },
                    _ => name(octets, received, *octet),
                },
                At::AfterName { received } => match octet {
                    b' ' | b'\t' => At::AfterName { received },
                    b':' => self.field(received)?,
                    _ => At::Over,
                },
                // CR comes only before LF here: what else has one is refused elsewhere.
                At::Value => match memchr::memchr(b'\n', rest) {
                    Some(at) => {
                        next = rest.get(at + 1..).unwrap_or_default();
                        At::LineStart
                    }
                    None => {
                        next = &[];
                        At::Value
                    }
                },
            };
            self.octets += rest.len() - next.len();
            if self.octets > MAX_SECTION {
                return Err(Fault::HeaderTooLarge);
            }
            rest = next;
        }
        Ok(())
    }

    /// The name ended in its colon.
    fn field(&mut self, received: bool) -> Result<At, Fault> {
        self.fields += 1;
        self.received += u32::from(received);
        if self.received > MAX_RECEIVED {
            return Err(Fault::Loop);
        }
        if self.fields > MAX_FIELDS {
            return Err(Fault::HeaderTooLarge);
        }
        Ok(At::Value)
    }
}

/// The next octet of a name, after `octets` of it.
fn name(octets: u16, received: bool, octet: u8) -> At {
    match octet {
        b'!'..=b'9' | b';'..=b'~' if octets < MAX_NAME => At::Name {
            octets: octets + 1,
            received: received && RECEIVED.get(usize::from(octets)) == Some(&octet.to_ascii_lowercase()),
        },
        _ => At::Over,
    }
}

fn is_whole(octets: u16, received: bool) -> bool {
    received && usize::from(octets) == RECEIVED.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(pieces: &[&[u8]]) -> (Result<(), Fault>, HeaderScan) {
        let mut scan = HeaderScan::default();
        let result = pieces.iter().try_for_each(|piece| scan.feed(piece));
        (result, scan)
    }

    #[test]
    fn received_fields_are_counted_in_the_header_section_alone() {
        for (message, received, fields, over) in [
            (
                "Received: a\r\nreceived: b\r\nRECEIVED : c\r\nReceived-SPF: d\r\nXReceived: e\r\n",
                3,
                5,
                false,
            ),
            ("Received: a\r\n Received: folded\r\n\tReceived: b\r\n\r\nReceived: body\r\n", 1, 1, true),
            ("From someone\r\nReceived: a\r\n", 0, 0, true),
            ("no field\r\nReceived: a\r\n", 0, 0, true),
            (":\r\nReceived: a\r\n", 0, 0, true),
            ("\r\nReceived: a\r\n", 0, 0, true),
            ("Receive: a\r\nReceivedd: a\r\nReceived a: b\r\n", 0, 2, true),
            ("", 0, 0, false),
        ] {
            let (result, scan) = scan(&[message.as_bytes()]);
            assert_eq!(result, Ok(()), "{message:?}");
            assert_eq!((scan.received, scan.fields, scan.is_over()), (received, fields, over), "{message:?}");
        }
    }

    /// Attack class 37: a message that goes round and round.
    #[test]
    fn more_than_a_hundred_received_fields_are_a_loop() {
        assert_eq!(scan(&["Received: a\r\n".repeat(100).as_bytes()]).0, Ok(()));
        assert_eq!(scan(&["Received: a\r\n".repeat(101).as_bytes()]).0, Err(Fault::Loop));
    }

    /// Attack class 10: fields by the million, and one field of any length.
    #[test]
    fn header_bombs_are_refused() {
        assert_eq!(scan(&["a:\r\n".repeat(10_000).as_bytes()]).0, Ok(()));
        assert_eq!(scan(&["a:\r\n".repeat(10_001).as_bytes()]).0, Err(Fault::HeaderTooLarge));
        let addresses = format!("To: a@b.org{}", ",\r\n a@b.org".repeat(120_000));
        assert_eq!(scan(&[addresses.as_bytes()]).0, Err(Fault::HeaderTooLarge));
        let body = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(500_000));
        assert_eq!(scan(&[body.as_bytes()]).0, Ok(()), "a body may be of any length");
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_count(
            lines in prop::collection::vec("(Received|X|From| )[ :]?[: a]{0,3}", 0..12),
            cut in 0_usize..200,
        ) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let octets = message.as_bytes();
            let (left, right) = octets.split_at(cut.min(octets.len()));
            prop_assert_eq!(scan(&[octets]), scan(&[left, right]));
            let single: Vec<&[u8]> = octets.chunks(1).collect();
            prop_assert_eq!(scan(&[octets]), scan(&single));
        }
    }
}
