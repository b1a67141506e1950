//! An IMAP client that only takes answers apart into lines and literals.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{ACCOUNT, PASSWORD};

/// One connection.
#[derive(Debug)]
pub struct Imap {
    stream: BufReader<TcpStream>,
    tag: u32,
}

/// One response: its text with every literal left out, and the literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Without the CRLF.
    pub text: String,
    /// In their order.
    pub literals: Vec<Vec<u8>>,
}

impl Imap {
    /// Connects and reads the greeting.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let mut imap = Self { stream: BufReader::new(stream), tag: 0 };
        let greeting = imap.response()?;
        if greeting.text.starts_with("* OK") { Ok(imap) } else { Err(io::Error::other(greeting.text)) }
    }

    /// Connects and logs in; instances of tests let loopback do so without TLS.
    pub fn login(address: SocketAddr) -> io::Result<Self> {
        Self::login_as(address, ACCOUNT, PASSWORD)
    }

    /// The same into another account.
    pub fn login_as(address: SocketAddr, account: &str, password: &str) -> io::Result<Self> {
        let mut imap = Self::open(address)?;
        imap.command(&format!("LOGIN {account} {password}"))?;
        Ok(imap)
    }

    /// Sends a command whose answers nobody reads.
    pub fn send_only(&mut self, command: &str) -> io::Result<()> {
        self.tag += 1;
        self.stream.get_mut().write_all(format!("t{} {command}\r\n", self.tag).as_bytes())
    }

    /// Begins IDLE: the server waits for [`Self::done`].
    pub fn idle(&mut self) -> io::Result<()> {
        self.send_only("IDLE")?;
        loop {
            let response = self.response()?;
            if response.text.starts_with('+') {
                return Ok(());
            }
        }
    }

    /// Ends IDLE: what was told before its answer, which is OK.
    pub fn done(&mut self) -> io::Result<Vec<Response>> {
        self.say("DONE\r\n")?;
        self.answers("IDLE")
    }

    /// Sends octets as they are.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    /// What the other side sent and nobody read: whether there is something.
    pub fn has_unread(&self) -> io::Result<bool> {
        Ok(self.stream.get_ref().peek(&mut [0])? > 0)
    }

    /// Runs a command: its untagged responses if it ended with OK.
    pub fn command(&mut self, command: &str) -> io::Result<Vec<Response>> {
        self.send_only(command)?;
        self.answers(command)
    }

    /// Untagged responses up to the answer to the latest command, which is OK.
    fn answers(&mut self, command: &str) -> io::Result<Vec<Response>> {
        let tag = format!("t{} ", self.tag);
        let mut responses = Vec::new();
        loop {
            let response = self.response()?;
            match response.text.strip_prefix(&tag) {
                Some(state) if state.starts_with("OK") => return Ok(responses),
                Some(state) => return Err(io::Error::other(format!("{command}: {state}"))),
                None => responses.push(response),
            }
        }
    }

    /// Appends a message; flags and date as in the command, or nothing.
    pub fn append(&mut self, mailbox: &str, flags: &str, date: &str, octets: &[u8]) -> io::Result<()> {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        let command = format!("{tag}APPEND {mailbox} ({flags}) {date} {{{}}}\r\n", octets.len());
        self.stream.get_mut().write_all(command.as_bytes())?;
        let go_on = self.response()?;
        if !go_on.text.starts_with('+') {
            return Err(io::Error::other(go_on.text));
        }
        self.stream.get_mut().write_all(octets)?;
        self.stream.get_mut().write_all(b"\r\n")?;
        loop {
            let response = self.response()?;
            match response.text.strip_prefix(&tag) {
                Some(state) if state.starts_with("OK") => return Ok(()),
                Some(state) => return Err(io::Error::other(format!("APPEND: {state}"))),
                None => {}
            }
        }
    }

    /// Every message of a mailbox, whole, in the order of UIDs.
    pub fn messages(&mut self, mailbox: &str) -> io::Result<Vec<Vec<u8>>> {
        self.command(&format!("EXAMINE {mailbox}"))?;
        let responses = self.command("UID FETCH 1:* (BODY.PEEK[])")?;
        let fetched = responses.into_iter().filter(|response| response.text.contains(" FETCH "));
        Ok(fetched.filter_map(|response| response.literals.into_iter().next()).collect())
    }

    /// Reads one response.
    pub fn response(&mut self) -> io::Result<Response> {
        let (mut text, mut literals) = (String::new(), Vec::new());
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.push_str(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            let Some(size) = literal_size(&text) else { return Ok(Response { text, literals }) };
            text.truncate(text.rfind('{').unwrap_or_default());
            let mut literal = vec![0; size];
            self.stream.read_exact(&mut literal)?;
            literals.push(literal);
        }
    }
}

fn literal_size(line: &str) -> Option<usize> {
    line.strip_suffix('}').and_then(|line| line.rsplit_once('{')).and_then(|(_, size)| size.parse().ok())
}
