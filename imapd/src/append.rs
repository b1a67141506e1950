//! APPEND and REPLACE, whose messages stream past the parser (RFC 9051 §6.3.12; several in one: RFC 3502; made of parts:
//! RFC 4469; with UTF-8 in the header: RFC 6855 §4; in place of another: RFC 8508).
//!
//! ```text
//!   a APPEND box (\Seen) {5}  hello  (\Draft) CATENATE (URL /a/;UID=1 TEXT {3}  xyz  )
//!   └─ Append, AppendMessage, ─┘ ▲   └─ AppendMessage, AppendUrl, AppendText ─┘  ▲   └─ AppendEnd
//!                          MessageData                                    MessageData
//! ```
//!
//! The text before the first literal of a message, between two and behind the last is each read once.

use crate::command::Numbering;
use crate::cursor::{Cursor, SyntaxError};
use crate::date::parse_quoted_date_time;
use crate::flag::Flag;
use crate::mailbox_name::NameForm;
use crate::sequence_set::Bound;
use crate::tag::Tag;

/// Messages and parts of messages in one command.
const PART_LIMIT: usize = 1000;

const LITERAL: SyntaxError = SyntaxError::Expected("the message as a literal");

/// APPEND or REPLACE up to its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Echoed in the answer.
    pub tag: Tag,
    /// Where to, decoded to UTF-8.
    pub mailbox: String,
    /// REPLACE: which message of the selected mailbox goes when the new one, the only one, has come.
    pub replaces: Option<(Numbering, Bound)>,
}

/// What is known of a message before its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendMessage {
    /// The message's flags.
    pub flags: Vec<Flag>,
    /// The message's internal date in seconds since 1970 UTC, else now.
    pub internal_date: Option<i64>,
    /// `UTF8 (…)`: there may be UTF-8 in its header.
    pub utf8: bool,
}

/// Octets of a message, to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendText {
    /// How many.
    pub size: u64,
    /// Whether the client waits: it is told to go on, or told NO and sends nothing. Else they come in any case.
    pub synchronising: bool,
    /// `~{size}`: there may be NULs.
    pub binary: bool,
}

/// Where in the command the next octet of its text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first message.
    First,
    /// Behind a message: another one, or the end.
    Next,
    /// Behind the literal of `UTF8 (`.
    Utf8,
    /// Behind `CATENATE (`.
    FirstPart,
    /// Behind a part.
    NextPart,
    /// At the literal that is a URL.
    Url,
}

/// What stands in a piece of the command's text, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Message(AppendMessage),
    Url(Vec<u8>),
    /// The literal behind this text is one of a message.
    Text {
        binary: bool,
    },
    /// The literal behind this text is a URL.
    UrlFollows,
    /// The command is whole.
    End,
}

/// A command that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appending {
    pub(crate) tag: Tag,
    names: NameForm,
    replaces: bool,
    place: Place,
    parts: usize,
    /// It is not understood, and what the client sends all the same is passed over.
    pub(crate) refused: Option<SyntaxError>,
}

/// What a text begins.
pub(crate) enum Begun<'a> {
    /// No such command, or its mailbox is still to come, as a literal.
    Other,
    /// One of them; the rest of the text is yet to be read.
    Append(Append, Appending, &'a [u8]),
    /// One of them that is not understood.
    Refused(Appending),
}

/// Decides whether `text`, a command so far without the braces of a literal that may follow, is an APPEND or REPLACE.
/// Called at most for the first two literals of a command: a mailbox name, then a message; and for its end.
pub(crate) fn begin(text: &[u8], names: NameForm) -> Result<Begun<'_>, SyntaxError> {
    let mut cursor = Cursor::with_names(text, names);
    let tag = Tag::new(cursor.tag()?);
    cursor.space()?;
    let numbering = if cursor.accept_word("APPEND") {
        None
    } else if cursor.accept_word("REPLACE") {
        Some(Numbering::Sequence)
    } else {
        // Something has to stand there, whatever it is.
        cursor.clone().atom()?;
        if !(cursor.accept_word("UID") && cursor.accept(b' ') && cursor.accept_word("REPLACE")) {
            return Ok(Begun::Other);
        }
        Some(Numbering::Uid)
    };
    cursor.space()?;
    let mut appending =
        Appending { tag, names, replaces: numbering.is_some(), place: Place::First, parts: 0, refused: None };
    match target(&mut cursor, numbering) {
        Ok(None) => Ok(Begun::Other),
        Ok(Some((mailbox, replaces))) => {
            let append = Append { tag: appending.tag.clone(), mailbox, replaces };
            Ok(Begun::Append(append, appending, cursor.rest()))
        }
        Err(error) => {
            appending.refused = Some(error);
            Ok(Begun::Refused(appending))
        }
    }
}

