//! A client's connection, plain or under TLS: reads and writes with deadlines, and slowly where that is earned.

use std::{io, time::Duration};

use net_lib::TlsStream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout, timeout_at},
};
use zeroize::Zeroize;

use super::buffers::{Buffers, ROOM};

/// Input at rest: a command line fits.
const SMALL: usize = crate::MAX_LINE;

/// Input at most, for message data that comes fast.
const LARGE: usize = ROOM;

/// Before each read from a client that is slowed down, and between octets to it.
const TARPIT: Duration = Duration::from_secs(1);

/// How much of a write's time a slowed down client is left to take the rest at once.
const TARPIT_REST: Duration = Duration::from_secs(5);

/// How long a connection is read from after the last word, so that the client gets to see it: closing a socket with
/// unread octets resets the connection.
const LINGER: Duration = Duration::from_secs(2);

/// Octets read meanwhile.
const LINGER_OCTETS: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// One connection with its input.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    input: Vec<u8>,
    /// The input's capacity: more while reads fill it.
    room: usize,
    pub(crate) slow: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, input: Vec::new(), room: SMALL, slow: false }
    }

    /// Octets that were read and not yet used.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Forgets octets from the input's front. `secret`: there may be a password in them, and they are wiped.
    pub(crate) fn used(&mut self, octets: usize, secret: bool) {
        let octets = octets.min(self.input.len());
        let left = self.input.len() - octets;
        if left > 0 {
            self.input.copy_within(octets.., 0);
        }
        if secret && let Some(old) = self.input.get_mut(left..) {
            old.zeroize();
        }
        self.input.truncate(left);
    }

    /// Nothing is coming in: gives back what a message or many commands needed.
    pub(crate) fn rest(&mut self, buffers: &Buffers) {
        self.room = SMALL;
        if self.input.is_empty() && self.input.capacity() > SMALL {
            buffers.give(std::mem::take(&mut self.input));
        }
    }

    /// Message data is coming in: it may come fast.
    pub(crate) fn expect_much(&mut self, buffers: &Buffers) {
        self.room = LARGE;
        if self.input.capacity() < LARGE {
            let mut input = buffers.take();
            input.extend_from_slice(&self.input);
            self.input = input;
        }
    }

    /// Reads behind what is there. `Ok(false)`: the client has gone.
    pub(crate) async fn read(&mut self, deadline: Instant) -> io::Result<bool> {
        if self.slow {
            sleep(TARPIT).await;
        }
        self.input.reserve_exact(self.room.saturating_sub(self.input.len()));
        let read = match &mut self.stream {
            Stream::Plain(stream) => timeout_at(deadline, stream.read_buf(&mut self.input)).await,
            Stream::Tls(stream) => timeout_at(deadline, stream.read_buf(&mut self.input)).await,
        };
        let read = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if self.input.len() >= self.room {
            self.room = (self.room * 4).min(LARGE);
        }
        Ok(read > 0)
    }

    /// Writes all of it within `limit`.
    pub(crate) async fn write(&mut self, octets: &[u8], limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        let mut rest = octets;
        while self.slow
            && Instant::now() + TARPIT_REST < deadline
            && let Some((octet, after)) = rest.split_first()
        {
            self.write_all(std::slice::from_ref(octet), deadline).await?;
            sleep(TARPIT).await;
            rest = after;
        }
        self.write_all(rest, deadline).await
    }

    async fn write_all(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => timeout_at(deadline, stream.write_all(octets)).await,
            Stream::Tls(stream) => {
                timeout_at(deadline, async {
                    stream.write_all(octets).await?;
                    stream.flush().await
                })
                .await
            }
        };
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// The connection in the clear, for a handshake. `None`: there is TLS already.
    pub(crate) fn into_plain(self) -> Option<TcpStream> {
        match self.stream {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) => None,
        }
    }

    /// Says that no more comes. Where octets of the client may be on their way, it gets time to read what we said.
    pub(crate) async fn close(&mut self, may_leave_octets: bool) {
        let _ = timeout(LINGER, async {
            match &mut self.stream {
                Stream::Plain(stream) if may_leave_octets => drain(stream).await,
                Stream::Plain(_) => Ok(()),
                Stream::Tls(stream) => {
                    // close_notify: the client learns that nothing was cut off.
                    stream.shutdown().await?;
                    if may_leave_octets { drain(stream.get_mut().0).await } else { Ok(()) }
                }
            }
        })
        .await;
    }
}

async fn drain(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scrap = vec![0; 4096];
    let mut left = LINGER_OCTETS;
    while left > 0 {
        match stream.read(&mut scrap).await? {
            0 => break,
            octets => left = left.saturating_sub(octets),
        }
    }
    Ok(())
}
