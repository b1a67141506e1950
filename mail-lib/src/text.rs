//! A text part's octets as UTF-8, and a search in them, both in chunks.

use crate::mime::Encoding;

/// Undoes transfer encoding and charset of a part that comes in chunks. Tolerant: what is malformed is replaced.
pub struct Decoder {}

impl Decoder {
    /// For a part with that encoding and charset (`None` or unknown: UTF-8, lossy).
    #[must_use]
    pub fn new(encoding: Encoding, charset: Option<&str>) -> Self {
        let _ = (encoding, charset);
        Self {}
    }

    /// Decodes the next octets; `sink` gets the text in pieces.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(&str)) {
        let _ = (chunk, sink);
    }

    /// The end: `sink` gets what was held back.
    pub fn finish(self, sink: &mut impl FnMut(&str)) {
        let _ = sink;
    }
}

/// Looks for a text without regard to case in text that comes in pieces. The empty text is found at once.
#[derive(Debug, Clone)]
pub struct Matcher {}

impl Matcher {
    /// Looks for `needle`.
    #[must_use]
    pub fn new(needle: &str) -> Self {
        let _ = needle;
        Self {}
    }

    /// The next piece. True once the needle was seen, and from then on.
    pub fn push(&mut self, piece: &str) -> bool {
        let _ = piece;
        false
    }

    /// Whether the needle was seen.
    #[must_use]
    pub fn found(&self) -> bool {
        false
    }

    /// Forgets all text (a match may not span two fields or parts), not what is looked for.
    pub fn restart(&mut self) {}
}
