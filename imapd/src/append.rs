//! APPEND, whose last literal is a message and streams past the parser (RFC 9051 §6.3.12, RFC 3516 §4.4).

use crate::cursor::{Cursor, SyntaxError};
use crate::date::parse_quoted_date_time;
use crate::flag::Flag;
use crate::mailbox_name::NameForm;
use crate::tag::Tag;

/// APPEND up to its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Echoed in the answer.
    pub tag: Tag,
    /// Where to, decoded to UTF-8.
    pub mailbox: String,
    /// The message's flags.
    pub flags: Vec<Flag>,
    /// The message's internal date in seconds since 1970 UTC, else now.
    pub internal_date: Option<i64>,
    /// Octets of the message to come.
    pub size: u64,
    /// Whether the client waits: it is told to go on, or told NO and sends nothing. Else the message comes
    /// in any case.
    pub synchronising: bool,
    /// `~{size}`: the message may have NULs.
    pub binary: bool,
}

/// What a literal at the end of `text` is, where `text` is a command so far without the literal's braces.
pub(crate) enum LiteralRole {
    /// An ordinary string.
    Argument,
    /// The message of an APPEND; size and form are filled in by the parser.
    Message(Append),
    /// The message of an APPEND that is not understood.
    Refused(Tag, SyntaxError),
}

/// Decides the role of the literal that begins at the end of `text`. Called at most for the first two literals
/// of a command: a mailbox name, then the message.
pub(crate) fn literal_role(text: &[u8], names: NameForm) -> Result<LiteralRole, SyntaxError> {
    let mut cursor = Cursor::with_names(text, names);
    let tag = cursor.tag()?;
    cursor.space()?;
    if !cursor.atom()?.eq_ignore_ascii_case(b"APPEND") {
        return Ok(LiteralRole::Argument);
    }
    cursor.space()?;
    if cursor.is_empty() {
        return Ok(LiteralRole::Argument);
    }
    let tag = Tag::new(tag);
    Ok(match arguments(&mut cursor, &tag) {
        Ok(append) => LiteralRole::Message(append),
        Err(error) => LiteralRole::Refused(tag, error),
    })
}

fn arguments(cursor: &mut Cursor<'_>, tag: &Tag) -> Result<Append, SyntaxError> {
    let mailbox = cursor.mailbox()?;
    cursor.space()?;
    let mut flags = Vec::new();
    if cursor.peek() == Some(b'(') {
        flags = Flag::parse_list(cursor)?;
        cursor.space()?;
    }
    let mut internal_date = None;
    if cursor.peek() == Some(b'"') {
        internal_date = Some(parse_quoted_date_time(cursor)?);
        cursor.space()?;
    }
    let binary = cursor.accept(b'~');
    if !cursor.is_empty() {
        return Err(SyntaxError::Expected("the message as a literal"));
    }
    Ok(Append { tag: tag.clone(), mailbox, flags, internal_date, size: 0, synchronising: true, binary })
}
