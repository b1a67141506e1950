//! What comes after 354, up to CRLF.CRLF and not one octet further (RFC 5321 §4.1.1.4, §4.5.2).

use crate::{header_scan::HeaderScan, reply::Reply, simulate};

/// Why a message is not taken. It is read to its end all the same, so that nothing of it is read as a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// CR without LF behind it.
    #[error("bare CR in message data")]
    BareCarriageReturn,
    /// LF without CR before it.
    #[error("bare LF in message data")]
    BareLineFeed,
    /// NUL.
    #[error("NUL in message data")]
    Nul,
    /// Over the size that EHLO announced.
    #[error("message too large")]
    TooLarge,
    /// Too many `Received` fields.
    #[error("too many Received fields, this is a loop")]
    Loop,
    /// Too many header fields, or too many octets of them.
    #[error("message header too large")]
    HeaderTooLarge,
    /// An address asks for this code (test instances).
    #[error("simulated failure")]
    Simulated(u16),
}

impl Fault {
    /// Whether another server might see the end of this message elsewhere than we do: such a client is not spoken to
    /// any further.
    #[must_use]
    pub fn is_smuggling(self) -> bool {
        match self {
            Self::BareCarriageReturn | Self::BareLineFeed | Self::Nul => true,
            Self::TooLarge | Self::Loop | Self::HeaderTooLarge | Self::Simulated(_) => false,
        }
    }

    /// Which of several faults is named.
    fn gravity(self) -> u8 {
        match self {
            Self::BareCarriageReturn | Self::BareLineFeed | Self::Nul => 2,
            Self::TooLarge => 1,
            Self::Loop | Self::HeaderTooLarge | Self::Simulated(_) => 0,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::BareCarriageReturn => {
                Reply::new(554, "5.6.0", "bare CR in message data; lines end in CR LF (SMTP smuggling)")
            }
            Self::BareLineFeed => {
                Reply::new(554, "5.6.0", "bare LF in message data; lines end in CR LF (SMTP smuggling)")
            }
            Self::Nul => Reply::new(554, "5.6.0", "NUL in message data"),
            Self::TooLarge => Reply::new(552, "5.3.4", "message too large"),
            Self::Loop => Reply::new(550, "5.4.6", "too many Received fields, this is a loop"),
            Self::HeaderTooLarge => Reply::new(554, "5.6.0", "message header too large"),
            Self::Simulated(code) => simulate::reply(code),
        }
    }
}

/// Where in a line the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind CRLF, or at the very beginning: the CRLF of the DATA command counts.
    LineStart,
    /// Behind CRLF and a dot.
    Dot,
    /// Behind CRLF, a dot and CR: LF ends the message.
    DotCr,
    /// Behind CR.
    Cr,
    Middle,
}

/// Reads one message's data, in whatever pieces it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    at: At,
    octets: u64,
    limit: u64,
    header: HeaderScan,
    fault: Option<Fault>,
}

