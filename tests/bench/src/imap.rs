//! An IMAP client that reads everything and keeps nothing.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::failure::Failure;

/// No server is waited for longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client<S: Read + Write = TcpStream> {
    reader: BufReader<S>,
    line: Vec<u8>,
    /// Literals, where they are to be kept.
    kept: Option<Vec<Vec<u8>>>,
}

/// What a command brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answer {
    /// Untagged responses that are about one message.
    pub(crate) fetched: usize,
    /// The number of an untagged EXISTS.
    pub(crate) exists: usize,
    /// Numbers of an untagged SEARCH.
    pub(crate) found: usize,
    /// Octets in all.
    pub(crate) octets: usize,
    /// Of a mailbox that was selected (RFC 3501 §7.1).
    pub(crate) uid_validity: u64,
    /// The same (RFC 7162 §3.1.2.1).
    pub(crate) highest_modseq: u64,
}

impl Client {
    pub(crate) fn login(server: SocketAddr, account: &str, password: &str) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("IMAP on {server}"), error);
        let stream = TcpStream::connect(server).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut client = Self::greeted(stream, 256 * 1024)?;
        client.command(&format!("LOGIN {account} {password}"))?;
        Ok(client)
    }
}

impl<S: Read + Write> Client<S> {
    /// Reads the greeting. `buffer`: octets that are read at once.
    pub(crate) fn greeted(stream: S, buffer: usize) -> Result<Self, Failure> {
        let mut client =
            Self { reader: BufReader::with_capacity(buffer, stream), line: Vec::new(), kept: None };
        client.response(&mut Answer::default())?;
        Ok(client)
    }

    /// Logs in by AUTHENTICATE with an initial response (RFC 4959); `answer` gets each challenge.
    pub(crate) fn authenticate(
        &mut self,
        mechanism: &str,
        initial: &[u8],
        mut answer: impl FnMut(&[u8]) -> Result<Vec<u8>, Failure>,
    ) -> Result<(), Failure> {
        self.send(&format!("a AUTHENTICATE {mechanism} {}\r\n", STANDARD.encode(initial)))?;
        loop {
            self.response(&mut Answer::default())?;
            if self.line.starts_with(b"a OK") {
                return Ok(());
            }
            if let Some(challenge) = self.line.strip_prefix(b"+ ") {
                let challenge = STANDARD.decode(challenge.trim_ascii_end());
                let challenge = challenge.map_err(|_| Failure::new("IMAP's challenge is not base64"))?;
                let line = format!("{}\r\n", STANDARD.encode(answer(&challenge)?));
                self.send(&line)?;
            } else if !self.line.starts_with(b"* ") {
                return Err(self.refused(mechanism));
            }
        }
    }

