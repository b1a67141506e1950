//! From keyd's chains to what rustls serves.

use std::{collections::HashMap, sync::Arc};

use ipc_proto::tls::Chain;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{
        ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use crate::{
    client_key::{AnyKey, Shown, WithoutKey},
    handshake::KeydChannel,
    signer::{Remote, RemoteKey},
};

/// What stays the same for all certificates that a process gets.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) alpn: Vec<Vec<u8>>,
    /// `None`: every handshake is a full one.
    pub(crate) tickets: Option<Arc<dyn ProducesTickets>>,
}

/// Certificates, and what they are served with.
#[derive(Debug)]
pub(crate) struct Served {
    policy: Arc<Policy>,
    resolver: Arc<Resolver>,
    /// For clients that are asked for nothing.
    plain: Arc<ServerConfig>,
}

impl Served {
    /// With these certificates.
    pub(crate) fn new<C: KeydChannel>(
        policy: &Arc<Policy>,
        remote: &Arc<Remote<C>>,
        chains: Vec<Chain>,
    ) -> Result<Self, rustls::Error> {
        let resolver = Resolver::new(remote, chains)
            .ok_or_else(|| rustls::Error::General("keyd has no certificate".to_owned()))?;
        let resolver = Arc::new(resolver);
        let plain = policy.config(&resolver, Arc::new(NoClientAuth), policy.tickets.clone())?;
        Ok(Self { policy: Arc::clone(policy), resolver, plain: Arc::new(plain) })
    }

    /// For a client that is asked for nothing.
    pub(crate) fn plain(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.plain)
    }

    /// For one handshake whose client is asked for a certificate.
    pub(crate) fn asking(&self, shown: &Arc<Shown>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let algorithms = self.policy.provider.signature_verification_algorithms;
        let verifier = Arc::new(AnyKey { algorithms, shown: Arc::clone(shown) });
        let tickets = self.policy.tickets.as_ref().map(|tickets| {
            let (tickets, shown) = (Arc::clone(tickets), Arc::clone(shown));
            Arc::new(WithoutKey { tickets, shown }) as Arc<dyn ProducesTickets>
        });
        self.policy.config(&self.resolver, verifier, tickets).map(Arc::new)
    }
}

impl Policy {
    /// TLS 1.2 and 1.3. No early data: it can be replayed. (rustls has no renegotiation.)
    fn config(
        &self,
        resolver: &Arc<Resolver>,
        clients: Arc<dyn ClientCertVerifier>,
        tickets: Option<Arc<dyn ProducesTickets>>,
    ) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(resolver) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols.clone_from(&self.alpn);
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = usize::from(tickets.is_some());
        if let Some(ticketer) = tickets {
            config.ticketer = ticketer;
        }
        Ok(config)
    }
}

/// Chooses by the name that the client asks for; without a name, or with one that nobody has, the first certificate.
#[derive(Debug)]
struct Resolver {
    first: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Resolver {
    /// `None`: there is no chain.
    fn new<C: KeydChannel>(remote: &Arc<Remote<C>>, chains: Vec<Chain>) -> Option<Self> {
        let mut first = None;
        let mut by_name = HashMap::new();
        for chain in chains.into_iter().filter(|chain| !chain.certificates.is_empty()) {
            let key = RemoteKey { remote: Arc::clone(remote), key: chain.key, scheme: chain.scheme };
            let certificates = chain.certificates.into_iter().map(CertificateDer::from).collect();
            let certified = Arc::new(CertifiedKey::new(certificates, Arc::new(key)));
            for name in chain.names {
                by_name.entry(name).or_insert_with(|| Arc::clone(&certified));
            }
            first.get_or_insert(certified);
        }
        Some(Self { first: first?, by_name })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has lower-cased the name already.
        let named = hello.server_name().and_then(|name| self.by_name.get(name));
        Some(Arc::clone(named.unwrap_or(&self.first)))
    }
}
