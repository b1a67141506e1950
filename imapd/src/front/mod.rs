//! The front's one thread: orders from the supervisor, listeners, connections.

mod connection;
mod dialogue;
#[cfg(test)]
mod memory;
mod relay;
mod sessions;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    num::NonZeroUsize,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

use ipc_proto::{
    ChannelId, Violation,
    authd::ImapdAuthd,
    control::{Event, ImapdSettings, Listener, Order, RoleSettings, Service, Settings},
    tls::ImapdKeyd,
};
use net_lib::{Connections, Door, Handshaker, Limits, TlsSettings, listener};
use worker_lib::{Control, Events, Fault};

use self::{connection::Entrance, sessions::Sessions};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) hostname: String,
    pub(crate) settings: ImapdSettings,
    pub(crate) door: Door<ImapdAuthd>,
    pub(crate) tls: Handshaker<ImapdKeyd>,
    pub(crate) sessions: Sessions,
    pub(crate) connections: Connections,
}

fn at_least_one(count: u32) -> NonZeroUsize {
    usize::try_from(count).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

impl Front {
    fn new(
        hostname: String,
        settings: ImapdSettings,
        violated: impl Fn(Violation) + Send + Sync + 'static,
    ) -> Result<Self, Fault> {
        let limits = Limits {
            total: at_least_one(settings.connections),
            fresh: at_least_one(settings.pre_login_connections),
        };
        let tls = TlsSettings {
            alpn: &["imap"],
            tickets: true,
            timeout: Duration::from_millis(u64::from(settings.tls_timeout_ms)),
            at_once: limits.fresh,
        };
        let tls = Handshaker::start(&tls, violated)?;
        Ok(Self {
            hostname,
            settings,
            door: Door::default(),
            tls,
            sessions: Sessions::default(),
            connections: Connections::new(limits),
        })
    }
}

/// Until the supervisor says so or is gone.
pub(crate) async fn run(control: Control, settings: Settings) -> Result<(), Fault> {
    let RoleSettings::Imapd(own) = settings.own else {
        return Err(Fault::new("these are another role's settings"));
    };
    let events = control.events();
    let violations = events.clone();
    let violated = move |violation| violations.violation(ChannelId::ImapdKeyd, None, violation);
    let front = Arc::new(Front::new(settings.hostname, own, violated)?);
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
            Order::Session(facts) => {
                for fd in fds {
                    front.sessions.arrived(facts, UnixStream::from(fd));
                }
            }
            Order::SessionRefused(connection) => front.sessions.refused(connection),
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
            | Order::Connected(_)
            | Order::ConnectRefused(_)
            | Order::SessionEnded(_)
            | Order::AccountReady(_)
            | Order::Leave
            | Order::Ping(_)
            | Order::Attack(_) => tracing::warn!("an order that is not for imapd"),
        }
    }
}

fn take_channel(front: &Front, events: &Events, channel: ChannelId, fds: Vec<OwnedFd>) -> Result<(), Fault> {
    for end in fds.into_iter().map(UnixStream::from) {
        match channel {
            ChannelId::ImapdKeyd => front.tls.set_channel(end)?,
            ChannelId::ImapdAuthd => {
                let events = events.clone();
                front.door.set_channel(end, move |violation| events.violation(channel, None, violation))?;
            }
            ChannelId::SmtpdKeyd
            | ChannelId::WebdKeyd
            | ChannelId::SmtpdAuthd
            | ChannelId::WebdAuthd
            | ChannelId::SmtpdQueued
            | ChannelId::QueuedAuthd
            | ChannelId::QueuedAccountd
            | ChannelId::AdminAuthd
            | ChannelId::AdminAccountd
            | ChannelId::AdminSupervisor => tracing::warn!(?channel, "a channel that is not imapd's"),
        }
    }
    Ok(())
}

fn listen(front: &Arc<Front>, listener: &Listener, fd: OwnedFd) -> tokio::task::JoinHandle<()> {
    let name = listener.name.clone();
    let entrance = match listener.service {
        Service::Imap => Entrance::StartTls,
        Service::Imaps => Entrance::Tls,
        Service::Smtp | Service::Http | Service::Https => {
            tracing::warn!(%name, "a listener that is not for IMAP");
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
