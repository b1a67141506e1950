//! What the fronts share at the edge of the network: the supervisor's orders, accepting, admission, TLS without a
//! key.
//!
//! ```text
//!  supervisor ─▶ [`front::run`]: channels, listeners, the end
//!  listener ──▶ [`listener::serve`] ──▶ a task per connection, at most so many ([`Connections`])
//!                                         │  may it stay?   [`Door`] ─────────▶ authd
//!                                         │  TLS:           [`Handshaker`]
//!                                         ▼                  two threads ─────▶ keyd: chains, one signature each
//!                                     [`TlsStream`], back on the front's own thread
//! ```
//! Holds: certificates, the session keys of its own connections, ticket keys that die with the process. Never: a
//! private key, a connection out, a file.
//!
//! Always true: (1) the front's thread never waits for keyd; (2) a client that is slow in its handshake delays no
//! other, and has one deadline for all of it; (3) what goes to keyd is the typed parts of a handshake
//! ([`ipc_proto::tls`]), never octets to sign; (4) running out of descriptors pauses accepting and never spins; (5)
//! at a limit the oldest connection that has not logged in makes room; (6) whenever a thread works on a connection, its
//! number stands in the recorder ([`worker_lib::Slot`]); (7) what a client proved belongs to the handshake that it proved
//! it in ([`Handshaker::accept_asking`]).
//!
//! Start at [`front::run`], then [`listener::serve`] and [`Handshaker::accept`].

mod certificates;
mod client_key;
mod connections;
mod door;
pub mod front;
mod handshake;
pub mod listener;
mod recorder;
mod signer;
mod socket;

pub use connections::{Connections, Limits, Place, at_least_one};
pub use door::{Admitted, ClientChannel, Door, TurnedBack};
pub use handshake::{Certificates, HandshakeError, Handshaker, KeydChannel, TlsSettings};
pub use socket::{Socket, TlsStream, sasl_transport};
