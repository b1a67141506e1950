//! Accepting connections: never spinning, never more than fit.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{
        setsockopt,
        sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval},
    },
};
use tokio::net::{TcpListener, TcpStream};

use worker_lib::Slot;

use crate::{
    connections::{Connections, Place},
    recorder::{self, Recorded},
};

/// How long accepting rests when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; it sends at once what is written to it.
    pub stream: TcpStream,
    /// Where the client is, as the kernel says.
    pub peer: SocketAddr,
    /// Its number, and its place among the connections. Keep it as long as the connection.
    pub place: Arc<Place>,
}

/// How a connection's task ended, for the log and for authd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Done,
    /// Its handler panicked: charge the client (`Offence::Crash`).
    Panicked,
}

/// Accepts for ever and runs `handle` for each connection in a task of its own on this thread's runtime. A handler that
/// panics ends its own connection only. It should watch [`Place::told_to_leave`]; who does not is not interrupted.
pub async fn serve<H, F>(
    listener: std::net::TcpListener,
    connections: Connections,
    handle: H,
) -> io::Result<()>
where
    H: Fn(Accepted) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    prepare(&listener);
    let listener = TcpListener::from_std(listener)?;
    let mut reserve = Reserve::new(&listener);
    let slot = Slot::of_thread(recorder::CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(place) = connections.enter() else {
                    tracing::debug!(%peer, "turned away: no place left");
                    continue;
                };
                // Only a connection that is gone already refuses this.
                let _ = stream.set_nodelay(true);
                let connection = place.id();
                let accepted = Accepted { stream, peer, place: Arc::new(place) };
                tokio::spawn(Recorded::new(slot, connection, handle(accepted)));
            }
            Err(error) if is_exhaustion(&error) => {
                tracing::warn!(%error, "accepting rests");
                reserve.turn_one_away(&listener).await;
                tokio::time::sleep(PAUSE).await;
            }
            // The client went before we came (ECONNABORTED), or its network did: accept(2) says to try again.
            Err(error) => tracing::debug!(%error, "accept"),
        }
    }
}

/// What accepted connections inherit (Linux): a peer that has vanished is noticed within the quarter of an hour.
/// (Connections that waited in the queue before do without: their sessions have time-outs too.)
fn prepare(listener: &std::net::TcpListener) {
    let done = setsockopt(listener, KeepAlive, &true)
        .and_then(|()| setsockopt(listener, TcpKeepIdle, &600))
        .and_then(|()| setsockopt(listener, TcpKeepInterval, &60))
        .and_then(|()| setsockopt(listener, TcpKeepCount, &5));
    if let Err(error) = done {
        tracing::warn!(%error, "a listener's options cannot be set");
    }
}

/// Runs a connection's future so that its panic ends in a value. What the future held is dropped either way.
pub async fn catch_panic<F: Future<Output = ()>>(future: F) -> Ended {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(|()| Ended::Done),
            Err(_panic) => std::task::Poll::Ready(Ended::Panicked),
        }
    })
    .await
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the queue and the listener stays readable, so that accepting
/// at once would spin.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// One descriptor in hand, so that when there is no other the client at the head of the queue can be sent away
/// instead of waiting for nothing.
struct Reserve(Option<OwnedFd>);

impl Reserve {
    fn new(listener: &TcpListener) -> Self {
        Self(listener.as_fd().try_clone_to_owned().ok())
    }

    async fn turn_one_away(&mut self, listener: &TcpListener) {
        if self.0.take().is_some() {
            // It is readable; should another have taken the client meanwhile, do not wait for the next.
            let _ = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        }
        *self = Self::new(listener);
    }
}
