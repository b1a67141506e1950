//! Command lines.

/// The longest command line with its CRLF, octets. RFC 5321 §4.5.3.1.4 says 512 and extensions add to it.
pub const MAX_LINE: usize = 2048;

/// The longest line with an answer within AUTH, with its CRLF, octets (RFC 4954 §4).
pub const MAX_ANSWER: usize = 12_288;

/// What stands at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its CRLF, and the octets it took with it.
    Complete(&'a [u8], usize),
    /// No end yet.
    Partial,
    /// An LF without its CR: where the peer sees a line's end, the next server might not.
    BareLineFeed,
    /// No end within the bound.
    TooLong,
}

/// Cuts the first line off, of at most [`MAX_LINE`] octets. Only CRLF ends a line (RFC 5321 §2.3.8).
#[must_use]
pub fn split_line(input: &[u8]) -> Line<'_> {
    split_line_within(input, MAX_LINE)
}

/// The same with another bound.
#[must_use]
pub fn split_line_within(input: &[u8], bound: usize) -> Line<'_> {
    let window = input.get(..bound).unwrap_or(input);
    match memchr::memchr(b'\n', window) {
        Some(at) => match window.split_at(at).0 {
            [line @ .., b'\r'] => Line::Complete(line, at + 1),
            _ => Line::BareLineFeed,
        },
        None if input.len() < bound => Line::Partial,
        None => Line::TooLong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crlf_ends_a_line() {
        for (input, expected) in [
            (&b""[..], Line::Partial),
            (b"NOOP", Line::Partial),
            (b"NOOP\r", Line::Partial),
            (b"\r\n", Line::Complete(b"", 2)),
            (b"NOOP\r\n", Line::Complete(b"NOOP", 6)),
            (b"NOOP\r\nQUIT\r\n", Line::Complete(b"NOOP", 6)),
            (b"a\rb\r\n", Line::Complete(b"a\rb", 5)),
            (b"a\r\r\n", Line::Complete(b"a\r", 4)),
            (b"NOOP\n", Line::BareLineFeed),
            (b"\n", Line::BareLineFeed),
            (b"NOOP\nQUIT\r\n", Line::BareLineFeed),
        ] {
            assert_eq!(split_line(input), expected, "{}", input.escape_ascii());
        }
    }

    /// Attack class 6: a line without end is given up at the bound.
    #[test]
    fn a_line_over_the_bound_is_too_long_even_if_it_ends_later() {
        let mut input = vec![b'a'; MAX_LINE - 2];
        input.extend(b"\r\n");
        assert_eq!(split_line(&input), Line::Complete(&vec![b'a'; MAX_LINE - 2], MAX_LINE));
        assert_eq!(split_line(&input[..MAX_LINE - 1]), Line::Partial);
        let mut longer = vec![b'a'; MAX_LINE - 1];
        longer.extend(b"\r\n");
        assert_eq!(split_line(&longer), Line::TooLong);
        assert_eq!(split_line(&vec![b'a'; MAX_LINE]), Line::TooLong);
    }
}