    /// Logs out and reads to the end.
    pub(crate) fn logout(mut self) -> Result<(), Failure> {
        self.command("LOGOUT")?;
        match io::copy(&mut self.reader, &mut io::sink()) {
            // Not every server says goodbye in TLS too.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(Failure::io("IMAP's end after LOGOUT", error))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn refused(&self, command: &str) -> Failure {
        let line = String::from_utf8_lossy(&self.line);
        Failure::new(format!("IMAP said {:?} to {command}", line.trim_end()))
    }

    /// Sends a command and reads to its OK; the literals that came, such as whole messages.
    pub(crate) fn literals(&mut self, command: &str) -> Result<Vec<Vec<u8>>, Failure> {
        self.kept = Some(Vec::new());
        let answer = self.command(command);
        let kept = self.kept.take().unwrap_or_default();
        answer.map(|_| kept)
    }

    /// Waits in IDLE (RFC 2177) for the rest of the connection.
    pub(crate) fn idle(&mut self) -> Result<(), Failure> {
        self.send("a IDLE\r\n")?;
        self.response(&mut Answer::default())?;
        if self.line.starts_with(b"+") { Ok(()) } else { Err(Failure::new("IMAP does not wait in IDLE")) }
    }

    /// The next number of messages that is told.
    pub(crate) fn exists(&mut self) -> Result<usize, Failure> {
        let mut answer = Answer::default();
        while answer.exists == 0 {
            self.response(&mut answer)?;
        }
        Ok(answer.exists)
    }

    fn send(&mut self, line: &str) -> Result<(), Failure> {
        self.reader
            .get_mut()
            .write_all(line.as_bytes())
            .map_err(|error| Failure::io("sending to IMAP", error))
    }

    /// Sends a command and reads to its OK.
    pub(crate) fn command(&mut self, command: &str) -> Result<Answer, Failure> {
        self.send(&format!("a {command}\r\n"))?;
        let mut answer = Answer::default();
        loop {
            self.response(&mut answer)?;
            if self.line.starts_with(b"a OK") {
                return Ok(answer);
            }
            if !self.line.starts_with(b"* ") {
                return Err(self.refused(command));
            }
        }
    }

    /// Appends messages by one command (RFC 3502 where it is more than one), without waiting for the server's word.
    pub(crate) fn append(&mut self, mailbox: &str, messages: &[&str]) -> Result<Answer, Failure> {
        let mut command = format!("APPEND {mailbox}");
        for message in messages {
            command.push_str(&format!(" {{{}+}}\r\n{message}", message.len()));
        }
        self.command(&command)
    }

    /// Reads one response, its literals included, and leaves its first line in `self.line`.
    fn response(&mut self, answer: &mut Answer) -> Result<(), Failure> {
        let failed = |error| Failure::io("reading from IMAP", error);
        let mut literal = self.line(answer).map_err(failed)?;
        count(&self.line, answer);
        let mut first = None;
        while let Some(size) = literal {
            first.get_or_insert_with(|| self.line.clone());
            answer.octets += usize::try_from(size).unwrap_or(usize::MAX);
            let mut octets = (&mut self.reader).take(size);
            let read = match &mut self.kept {
                None => io::copy(&mut octets, &mut io::sink()),
                Some(kept) => {
                    let mut whole = Vec::new();
                    let read = octets.read_to_end(&mut whole);
                    kept.push(whole);
                    read.map(|read| read as u64)
                }
            };
            if read.map_err(failed)? < size {
                return Err(Failure::new("IMAP closed the connection inside a literal"));
            }
            literal = self.line(answer).map_err(failed)?;
        }
        if let Some(first) = first {
            self.line = first;
        }
        Ok(())
    }

    /// One line. `Some`: a literal of that size follows (RFC 3501 §4.3).
    fn line(&mut self, answer: &mut Answer) -> io::Result<Option<u64>> {
        self.line.clear();
        if self.reader.read_until(b'\n', &mut self.line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.octets += self.line.len();
        Ok(literal(&self.line))
    }
}

fn literal(line: &[u8]) -> Option<u64> {
    let open = line.strip_suffix(b"}\r\n")?;
    let at = open.iter().rposition(|octet| *octet == b'{')?;
    std::str::from_utf8(open.get(at + 1..)?).ok()?.parse().ok()
}

/// `* 12 FETCH …`, `* 12 EXISTS`, `* OK [UIDVALIDITY 12] …`.
fn count(line: &[u8], answer: &mut Answer) {
    if let Some(numbers) = line.strip_prefix(b"* SEARCH") {
        answer.found = numbers.iter().filter(|octet| **octet == b' ').count();
        return;
    }
    for (name, number) in
        [("UIDVALIDITY", &mut answer.uid_validity), ("HIGHESTMODSEQ", &mut answer.highest_modseq)]
    {
        let code = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("* OK ["));
        let value = code.and_then(|code| code.strip_prefix(name)?.trim_start().split(']').next());
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            *number = value;
        }
    }
    let mut words = line.split(|octet| octet.is_ascii_whitespace()).skip(1);
    let number = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    match (number, words.next()) {
        (Some(_), Some(b"FETCH")) => answer.fetched += 1,
        (Some(number), Some(b"EXISTS")) => answer.exists = number,
        (Some(_) | None, Some(_) | None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_counts_are_found_in_lines() {
        for (line, expected) in [
            ("* 1 FETCH (BODY[] {2048}\r\n", Some(2048)),
            ("* 1 FETCH (BODY[] {0}\r\n", Some(0)),
            ("* 1 FETCH (UID 4)\r\n", None),
            ("* OK {x}\r\n", None),
        ] {
            assert_eq!(literal(line.as_bytes()), expected, "{line}");
        }
        let mut answer = Answer::default();
        let lines = [
            "* 3 EXISTS\r\n",
            "* 1 FETCH (UID 4)\r\n",
            "* FLAGS ()\r\n",
            "* 0 RECENT\r\n",
            "* SEARCH 2 30\r\n",
        ];
        for line in lines {
            count(line.as_bytes(), &mut answer);
        }
        assert_eq!((answer.exists, answer.fetched, answer.found), (3, 1, 2));
        for line in
            ["* OK [UIDVALIDITY 17] UIDs valid\r\n", "* OK [HIGHESTMODSEQ 99]\r\n", "* OK [UIDNEXT 5] x\r\n"]
        {
            count(line.as_bytes(), &mut answer);
        }
        assert_eq!((answer.uid_validity, answer.highest_modseq), (17, 99));
    }
}
