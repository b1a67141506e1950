//! What a front is set to.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use ipc_proto::control::{self, SmtpdSettings};
use net_lib::at_least_one;

use crate::Limits;

/// What a front is set to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What sessions say of this host.
    pub(crate) limits: Arc<Limits>,
    /// Connections at once.
    pub(crate) connections: NonZeroUsize,
    /// Connections at once before login; where nobody logs in, as many as in all.
    pub(crate) fresh: NonZeroUsize,
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
    /// Logins without TLS are taken from this host.
    pub(crate) plain_login_on_loopback: bool,
}

impl Settings {
    /// From the supervisor's. Nobody logs in yet.
    pub(crate) fn new(all: &control::Settings, own: &SmtpdSettings) -> Self {
        let milliseconds = |figure: u32| Duration::from_millis(u64::from(figure));
        let connections = at_least_one(own.connections);
        Self {
            limits: Arc::new(Limits {
                hostname: all.hostname.clone(),
                message_size: all.message_size,
                simulate_failures: own.simulate_failures,
            }),
            connections,
            fresh: connections,
            memory_budget: own.memory_budget,
            command_timeout: milliseconds(own.command_timeout_ms),
            tls_timeout: milliseconds(own.tls_timeout_ms),
            data_timeout: milliseconds(own.data_timeout_ms),
            tarpit: own.tarpit,
            loopback_exempt: own.loopback_exempt,
            plain_login_on_loopback: false,
        }
    }

    pub(super) fn connection_limits(&self) -> net_lib::Limits {
        net_lib::Limits { total: self.connections, fresh: self.fresh }
    }
}
