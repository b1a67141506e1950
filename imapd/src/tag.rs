//! What a client calls its command.

use std::fmt;

/// The client's name for a command, echoed in its answer. ASTRING-CHARs without `+`, at most 128.
#[derive(Clone, PartialEq, Eq)]
pub struct Tag(Box<[u8]>);

impl Tag {
    /// `text` comes from [`crate::cursor::Cursor::tag`].
    pub(crate) fn new(text: &[u8]) -> Self {
        Self(text.into())
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
