//! Frames the byte stream into commands. Lines and literals are collected until a command is whole, then the
//! command is parsed once; the message of an APPEND is handed through piece by piece.

use std::collections::VecDeque;
use std::ops::Range;

use crate::append::{self, Append, AppendMessage, AppendText, Appending, Begun, Step};
use crate::command::Tagged;
use crate::cursor::{Cursor, SyntaxError, decimal};
use crate::mailbox_name::NameForm;
use crate::tag::Tag;

/// What one command may cost. Checked before memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one line, its end included; a command with literals has several lines.
    pub line: usize,
    /// Octets of one literal that is an argument.
    pub literal: usize,
    /// Octets of one command, lines and literals together.
    pub command: usize,
    /// Literals in one command.
    pub literals: usize,
    /// Octets of each text of an APPEND; zero where there is no APPEND.
    pub message: u64,
}

impl Limits {
    /// Strangers get 4 KiB: a name, a password, one SASL answer.
    pub const BEFORE_LOGIN: Self = Self { line: 4096, literal: 1024, command: 4096, literals: 4, message: 0 };

    /// After login. RFC 7888 §4 leaves non-synchronising literals unbounded; these bounds are what clients need.
    pub const SESSION: Self = Self {
        line: 16 << 10,
        literal: 100 << 10,
        command: 1 << 20,
        literals: 1000,
        message: u32::MAX as u64,
    };
}

/// What came out of the bytes. `'i` is the caller's own buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'i> {
    /// The client waits to send a literal: send [`crate::response::continuation`].
    Continue,
    /// A whole command.
    Command(Tagged),
    /// An APPEND or REPLACE, its messages still to come.
    Append(Append),
    /// A message of it begins.
    AppendMessage(AppendMessage),
    /// A text of the message, still to come. Accept it by going on, after a continuation if it is synchronising. Refuse a
    /// synchronising one, and the command with it, with [`Parser::refuse_message`]; any other comes regardless.
    AppendText(AppendText),
    /// A part of the message that another message has (RFC 4469): a URL.
    AppendUrl(Vec<u8>),
    /// A piece of the text.
    MessageData(&'i [u8]),
    /// The APPEND is whole.
    AppendEnd,
    /// The line asked for with [`Parser::expect_line`], without its end.
    Line(Vec<u8>),
    /// Not understood: send [`crate::response::bad`]. The stream is in step, go on. If an APPEND was under
    /// way it is void.
    Bad(Bad),
    /// Out of step or beyond a bound: send [`crate::response::fatal`] and close. Nothing more comes.
    Fatal(Fatal),
}

/// A command that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its tag, if so much could be read.
    pub tag: Option<Tag>,
    /// What was wrong.
    pub error: SyntaxError,
}

/// Why the connection must end. The text is shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// See [`Limits::line`].
    #[error("line too long")]
    LineTooLong,
    /// A line that ends in LF alone: what follows it may have been meant as part of it.
    #[error("lines end in CR LF")]
    BareLineFeed,
    /// See [`Limits::command`], [`Limits::literals`].
    #[error("command too large")]
    CommandTooLarge,
    /// A non-synchronising literal beyond its bound; its octets are already on the way.
    #[error("literal too large")]
    LiteralTooLarge,
    /// A literal before there is a tag and a command.
    #[error("a literal where no string can be")]
    LiteralOutOfPlace,
}

/// Where in the stream the next octet stands.
#[derive(Debug)]
enum State {
    /// In a line of a command that began at this offset of the buffer.
    Line { start: usize },
    /// In a literal that lacks so many octets.
    Literal { missing: usize },
    /// In a text of an APPEND that lacks so many octets; of one that was not understood it is passed over.
    Message { missing: u64 },
    /// In a line that is no command.
    PlainLine,
    /// [`Event::Fatal`] has been given.
    Dead,
}

/// Bytes in, events out. Holds the bytes of one unfinished command and nothing else.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    names: NameForm,
    buffer: Vec<u8>,
    literals: usize,
    state: State,
    /// The APPEND that has begun.
    appending: Option<Appending>,
    /// Events that came out of the latest line; a line is the bound of their number.
    pending: VecDeque<Event<'static>>,
}