impl Data {
    /// For a message of at most `limit` octets.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { at: At::LineStart, octets: 0, limit, header: HeaderScan::default(), fault: None }
    }

    /// Octets of the message so far, without stuffed dots.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// What is wrong with the message, as far as it is known. What is wrong with its line ends matters most.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Takes the next octets and puts those of the message behind what `message` holds. Returns how many were used,
    /// and whether they end the message; if not, all were used.
    pub fn feed(&mut self, input: &[u8], message: &mut Vec<u8>) -> (usize, bool) {
        // `kept`: up to where `input` has gone into `message` or is not of it.
        let (mut at, mut kept) = (0, 0);
        let between = |from: usize, to: usize| input.get(from..to).unwrap_or_default();
        loop {
            if self.at == At::Middle {
                match memchr::memchr3(b'\r', b'\n', 0, between(at, input.len())) {
                    Some(skipped) => at += skipped,
                    None => at = input.len(),
                }
            }
            let Some(&octet) = input.get(at) else {
                self.keep(between(kept, at), message);
                return (at, false);
            };
            (self.at, at) = match (self.at, octet) {
                (At::LineStart, b'.') => {
                    self.keep(between(kept, at), message);
                    kept = at + 1;
                    (At::Dot, at + 1)
                }
                (At::LineStart | At::Middle, b'\r') => (At::Cr, at + 1),
                (At::Dot, b'\r') => {
                    kept = at + 1;
                    (At::DotCr, at + 1)
                }
                (At::DotCr, b'\n') => return (at + 1, true),
                (At::Cr, b'\n') => (At::LineStart, at + 1),
                (At::Cr | At::DotCr, b'\r') => {
                    self.blame(Fault::BareCarriageReturn);
                    (At::Cr, at + 1)
                }
                (At::Cr | At::DotCr, _) => {
                    self.blame(Fault::BareCarriageReturn);
                    (At::Middle, at)
                }
                (At::LineStart | At::Dot | At::Middle, b'\n') => {
                    self.blame(Fault::BareLineFeed);
                    (At::Middle, at + 1)
                }
                (At::LineStart | At::Dot | At::Middle, 0) => {
                    self.blame(Fault::Nul);
                    (At::Middle, at + 1)
                }
                (At::LineStart | At::Dot | At::Middle, _) => (At::Middle, at + 1),
            };
        }
    }

    fn keep(&mut self, piece: &[u8], message: &mut Vec<u8>) {
        self.octets = self.octets.saturating_add(piece.len().try_into().unwrap_or(u64::MAX));
        if self.octets > self.limit {
            self.blame(Fault::TooLarge);
        }
        if !self.header.is_over()
            && let Err(fault) = self.header.feed(piece)
        {
            self.blame(fault);
        }
        if self.fault.is_none() {
            message.extend_from_slice(piece);
        }
    }

    /// The graver fault stands, else the first: the same however the input was cut.
    fn blame(&mut self, fault: Fault) {
        if self.fault.is_none_or(|earlier| fault.gravity() > earlier.gravity()) {
            self.fault = Some(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::slow_data;

    /// The message and its fault, and how many octets were used; `None`: not at its end.
    fn read(pieces: &[&[u8]]) -> Option<(Result<Vec<u8>, Fault>, usize)> {
        let (mut data, mut message, mut used) = (Data::new(1000), Vec::new(), 0);
        for piece in pieces {
            let (taken, ended) = data.feed(piece, &mut message);
            used += taken;
            if ended {
                return Some((data.fault().map_or(Ok(message), Err), used));
            }
            assert_eq!(taken, piece.len());
        }
        None
    }

    #[test]
    fn data_ends_at_its_dot_and_stuffed_dots_are_taken_out() {
        for (input, message) in [
            (&b".\r\n"[..], &b""[..]),
            (b"\r\n.\r\n", b"\r\n"),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"..a\r\n.b\r\n...\r\n.\r\n", b".a\r\nb\r\n..\r\n"),
            (b"a.\r\n.\r\n", b"a.\r\n"),
            (b"a\r\n.\r\nQUIT\r\n", b"a\r\n"),
            (b"\xff\xc3\xbc\r\n.\r\n", b"\xff\xc3\xbc\r\n"),
        ] {
            let (result, used) = read(&[input]).unwrap();
            assert_eq!(result.as_deref(), Ok(message), "{}", input.escape_ascii());
            assert!(input.get(..used).unwrap().ends_with(b".\r\n"));
            let single: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(read(&single), Some((result, used)), "{}", input.escape_ascii());
        }
    }

    /// Attack class 3. Each sequence stands in a body, before what would be a second transaction; the true end follows.
    /// None but the last may end the message where it stands, and each of those leaves nothing but a refusal.
    #[test]
    fn nothing_but_crlf_dot_crlf_ends_data() {
        use Fault::{BareCarriageReturn as Cr, BareLineFeed as Lf, Nul};

        for (sequence, expected) in [
            (&b"\n.\n"[..], Err(Lf)),
            (b"\n.\r\n", Err(Lf)),
            (b"\n.\r", Err(Lf)),
            (b"\r.\r", Err(Cr)),
            (b"\r.\n", Err(Cr)),
            (b"\r.\r\n", Err(Cr)),
            (b"\r\n.\n", Err(Lf)),
            (b"\r\n.\r", Err(Cr)),
            (b"\r\n.\r\r\n", Err(Cr)),
            (b"\r\n\r.\r\n", Err(Cr)),
            (b"\r\r\n.\r\n", Err(Cr)),
            (b"\r\r.\r\r", Err(Cr)),
            (b"\r\r\n.\r\r\n", Err(Cr)),
            (b"\n\n.\n\n", Err(Lf)),
            (b"\n\r.\n\r", Err(Lf)),
            (b"\n\r\n.\n\r\n", Err(Lf)),
            (b"\n.\n\r\n", Err(Lf)),
            (b"\r\n\x00.\r\n", Err(Nul)),
            (b"\r\n.\x00\r\n", Err(Nul)),
            (b"\r\x00\n.\r\x00\n", Err(Cr)),
            (b"\x00\r\n.\r\n", Err(Nul)),
            (b"\r\n.\r\x00\n", Err(Cr)),
            (b"\r\n. \r\n", Ok(&b"a\r\n \r\nMAIL FROM:<b@c.org>\r\n"[..])),
            (b"\r\n .\r\n", Ok(b"a\r\n .\r\nMAIL FROM:<b@c.org>\r\n")),
            (b"\r\n..\r\n", Ok(b"a\r\n.\r\nMAIL FROM:<b@c.org>\r\n")),
            ("\u{85}.\u{85}".as_bytes(), Ok("a\u{85}.\u{85}MAIL FROM:<b@c.org>\r\n".as_bytes())),
            (b"\x0b.\x0c", Ok(b"a\x0b.\x0cMAIL FROM:<b@c.org>\r\n")),
            (b"\r\n.\r\n", Ok(b"a\r\n")),
        ] {
            let input = [b"a", sequence, b"MAIL FROM:<b@c.org>\r\n.\r\n"].concat();
            let (result, used) = read(&[&input]).unwrap();
            assert_eq!(result.as_deref().map_err(|fault| *fault), expected, "{}", sequence.escape_ascii());
            // Where line ends are in doubt only the last end counts, unless a true one came before.
            let honest_end = memchr::memmem::find(&input, b"\r\n.\r\n").unwrap() + 5;
            assert_eq!(used, honest_end, "{}", sequence.escape_ascii());
            let single: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(read(&single), Some((result, used)), "{}", sequence.escape_ascii());
        }
    }

    #[test]
    fn a_message_of_the_limit_is_taken_and_one_octet_more_is_not() {
        let line = [b'a'; 998];
        let input = [&line[..], b"\r\n.\r\n"].concat();
        assert_eq!(read(&[&input]).unwrap().0.unwrap().len(), 1000);
        let input = [&line[..], b"a\r\n.\r\n"].concat();
        assert_eq!(read(&[&input]), Some((Err(Fault::TooLarge), input.len())));
        let input = [&b".."[..], &line[..997], b"\r\n.\r\n"].concat();
        assert_eq!(read(&[&input]).unwrap().0.unwrap().len(), 1000, "the stuffed dot does not count");
    }

    #[test]
    fn doubtful_line_ends_matter_more_than_size() {
        for tail in [&b"\n.\r\n"[..], b"b\rc"] {
            let input = [&b"a\r\n".repeat(500)[..], tail, b"\r\n.\r\n"].concat();
            let (result, _) = read(&[&input]).unwrap();
            assert!(result.unwrap_err().is_smuggling());
        }
    }

    fn doubtful() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            &b"\r"[..],
            b"\n",
            b"\r\n",
            b".",
            b"a",
            b"\0",
            b"\r\n.",
            b"Received: ",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Attack class 3, at random: the reader agrees with a slow search for CRLF.CRLF, at every cut.
        #[test]
        fn the_reader_agrees_with_a_slow_one_at_every_cut(input in doubtful(), cut in 0_usize..80) {
            let expected = slow_data(&input, 1000);
            let (left, right) = input.split_at(cut.min(input.len()));
            let single: Vec<&[u8]> = input.chunks(1).collect();
            prop_assert_eq!(&read(&[&input]), &expected);
            prop_assert_eq!(&read(&[left, right]), &expected);
            prop_assert_eq!(&read(&single), &expected);
        }
    }
}
