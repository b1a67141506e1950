//! What a client calls its command.

use std::fmt;

use crate::cursor::Cursor;

/// The client's name for a command, echoed in its answer. ASTRING-CHARs without `+`, at most 128.
#[derive(Clone, PartialEq, Eq)]
pub struct Tag(Box<[u8]>);

impl Tag {
    /// `text` comes from [`crate::cursor::Cursor::tag`].
    pub(crate) fn new(text: &[u8]) -> Self {
        Self(text.into())
    }

    /// One that was a tag before: from where it was kept.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        (cursor.tag().ok()?.len() == text.len()).then(|| Self::new(text))
    }

    /// For the answer.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tag({})", self.0.escape_ascii())
    }
}
