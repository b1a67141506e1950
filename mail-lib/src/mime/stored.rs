//! The part table as octets in the store. Written for decades: the form is ours, small, and has a version.
//!
//! ```text
//! version: 1                  one octet
//! flags                       one octet; 1: truncated
//! parts                       varint, 1 to MAX_PARTS
//! for each part:
//!   kind + 4 × encoding       one octet
//!   depth                     one octet
//!   header.start              varint, from the previous part's header.start (0 for the first)
//!   header length             varint
//!   body length               varint
//!   lines                     varint
//! ```
//!
//! Varints are LEB128. Offsets count in the message, so a table of a usual mail is 8 octets a part. Reading checks what
//! [`Index`] promises (one root, a tree, ranges that nest), since the octets may come from a damaged disk.

use super::{Encoding, Index, Kind, MAX_DEPTH, MAX_PARTS, Part};

const VERSION: u8 = 1;
const TRUNCATED: u8 = 1;

/// Why stored octets are not an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Written by a version that this one does not know.
    #[error("the part table has version {0}, which this program does not know; index the message again")]
    Version(u8),
    /// Damaged.
    #[error("the part table is damaged; index the message again")]
    Damaged,
}

impl Index {
    /// For the store: compact, versioned.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 12 * self.parts().len());
        bytes.extend_from_slice(&[VERSION, u8::from(self.truncated()) * TRUNCATED]);
        write_varint(&mut bytes, u64::try_from(self.parts().len()).unwrap_or(u64::MAX));
        let mut previous = 0;
        for part in self.parts() {
            bytes.extend_from_slice(&[kind_code(part.kind) + 4 * encoding_code(part.encoding), part.depth]);
            write_varint(&mut bytes, part.header.start.saturating_sub(previous));
            write_varint(&mut bytes, part.header.end.saturating_sub(part.header.start));
            write_varint(&mut bytes, part.body.end.saturating_sub(part.body.start));
            write_varint(&mut bytes, part.lines);
            previous = part.header.start;
        }
        bytes
    }

    /// Reads what [`Index::to_bytes`] wrote. Total: any octets give an index whose ranges nest, or an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let (version, rest) = bytes.split_first().ok_or(IndexError::Damaged)?;
        if *version != VERSION {
            return Err(IndexError::Version(*version));
        }
        let (parts, truncated) = read_table(rest).ok_or(IndexError::Damaged)?;
        Ok(Self::new(parts, truncated))
    }
}

fn read_table(bytes: &[u8]) -> Option<(Vec<Part>, bool)> {
    let mut reader = Reader(bytes);
    let flags = reader.octet()?;
    let count = usize::try_from(reader.varint()?).ok()?;
    // A part takes six octets at least: nothing is allocated for a count that the octets cannot hold.
    if flags > TRUNCATED || !(1..=MAX_PARTS).contains(&count) || count > reader.0.len() / 6 {
        return None;
    }
    let mut parts: Vec<Part> = Vec::with_capacity(count);
    let mut open: Vec<usize> = Vec::new();
    for place in 0..count {
        let part = read_part(&mut reader, parts.last().map_or(0, |previous| previous.header.start))?;
        open.truncate(usize::from(part.depth));
        if open.len() != usize::from(part.depth) || (part.depth == 0) != (place == 0) {
            return None;
        }
        if let Some(parent) = open.last() {
            let parent_part = parts.get(*parent)?;
            let fits = match parent_part.kind {
                Kind::Multipart => part.header.start >= parent_part.body.start,
                Kind::Message => {
                    place == parent + 1
                        && part.header.start == parent_part.body.start
                        && part.body.end == parent_part.body.end
                }
                Kind::Text | Kind::Other => false,
            };
            if !fits || part.body.end > parent_part.body.end {
                return None;
            }
        } else if part.header.start != 0 {
            return None;
        }
        open.push(place);
        parts.push(part);
    }
    let messages_have_one_child = parts.iter().enumerate().all(|(place, part)| {
        part.kind != Kind::Message || parts.get(place + 1).is_some_and(|child| child.depth == part.depth + 1)
    });
    (reader.0.is_empty() && messages_have_one_child).then_some((parts, flags == TRUNCATED))
}

fn read_part(reader: &mut Reader<'_>, previous: u64) -> Option<Part> {
    let codes = reader.octet()?;
    let depth = reader.octet()?;
    if depth > MAX_DEPTH {
        return None;
    }
    let header_start = previous.checked_add(reader.varint()?)?;
    let header_end = header_start.checked_add(reader.varint()?)?;
    let body_end = header_end.checked_add(reader.varint()?)?;
    let lines = reader.varint()?;
    Some(Part {
        depth,
        kind: kind_of(codes % 4),
        encoding: encoding_of(codes / 4)?,
        header: header_start..header_end,
        body: header_end..body_end,
        lines,
    })
}

fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Text => 0,
        Kind::Other => 1,
        Kind::Multipart => 2,
        Kind::Message => 3,
    }
}

fn kind_of(code: u8) -> Kind {
    match code {
        0 => Kind::Text,
        1 => Kind::Other,
        2 => Kind::Multipart,
        _ => Kind::Message, // two bits: 3
    }
}

fn encoding_code(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::SevenBit => 0,
        Encoding::EightBit => 1,
        Encoding::Binary => 2,
        Encoding::Base64 => 3,
        Encoding::QuotedPrintable => 4,
        Encoding::Other => 5,
    }
}

fn encoding_of(code: u8) -> Option<Encoding> {
    match code {
        0 => Some(Encoding::SevenBit),
        1 => Some(Encoding::EightBit),
        2 => Some(Encoding::Binary),
        3 => Some(Encoding::Base64),
        4 => Some(Encoding::QuotedPrintable),
        5 => Some(Encoding::Other),
        _ => None,
    }
}

fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (octet, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*octet)
    }

    /// Only the shortest form: one table has one spelling.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 || octet == 0 && shift > 0 {
                return None;
            }
            number |= bits << shift;
            if octet & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte for byte: stored tables must stay readable. A change here is a new version.
    #[test]
    fn the_stored_form_is_golden() {
        let message = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhi\n--b\n\
            Content-Type: message/rfc822\n\nSubject: x\n\nbody\n--b--\n";
        let mut indexer = crate::mime::Indexer::new();
        indexer.push(message);
        let index = indexer.finish().index;
        let bytes = index.to_bytes();
        #[rustfmt::skip]
        let golden = [
            1, 0, 4,
            2, 0, 0, 43, 65, 10, // the message: 43 octets of header, 65 of body
            0, 1, 47, 1, 2, 1, // "hi"
            3, 1, 8, 30, 16, 3, // the part that holds a message
            0, 2, 30, 12, 4, 1, // that message
        ];
        assert_eq!(bytes, golden);
        assert_eq!(Index::from_bytes(&bytes), Ok(index));
    }

    #[test]
    fn damaged_tables_are_refused() {
        let leaf = [0, 0, 0, 1, 1, 1];
        for (bytes, error, reason) in [
            (&[][..], IndexError::Damaged, "empty"),
            (&[2, 0, 1], IndexError::Version(2), "a version to come"),
            (&[1, 2, 1, 0, 0, 0, 1, 1, 1], IndexError::Damaged, "an unknown flag"),
            (&[1, 0, 0], IndexError::Damaged, "no part"),
            (
                &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                IndexError::Damaged,
                "a huge count",
            ),
            (&[1, 0, 1, 0, 1, 0, 1, 1, 1], IndexError::Damaged, "a root of depth 1"),
            (&[1, 0, 1, 0, 0, 1, 1, 1, 1], IndexError::Damaged, "a root that starts late"),
            (&[1, 0, 1, 24, 0, 0, 1, 1, 1], IndexError::Damaged, "an unknown encoding"),
            (&[1, 0, 1, 3, 0, 0, 1, 1, 1], IndexError::Damaged, "a message part without message"),
            (&[1, 0, 2, 0, 0, 0, 1, 9, 1, 0, 1, 1, 1, 1, 1], IndexError::Damaged, "a leaf with a child"),
            (
                &[1, 0, 2, 2, 0, 0, 1, 9, 1, 0, 1, 1, 1, 9, 1],
                IndexError::Damaged,
                "a child beyond its parent",
            ),
            (&[1, 0, 2, 2, 0, 0, 1, 9, 1, 0, 1, 0, 1, 3, 1], IndexError::Damaged, "a child in the header"),
            (&[1, 0, 2, 2, 0, 0, 1, 9, 1, 0, 2, 1, 1, 3, 1], IndexError::Damaged, "a level left out"),
            (&[1, 0, 1, 0, 0, 0x80, 0, 1, 1, 1], IndexError::Damaged, "a long spelling of 0"),
            (&[1, 0, 1, 0, 0, 0, 1, 1, 1, 0], IndexError::Damaged, "octets left over"),
        ] {
            assert_eq!(Index::from_bytes(bytes), Err(error), "{reason}");
        }
        let good = [&[1, 0, 1][..], &leaf].concat();
        assert!(Index::from_bytes(&good).is_ok());
        for cut in 0..good.len() {
            assert!(Index::from_bytes(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_table_or_an_error(
            tail in proptest::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..60), parts in 1_u8..8
        ) {
            let bytes = [&[1, 0, parts][..], &tail].concat();
            if let Ok(index) = Index::from_bytes(&bytes) {
                prop_assert_eq!(index.to_bytes(), bytes);
            }
        }
    }
}