/// The size behind a line: `{12}`, or `{12+}`.
struct LiteralSize {
    size: u64,
    synchronising: bool,
    /// Octets of the line before the brace.
    before: usize,
}

/// What stands behind a piece of an APPEND's text.
enum Taken {
    /// Nothing.
    Ended,
    /// A text of a message.
    Text,
    /// A URL of so many octets.
    Url(usize),
}

impl Parser {
    /// At the beginning of a command.
    pub fn new(limits: Limits) -> Self {
        let state = State::Line { start: 0 };
        Self {
            limits,
            names: NameForm::default(),
            buffer: Vec::new(),
            literals: 0,
            state,
            appending: None,
            pending: VecDeque::new(),
        }
    }

    /// From the next command on mailbox names come in this form.
    pub fn expect_names(&mut self, names: NameForm) {
        self.names = names;
    }

    /// Whether nothing of a next command has arrived yet.
    pub fn is_between_commands(&self) -> bool {
        self.buffer.is_empty()
            && self.appending.is_none()
            && matches!(self.state, State::Line { .. } | State::PlainLine)
    }

    /// Octets of memory that hold the unfinished command.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// After IDLE, or inside AUTHENTICATE: the next line is no command and comes as [`Event::Line`].
    pub fn expect_line(&mut self) {
        if matches!(self.state, State::Line { start: 0 }) && self.appending.is_none() {
            self.state = State::PlainLine;
        }
    }

    /// After a synchronising [`Event::AppendText`]: the client is told NO and sends nothing more of the command.
    pub fn refuse_message(&mut self) {
        if matches!(self.state, State::Message { .. }) {
            self.pending.clear();
            self.begin_command();
        }
    }

