//! An SMTP client that knows exactly what was acknowledged.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{ACCOUNT, PASSWORD};

/// One connection.
#[derive(Debug)]
pub struct Smtp {
    stream: BufReader<TcpStream>,
}

/// How a delivery ended.
#[derive(Debug)]
pub enum Delivery {
    /// 250 behind the data: it must never be lost.
    Acknowledged,
    /// A reply that says no: it was not taken.
    Refused(Reply),
    /// The connection broke before all data was sent: it was not taken.
    Unsent(io::Error),
    /// The connection broke behind the data: nobody knows.
    Unknown(io::Error),
}

/// A reply, its lines without their codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// Joined by LF.
    pub text: String,
}

impl Smtp {
    /// Connects, reads the greeting and says EHLO.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut smtp = Self::open(address)?;
        match smtp.command("EHLO client.example")? {
            Reply { code: 250, .. } => Ok(smtp),
            reply => Err(io::Error::other(format!("EHLO: {reply:?}"))),
        }
    }

    /// Connects and reads the greeting.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let mut smtp = Self { stream: BufReader::new(stream) };
        match smtp.reply()? {
            Reply { code: 220, .. } => Ok(smtp),
            reply => Err(io::Error::other(format!("greeting: {reply:?}"))),
        }
    }

    /// Sends a line and reads the reply.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other(format!("not a reply: {line:?}")))?;
            text.push_str(line.get(4..).unwrap_or_default());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text });
            }
            text.push('\n');
        }
    }

    /// Logs in as the account that localserve makes, by PLAIN.
    pub fn log_in(&mut self) -> io::Result<()> {
        let credentials = STANDARD.encode(format!("\0{ACCOUNT}\0{PASSWORD}"));
        match self.command(&format!("AUTH PLAIN {credentials}"))? {
            Reply { code: 235, .. } => Ok(()),
            reply => Err(io::Error::other(format!("AUTH: {reply:?}"))),
        }
    }

    /// One message to one recipient. The message ends in CRLF.
    pub fn deliver(&mut self, to: &str, message: &[u8]) -> Delivery {
        assert!(message.ends_with(b"\r\n"), "a message ends in CRLF");
        let envelope = format!("MAIL FROM:<sender@example.org> SIZE={}", message.len());
        for (command, wanted) in [(envelope.as_str(), 250), (&format!("RCPT TO:<{to}>"), 250), ("DATA", 354)]
        {
            match self.command(command) {
                Ok(reply) if reply.code == wanted => {}
                Ok(reply) => return Delivery::Refused(reply),
                Err(error) => return Delivery::Unsent(error),
            }
        }
        if let Err(error) = self.send(&stuffed(message)) {
            return Delivery::Unsent(error);
        }
        if let Err(error) = self.send(b".\r\n") {
            return Delivery::Unknown(error);
        }
        match self.reply() {
            Ok(Reply { code: 250, .. }) => Delivery::Acknowledged,
            Ok(reply) => Delivery::Refused(reply),
            Err(error) => Delivery::Unknown(error),
        }
    }

    /// Delivers, or panics.
    pub fn must_deliver(&mut self, to: &str, message: &[u8]) {
        match self.deliver(to, message) {
            Delivery::Acknowledged => {}
            other => panic!("not delivered: {other:?}"),
        }
    }
}

/// With every dot at the start of a line doubled (RFC 5321 §4.5.2).
#[must_use]
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + message.len() / 32 + 2);
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire
}