/// The mailbox, and which message is replaced.
type Target = (String, Option<(Numbering, Bound)>);

/// `None`: the mailbox is still to come.
fn target(cursor: &mut Cursor<'_>, numbering: Option<Numbering>) -> Result<Option<Target>, SyntaxError> {
    let mut replaces = None;
    if let Some(numbering) = numbering {
        replaces = Some((numbering, Bound::parse(cursor)?));
        cursor.space()?;
    }
    if cursor.is_empty() {
        return Ok(None);
    }
    Ok(Some((cursor.mailbox()?, replaces)))
}

impl Appending {
    /// Reads a piece of the command's text, which ends at a literal (`literal`) or with the command.
    pub(crate) fn read(&mut self, text: &[u8], literal: bool) -> Result<Vec<Step>, SyntaxError> {
        let mut cursor = Cursor::with_names(text, self.names);
        let mut steps = Vec::new();
        loop {
            match self.place {
                Place::Next if cursor.is_empty() && !literal => {
                    steps.push(Step::End);
                    return Ok(steps);
                }
                Place::Next if self.replaces || cursor.peek() != Some(b' ') => {
                    return Err(SyntaxError::TrailingText);
                }
                Place::First | Place::Next => {
                    cursor.space()?;
                    // Python's imapclient puts two before each message but the first.
                    while self.place == Place::Next && cursor.accept(b' ') {}
                    self.message(&mut cursor, &mut steps)?;
                }
                Place::Utf8 => {
                    cursor.expect(b')', "`)`")?;
                    self.place = Place::Next;
                    continue;
                }
                Place::NextPart if cursor.accept(b')') => {
                    self.place = Place::Next;
                    continue;
                }
                Place::FirstPart | Place::NextPart => {
                    if self.place == Place::NextPart {
                        cursor.space()?;
                    }
                    self.part(&mut cursor, &mut steps)?;
                }
                Place::Url => return Err(SyntaxError::Expected("a URL")),
            }
            if matches!(steps.last(), Some(Step::Text { .. } | Step::UrlFollows)) {
                return if literal && cursor.is_empty() { Ok(steps) } else { Err(LITERAL) };
            }
        }
    }

    /// The URL that came as a literal.
    pub(crate) fn is_url(&mut self) -> bool {
        let is_url = self.place == Place::Url;
        if is_url {
            self.place = Place::NextPart;
        }
        is_url
    }

    fn message(&mut self, cursor: &mut Cursor<'_>, steps: &mut Vec<Step>) -> Result<(), SyntaxError> {
        self.count()?;
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
        let utf8 = cursor.accept_word("UTF8");
        steps.push(Step::Message(AppendMessage { flags, internal_date, utf8 }));
        if utf8 {
            cursor.space()?;
            cursor.expect(b'(', "`(`")?;
            cursor.expect(b'~', "the message as a literal8")?;
            steps.push(Step::Text { binary: true });
            self.place = Place::Utf8;
        } else if cursor.accept_word("CATENATE") {
            cursor.space()?;
            cursor.expect(b'(', "`(`")?;
            self.place = Place::FirstPart;
        } else {
            steps.push(Step::Text { binary: cursor.accept(b'~') });
            self.place = Place::Next;
        }
        Ok(())
    }

    fn part(&mut self, cursor: &mut Cursor<'_>, steps: &mut Vec<Step>) -> Result<(), SyntaxError> {
        self.count()?;
        self.place = Place::NextPart;
        if cursor.accept_word("TEXT") {
            cursor.space()?;
            steps.push(Step::Text { binary: cursor.accept(b'~') });
        } else if cursor.accept_word("URL") {
            cursor.space()?;
            if cursor.is_empty() {
                self.place = Place::Url;
                steps.push(Step::UrlFollows);
            } else {
                steps.push(Step::Url(cursor.astring()?.into_owned()));
            }
        } else {
            return Err(SyntaxError::Expected("TEXT or URL"));
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), SyntaxError> {
        self.parts += 1;
        if self.parts > PART_LIMIT { Err(SyntaxError::TooMany("messages and parts")) } else { Ok(()) }
    }
}
