//! The process around the sessions: orders of the supervisor, channels, listeners.

mod body;
mod budget;
mod connection;
mod peers;
mod shown;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    net::TcpListener,
    num::NonZeroUsize,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipc_proto::{
    ChannelId, Violation,
    authd::SmtpdAuthd,
    control::{self, Event, Order, Service, SmtpdSettings},
    delivery::SmtpdQueued,
    stream::Link,
    tls,
};
use net_lib::{Connections, Door, Handshaker, TlsSettings, listener};
use rustls::crypto::{SecureRandom, aws_lc_rs::default_provider};
use tokio::task::JoinSet;
use worker_lib::{Control, Events, Fault};

use self::budget::Budget;

/// What the front is set to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What sessions say of this host.
    pub(crate) limits: Arc<smtpd::Limits>,
    /// Connections at once.
    pub(crate) connections: NonZeroUsize,
    /// Message data in memory at once, octets.
    pub(crate) memory_budget: u64,
    /// One command, from its first octet on; one read or write of message data; waiting for a command.
    pub(crate) command_timeout: Duration,
    /// A whole handshake.
    pub(crate) tls_timeout: Duration,
    /// A whole message.
    pub(crate) data_timeout: Duration,
    /// Slow down clients that misbehave.
    pub(crate) tarpit: bool,
    /// But not those from this host.
    pub(crate) loopback_exempt: bool,
}