    /// Takes octets from the front of `input` up to the next event. `None`: all are taken, bring more.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            let event = match &mut self.state {
                State::Line { .. } | State::PlainLine => self.take_line(input)?,
                State::Literal { missing } => {
                    let (data, rest) = input.split_at_checked(*missing).unwrap_or((input, &[]));
                    *input = rest;
                    *missing -= data.len();
                    self.buffer.extend_from_slice(data);
                    if *missing > 0 {
                        return None;
                    }
                    if self.appending.as_mut().is_some_and(Appending::is_url) {
                        self.state = State::Line { start: 0 };
                        Some(Event::AppendUrl(std::mem::take(&mut self.buffer)))
                    } else {
                        self.state = State::Line { start: self.buffer.len() };
                        continue;
                    }
                }
                State::Message { missing } => {
                    if *missing == 0 {
                        self.state = State::Line { start: 0 };
                        continue;
                    }
                    if input.is_empty() {
                        return None;
                    }
                    let wanted = usize::try_from(*missing).unwrap_or(usize::MAX);
                    let (data, rest) = input.split_at_checked(wanted).unwrap_or((input, &[]));
                    *input = rest;
                    *missing -= data.len() as u64;
                    if self.appending.as_ref().is_none_or(|appending| appending.refused.is_some()) {
                        continue;
                    }
                    return Some(Event::MessageData(data));
                }
                State::Dead => {
                    *input = &[];
                    return None;
                }
            };
            if let Some(event) = event {
                if let Event::Fatal(_) = event {
                    self.buffer = Vec::new();
                    self.appending = None;
                    self.state = State::Dead;
                }
                return Some(event);
            }
        }
    }

    /// `None`: more bytes are needed. `Some(None)`: the state has moved on without an event.
    fn take_line(&mut self, input: &mut &[u8]) -> Option<Option<Event<'static>>> {
        let start = match self.state {
            State::Line { start } => start,
            State::PlainLine => 0,
            State::Literal { .. } | State::Message { .. } | State::Dead => return None,
        };
        let end = input.iter().position(|octet| *octet == b'\n').map(|at| at + 1);
        let (piece, rest) = input.split_at_checked(end.unwrap_or(input.len())).unwrap_or((input, &[]));
        let length = self.buffer.len() - start + piece.len();
        if length > self.limits.line {
            return Some(Some(Event::Fatal(Fatal::LineTooLong)));
        }
        if self.buffer.len() + piece.len() > self.limits.command {
            return Some(Some(Event::Fatal(Fatal::CommandTooLarge)));
        }
        *input = rest;
        self.buffer.extend_from_slice(piece);
        end?;
        let Some(text_length) =
            self.buffer.strip_suffix(b"\r\n").map(<[u8]>::len).filter(|length| *length >= start)
        else {
            return Some(Some(Event::Fatal(Fatal::BareLineFeed)));
        };
        Some(self.line_is_whole(start, text_length))
    }

    fn line_is_whole(&mut self, start: usize, text_length: usize) -> Option<Event<'static>> {
        let text = self.buffer.get(..text_length).unwrap_or_default();
        if matches!(self.state, State::PlainLine) {
            let event = Event::Line(text.to_vec());
            self.begin_command();
            return Some(event);
        }
        let mut literal = LiteralSize::at_end_of(text.get(start..).unwrap_or_default());
        if let Some(literal) = &mut literal {
            literal.before += start;
        }
        let end = literal.as_ref().map_or(text_length, |literal| literal.before);
        match self.appending.take() {
            Some(appending) => self.append_goes_on(appending, 0..end, literal.as_ref()),
            None => self.command_goes_on(end, literal.as_ref()),
        }
    }

    /// Of the command's text there is so much by now; a literal follows, or it is whole.
    fn command_goes_on(&mut self, end: usize, literal: Option<&LiteralSize>) -> Option<Event<'static>> {
        let text = self.buffer.get(..end).unwrap_or_default();
        let looks = match literal {
            Some(_) => self.literals < 2,
            None => self.limits.message > 0,
        };
        let begun = if looks { append::begin(text, self.names) } else { Ok(Begun::Other) };
        match (begun, literal) {
            (Ok(Begun::Other), Some(literal)) => match self.check_argument(literal.size) {
                Ok(size) => {
                    self.literals += 1;
                    self.state = State::Literal { missing: size };
                    literal.synchronising.then_some(Event::Continue)
                }
                Err(fatal) => Some(self.refuse_literal(end, literal, SyntaxError::LiteralTooLarge, fatal)),
            },
            (Err(error), Some(literal)) => {
                Some(self.refuse_literal(end, literal, error, Fatal::LiteralOutOfPlace))
            }
            (Ok(Begun::Append(..) | Begun::Refused(_)), Some(literal)) if self.limits.message == 0 => {
                Some(self.refuse_literal(end, literal, SyntaxError::LiteralTooLarge, Fatal::LiteralTooLarge))
            }
            (Ok(Begun::Append(append, appending, rest)), literal) => {
                let from = end - rest.len();
                self.pending.push_back(Event::Append(append));
                self.append_goes_on(appending, from..end, literal)
            }
            (Ok(Begun::Refused(appending)), literal) => self.append_goes_on(appending, end..end, literal),
            (Ok(Begun::Other) | Err(_), None) => {
                let event =
                    Tagged::parse(text, self.names).map_or_else(|error| bad(text, error), Event::Command);
                self.begin_command();
                Some(event)
            }
        }
    }

    /// Of an APPEND's text another piece is there.
    fn append_goes_on(
        &mut self,
        mut appending: Appending,
        text: Range<usize>,
        literal: Option<&LiteralSize>,
    ) -> Option<Event<'static>> {
        let text = self.buffer.get(text).unwrap_or_default();
        let read = match &appending.refused {
            Some(error) => Err(error.clone()),
            None => appending.read(text, literal.is_some()),
        };
        let outcome = read.and_then(|steps| self.take_steps(steps, literal));
        match (outcome, literal) {
            (Ok(Taken::Ended), _) => self.begin_command(),
            (Ok(Taken::Text), Some(literal)) => {
                self.buffer = Vec::new();
                self.state = State::Message { missing: literal.size };
                self.appending = Some(appending);
            }
            (Ok(Taken::Url(size)), _) => {
                self.buffer = Vec::new();
                self.state = State::Literal { missing: size };
                self.appending = Some(appending);
            }
            // Its octets are on the way, whatever the answer will be.
            (Err(error), Some(literal))
                if !literal.synchronising
                    && literal.size <= self.limits.message
                    && error != SyntaxError::LiteralTooLarge =>
            {
                self.pending.clear();
                self.buffer = Vec::new();
                self.state = State::Message { missing: literal.size };
                appending.refused = Some(error);
                self.appending = Some(appending);
            }
            (Err(_), Some(literal)) if !literal.synchronising => {
                self.pending.clear();
                return Some(Event::Fatal(Fatal::LiteralTooLarge));
            }
            // The client waits, and learns from the tagged answer not to send it (RFC 7888 §4).
            (Err(error), _) => {
                let tag = Some(appending.tag);
                self.pending.clear();
                self.begin_command();
                return Some(Event::Bad(Bad { tag, error }));
            }
            (Ok(Taken::Text), None) => self.begin_command(),
        }
        self.pending.pop_front()
    }

    /// Makes events of what was read, unless the literal behind it is too large.
    fn take_steps(&mut self, steps: Vec<Step>, literal: Option<&LiteralSize>) -> Result<Taken, SyntaxError> {
        let mut taken = Taken::Ended;
        for step in steps {
            self.pending.push_back(match (step, literal) {
                (Step::Message(message), _) => Event::AppendMessage(message),
                (Step::Url(url), _) => Event::AppendUrl(url),
                (Step::Text { binary }, Some(LiteralSize { size, synchronising, .. })) => {
                    if *size > self.limits.message {
                        return Err(SyntaxError::LiteralTooLarge);
                    }
                    taken = Taken::Text;
                    Event::AppendText(AppendText { size: *size, synchronising: *synchronising, binary })
                }
                (Step::UrlFollows, Some(literal)) => {
                    let size = self.check_argument(literal.size);
                    taken = Taken::Url(size.map_err(|_| SyntaxError::LiteralTooLarge)?);
                    if !literal.synchronising {
                        continue;
                    }
                    Event::Continue
                }
                (Step::End | Step::Text { .. } | Step::UrlFollows, _) => Event::AppendEnd,
            });
        }
        Ok(taken)
    }

    /// No literal can follow: if the client waits it is told so, else the stream is out of step.
    fn refuse_literal(
        &mut self,
        end: usize,
        literal: &LiteralSize,
        error: SyntaxError,
        fatal: Fatal,
    ) -> Event<'static> {
        if !literal.synchronising {
            return Event::Fatal(fatal);
        }
        let event = bad(self.buffer.get(..end).unwrap_or_default(), error);
        self.begin_command();
        event
    }

    fn check_argument(&self, size: u64) -> Result<usize, Fatal> {
        let size = usize::try_from(size).map_err(|_| Fatal::LiteralTooLarge)?;
        if size > self.limits.literal {
            return Err(Fatal::LiteralTooLarge);
        }
        if self.literals >= self.limits.literals || self.buffer.len() + size > self.limits.command {
            return Err(Fatal::CommandTooLarge);
        }
        Ok(size)
    }

    fn begin_command(&mut self) {
        // An idle connection holds next to nothing.
        if self.buffer.capacity() > 1024 {
            self.buffer = Vec::new();
        } else {
            // It may have been a password, and the next command may never come.
            self.buffer.fill(0);
            self.buffer.clear();
        }
        self.literals = 0;
        self.appending = None;
        self.state = State::Line { start: 0 };
    }
}

