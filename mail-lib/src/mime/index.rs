//! The table of parts, and section numbers in it.

use std::ops::Range;

/// The table of parts, in pre-order; the first is the message itself. Stored with each message ([`Index::to_bytes`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    parts: Vec<Part>,
    /// For each part, the place behind its last descendant.
    ends: Vec<usize>,
    truncated: bool,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How many parents it has. At most [`super::MAX_DEPTH`]; in pre-order this is the whole tree.
    pub depth: u8,
    /// What it holds.
    pub kind: Kind,
    /// How its body is encoded.
    pub encoding: Encoding,
    /// Its header fields with the blank line.
    pub header: Range<u64>,
    /// Its body, without the line end that belongs to the next delimiter. Starts where the header ends.
    pub body: Range<u64>,
    /// Lines of its body; a last one without line end counts.
    pub lines: u64,
}

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of any subtype, and message/* that is not looked into: worth searching.
    Text,
    /// Anything else without parts of its own.
    Other,
    /// Parts between delimiters; none, where no delimiter was found.
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

impl Kind {
    /// Whether it has no parts of its own.
    #[must_use]
    pub fn is_leaf(self) -> bool {
        match self {
            Self::Text | Self::Other => true,
            Self::Multipart | Self::Message => false,
        }
    }
}

impl Encoding {
    /// The encoding of that name, without regard to case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        const NAMES: [(&[u8], Encoding); 5] = [
            (b"7bit", Encoding::SevenBit),
            (b"8bit", Encoding::EightBit),
            (b"binary", Encoding::Binary),
            (b"base64", Encoding::Base64),
            (b"quoted-printable", Encoding::QuotedPrintable),
        ];
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::Other, |(_, encoding)| *encoding)
    }
}

impl Index {
    /// `parts` is a tree in pre-order: one part of depth 0, first, and each depth at most one above the one before.
    pub(super) fn new(parts: Vec<Part>, truncated: bool) -> Self {
        let mut ends = vec![parts.len(); parts.len()];
        let mut open: Vec<(usize, u8)> = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            while let Some((ended, _)) = open.pop_if(|(_, depth)| *depth >= part.depth) {
                if let Some(end) = ends.get_mut(ended) {
                    *end = place;
                }
            }
            open.push((place, part.depth));
        }
        Self { parts, ends, truncated }
    }

    /// All parts in pre-order; never empty.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Octets of the whole message (RFC822.SIZE).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.parts.first().map_or(0, |root| root.body.end)
    }

    /// Whether a limit cut the structure short.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The places of a part's children, in order.
    pub fn children(&self, place: usize) -> impl Iterator<Item = usize> {
        let end = self.ends.get(place).copied().unwrap_or(0);
        let mut next = place + 1;
        std::iter::from_fn(move || {
            let child = next;
            next = self.ends.get(child).copied()?;
            (child < end).then_some(child)
        })
    }

    /// The message inside a part of [`Kind::Message`], whose header is that of `BODY[n.HEADER]`.
    #[must_use]
    pub fn message_in(&self, place: usize) -> Option<&Part> {
        match self.parts.get(place)?.kind {
            Kind::Message => self.parts.get(place + 1),
            Kind::Text | Kind::Other | Kind::Multipart => None,
        }
    }

    /// The part that a section number names (RFC 3501 §6.4.5): `[1]` of a message without parts is its body.
    /// An empty number is the message itself. `None`: there is no such part.
    #[must_use]
    pub fn section(&self, number: &[u32]) -> Option<&Part> {
        self.parts.get(self.place(number)?)
    }

    /// Like [`Index::section`], but gives the part's place in the table.
    #[must_use]
    pub fn place(&self, number: &[u32]) -> Option<usize> {
        let mut place = 0;
        // Where the number counts the parts of a message, rather than those of a multipart inside it.
        let mut in_message = true;
        for nth in number {
            let part = self.parts.get(place)?;
            let parent = match part.kind {
                Kind::Multipart => Some(place),
                Kind::Message if !in_message => {
                    place += 1;
                    match self.parts.get(place)?.kind {
                        Kind::Multipart => Some(place),
                        Kind::Text | Kind::Other | Kind::Message => None,
                    }
                }
                Kind::Text | Kind::Other | Kind::Message if in_message => None,
                Kind::Text | Kind::Other | Kind::Message => return None,
            };
            let nth = usize::try_from(nth.checked_sub(1)?).ok()?;
            place = match parent {
                Some(parent) => self.children(parent).nth(nth)?,
                // A message that is no multipart has one part, itself.
                None => (nth == 0).then_some(place)?,
            };
            in_message = false;
        }
        Some(place)
    }

    /// Where the octets stand that `BODY[number.section]` asks for. `None`: there is no such thing, answer NIL.
    #[must_use]
    pub fn locate(&self, number: &[u32], section: Section) -> Option<Range<u64>> {
        let place = self.place(number)?;
        let part = self.parts.get(place)?;
        let message = if number.is_empty() { Some(part) } else { self.message_in(place) };
        match section {
            Section::Content if number.is_empty() => Some(part.header.start..part.body.end),
            Section::Content => Some(part.body.clone()),
            Section::Header => message.map(|message| message.header.clone()),
            Section::Text => message.map(|message| message.body.clone()),
            Section::Mime if number.is_empty() => None,
            Section::Mime => Some(part.header.clone()),
        }
    }
}
