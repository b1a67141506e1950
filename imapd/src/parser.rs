//! Frames the byte stream into commands. Lines and literals are collected until a command is whole, then the
//! command is parsed once; the message of an APPEND is handed through piece by piece.

use crate::append::{Append, LiteralRole, literal_role};
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
    /// Octets of the message of an APPEND; zero where there is no APPEND.
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
    /// An APPEND, its message still to come. Accept it by going on, after a continuation if it is
    /// synchronising. Refuse a synchronising one with [`Parser::refuse_message`]; any other sends its message
    /// regardless.
    Append(Append),
    /// A piece of the message.
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
    /// In the message of an APPEND that lacks so many octets; one that was not understood is passed over.
    Message { tag: Tag, missing: u64, refused: Option<SyntaxError> },
    /// Behind the message: only the end of the line may follow.
    MessageTail { tag: Tag, refused: Option<SyntaxError> },
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
}

/// The size behind a line: `{12}`, or `{12+}`.
struct LiteralSize {
    size: u64,
    synchronising: bool,
    /// Octets of the line before the brace.
    before: usize,
}

impl Parser {
    /// At the beginning of a command.
    pub fn new(limits: Limits) -> Self {
        let state = State::Line { start: 0 };
        Self { limits, names: NameForm::default(), buffer: Vec::new(), literals: 0, state }
    }

    /// From the next command on mailbox names come in this form.
    pub fn expect_names(&mut self, names: NameForm) {
        self.names = names;
    }

    /// Whether nothing of a next command has arrived yet.
    pub fn is_between_commands(&self) -> bool {
        self.buffer.is_empty() && matches!(self.state, State::Line { .. } | State::PlainLine)
    }

    /// Octets of memory that hold the unfinished command.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// After IDLE, or inside AUTHENTICATE: the next line is no command and comes as [`Event::Line`].
    pub fn expect_line(&mut self) {
        if matches!(self.state, State::Line { start: 0 }) {
            self.state = State::PlainLine;
        }
    }

    /// After a synchronising [`Event::Append`]: the client is told NO and sends no message.
    pub fn refuse_message(&mut self) {
        if matches!(self.state, State::Message { .. }) {
            self.begin_command();
        }
    }

