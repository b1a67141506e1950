//! One connection: commands one by one, and what is said to each.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use rustls::{ClientConnection, StreamOwned};

use super::super::link::Stop;
use crate::imap::{Event, Responses, State};

/// Characters of what a server says that are shown.
const MAX_TEXT: usize = 200;

/// The connection, protected or not.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Ok,
    /// NO or BAD.
    Refused {
        /// The first word in brackets, in upper case.
        code: Option<String>,
        text: String,
    },
}

/// The client.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    responses: Responses,
    buffer: Vec<u8>,
    tag: u32,
    logged_in: bool,
}

impl Client {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, responses: Responses::default(), buffer: vec![0; 32 * 1024], tag: 0, logged_in: false }
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// The stream without TLS, if the server has said nothing that it should have said behind it.
    pub(super) fn into_plain(self) -> Result<TcpStream, Stop> {
        match self.stream {
            Stream::Plain(socket) if self.responses.is_empty() => Ok(socket),
            Stream::Plain(_) => {
                Err(Stop::source("the server spoke on before TLS began; somebody may be in between"))
            }
            Stream::Tls(_) => Err(Stop::source("TLS in TLS")),
        }
    }

    /// The first thing that a server says.
    pub(super) fn greeting(&mut self) -> Result<State, Stop> {
        loop {
            match self.responses.next_event().map_err(wrong)? {
                None => read(&mut self.stream, &mut self.responses, &mut self.buffer)?,
                Some(Event::State { state: state @ (State::Ok | State::Preauth), .. }) => {
                    self.logged_in = state == State::Preauth;
                    return Ok(state);
                }
                Some(Event::State { text, .. }) => return Err(gone(&text)),
                Some(_) => return Err(Stop::source("what answers there is no IMAP server")),
            }
        }
    }

    /// What the server can do now.
    pub(super) fn capabilities(&mut self) -> Result<Vec<String>, Stop> {
        let mut capabilities = Vec::new();
        self.collect("CAPABILITY", |event| {
            if let Event::Data(tokens) = event
                && matches!(tokens.first(), Some(crate::imap::Token::Atom(word)) if word.eq_ignore_ascii_case(b"CAPABILITY"))
            {
                capabilities = tokens
                    .iter()
                    .filter_map(|token| match token {
                        crate::imap::Token::Atom(word) => Some(String::from_utf8_lossy(word).into_owned()),
                        _ => None,
                    })
                    .collect();
            }
        })?;
        Ok(capabilities)
    }

    /// Runs a command that has to succeed.
    pub(super) fn collect(&mut self, command: &str, each: impl FnMut(Event<'_>)) -> Result<(), Stop> {
        match self.run(command.as_bytes(), each)? {
            Ended::Ok => Ok(()),
            Ended::Refused { text, .. } => {
                let verb = command.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
                Err(Stop::source(format!("the server refused {verb}: {text}")))
            }
        }
    }

    /// Runs a command that may be refused.
    pub(super) fn try_collect(&mut self, command: &[u8], each: impl FnMut(Event<'_>)) -> Result<(), Stop> {
        self.run(command, each).map(drop)
    }

    /// Runs a command: how it ended.
    pub(super) fn run(&mut self, command: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<Ended, Stop> {
        let tag = self.send(command)?;
        self.until(&tag, |event| {
            each(event);
            Ok(())
        })
    }

    /// The same where what is done with the answers can fail.
    pub(super) fn stream(
        &mut self,
        command: &str,
        each: impl FnMut(Event<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let tag = self.send(command.as_bytes())?;
        match self.until(&tag, each)? {
            Ended::Ok => Ok(()),
            // Some of the messages are gone or cannot be read: those that came are whole.
            Ended::Refused { .. } => Ok(()),
        }
    }

    /// AUTHENTICATE PLAIN (RFC 4616), with the response in the command where the server takes it there (RFC 4959).
    pub(super) fn authenticate_plain(&mut self, response: &str, at_once: bool) -> Result<Ended, Stop> {
        let command =
            if at_once { format!("AUTHENTICATE PLAIN {response}") } else { "AUTHENTICATE PLAIN".to_owned() };
        let tag = self.send(command.as_bytes())?;
        let mut owed = (!at_once).then_some(response);
        loop {
            match self.responses.next_event().map_err(wrong)? {
                None => read(&mut self.stream, &mut self.responses, &mut self.buffer)?,
                Some(Event::Continue(_)) => {
                    // A second question means that the first answer was not taken: an empty one ends it.
                    let answer = owed.take().unwrap_or("*");
                    write(&mut self.stream, format!("{answer}\r\n").as_bytes())?;
                }
                Some(event) => {
                    if let Some(ended) = ended(&event, &tag)? {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    pub(super) fn log_out(mut self) {
        // It has all it wanted; how the server says goodbye does not matter.
        let _ = self.send(b"LOGOUT");
    }

    fn send(&mut self, command: &[u8]) -> Result<Vec<u8>, Stop> {
        self.tag += 1;
        let tag = format!("m{}", self.tag).into_bytes();
        write(&mut self.stream, &[&tag, &b" "[..], command, b"\r\n"].concat())?;
        Ok(tag)
    }

    fn until(
        &mut self,
        tag: &[u8],
        mut each: impl FnMut(Event<'_>) -> Result<(), Stop>,
    ) -> Result<Ended, Stop> {
        loop {
            match self.responses.next_event().map_err(wrong)? {
                None => read(&mut self.stream, &mut self.responses, &mut self.buffer)?,
                Some(event) => match ended(&event, tag)? {
                    Some(ended) => return Ok(ended),
                    None => each(event)?,
                },
            }
        }
    }
}

/// How the command with this tag ended, if this says so.
fn ended(event: &Event<'_>, tag: &[u8]) -> Result<Option<Ended>, Stop> {
    let Event::State { tag: of, state, code, text } = event else { return Ok(None) };
    match state {
        State::Bye => Err(gone(text)),
        _ if of == b"*" => Ok(None),
        _ if of != tag => Err(wrong(crate::imap::Wrong::Malformed)),
        State::Ok | State::Preauth => Ok(Some(Ended::Ok)),
        State::No | State::Bad => {
            let code = code.as_deref().and_then(|code| code.split(|octet| *octet == b' ').next());
            let code = code.map(|code| String::from_utf8_lossy(code).to_ascii_uppercase());
            Ok(Some(Ended::Refused { code, text: shown(text) }))
        }
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(MAX_TEXT).collect()
}

fn gone(text: &[u8]) -> Stop {
    Stop::Source { again: true, why: format!("the server ended the connection: {}", shown(text)) }
}

fn wrong(wrong: crate::imap::Wrong) -> Stop {
    Stop::source(format!("the server said {wrong}; is it an IMAP server, and --tls the right one?"))
}

fn failed(error: &io::Error) -> Stop {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the server says nothing any more".to_owned(),
        io::ErrorKind::InvalidData => return Stop::source(format!("TLS: {error}; see --ca and --insecure")),
        _ => format!("the connection ended: {error}"),
    };
    Stop::Source { again: true, why }
}

fn read(stream: &mut Stream, responses: &mut Responses, buffer: &mut [u8]) -> Result<(), Stop> {
    loop {
        let read = match stream {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        };
        match read {
            Ok(0) => return Err(failed(&io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                responses.push(buffer.get(..read).unwrap_or_default());
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}

fn write(stream: &mut Stream, octets: &[u8]) -> Result<(), Stop> {
    let written = match stream {
        Stream::Plain(socket) => socket.write_all(octets),
        Stream::Tls(tls) => tls.write_all(octets).and_then(|()| tls.flush()),
    };
    written.map_err(|error| failed(&error))
}
