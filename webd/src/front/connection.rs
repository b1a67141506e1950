//! One client, from accept to close.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use ipc_proto::authd::Offence;
use net_lib::{
    Place,
    listener::{Accepted, Ended, catch_panic},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    Front,
    pace::{Pace, Paced},
};

/// Octets of a request's line and header together; hyper's least is 8 KiB.
const HEADER: usize = 8 * 1024;

/// Fields of a header.
const FIELDS: usize = 64;

/// How a listener's connections begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// HTTP.
    Clear,
    /// HTTPS.
    Tls,
}

/// From accept to close.
pub(crate) async fn serve(front: Arc<Front>, accepted: Accepted, entrance: Entrance) {
    let Accepted { stream, peer, place } = accepted;
    let connection = place.id();
    let admitted = match front.door.admit(connection, peer).await {
        Ok(admitted) => admitted,
        Err(why) => {
            tracing::info!(%connection, %peer, "turned away: {why}");
            return;
        }
    };
    match catch_panic(talk(&front, stream, &place, entrance)).await {
        Ended::Done => tracing::info!(%connection, %peer, "ended"),
        Ended::Panicked => {
            tracing::error!(%connection, %peer, "the connection's handler panicked");
            admitted.charge(Offence::Crash);
        }
    }
}

async fn talk(front: &Front, stream: TcpStream, place: &Place, entrance: Entrance) {
    match entrance {
        Entrance::Clear => requests(front, stream, place).await,
        Entrance::Tls => {
            let shaken = tokio::select! {
                () = place.told_to_leave() => return,
                shaken = front.tls.accept(place.id(), stream) => shaken,
            };
            match shaken {
                Ok(stream) => requests(front, stream, place).await,
                Err(error) => tracing::debug!(connection = %place.id(), "{error}"),
            }
        }
    }
}

async fn requests<S>(front: &Front, stream: S, place: &Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
    let pace = Pace::new(
        milliseconds(front.settings.now().header_timeout_ms),
        milliseconds(front.settings.now().idle_timeout_ms),
    );
    let site = TowerToHyperService::new(front.site.clone());
    let answers = service_fn(|request: Request<Incoming>| {
        pace.requested();
        hyper::service::Service::call(&site, request.map(Body::new))
    });
    let paced = TokioIo::new(Paced { stream, pace: Arc::clone(&pace) });
    let mut serving = pin!(
        http1::Builder::new()
            .max_buf_size(HEADER)
            .max_headers(FIELDS)
            .half_close(false)
            .keep_alive(true)
            .serve_connection(paced, answers)
    );
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = pace.too_slow() => return tracing::debug!(connection = %place.id(), "too slow"),
        () = place.told_to_leave() => {
            // The answer under way is finished; a client that does not take it is cut off like any other.
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut serving => ended,
                () = pace.too_slow() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(connection = %place.id(), "{error}");
    }
}
