//! The structure of a message: where each MIME part stands.

use std::ops::Range;

use crate::header::Headers;

/// How deep parts may nest; what is deeper is one leaf.
pub const MAX_DEPTH: u8 = 100;
/// How many parts a message may have; what follows belongs to the last one.
pub const MAX_PARTS: usize = 10_000;

/// Finds the parts of a message that comes in chunks of any size.
#[derive(Debug, Default)]
pub struct Indexer {}

/// What one pass over a message found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The part of it that is worth storing.
    pub index: Index,
}

/// The table of parts, in pre-order; the first is the message itself. Stored with each message ([`Index::to_bytes`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    parts: Vec<Part>,
    truncated: bool,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its parent's place in the table; `None` for the message itself.
    pub parent: Option<u32>,
    /// How many parents it has. At most [`MAX_DEPTH`].
    pub depth: u8,
    /// What it holds.
    pub kind: Kind,
    /// How its body is encoded.
    pub encoding: Encoding,
    /// Its header fields with the blank line.
    pub header: Range<u64>,
    /// Its body, without the line end that belongs to the next delimiter.
    pub body: Range<u64>,
    /// Lines of its body; a last one without line end counts.
    pub lines: u64,
}

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of any subtype: worth searching.
    Text,
    /// Anything else without parts of its own.
    Other,
    /// Parts between delimiters.
    Multipart,
    /// message/rfc822: its only child is that message, whose header and body together are this part's body.
    Message,
}

/// Content-Transfer-Encoding (RFC 2045 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Also where nothing is said.
    SevenBit,
    /// 8bit.
    EightBit,
    /// binary.
    Binary,
    /// base64.
    Base64,
    /// quoted-printable.
    QuotedPrintable,
    /// A name that the standard does not have: the body is shown as it is.
    Other,
}

/// What of a part `BODY[…]` asks for (RFC 3501 §6.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `BODY[]`, `BODY[2]`.
    Content,
    /// `BODY[HEADER]`, `BODY[2.HEADER]`: with the blank line. Also the input of `HEADER.FIELDS`.
    Header,
    /// `BODY[TEXT]`, `BODY[2.TEXT]`.
    Text,
    /// `BODY[2.MIME]`.
    Mime,
}

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

impl Indexer {
    /// Before the first octet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next octets of the message, any number of them.
    pub fn push(&mut self, chunk: &[u8]) {
        let _ = chunk;
    }

    /// There are no more octets.
    #[must_use]
    pub fn finish(self) -> Indexed {
        Indexed { index: Index { parts: Vec::new(), truncated: false } }
    }
}

impl Indexed {
    /// The message's own header fields (the first 256 KiB), for ENVELOPE, dates and threading.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        Headers::new(&[])
    }

    /// The header fields of the part at `place` in the table, as far as they were kept.
    #[must_use]
    pub fn part_headers(&self, place: usize) -> Headers<'_> {
        let _ = place;
        Headers::new(&[])
    }
}

impl Index {
    /// All parts in pre-order; never empty.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Octets of the whole message (RFC822.SIZE).
    #[must_use]
    pub fn size(&self) -> u64 {
        0
    }

    /// Whether a limit cut the structure short.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The part that a section number names (RFC 3501 §6.4.5): `[1]` of a message without parts is its body.
    /// An empty number is the message itself. `None`: there is no such part.
    #[must_use]
    pub fn section(&self, number: &[u32]) -> Option<&Part> {
        let _ = number;
        None
    }

    /// Where the octets stand that `BODY[number.section]` asks for. `None`: there is no such thing, answer NIL.
    #[must_use]
    pub fn locate(&self, number: &[u32], section: Section) -> Option<Range<u64>> {
        let _ = (number, section);
        None
    }

    /// For the store: compact, versioned.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads what [`Index::to_bytes`] wrote. Total: any octets give an index whose ranges nest, or an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let _ = bytes;
        Err(IndexError::Damaged)
    }
}

/// The charset that a text part's header names (Content-Type's parameter), for [`crate::text::Decoder`].
#[must_use]
pub fn charset(headers: Headers<'_>) -> Option<String> {
    let _ = headers;
    None
}
