//! The front: what all its connections share, on one thread. Orders and listeners are [`net_lib::front`]'s.

mod connection;
mod pace;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use ipc_proto::{
    Violation,
    authd::WebdAuthd,
    control::{RoleSettings, Service, Settings, WebdSettings},
    tls::WebdKeyd,
};
use net_lib::{Connections, Door, Handshaker, Limits, TlsSettings, at_least_one, front, listener::Accepted};
use worker_lib::{Control, Fault, Live};

use self::connection::Entrance;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) settings: Live<WebdSettings>,
    pub(crate) door: Door<WebdAuthd>,
    pub(crate) tls: Handshaker<WebdKeyd>,
    pub(crate) connections: Connections,
    pub(crate) site: Router,
}

/// Nobody logs in here: the oldest connection makes room.
fn limits(settings: &WebdSettings) -> Limits {
    let total = at_least_one(settings.connections);
    Limits { total, fresh: total }
}

impl Front {
    fn new(
        hostname: &str,
        settings: WebdSettings,
        violated: impl Fn(Violation) + Send + Sync + 'static,
    ) -> Result<Self, Fault> {
        let limits = limits(&settings);
        let tls = TlsSettings {
            alpn: &["http/1.1"],
            tickets: true,
            timeout: Duration::from_millis(u64::from(settings.tls_timeout_ms)),
            at_once: limits.total,
        };
        let tls = Handshaker::start(&tls, violated)?;
        let door = Door::default();
        let (certificates, authd) = (tls.certificates(), door.clone());
        let site =
            webd::site::site(hostname, Arc::new(move || certificates.are_there() && authd.is_connected()));
        let connections = Connections::new(limits);
        Ok(Self { settings: Live::new(settings), door, tls, connections, site })
    }
}

/// Until the supervisor says so or is gone.
pub(crate) async fn run(control: Control, settings: Settings) -> Result<(), Fault> {
    let RoleSettings::Webd(own) = settings.own else {
        return Err(Fault::new("these are another role's settings"));
    };
    front::run(control, |violated| Front::new(&settings.hostname, own, violated)).await
}

impl front::Front for Front {
    type Keyd = WebdKeyd;
    type Authd = WebdAuthd;
    type Entrance = Entrance;

    fn tls(&self) -> &Handshaker<WebdKeyd> {
        &self.tls
    }

    fn door(&self) -> &Door<WebdAuthd> {
        &self.door
    }

    fn connections(&self) -> &Connections {
        &self.connections
    }

    fn entrance(service: Service) -> Option<Entrance> {
        match service {
            Service::Http => Some(Entrance::Clear),
            Service::Https => Some(Entrance::Tls),
            Service::Smtp | Service::Imap | Service::Imaps | Service::Submission | Service::Submissions => {
                None
            }
        }
    }

    fn serve(self: Arc<Self>, accepted: Accepted, entrance: Entrance) -> impl Future<Output = ()> + Send {
        connection::serve(self, accepted, entrance)
    }

    fn change(&self, settings: Settings) {
        if let RoleSettings::Webd(own) = settings.own {
            self.connections.set_limits(limits(&own));
            self.settings.set(own);
        }
    }
}