fn bad(text: &[u8], error: SyntaxError) -> Event<'static> {
    let mut cursor = Cursor::new(text);
    let tag = cursor.tag().ok().filter(|_| cursor.is_empty() || cursor.peek() == Some(b' ')).map(Tag::new);
    Event::Bad(Bad { tag, error })
}

impl LiteralSize {
    /// `None`: the line does not end in a literal's size, so it is the command's last.
    fn at_end_of(line: &[u8]) -> Option<Self> {
        let inner = line.strip_suffix(b"}")?;
        let synchronising = !inner.ends_with(b"+");
        let inner = inner.strip_suffix(b"+").unwrap_or(inner);
        let brace = inner.iter().rposition(|octet| !octet.is_ascii_digit())?;
        let (before, digits) = inner.split_at_checked(brace + 1)?;
        if before.last() != Some(&b'{') || digits.is_empty() {
            return None;
        }
        let size = decimal(digits).unwrap_or(u64::MAX);
        Some(Self { size, synchronising, before: brace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check_imap;
    use crate::command::Command;
    use crate::sasl::Secret;
    use proptest::prelude::*;

    /// Events in a short notation, message data joined.
    fn run(limits: Limits, input: &[u8]) -> Vec<String> {
        let mut parser = Parser::new(limits);
        let mut rest = input;
        let mut seen = Vec::new();
        while let Some(event) = parser.next(&mut rest) {
            if matches!(&event, Event::Command(tagged) if tagged.command == Command::Idle) {
                parser.expect_line();
            }
            seen.push(match event {
                Event::Continue => "+".to_owned(),
                Event::Command(tagged) => format!("{}", tagged.tag.as_bytes().escape_ascii()),
                Event::Append(append) => match append.replaces {
                    None => format!("append {}", append.mailbox),
                    Some((numbering, message)) => {
                        format!("replace {numbering:?} {message:?} {}", append.mailbox)
                    }
                },
                Event::AppendMessage(message) => format!("message {}", message.flags.len()),
                Event::AppendText(text) => format!("text {}", text.size),
                Event::AppendUrl(url) => format!("url {}", url.escape_ascii()),
                Event::MessageData(data) => format!("data {}", data.escape_ascii()),
                Event::AppendEnd => "end".to_owned(),
                Event::Line(line) => format!("line {}", line.escape_ascii()),
                Event::Bad(bad) => {
                    let mut out = Vec::new();
                    crate::response::bad(&mut out, &bad);
                    String::from_utf8(out).unwrap().trim_end().to_owned()
                }
                Event::Fatal(fatal) => format!("fatal {fatal}"),
            });
        }
        assert!(rest.is_empty());
        seen
    }

    const CONVERSATIONS: &[(&[u8], &[&str])] = &[
        (b"a NOOP\r\nb NOOP\r\n", &["a", "b"]),
        (b"a LOGIN {3}\r\njoe {2+}\r\n{}\r\n", &["+", "a"]),
        (b"a LOGIN {0}\r\n {0+}\r\n\r\nb NOOP\r\n", &["+", "a", "b"]),
        (b"a IDLE\r\nDONE\r\nb NOOP\r\n", &["a", "line DONE", "b"]),
        (b"\r\n", &["* BAD a command begins with a tag"]),
        (b"a XYZZY\r\nb NOOP\r\n", &["a BAD unknown command", "b"]),
        (b"+ NOOP\r\n", &["* BAD a command begins with a tag"]),
        (
            b"a APPEND x (\\Seen) \" 7-Feb-1994 21:52:25 -0800\" {4}\r\nab\r\n\r\nb NOOP\r\n",
            &["append x", "message 1", "text 4", "data ab\\r\\n", "end", "b"],
        ),
        (b"a APPEND {3}\r\na/b {2+}\r\n{}\r\n", &["+", "append a/b", "message 0", "text 2", "data {}", "end"]),
        (b"a APPEND x () ~{2+}\r\n\0x\r\nb NOOP\r\n", &["append x", "message 0", "text 2", "data \\x00x", "end", "b"]),
        (b"a LOGIN x ~{1+}\r\ny\r\nb NOOP\r\n", &["a BAD unexpected text at the end of the command", "b"]),
        (b"a append x {0+}\r\n\r\nb NOOP\r\n", &["append x", "message 0", "text 0", "end", "b"]),
        (
            b"a APPEND x {1+}\r\n1 (\\Seen)\r\nb NOOP\r\n",
            &["append x", "message 0", "text 1", "data 1", "a BAD expected a space", "b"],
        ),
        (
            b"a APPEND x {1+}\r\n1)\r\nb NOOP\r\n",
            &["append x", "message 0", "text 1", "data 1", "a BAD unexpected text at the end of the command", "b"],
        ),
        // Several messages (RFC 3502).
        (
            b"a APPEND x (\\Seen) {1+}\r\n1 (\\Seen \\Draft) \" 7-Feb-1994 21:52:25 -0800\" {2}\r\n22 ~{0+}\r\n\r\nb NOOP\r\n",
            &[
                "append x", "message 1", "text 1", "data 1", "message 2", "text 2", "data 22", "message 0", "text 0", "end",
                "b",
            ],
        ),
        // Made of parts (RFC 4469).
        (
            b"a APPEND x () CATENATE (URL /y/;UID=1 TEXT {2+}\r\nab URL {3+}\r\n/;1 TEXT {0}\r\n)\r\nb NOOP\r\n",
            &["append x", "message 0", "url /y/;UID=1", "text 2", "data ab", "url /;1", "text 0", "end", "b"],
        ),
        (
            b"a APPEND {1+}\r\nx CATENATE (URL {1}\r\ny) CATENATE (URL z)\r\nb NOOP\r\n",
            &["append x", "message 0", "+", "url y", "message 0", "url z", "end", "b"],
        ),
        (b"a APPEND x CATENATE (URL \"y z\")\r\n", &["append x", "message 0", "url y z", "end"]),
        (b"a APPEND x CATENATE ()\r\n", &["a BAD expected TEXT or URL"]),
        (b"a APPEND x CATENATE (URL y\r\n", &["a BAD expected a space"]),
        (b"a APPEND x CATENATE (TEXT y)\r\n", &["a BAD expected the message as a literal"]),
        (
            b"a APPEND x CATENATE (TEXT {1+}\r\n1\r\n",
            &["append x", "message 0", "text 1", "data 1", "a BAD expected a space"],
        ),
        // UTF-8 in the header (RFC 6855 §4).
        (
            b"a APPEND x UTF8 (~{3+}\r\nabc)\r\nb NOOP\r\n",
            &["append x", "message 0", "text 3", "data abc", "end", "b"],
        ),
        (
            b"a APPEND x UTF8 (~{3+}\r\nabc\r\nb NOOP\r\n",
            &["append x", "message 0", "text 3", "data abc", "a BAD expected `)`", "b"],
        ),
        (b"a APPEND x UTF8 ({3}\r\nb NOOP\r\n", &["a BAD expected the message as a literal8", "b"]),
        // In place of another (RFC 8508).
        (
            b"a UID REPLACE * {1+}\r\nx {1+}\r\ny\r\nb REPLACE 4 x {1}\r\nz {1+}\r\n!\r\nc NOOP\r\n",
            &[
                "replace Uid Largest x", "message 0", "text 1", "data y", "end", "replace Sequence Number(4) x",
                "message 0", "text 1", "data z", "b BAD unexpected text at the end of the command", "c",
            ],
        ),
        (b"a REPLACE 0 x {1}\r\nb UID REPLACE\r\n", &["a BAD number out of range", "b BAD expected a space"]),
        // Not understood, and its literals come all the same.
        (
            b"a APPEND x y {3+}\r\nabc {2+}\r\nde (\r\nb APPEND x y {1+}\r\n1 {1}\r\nc NOOP\r\n",
            &["a BAD expected the message as a literal", "b BAD expected the message as a literal", "c"],
        ),
        (b"a APPEND x y {1}\r\nb NOOP\r\n", &["a BAD expected the message as a literal", "b"]),
        (
            b"a APPEND R&D (\\Seen) {3+}\r\na\r\n\r\nb NOOP\r\n",
            &["a BAD mailbox name: `&` without `-`; a plain ampersand is written `&-`", "b"],
        ),
        (b"a NOOP\nb NOOP\r\n", &["fatal lines end in CR LF"]),
        (b"a LOGIN a {1}\nb", &["fatal lines end in CR LF"]),
    ];

    #[test]
    fn streams_become_events() {
        for (input, events) in CONVERSATIONS {
            assert_eq!(&run(Limits::SESSION, input), events, "{}", input.escape_ascii());
            check_imap(input);
        }
    }

    #[test]
    fn a_literal_holds_what_a_line_cannot() {
        let mut parser = Parser::new(Limits::SESSION);
        let mut input = &b"a LOGIN {4+}\r\n\"\r\n\\ {3+}\r\na b\r\n"[..];
        let Some(Event::Command(tagged)) = parser.next(&mut input) else { panic!() };
        let password = Secret::new(b"a b".to_vec());
        assert_eq!(tagged.command, Command::Login { user: b"\"\r\n\\".into(), password });
    }

    #[test]
    fn names_come_in_the_form_that_was_asked_for() {
        let mut parser = Parser::new(Limits::SESSION);
        let mut input = "a SELECT \"caf\u{e9}\"\r\nb SELECT \"caf\u{e9}\"\r\nc SELECT a&b\r\nd APPEND {2+}\r\n\u{e9} {0+}\r\n\r\n\
            e LIST \"\" {2+}\r\n\u{e9}\r\nf SELECT {1+}\r\n"
            .as_bytes();
        let not_printable = parser.next(&mut input);
        assert!(matches!(not_printable, Some(Event::Bad(_))), "{not_printable:?}");
        parser.expect_names(NameForm::Utf8);
        for name in ["caf\u{e9}", "a&b"] {
            let Some(Event::Command(tagged)) = parser.next(&mut input) else { panic!("{name}") };
            assert!(matches!(tagged.command, Command::Select { mailbox, .. } if mailbox == name));
        }
        let Some(Event::Append(append)) = parser.next(&mut input) else { panic!() };
        assert_eq!(append.mailbox, "\u{e9}");
        assert!(matches!(parser.next(&mut input), Some(Event::AppendMessage(_))));
        assert!(matches!(parser.next(&mut input), Some(Event::AppendText(_))));
        assert_eq!(parser.next(&mut input), Some(Event::AppendEnd));
        let Some(Event::Command(tagged)) = parser.next(&mut input) else { panic!() };
        assert!(matches!(tagged.command, Command::List(list) if list.patterns == ["\u{e9}"]));
        assert_eq!(parser.next(&mut input), None);
        let Some(Event::Bad(bad)) = parser.next(&mut &b"\xff\r\n"[..]) else { panic!() };
        assert_eq!(bad.error.to_string(), "mailbox name: not UTF-8");
    }

    #[test]
    fn a_refused_message_leaves_the_stream_in_step() {
        let mut parser = Parser::new(Limits::SESSION);
        let mut input = &b"a APPEND x {5}\r\nb NOOP\r\n"[..];
        assert!(matches!(parser.next(&mut input), Some(Event::Append(_))));
        assert!(matches!(parser.next(&mut input), Some(Event::AppendMessage(_))));
        assert!(matches!(parser.next(&mut input), Some(Event::AppendText(_))));
        parser.refuse_message();
        assert!(matches!(parser.next(&mut input), Some(Event::Command(_))));
    }

    /// Attack class 7: literals. Each line: what a hostile client sends, and where it ends.
    #[test]
    fn hostile_literals_are_refused_before_they_cost_memory() {
        let many = |count: usize| {
            [b"a SEARCH ".to_vec(), b"TEXT {1+}\r\nx ".repeat(count), b"ALL\r\n".to_vec()].concat()
        };
        let session: &[(&[u8], &[&str])] = &[
            (b"a SELECT {102401}\r\n", &["a NO [TOOBIG] literal too large"]),
            (b"a SELECT {102401+}\r\nxxxxx", &["fatal literal too large"]),
            (b"a SELECT {99999999999999999999999+}\r\nx", &["fatal literal too large"]),
            (b"a SELECT {18446744073709551615}\r\n", &["a NO [TOOBIG] literal too large"]),
            (b"a APPEND x {4294967296+}\r\nx", &["fatal literal too large"]),
            (b"a APPEND x {4294967296}\r\n", &["a NO [TOOBIG] literal too large"]),
            (b"{3+}\r\nabc NOOP\r\n", &["fatal a literal where no string can be"]),
            (b"{3}\r\na NOOP\r\n", &["* BAD a command begins with a tag", "a"]),
            (b"a {4+}\r\nNOOP\r\n", &["fatal a literal where no string can be"]),
            (b"a SELECT {3+}\r\na\0b\r\n", &["a BAD expected a literal without NUL"]),
            (b"a SELECT {-1}\r\n", &["a BAD expected a number"]),
            (
                b"a APPEND x {1+}\r\n1 {4294967296+}\r\n",
                &["append x", "message 0", "text 1", "data 1", "fatal literal too large"],
            ),
            (
                b"a APPEND x {1+}\r\n1 {4294967296}\r\nb NOOP\r\n",
                &["append x", "message 0", "text 1", "data 1", "a NO [TOOBIG] literal too large", "b"],
            ),
            (b"a APPEND x CATENATE (URL {102401}\r\n", &["a NO [TOOBIG] literal too large"]),
            (b"a APPEND x CATENATE (URL {102401+}\r\n", &["fatal literal too large"]),
        ];
        let before: &[(&[u8], &[&str])] = &[
            (b"a LOGIN {1025+}\r\nx", &["fatal literal too large"]),
            (b"a LOGIN {1025}\r\n", &["a NO [TOOBIG] literal too large"]),
            (b"a APPEND INBOX {1+}\r\n", &["fatal literal too large"]),
            (b"a APPEND INBOX {1}\r\nb NOOP\r\n", &["a NO [TOOBIG] literal too large", "b"]),
        ];
        for (limits, cases) in [(Limits::SESSION, session), (Limits::BEFORE_LOGIN, before)] {
            for (input, events) in cases {
                assert_eq!(&run(limits, input), events, "{}", input.escape_ascii());
                check_imap(input);
            }
        }
        // Messages and parts are counted over all lines of a command.
        let parts =
            [b"a APPEND x CATENATE (URL y".to_vec(), b" TEXT {0+}\r\n".repeat(1000), b")\r\n".to_vec()];
        let refused = run(Limits::SESSION, &parts.concat());
        assert_eq!(refused.last().map(String::as_str), Some("a BAD too many messages and parts"));
        assert_eq!(run(Limits::SESSION, &many(999)), ["a"]);
        assert_eq!(run(Limits::SESSION, &many(1001)), ["fatal command too large"]);
        assert_eq!(run(Limits::BEFORE_LOGIN, &many(5)), ["fatal command too large"]);
        // Together: 11 literals of 100 KiB pass 1 MiB.
        let large = [
            b"a SEARCH".to_vec(),
            [b" TEXT {102400+}\r\n".to_vec(), vec![b'x'; 102_400]].concat().repeat(11),
        ];
        assert_eq!(run(Limits::SESSION, &large.concat()), ["fatal command too large"]);
    }

    /// Attack class 6: a line without end costs no more than the limit, and none of it is kept afterwards.
    #[test]
    fn endless_lines_are_cut_in_constant_memory() {
        for limits in [Limits::BEFORE_LOGIN, Limits::SESSION] {
            let mut parser = Parser::new(limits);
            let piece = [b'a'; 1000];
            let fatal = (0..1000).find_map(|_| parser.next(&mut &piece[..]));
            assert_eq!(fatal, Some(Event::Fatal(Fatal::LineTooLong)));
            assert_eq!((parser.held(), parser.buffer.capacity()), (0, 0));
            assert_eq!(parser.next(&mut &b"a NOOP\r\n"[..]), None, "a dead parser stays dead");
        }
    }

    /// Attack class 8: the deepest commands that a line can hold are refused, not recursed into.
    #[test]
    fn deep_nesting_is_a_bad_command_not_a_deep_stack() {
        for unit in ["NOT ", "(", "OR ALL ", "OR (NOT "] {
            let line = format!("a SEARCH {}ALL\r\n", unit.repeat(16_000 / unit.len()));
            assert_eq!(run(Limits::SESSION, line.as_bytes()), ["a BAD nested too deeply"]);
        }
        let line = format!("a FETCH 1 BODY[{}1]\r\n", "1.".repeat(7000));
        assert_eq!(run(Limits::SESSION, line.as_bytes()), ["a BAD nested too deeply"]);
    }

    #[test]
    fn an_idle_parser_holds_next_to_nothing() {
        let mut parser = Parser::new(Limits::SESSION);
        let line = format!("a SEARCH TEXT \"{}\"\r\n", "x".repeat(15_000));
        assert!(parser.next(&mut line.as_bytes()).is_some());
        assert!(parser.buffer.capacity() <= 1024);
    }

    proptest! {
        #[test]
        fn any_bytes_split_anyhow_give_the_same_events(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                "a ", "LOGIN ", "{3}\r\n", "{2+}\r\n", "{0+}\r\n", "\r\n", "APPEND x ", "IDLE", "(\\Seen) ",
                "SEARCH TEXT ", "\"", "x", "NOOP\r\n", "UID REPLACE 1 x ", "CATENATE (", "URL ", "TEXT ", ")", "UTF8 (~", "AUTHENTICATE PLAIN\r\n", "\n", "\0", " ",
            ]), 0..14)
        ) {
            check_imap(pieces.concat().as_bytes());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_imap(&input);
        }
    }
}
