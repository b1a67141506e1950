//! An SMTP client as fast as a client can be: it pipelines (RFC 2920) and keeps its connection.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{failure::Failure, instance::ACCOUNT};

/// No server is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection after EHLO.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    line: String,
}

impl Client {
    pub(crate) fn connect(server: SocketAddr) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("SMTP on {server}"), error);
        let stream = TcpStream::connect(server).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut client = Self { reader: BufReader::new(stream), line: String::new() };
        client.expect("220")?;
        client.send(b"EHLO bench.example.org\r\n")?;
        client.expect("250")?;
        Ok(client)
    }

    /// Sends `body`, which ends in CRLF. How long the server took from the last octet to its 250.
    pub(crate) fn deliver(&mut self, body: &str) -> Result<Duration, Failure> {
        self.deliver_to(ACCOUNT, body)
    }

    /// The same to another account of the instance.
    pub(crate) fn deliver_to(&mut self, account: &str, body: &str) -> Result<Duration, Failure> {
        let envelope = format!("MAIL FROM:<ada@example.org>\r\nRCPT TO:<{account}@localhost>\r\nDATA\r\n");
        self.send(envelope.as_bytes())?;
        self.expect("250")?;
        self.expect("250")?;
        self.expect("354")?;
        self.send([body, ".\r\n"].concat().as_bytes())?;
        let sent = Instant::now();
        self.expect("250")?;
        Ok(sent.elapsed())
    }

    fn send(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.reader.get_mut().write_all(octets).map_err(|error| Failure::io("sending to SMTP", error))
    }

    /// Reads one reply, all its lines.
    fn expect(&mut self, code: &str) -> Result<(), Failure> {
        loop {
            self.line.clear();
            self.reader.read_line(&mut self.line).map_err(|error| Failure::io("reading from SMTP", error))?;
            match self.line.strip_prefix(code) {
                Some(rest) if rest.starts_with('-') => {}
                Some(_) => return Ok(()),
                None => {
                    return Err(Failure::new(format!(
                        "SMTP said {:?} where {code} was due",
                        self.line.trim_end()
                    )));
                }
            }
        }
    }
}