    /// Takes octets from the front of `input` up to the next event. `None`: all are taken, bring more.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        loop {
            let event = match &mut self.state {
                State::Line { .. } | State::PlainLine | State::MessageTail { .. } => self.take_line(input)?,
                State::Literal { missing } => {
                    let (data, rest) = input.split_at_checked(*missing).unwrap_or((input, &[]));
                    *input = rest;
                    *missing -= data.len();
                    self.buffer.extend_from_slice(data);
                    if *missing > 0 {
                        return None;
                    }
                    self.state = State::Line { start: self.buffer.len() };
                    continue;
                }
                State::Message { tag, missing, refused } => {
                    if *missing == 0 {
                        self.state = State::MessageTail { tag: tag.clone(), refused: refused.take() };
                        continue;
                    }
                    if input.is_empty() {
                        return None;
                    }
                    let wanted = usize::try_from(*missing).unwrap_or(usize::MAX);
                    let (data, rest) = input.split_at_checked(wanted).unwrap_or((input, &[]));
                    *input = rest;
                    *missing -= data.len() as u64;
                    if refused.is_some() {
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
            State::PlainLine | State::MessageTail { .. } => 0,
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
        let event = match &self.state {
            State::PlainLine => Event::Line(text.to_vec()),
            State::MessageTail { refused: None, .. } if text.is_empty() => Event::AppendEnd,
            // MULTIAPPEND is not announced, so nothing can follow the message.
            State::MessageTail { tag, refused } => {
                if LiteralSize::at_end_of(text).is_some_and(|size| !size.synchronising) {
                    return Some(Event::Fatal(Fatal::LiteralOutOfPlace));
                }
                let error = refused.clone().unwrap_or(SyntaxError::TrailingText);
                Event::Bad(Bad { tag: Some(tag.clone()), error })
            }
            State::Line { .. } | State::Literal { .. } | State::Message { .. } | State::Dead => {
                if let Some(mut size) = LiteralSize::at_end_of(text.get(start..).unwrap_or_default()) {
                    size.before += start;
                    return self.literal_begins(&size);
                }
                Tagged::parse(text, self.names).map_or_else(|error| bad(text, error), Event::Command)
            }
        };
        self.begin_command();
        Some(event)
    }

    /// The line just completed ends in a literal's size.
    fn literal_begins(&mut self, literal: &LiteralSize) -> Option<Event<'static>> {
        let text = self.buffer.get(..literal.before).unwrap_or_default();
        let role = if self.literals < 2 { literal_role(text, self.names) } else { Ok(LiteralRole::Argument) };
        let outcome = match role {
            Ok(LiteralRole::Argument) => match self.check_argument(literal.size) {
                Ok(size) => {
                    self.literals += 1;
                    self.state = State::Literal { missing: size };
                    return literal.synchronising.then_some(Event::Continue);
                }
                Err(fatal) => Err((SyntaxError::LiteralTooLarge, fatal)),
            },
            Ok(LiteralRole::Message(append)) if literal.size <= self.limits.message => {
                let append = Append { size: literal.size, synchronising: literal.synchronising, ..append };
                self.begin_command();
                self.state = State::Message { tag: append.tag.clone(), missing: literal.size, refused: None };
                Ok(Event::Append(append))
            }
            // Its message is on the way, whatever the answer will be.
            Ok(LiteralRole::Refused(tag, error))
                if !literal.synchronising && literal.size <= self.limits.message =>
            {
                self.begin_command();
                self.state = State::Message { tag, missing: literal.size, refused: Some(error) };
                return None;
            }
            Ok(LiteralRole::Refused(_, error)) if literal.synchronising => {
                Err((error, Fatal::LiteralOutOfPlace))
            }
            Ok(LiteralRole::Message(_) | LiteralRole::Refused(..)) => {
                Err((SyntaxError::LiteralTooLarge, Fatal::LiteralTooLarge))
            }
            Err(error) => Err((error, Fatal::LiteralOutOfPlace)),
        };
        Some(match outcome {
            Ok(event) => event,
            // The client waits, and learns from the tagged answer not to send it (RFC 7888 §4).
            Err((error, Fatal::LiteralTooLarge | Fatal::LiteralOutOfPlace)) if literal.synchronising => {
                let event = bad(self.buffer.get(..literal.before).unwrap_or_default(), error);
                self.begin_command();
                event
            }
            Err((_, fatal)) => Event::Fatal(fatal),
        })
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
                Event::Append(append) => format!("append {} {}", append.mailbox, append.size),
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
            &["append x 4", "data ab\\r\\n", "end", "b"],
        ),
        (b"a APPEND {3+}\r\na/b {2+}\r\n{}\r\n", &["append a/b 2", "data {}", "end"]),
        (b"a APPEND x () ~{2+}\r\n\0x\r\nb NOOP\r\n", &["append x 2", "data \\x00x", "end", "b"]),
        (b"a LOGIN x ~{1+}\r\ny\r\nb NOOP\r\n", &["a BAD unexpected text at the end of the command", "b"]),
        (b"a append x {0+}\r\n\r\nb NOOP\r\n", &["append x 0", "end", "b"]),
        (
            b"a APPEND x {1+}\r\n1 (\\Seen)\r\nb NOOP\r\n",
            &["append x 1", "data 1", "a BAD unexpected text at the end of the command", "b"],
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
                b"a APPEND x {1+}\r\n1 {9+}\r\n",
                &["append x 1", "data 1", "fatal a literal where no string can be"],
            ),
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
                "SEARCH TEXT ", "\"", "x", "NOOP\r\n", "AUTHENTICATE PLAIN\r\n", "\n", "\0", " ",
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
