//! PARTIAL (RFC 9394): some of what is found, counted from either end.

use std::num::NonZeroU32;
use std::ops::Range;

use crate::cursor::{Cursor, SyntaxError};

/// `1:500`, or `-1:-100`: the first ones, or the last ones. As the client wrote it, for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialRange {
    /// Counted from one.
    pub first: NonZeroU32,
    /// The ends may come in either order.
    pub last: NonZeroU32,
    /// Counted from the end.
    pub from_end: bool,
}

impl PartialRange {
    /// `PARTIAL` has been read, and what follows it is this.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let from_end = cursor.accept(b'-');
        let first = cursor.nonzero()?;
        cursor.expect(b':', "a range like 1:500 or -1:-100")?;
        if cursor.accept(b'-') != from_end {
            return Err(SyntaxError::Expected("a range that is counted from one end"));
        }
        Ok(Self { first, last: cursor.nonzero()?, from_end })
    }

    /// Which of `count` results are meant; empty where there are none.
    pub fn of(&self, count: usize) -> Range<usize> {
        let number = |number: NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        let low = number(self.first.min(self.last)).saturating_sub(1).min(count);
        let high = number(self.first.max(self.last)).min(count);
        if self.from_end { count - high..count - low } else { low..high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<PartialRange, SyntaxError> {
        let mut cursor = Cursor::new(text);
        let range = PartialRange::parse(&mut cursor)?;
        cursor.end()?;
        Ok(range)
    }

    #[test]
    fn ranges_are_cut_to_what_there_is() {
        for (text, count, expected) in [
            (&b"1:500"[..], 3, 0..3),
            (b"2:2", 3, 1..2),
            (b"3:2", 3, 1..3),
            (b"4:9", 3, 3..3),
            (b"-1:-100", 3, 0..3),
            (b"-1:-2", 3, 1..3),
            (b"-3:-2", 3, 0..2),
            (b"-4:-9", 3, 0..0),
            (b"1:4294967295", 0, 0..0),
        ] {
            assert_eq!(parse(text).unwrap().of(count), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for text in
            [&b""[..], b"1", b"0:1", b"1:0", b"1:*", b"-1:1", b"1:-1", b"-0:-1", b"1:4294967296", b"1:2:3"]
        {
            assert!(parse(text).is_err(), "{}", text.escape_ascii());
        }
    }
}
