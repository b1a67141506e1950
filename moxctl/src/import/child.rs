//! The confined child in which a source is taken apart.

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use import_lib::reader::ARGUMENT;
use ipc_proto::{
    reader::{FromReader, ToReader},
    transfer::{Piece, PieceReader, write_octets, write_value},
};

use crate::failure::{Failure, reason};

/// A reader that says nothing for so long is stuck: it is never waited for longer by its source.
const PATIENCE: Duration = Duration::from_secs(600);

/// The reader, killed when this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    child: Child,
    stream: Arc<UnixStream>,
    pieces: PieceReader<FromReader>,
    buffer: Vec<u8>,
}

/// What to tell the reader, also from another thread.
#[derive(Debug, Clone)]
pub(super) struct Teller(Arc<UnixStream>);

/// What the reader says.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Value(FromReader),
    Octets(&'a [u8]),
}

impl Reader {
    /// Starts one with the source's descriptor. It has locked itself in when this returns.
    pub(super) fn start(source: Option<OwnedFd>) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::Unavailable(format!("the reader cannot be started: {}", reason(&error)))
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(ARGUMENT).env_clear().current_dir("/");
        command.stdin(source.map_or_else(Stdio::null, Stdio::from));
        // What it wrote to a terminal nobody would have looked at before.
        command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        // The command holds the other end.
        drop(command);
        let stream = Arc::new(ours);
        let mut reader = Self { child, stream, pieces: PieceReader::default(), buffer: vec![0; 64 * 1024] };
        match reader.next()? {
            Said::Value(FromReader::Ready) => Ok(reader),
            Said::Value(FromReader::Failed { why, .. }) => Err(Failure::Unavailable(why)),
            Said::Value(_) | Said::Octets(_) => Err(broken()),
        }
    }

    /// The way to it.
    pub(super) fn teller(&self) -> Teller {
        Teller(Arc::clone(&self.stream))
    }

    /// What it says next.
    pub(super) fn next(&mut self) -> Result<Said<'_>, Failure> {
        loop {
            // Looked at twice, because what is found is borrowed.
            if self.pieces.is_ready().map_err(|_| broken())? {
                return match self.pieces.next_piece() {
                    Ok(Some(Piece::Value(value))) => Ok(Said::Value(value)),
                    Ok(Some(Piece::Octets(octets))) => Ok(Said::Octets(octets)),
                    Ok(None) | Err(_) => Err(broken()),
                };
            }
            match (&*self.stream).read(&mut self.buffer) {
                Ok(0) => return Err(self.ended()),
                Ok(read) => self.pieces.push(self.buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Failure::Unavailable(
                        "the source has given nothing for ten minutes; run the same again to go on"
                            .to_owned(),
                    ));
                }
                Err(error) => return Err(Failure::Unavailable(reason(&error))),
            }
        }
    }

    fn ended(&mut self) -> Failure {
        let how = self.child.wait().map_or_else(|error| reason(&error), |status| status.to_string());
        Failure::Unavailable(format!(
            "the reader of the source ended ({how}); what came is kept; run the same again, and report this"
        ))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Teller {
    pub(super) fn tell(&self, value: &ToReader) -> Result<(), Failure> {
        let mut octets = Vec::new();
        write_value(value, &mut octets)
            .map_err(|_| Failure::Usage("something is too long for the reader".to_owned()))?;
        self.write(&octets)
    }

    pub(super) fn octets(&self, octets: &[u8]) -> Result<(), Failure> {
        let mut pieces = Vec::with_capacity(octets.len() + 64);
        write_octets(octets, &mut pieces);
        self.write(&pieces)
    }

    fn write(&self, octets: &[u8]) -> Result<(), Failure> {
        (&*self.0).write_all(octets).map_err(|_| {
            Failure::Unavailable(
                "the reader of the source ended; run the same again, and report this".to_owned(),
            )
        })
    }
}

pub(super) fn broken() -> Failure {
    Failure::Unavailable(
        "the reader of the source broke its protocol; what came is kept; report this".to_owned(),
    )
}
