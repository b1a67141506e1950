//! The process around the sessions. Orders and listeners are [`net_lib::front`]'s.

mod body;
mod budget;
mod buffers;
mod connection;
mod peers;
mod shown;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    future::Future,
    num::NonZeroUsize,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipc_proto::{
    Channel, ChannelId, Violation,
    authd::SmtpdAuthd,
    control::{self, RoleSettings, Service, SmtpdSettings},
    delivery::SmtpdQueued,
    stream::Link,
    tls,
};
use net_lib::{
    Connections, Door, Handshaker, TlsSettings, at_least_one,
    front::{self, Violated},
    listener::Accepted,
};
use rustls::crypto::{SecureRandom, aws_lc_rs::default_provider};
use worker_lib::{Control, Fault, Live};

use self::{budget::Budget, buffers::Buffers};

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
            connections: at_least_one(own.connections),
            memory_budget: own.memory_budget,
            command_timeout: milliseconds(own.command_timeout_ms),
            tls_timeout: milliseconds(own.tls_timeout_ms),
            data_timeout: milliseconds(own.data_timeout_ms),
            tarpit: own.tarpit,
            loopback_exempt: own.loopback_exempt,
        }
    }
}

impl Settings {
    /// Nobody logs in on port 25.
    fn connection_limits(&self) -> net_lib::Limits {
        net_lib::Limits { total: self.connections, fresh: self.connections }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    settings: Live<Settings>,
    authd: Door<SmtpdAuthd>,
    queued: Arc<Link<SmtpdQueued>>,
    /// A first channel to queued was given.
    has_queued: AtomicBool,
    tls: Handshaker<tls::SmtpdKeyd>,
    connections: Connections,
    budget: Arc<Budget>,
    buffers: Buffers,
    /// For message ids.
    random: &'static dyn SecureRandom,
    /// Set once, when the process is to leave.
    stopping: AtomicBool,
}

impl Front {
    /// Starts the handshake threads; call inside the runtime.
    fn new(settings: Settings, violated: impl Fn(Violation) + Send + Sync + 'static) -> Result<Self, Fault> {
        let limits = settings.connection_limits();
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
            has_queued: AtomicBool::new(false),
            tls: Handshaker::start(&tls_settings, violated)?,
            connections: Connections::new(limits),
            random: default_provider().secure_random,
            budget: Arc::new(Budget::new(settings.memory_budget)),
            buffers: Buffers::default(),
            stopping: AtomicBool::new(false),
            settings: Live::new(settings),
        })
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Runs until the supervisor says stop or is gone.
pub(crate) async fn run(settings: Settings, control: Control) -> Result<(), Fault> {
    front::run(control, |violated| Front::new(settings, violated)).await
}

impl front::Front for Front {
    type Keyd = tls::SmtpdKeyd;
    type Authd = SmtpdAuthd;
    type Entrance = ();

    fn tls(&self) -> &Handshaker<tls::SmtpdKeyd> {
        &self.tls
    }

    fn door(&self) -> &Door<SmtpdAuthd> {
        &self.authd
    }

    fn connections(&self) -> &Connections {
        &self.connections
    }

    fn entrance(service: Service) -> Option<()> {
        match service {
            Service::Smtp => Some(()),
            Service::Imap
            | Service::Imaps
            | Service::Http
            | Service::Https
            | Service::Submission
            | Service::Submissions => None,
        }
    }

    fn serve(self: Arc<Self>, accepted: Accepted, (): ()) -> impl Future<Output = ()> + Send {
        connection::serve(self, accepted)
    }

    fn channel(&self, channel: ChannelId, end: UnixStream, violated: Violated) -> Result<(), Fault> {
        if channel != SmtpdQueued::ID {
            return Err(Fault::new(format!("the channel {channel:?} is not smtpd's; restart moxd")));
        }
        self.queued.set(end, move |violation| {
            if let Some(violation) = violation {
                violated(violation);
            }
        })?;
        self.has_queued.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.has_queued.load(Ordering::Relaxed)
    }

    fn change(&self, settings: control::Settings) {
        if let RoleSettings::Smtpd(own) = &settings.own {
            let settings = Settings::new(&settings, own);
            self.connections.set_limits(settings.connection_limits());
            self.settings.set(settings);
        }
    }

    /// Commands that run are finished, and so are messages, as far as the grace lets them.
    fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