impl Settings {
    /// From the supervisor's.
    pub(crate) fn new(all: &control::Settings, own: &SmtpdSettings) -> Self {
        let milliseconds = |figure: u32| Duration::from_millis(u64::from(figure));
        Self {
            limits: Arc::new(smtpd::Limits {
                hostname: all.hostname.clone(),
                message_size: all.message_size,
            }),
            connections: usize::try_from(own.connections)
                .ok()
                .and_then(NonZeroUsize::new)
                .unwrap_or(NonZeroUsize::MIN),
            memory_budget: own.memory_budget,
            command_timeout: milliseconds(own.command_timeout_ms),
            tls_timeout: milliseconds(own.tls_timeout_ms),
            data_timeout: milliseconds(own.data_timeout_ms),
            tarpit: own.tarpit,
            loopback_exempt: own.loopback_exempt,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    settings: Settings,
    authd: Door<SmtpdAuthd>,
    queued: Arc<Link<SmtpdQueued>>,
    tls: Handshaker<tls::SmtpdKeyd>,
    connections: Connections,
    budget: Arc<Budget>,
    /// For message ids.
    random: &'static dyn SecureRandom,
    /// Set once, when the process is to leave.
    stopping: AtomicBool,
}

impl Front {
    /// Starts the handshake threads; call inside the runtime.
    fn new(settings: Settings, violated: impl Fn(Violation) + Send + Sync + 'static) -> Result<Self, Fault> {
        let limits = net_lib::Limits { total: settings.connections, fresh: settings.connections };
        let tls_settings = TlsSettings {
            alpn: &[],
            // Some large senders stumble over tickets on port 25, and a server seldom comes back soon.
            tickets: false,
            timeout: settings.tls_timeout,
            at_once: settings.connections,
        };
        Ok(Self {
            authd: Door::default(),
            queued: Arc::default(),
            tls: Handshaker::start(&tls_settings, violated)?,
            connections: Connections::new(limits),
            random: default_provider().secure_random,
            budget: Arc::new(Budget::new(settings.memory_budget)),
            stopping: AtomicBool::new(false),
            settings,
        })
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Accepts on `listener` until the task is dropped.
    async fn listen(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        let connections = self.connections.clone();
        listener::serve(listener, connections, move |accepted| connection::serve(Arc::clone(&self), accepted))
            .await
    }

    /// Ends all connections: commands that run are finished, and so are messages, as far as `grace` lets them.
    async fn stop(&self, grace: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        self.connections.close_all();
        if tokio::time::timeout(grace, self.connections.all_gone()).await.is_err() {
            tracing::info!(connections = self.connections.count(), "stopped with connections left");
        }
    }
}

/// What came from the supervisor so far.
struct Desk {
    front: Arc<Front>,
    events: Events,
    certificates: bool,
    authd: bool,
    queued: bool,
    /// Nobody is served before there is everything to serve with: a client that came early would be told that there is
    /// no TLS here.
    waiting: Vec<TcpListener>,
    listening: JoinSet<std::io::Result<()>>,
    ready: bool,
}

/// Runs until the supervisor says stop or is gone.
pub(crate) async fn run(settings: Settings, control: Control) -> Result<(), Fault> {
    let events = control.events();
    let mut control = control.into_async()?;
    let violated = {
        let events = events.clone();
        move |violation| events.violation(ChannelId::SmtpdKeyd, None, violation)
    };
    let front = Arc::new(Front::new(settings, violated)?);
    let mut desk = Desk {
        front,
        events,
        certificates: false,
        authd: false,
        queued: false,
        waiting: Vec::new(),
        listening: JoinSet::new(),
        ready: false,
    };
    loop {
        tokio::select! {
            order = control.next_order() => match order? {
                None => return Ok(()),
                Some((Order::Stop { grace_ms }, _)) => {
                    desk.listening.shutdown().await;
                    // The rest of the grace is for leaving.
                    desk.front.stop(Duration::from_millis(u64::from(grace_ms)).mul_f32(0.9)).await;
                    return Ok(());
                }
                Some((order, fds)) => desk.take(order, fds)?,
            },
            result = desk.front.tls.ready(), if !desk.certificates => {
                result?;
                desk.certificates = true;
            }
            // A listener that cannot be accepted on is for the supervisor to make anew.
            Some(ended) = desk.listening.join_next() => return Ok(ended??),
        }
        desk.open();
    }
}

impl Desk {
    fn take(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<(), Fault> {
        let mut fds = fds.into_iter();
        match (order, fds.next()) {
            (Order::Channel { channel, .. }, Some(fd)) => self.channel(channel, UnixStream::from(fd)),
            (Order::Listener(listener), Some(fd)) if listener.service == Service::Smtp => {
                self.waiting.push(TcpListener::from(fd));
                Ok(())
            }
            (order, _) => Err(Fault::new(format!("an order that is not for smtpd: {order:?}"))),
        }
    }

    fn channel(&mut self, channel: ChannelId, stream: UnixStream) -> Result<(), Fault> {
        let violated = {
            let events = self.events.clone();
            move |violation| events.violation(channel, None, violation)
        };
        match channel {
            ChannelId::SmtpdKeyd => self.front.tls.set_channel(stream)?,
            ChannelId::SmtpdAuthd => {
                self.front.authd.set_channel(stream, violated)?;
                self.authd = true;
            }
            ChannelId::SmtpdQueued => {
                self.front.queued.set(stream, move |violation| {
                    if let Some(violation) = violation {
                        violated(violation);
                    }
                })?;
                self.queued = true;
            }
            ChannelId::ImapdKeyd
            | ChannelId::WebdKeyd
            | ChannelId::ImapdAuthd
            | ChannelId::WebdAuthd
            | ChannelId::QueuedAuthd
            | ChannelId::QueuedAccountd
            | ChannelId::AdminAuthd
            | ChannelId::AdminAccountd
            | ChannelId::AdminSupervisor => {
                return Err(Fault::new(format!("a channel that is not smtpd's: {channel:?}")));
            }
        }
        Ok(())
    }

    /// Serves, once there is everything to serve with.
    fn open(&mut self) {
        if !(self.certificates && self.authd && self.queued) {
            return;
        }
        for listener in self.waiting.drain(..) {
            self.listening.spawn(Arc::clone(&self.front).listen(listener));
        }
        if !self.ready && !self.listening.is_empty() {
            self.ready = true;
            self.events.send(Event::Ready);
        }
    }
}
