//! Full TLS 1.3 handshakes: with the key in keyd, with the key in the process, and on a whole instance.
//!
//! ```text
//!   clients ──▶ server, a child of this program ──▶ keyd's code, a child of that one     key in keyd
//!   clients ──▶ server, a child of this program: the same rustls, its key at hand        key in process
//! ```
//! The server that has its key at hand is here and nowhere else: no front can be given one.

use std::{
    io::{self, BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{
    aims::{Aims, Bound},
    failure::Failure,
    instance::Instance,
    processes::Processes,
};

/// For this part's instance: keyd signs as often as it is asked.
pub(crate) const CONFIGURATION: &str = "[limits]\nsignatures = 1000000";

/// Clients at once: enough that both of the server's threads always have one.
const CLIENTS: usize = 4;

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// What so many handshakes took.
#[derive(Debug, Clone, Copy, Default)]
struct Handshakes {
    count: u32,
    took: Duration,
    processor: Duration,
}

impl Handshakes {
    fn a_second(self) -> f64 {
        f64::from(self.count) / self.took.as_secs_f64()
    }

    fn processor_milliseconds(self) -> f64 {
        self.processor.as_secs_f64() * 1000.0 / f64::from(self.count)
    }

    fn and(self, more: Self) -> Self {
        Self {
            count: self.count + more.count,
            took: self.took + more.took,
            processor: self.processor + more.processor,
        }
    }
}

/// The three rows, in turns of `turn` each.
pub(crate) fn measure(
    instance: &Instance,
    directory: &Path,
    turn: Duration,
    aims: &mut Aims,
) -> Result<(), Failure> {
    let client = client()?;
    let (keyd, here) = (Server::start("keyd", directory)?, Server::start("here", directory)?);
    let (mut with_keyd, mut with_key, mut whole) = Default::default();
    for _ in 0..3 {
        let add = |sum: &mut Handshakes, address, processes: &dyn Fn() -> Result<Processes, Failure>| {
            *sum = sum.and(rate(&client, address, turn, processes)?);
            Ok::<_, Failure>(())
        };
        add(&mut with_key, here.address, &|| here.processes())?;
        add(&mut with_keyd, keyd.address, &|| keyd.processes())?;
        add(&mut whole, instance.imaps(), &|| instance.processes())?;
    }
    crate::line(format_args!("\nfull TLS 1.3 handshakes       a second   server CPU ms each"));
    for (name, handshakes) in [
        ("key in the process", with_key),
        ("key in keyd", with_keyd),
        ("a whole instance, greeting too", whole),
    ] {
        let (rate, processor) = (handshakes.a_second(), handshakes.processor_milliseconds());
        crate::line(format_args!("{name:<30} {rate:>7.0} {processor:>20.3}"));
    }
    let ratio = with_keyd.a_second() / with_key.a_second();
    aims.add("full handshakes with keyd by those with the key in process", Bound::AtLeast(0.75), "", ratio);
    Ok(())
}

/// Handshakes by all clients for so long.
fn rate(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    turn: Duration,
    processes: &dyn Fn() -> Result<Processes, Failure>,
) -> Result<Handshakes, Failure> {
    // The first signature of a thread is slow.
    connect(client, address)?;
    let before = processes()?.processor_time()?;
    let start = Instant::now();
    let count = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while start.elapsed() < turn {
                        let mut greeting = [0; 1];
                        let mut stream = connect(client, address)?;
                        stream
                            .read_exact(&mut greeting)
                            .map_err(|error| Failure::io("a TLS greeting", error))?;
                        count += 1;
                    }
                    Ok::<u32, Failure>(count)
                })
            })
            .collect();
        let joined = clients.into_iter().map(|client| client.join());
        joined
            .map(|count| count.map_err(|_| Failure::new("a client's thread panicked"))?)
            .sum::<Result<u32, Failure>>()
    })?;
    let took = start.elapsed();
    Ok(Handshakes { count, took, processor: processes()?.processor_time()?.saturating_sub(before) })
}

/// A client that never resumes.
pub(crate) fn client() -> Result<Arc<ClientConfig>, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::new(format!("TLS: {error}")))?;
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Connects and shakes hands.
pub(crate) fn connect(client: &Arc<ClientConfig>, server: SocketAddr) -> Result<Stream, Failure> {
    let failed = |error| Failure::io(format!("TLS on {server}"), error);
    let name = ServerName::IpAddress(server.ip().into());
    let mut connection = ClientConnection::new(Arc::clone(client), name)
        .map_err(|error| Failure::new(format!("TLS: {error}")))?;
    let mut stream = TcpStream::connect(server).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(failed)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Certificates are not what is measured, and verifying one would slow down the clients, not the server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A child that plays a server; it ends with its standard input.
#[derive(Debug)]
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(part: &str, directory: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("a TLS server of the bench's own", error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["--play", part, "--dir"]).arg(directory);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).map_err(failed)?;
        }
        let address =
            said.trim().parse().map_err(|_| Failure::new("a TLS server of the bench's own did not start"))?;
        Ok(Self { child, address })
    }

    fn processes(&self) -> Result<Processes, Failure> {
        Processes::of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
