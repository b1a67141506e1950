//! From keyd's chains to what rustls serves.

use std::{collections::HashMap, sync::Arc};

use ipc_proto::tls::Chain;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    handshake::KeydChannel,
    signer::{Remote, RemoteKey},
};

/// What stays the same for all certificates that a process gets.
pub(crate) struct Policy {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) alpn: Vec<Vec<u8>>,
    /// `None`: every handshake is a full one.
    pub(crate) tickets: Option<Arc<dyn ProducesTickets>>,
}

impl Policy {
    /// TLS 1.2 and 1.3 with these certificates. No early data: it can be replayed. (rustls has no renegotiation.)
    pub(crate) fn config<C: KeydChannel>(
        &self,
        remote: &Arc<Remote<C>>,
        chains: Vec<Chain>,
    ) -> Result<ServerConfig, rustls::Error> {
        let resolver = Resolver::new(remote, chains)
            .ok_or_else(|| rustls::Error::General("keyd has no certificate".to_owned()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols.clone_from(&self.alpn);
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match &self.tickets {
            Some(ticketer) => {
                config.ticketer = Arc::clone(ticketer);
                config.send_tls13_tickets = 1;
            }
            None => config.send_tls13_tickets = 0,
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
