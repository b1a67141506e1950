//! The processes around the sessions: [`smtpd`] and [`submitd`]. Orders and listeners are [`net_lib::front`]'s.
//!
//! What both do is written once, for any `Role`; whom a role can ask what follows from the types of its channels.

mod body;
mod budget;
mod buffers;
mod connection;
mod conversation;
mod incoming;
mod log;
mod queued;
mod role;
mod settings;
mod shown;
mod submission;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    future::Future,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ipc_proto::{
    Channel, ChannelId, Violation,
    control::{self, Service},
    stream::Link,
};
use net_lib::{
    Connections, Door, Handshaker, TlsSettings,
    front::{self, Violated},
    listener::Accepted,
};
use rustls::crypto::{SecureRandom, aws_lc_rs::default_provider};
use worker_lib::{Fault, Live, Worker};

use self::{
    budget::Budget,
    buffers::Buffers,
    incoming::Incoming,
    role::{Entrance, Role},
    settings::Settings,
    submission::Submission,
};

/// The process of port 25, until the supervisor says stop or is gone.
pub fn smtpd(worker: Worker) -> Result<(), Fault> {
    run::<Incoming>(worker)
}

/// The process of ports 465 and 587, likewise.
pub fn submitd(worker: Worker) -> Result<(), Fault> {
    run::<Submission>(worker)
}

fn run<R: Role>(worker: Worker) -> Result<(), Fault> {
    let settings = R::settings(&worker.settings)
        .ok_or_else(|| Fault::new("the supervisor sent another role's settings; restart moxd"))?;
    let control = worker.lock_in()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(front::run(control, |violated| Front::<R>::new(settings, violated)))
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front<R: Role> {
    settings: Live<Settings>,
    authd: Door<R::Authd>,
    queued: Arc<Link<R::Queued>>,
    /// A first channel to queued was given.
    has_queued: AtomicBool,
    tls: Handshaker<R::Keyd>,
    connections: Connections,
    budget: Arc<Budget>,
    buffers: Buffers,
    /// For message ids.
    random: &'static dyn SecureRandom,
    /// Set once, when the process is to leave.
    stopping: AtomicBool,
}

impl<R: Role> Front<R> {
    /// Starts the handshake threads; call inside the runtime.
    fn new(settings: Settings, violated: impl Fn(Violation) + Send + Sync + 'static) -> Result<Self, Fault> {
        let limits = settings.connection_limits();
        let tls_settings = TlsSettings {
            alpn: &[],
            // Some large senders stumble over tickets on port 25, and a server seldom comes back soon.
            tickets: R::LOGINS,
            timeout: settings.tls_timeout,
            at_once: settings.fresh,
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

impl<R: Role> front::Front for Front<R> {
    type Keyd = R::Keyd;
    type Authd = R::Authd;
    type Entrance = Entrance;

    fn tls(&self) -> &Handshaker<R::Keyd> {
        &self.tls
    }

    fn door(&self) -> &Door<R::Authd> {
        &self.authd
    }

    fn connections(&self) -> &Connections {
        &self.connections
    }

    fn entrance(service: Service) -> Option<Entrance> {
        R::entrance(service)
    }

    fn serve(self: Arc<Self>, accepted: Accepted, entrance: Entrance) -> impl Future<Output = ()> + Send {
        connection::serve(self, accepted, entrance)
    }

    fn channel(&self, channel: ChannelId, end: UnixStream, violated: Violated) -> Result<(), Fault> {
        if channel != R::Queued::ID {
            return Err(Fault::new(format!("the channel {channel:?} is not for this process; restart moxd")));
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
        if let Some(settings) = R::settings(&settings) {
            self.connections.set_limits(settings.connection_limits());
            self.settings.set(settings);
        }
    }

    /// Commands that run are finished, and so are messages, as far as the grace lets them.
    fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
