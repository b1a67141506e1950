//! Accepting when descriptors have run out. Alone in its file: the limit is the whole process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs::File,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use net_lib::{Connections, Limits, listener};
use nix::sys::{
    resource::{Resource, UsageWho, getrusage, setrlimit},
    socket::{getsockopt, sockopt::TcpNoDelay},
};
use tokio::{io::AsyncReadExt, net::TcpStream};

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap())
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// Attack class 15: without a descriptor left, clients are turned away, the processor rests, and when there are
/// descriptors again clients are served.
#[tokio::test]
async fn without_descriptors_accepting_rests_and_recovers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let many = NonZeroUsize::new(10_000).unwrap();
    let connections = Connections::new(Limits { total: many, fresh: many });
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    tokio::spawn(async move {
        listener::serve(listener, connections, move |accepted| {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(getsockopt(&accepted.stream, TcpNoDelay).unwrap());
            async move {
                let mut stream = accepted.stream;
                let _ = stream.read(&mut [0; 1]).await;
                drop(accepted.place);
            }
        })
        .await
        .unwrap();
    });
    let first = TcpStream::connect(address).await.unwrap();
    while served.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    // The client's own descriptor comes first, then all the others are taken.
    let client = std::net::TcpStream::connect(address);
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let (start, before) = (Instant::now(), cpu());
    let mut turned_away = {
        let client = client.unwrap();
        client.set_nonblocking(true).unwrap();
        TcpStream::from_std(client).unwrap()
    };
    // Either it was accepted before the descriptors were taken, or it is sent away by the reserve.
    let ended = tokio::time::timeout(Duration::from_millis(500), turned_away.read(&mut [0; 1])).await;
    let was_served = served.load(Ordering::Relaxed) == 2;
    assert!(was_served || matches!(ended, Ok(Ok(0) | Err(_))), "neither served nor sent away");
    drop(turned_away);
    // A client that waits in the queue does not make the loop spin.
    hoard.pop();
    let waiting = std::net::TcpStream::connect(address).unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let spent = cpu() - before;
    assert!(spent < start.elapsed() / 3, "{spent:?} of processor in {:?}", start.elapsed());
    drop((hoard, waiting));
    let before = served.load(Ordering::Relaxed);
    let _client = TcpStream::connect(address).await.unwrap();
    let again = async {
        while served.load(Ordering::Relaxed) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), again).await.expect("served again");
    drop(first);
}
