//! A TCP connection that can change its event loop, so that a handshake can run on another thread.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use ipc_proto::{key_proof::KeyProof, sasl::Transport};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection under TLS, after its handshake.
pub type TlsStream = tokio_rustls::server::TlsStream<Socket>;

/// What a login runs over, for authd, with the proof that came of the same handshake.
#[must_use]
pub fn sasl_transport(stream: &TlsStream, proof: Option<Box<KeyProof>>) -> Transport {
    match (tls_exporter(stream), proof) {
        (Some(value), Some(proof)) => Transport::Keyed(value, *proof),
        (Some(value), None) => Transport::Bound(value),
        (None, _) => Transport::Tls,
    }
}

/// The value that binds a login to this TLS connection and to no other (RFC 9266). Only TLS 1.3 has one here: in TLS 1.2
/// it would hang on the extended master secret, and an empty context is not the same as none.
fn tls_exporter(stream: &TlsStream) -> Option<[u8; 32]> {
    let (_, session) = stream.get_ref();
    (session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3))
        .then(|| session.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok())
        .flatten()
}

/// The connection below a [`TlsStream`]. Everywhere but inside this crate it is there; on its way from one event loop
/// to another it is taken out.
#[derive(Debug)]
pub struct Socket(Option<TcpStream>);

impl Socket {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    /// Out of this thread's event loop.
    pub(crate) fn take(&mut self) -> io::Result<std::net::TcpStream> {
        self.0.take().ok_or_else(absent)?.into_std()
    }

    /// Into this thread's event loop.
    pub(crate) fn put(&mut self, stream: std::net::TcpStream) -> io::Result<()> {
        self.0 = Some(TcpStream::from_std(stream)?);
        Ok(())
    }

    /// The connection itself, for its addresses.
    #[must_use]
    pub const fn tcp(&self) -> Option<&TcpStream> {
        self.0.as_ref()
    }

    fn pinned(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        self.get_mut().0.as_mut().map(Pin::new).ok_or_else(absent)
    }
}

fn absent() -> io::Error {
    io::Error::from(ErrorKind::NotConnected)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write(context, octets)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_shutdown(context)
    }
}
