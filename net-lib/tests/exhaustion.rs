//! Accepting when descriptors have run out. Alone in its file: the limit is the whole process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs::File,
    net::SocketAddr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use net_lib::{Connections, Limits, listener};
use nix::sys::{
    resource::{Resource, setrlimit},
    socket::{getsockopt, sockopt::TcpNoDelay},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What `listener::serve` says it rests each time, a little less.
const REST: Duration = Duration::from_millis(95);

/// Greets its clients with one octet.
fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let many = NonZeroUsize::new(10_000).unwrap();
    let connections = Connections::new(Limits { total: many, fresh: many });
    tokio::spawn(listener::serve(listener, connections, |accepted| {
        assert!(getsockopt(&accepted.stream, TcpNoDelay).unwrap());
        async move {
            let mut stream = accepted.stream;
            let _ = stream.write_all(b"!").await;
            let _ = stream.read(&mut [0; 1]).await;
            drop(accepted.place);
        }
    }));
    address
}

/// In the listener's queue, and not yet accepted: nothing else has run on this thread.
fn queued(address: SocketAddr) -> TcpStream {
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

/// Attack class 15: without a descriptor left, clients are turned away one by one, with a rest between them, and when
/// there are descriptors again clients are served.
#[tokio::test]
async fn without_descriptors_accepting_rests_and_recovers() {
    let address = serve();
    let mut first = TcpStream::connect(address).await.unwrap();
    assert_eq!(first.read(&mut [0; 1]).await.unwrap(), 1, "greeted");
    let mut clients = [queued(address), queued(address), queued(address), queued(address)];
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let start = Instant::now();
    for client in &mut clients {
        assert!(matches!(client.read(&mut [0; 1]).await, Ok(0) | Err(_)), "served without a descriptor");
    }
    // Spinning, it would have sent all of them away at once.
    assert!(start.elapsed() >= 3 * REST, "{:?}", start.elapsed());
    drop(hoard);
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 1, "served again");
}
