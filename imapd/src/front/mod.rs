//! The front: what all its connections share, on one thread. Orders and listeners are [`net_lib::front`]'s.

mod connection;
mod dialogue;
#[cfg(test)]
mod memory;
mod relay;
mod sessions;
#[cfg(test)]
mod tests;
mod wire;

use std::{future::Future, os::unix::net::UnixStream, sync::Arc, time::Duration};

use ipc_proto::{
    ConnectionId, Violation,
    authd::ImapdAuthd,
    control::{ImapdSettings, RoleSettings, Service, SessionFacts, Settings},
    tls::ImapdKeyd,
};
use net_lib::{Connections, Door, Handshaker, Limits, TlsSettings, at_least_one, front, listener::Accepted};
use worker_lib::{Control, Fault, Live};

use self::{connection::Entrance, sessions::Sessions};

const SESSION_WAIT: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) hostname: String,
    /// Octets that a message may have: for the sessions, who are announced by the front.
    pub(crate) message_size: u64,
    pub(crate) settings: Live<ImapdSettings>,
    pub(crate) door: Door<ImapdAuthd>,
    pub(crate) tls: Handshaker<ImapdKeyd>,
    pub(crate) sessions: Sessions,
    /// How long a proved login waits for the account's process.
    pub(crate) session_wait: Duration,
    pub(crate) connections: Connections,
}

fn limits(settings: &ImapdSettings) -> Limits {
    Limits { total: at_least_one(settings.connections), fresh: at_least_one(settings.pre_login_connections) }
}

impl Front {
    fn new(
        hostname: String,
        message_size: u64,
        settings: ImapdSettings,
        violated: impl Fn(Violation) + Send + Sync + 'static,
    ) -> Result<Self, Fault> {
        let limits = limits(&settings);
        let tls = TlsSettings {
            alpn: &["imap"],
            tickets: true,
            timeout: Duration::from_millis(u64::from(settings.tls_timeout_ms)),
            at_once: limits.fresh,
        };
        let tls = Handshaker::start(&tls, violated)?;
        Ok(Self {
            hostname,
            message_size,
            settings: Live::new(settings),
            door: Door::default(),
            tls,
            sessions: Sessions::default(),
            session_wait: SESSION_WAIT,
            connections: Connections::new(limits),
        })
    }
}

/// Until the supervisor says so or is gone.
pub(crate) async fn run(control: Control, settings: Settings) -> Result<(), Fault> {
    let RoleSettings::Imapd(own) = settings.own else {
        return Err(Fault::new("these are another role's settings"));
    };
    front::run(control, |violated| Front::new(settings.hostname, settings.message_size, own, violated)).await
}

impl front::Front for Front {
    type Keyd = ImapdKeyd;
    type Authd = ImapdAuthd;
    type Entrance = Entrance;

    fn tls(&self) -> &Handshaker<ImapdKeyd> {
        &self.tls
    }

    fn door(&self) -> &Door<ImapdAuthd> {
        &self.door
    }

    fn connections(&self) -> &Connections {
        &self.connections
    }

    fn entrance(service: Service) -> Option<Entrance> {
        match service {
            Service::Imap => Some(Entrance::StartTls),
            Service::Imaps => Some(Entrance::Tls),
            Service::Smtp | Service::Http | Service::Https | Service::Submission | Service::Submissions => {
                None
            }
        }
    }

    fn serve(self: Arc<Self>, accepted: Accepted, entrance: Entrance) -> impl Future<Output = ()> + Send {
        connection::serve(self, accepted, entrance)
    }

    fn session(&self, facts: SessionFacts, stream: UnixStream) -> Result<(), Fault> {
        self.sessions.arrived(facts, stream);
        Ok(())
    }

    fn session_refused(&self, connection: ConnectionId) -> Result<(), Fault> {
        self.sessions.refused(connection);
        Ok(())
    }

    fn change(&self, settings: Settings) {
        if let RoleSettings::Imapd(own) = settings.own {
            self.connections.set_limits(limits(&own));
            self.settings.set(own);
        }
    }
}
