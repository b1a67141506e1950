//! The front's one thread: orders from the supervisor, listeners, connections.

mod connection;
mod pace;
#[cfg(test)]
mod tests;

use std::{
    num::NonZeroUsize,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use ipc_proto::{
    ChannelId, Violation,
    authd::WebdAuthd,
    control::{Event, Listener, Order, RoleSettings, Service, Settings, WebdSettings},
    tls::WebdKeyd,
};
use net_lib::{Connections, Door, Handshaker, Limits, TlsSettings, listener};
use worker_lib::{Control, Events, Fault};

use self::connection::Entrance;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) settings: WebdSettings,
    pub(crate) door: Door<WebdAuthd>,
    pub(crate) tls: Handshaker<WebdKeyd>,
    pub(crate) connections: Connections,
    pub(crate) site: Router,
}

impl Front {
    fn new(
        hostname: &str,
        settings: WebdSettings,
        violated: impl Fn(Violation) + Send + Sync + 'static,
    ) -> Result<Self, Fault> {
        let total = usize::try_from(settings.connections)
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        let tls = TlsSettings {
            alpn: &["http/1.1"],
            tickets: true,
            timeout: Duration::from_millis(u64::from(settings.tls_timeout_ms)),
            at_once: total,
        };
        let tls = Handshaker::start(&tls, violated)?;
        let door = Door::default();
        let (certificates, authd) = (tls.certificates(), door.clone());
        let site =
            webd::site::site(hostname, Arc::new(move || certificates.are_there() && authd.is_connected()));
        // Nobody logs in here: the oldest connection makes room.
        let connections = Connections::new(Limits { total, fresh: total });
        Ok(Self { settings, door, tls, connections, site })
    }
}

/// Until the supervisor says so or is gone.
pub(crate) async fn run(control: Control, settings: Settings) -> Result<(), Fault> {
    let RoleSettings::Webd(own) = settings.own else {
        return Err(Fault::new("these are another role's settings"));
    };
    let events = control.events();
    let violations = events.clone();
    let violated = move |violation| violations.violation(ChannelId::WebdKeyd, None, violation);
    let front = Arc::new(Front::new(&settings.hostname, own, violated)?);
    let mut control = control.into_async()?;
    let (mut listeners, mut told_ready) = (Vec::new(), false);
    loop {
        let next = tokio::select! {
            next = control.next_order() => next?,
            ready = front.tls.ready(), if !told_ready && !listeners.is_empty() && front.door.is_connected() => {
                ready?;
                events.send(Event::Ready);
                told_ready = true;
                continue;
            }
        };
        let Some((order, fds)) = next else { return Ok(()) };
        match order {
            Order::Channel { channel, account: _ } => take_channel(&front, &events, channel, fds)?,
            Order::Listener(listener) => {
                for fd in fds {
                    listeners.push(listen(&front, &listener, fd));
                }
            }
            Order::Stop { grace_ms } => {
                for listener in listeners {
                    listener.abort();
                }
                front.connections.close_all();
                let grace = Duration::from_millis(u64::from(grace_ms));
                // Who is not gone by then is cut off.
                let _ = tokio::time::timeout(grace, front.connections.all_gone()).await;
                return Ok(());
            }
            Order::Start(_)
            | Order::ChannelRefused(_)
            | Order::Session(_)
            | Order::SessionRefused(_)
            | Order::Connected(_)
            | Order::ConnectRefused(_)
            | Order::SessionEnded(_)
            | Order::AccountReady(_)
            | Order::Leave
            | Order::Ping(_)
            | Order::Attack(_) => tracing::warn!("an order that is not for webd"),
        }
    }
}

fn take_channel(front: &Front, events: &Events, channel: ChannelId, fds: Vec<OwnedFd>) -> Result<(), Fault> {
    for end in fds.into_iter().map(UnixStream::from) {
        match channel {
            ChannelId::WebdKeyd => front.tls.set_channel(end)?,
            ChannelId::WebdAuthd => {
                let events = events.clone();
                front.door.set_channel(end, move |violation| events.violation(channel, None, violation))?;
            }
            ChannelId::SmtpdKeyd
            | ChannelId::ImapdKeyd
            | ChannelId::SmtpdAuthd
            | ChannelId::ImapdAuthd
            | ChannelId::SmtpdQueued
            | ChannelId::QueuedAuthd
            | ChannelId::QueuedAccountd
            | ChannelId::AdminAuthd
            | ChannelId::AdminAccountd
            | ChannelId::AdminSupervisor => tracing::warn!(?channel, "a channel that is not webd's"),
        }
    }
    Ok(())
}

fn listen(front: &Arc<Front>, listener: &Listener, fd: OwnedFd) -> tokio::task::JoinHandle<()> {
    let name = listener.name.clone();
    let entrance = match listener.service {
        Service::Http => Entrance::Clear,
        Service::Https => Entrance::Tls,
        Service::Smtp | Service::Imap | Service::Imaps => {
            tracing::warn!(%name, "a listener that is not for HTTP");
            return tokio::spawn(async {});
        }
    };
    let front = Arc::clone(front);
    let connections = front.connections.clone();
    tokio::spawn(async move {
        let serve = listener::serve(fd.into(), connections, |accepted| {
            connection::serve(Arc::clone(&front), accepted, entrance)
        });
        if let Err(error) = serve.await {
            tracing::error!(%name, %error, "the listener failed");
        }
    })
}
