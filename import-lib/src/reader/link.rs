//! The reader's way to moxctl: values and octets, one stream each way.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

use ipc_proto::{
    Violation,
    reader::{FromReader, ToReader},
    transfer::{Mail, MailHead, Piece, PieceReader, write_octets, write_value},
};

/// Octets that are sent at once.
const AT_ONCE: usize = 64 * 1024;

/// Why the reader ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// moxctl is gone.
    #[error("moxctl is gone: {0}")]
    Gone(#[from] io::Error),
    /// moxctl says what it never says.
    #[error("moxctl broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The source cannot be read on.
    #[error("{why}")]
    Source {
        /// Another connection may help.
        again: bool,
        /// One line that says what to do.
        why: String,
    },
}

impl Stop {
    pub(crate) fn source(why: impl Into<String>) -> Self {
        Self::Source { again: false, why: why.into() }
    }
}

/// What comes from moxctl.
#[derive(Debug)]
pub(crate) enum Told {
    Value(ToReader),
    Octets(Vec<u8>),
}

/// Both streams.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    pieces: PieceReader<ToReader>,
    out: Vec<u8>,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, pieces: PieceReader::default(), out: Vec::with_capacity(AT_ONCE) }
    }

    /// What moxctl says next. What waited to be sent is sent before.
    pub(crate) fn next(&mut self) -> Result<Told, Stop> {
        self.flush()?;
        loop {
            match self.pieces.next_piece()? {
                Some(Piece::Value(value)) => return Ok(Told::Value(value)),
                Some(Piece::Octets(octets)) => return Ok(Told::Octets(octets.to_vec())),
                None => {}
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => self.pieces.push(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The same where only a value can come.
    pub(crate) fn next_value(&mut self) -> Result<ToReader, Stop> {
        match self.next()? {
            Told::Value(value) => Ok(value),
            Told::Octets(_) => Err(Violation::Unexpected.into()),
        }
    }

    pub(crate) fn say(&mut self, value: &FromReader) -> Result<(), Stop> {
        write_value(value, &mut self.out)?;
        self.sent()
    }

    /// A message begins. One whose keywords are too many for a message loses them.
    pub(crate) fn begin(&mut self, head: MailHead) -> Result<(), Stop> {
        self.say(&FromReader::Mail(Mail::Begin(head)))
    }

    pub(crate) fn octets(&mut self, octets: &[u8]) -> Result<(), Stop> {
        write_octets(octets, &mut self.out);
        self.sent()
    }

    pub(crate) fn end(&mut self) -> Result<(), Stop> {
        self.say(&FromReader::Mail(Mail::End))
    }

    pub(crate) fn gone(&mut self) -> Result<(), Stop> {
        self.say(&FromReader::Mail(Mail::Gone))
    }

    fn sent(&mut self) -> Result<(), Stop> {
        if self.out.len() >= AT_ONCE { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }
}
