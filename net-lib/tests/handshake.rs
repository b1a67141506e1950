//! Handshakes whose signatures come from another process, which may be slow, gone or hostile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{CONNECTION, Keys, Manner, Scene, settings};
use net_lib::{HandshakeError, TlsSettings};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, crypto::aws_lc_rs::default_provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn client(keys: &Keys, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for number in 0..keys.pairs.len() {
        roots.add(keys.certificate(number)).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Attack class 42: the name that is asked for gets its certificate; a name that nobody has gets the first.
#[tokio::test]
async fn the_certificate_follows_the_name_that_is_asked_for() {
    let keys = Keys::new(&["0.example", "1.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    let config = client(&keys, &[]);
    for (name, number) in [("0.example", 0), ("1.example", 1), ("1.EXAMPLE", 1)] {
        let (connected, accepted) = scene.shake(&config, name).await;
        let connected = connected.unwrap();
        assert_eq!(connected.get_ref().1.peer_certificates().unwrap()[0], keys.certificate(number), "{name}");
        accepted.unwrap();
    }
    let (connected, _) = scene.shake(&config, "2.example").await;
    assert!(connected.unwrap_err().to_string().contains("not valid for name"), "it got the first");
}

#[tokio::test]
async fn octets_pass_both_ways_after_the_connection_came_back() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    let (client, server) = scene.shake(&client(&keys, &["imap"]), "0.example").await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert!(server.get_ref().0.tcp().unwrap().peer_addr().unwrap().ip().is_loopback());
    let large = vec![7; 3_000_000];
    let (mut upward, mut downward) = (vec![0; large.len()], Vec::new());
    let (mut client_in, mut client_out) = tokio::io::split(&mut client);
    let (mut server_in, mut server_out) = tokio::io::split(&mut server);
    let (_, _, _, _) = tokio::join!(
        async { client_out.write_all(&large).await.unwrap() },
        async { server_in.read_exact(&mut upward).await.unwrap() },
        async {
            server_out.write_all(&large).await.unwrap();
            server_out.shutdown().await.unwrap();
        },
        async { client_in.read_to_end(&mut downward).await.unwrap() },
    );
    assert!(upward == large && downward == large);
}

/// Attack class 14: clients that say nothing in their handshake hold up nobody, and have one deadline.
#[tokio::test]
async fn silent_clients_hold_up_nobody_and_are_cut_off() {
    let keys = Keys::new(&["0.example"]);
    let settings = TlsSettings { timeout: Duration::from_millis(700), ..settings() };
    let scene = Scene::new(&keys, Manner::Good, &settings).await;
    let (mut silent, mut cut_off) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let (client, server) = scene.pair().await;
        let handshaker = Arc::clone(&scene.handshaker);
        silent.push(client);
        cut_off.push(tokio::spawn(async move { handshaker.accept(CONNECTION, server).await }));
    }
    let start = Instant::now();
    let (connected, accepted) = scene.shake(&client(&keys, &[]), "0.example").await;
    connected.unwrap();
    accepted.unwrap();
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
    for cut_off in cut_off {
        assert!(matches!(cut_off.await.unwrap(), Err(HandshakeError::Timeout)));
    }
    let mut octet = [0; 1];
    assert_eq!(silent[0].read(&mut octet).await.unwrap(), 0, "the connection is closed");
}

/// Attack class 27: a keyd that does not answer costs the handshakes that need it, never the front's thread: between
/// keyd's being asked and the end of the handshake the front serves others.
#[tokio::test]
async fn a_silent_keyd_does_not_stop_the_front() {
    let keys = Keys::new(&["0.example"]);
    let settings = TlsSettings { timeout: Duration::from_millis(500), ..settings() };
    let scene = Scene::new(&keys, Manner::Silent, &settings).await;
    let config = client(&keys, &[]);
    let start = Instant::now();
    let mut shaking = Box::pin(scene.shake(&config, "0.example"));
    let serving = async {
        keys.asked.acquire().await.unwrap().forget();
        let (mut client, mut server) = scene.pair().await;
        server.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0; 1]).await.unwrap();
    };
    tokio::select! {
        biased;
        _ = &mut shaking => panic!("the front stood still until the handshake was over"),
        () = serving => {}
    }
    let (connected, accepted) = shaking.await;
    assert!(connected.is_err());
    assert!(accepted.is_err());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// Attack class 27: while keyd is silent, handshakes that clients begin and give up are kept up to a number, and then
/// refused.
#[tokio::test]
async fn handshakes_given_up_while_keyd_is_silent_do_not_pile_up() {
    let keys = Keys::new(&["0.example"]);
    let settings = TlsSettings { at_once: NonZeroUsize::new(4).unwrap(), ..settings() };
    let scene = Scene::new(&keys, Manner::Silent, &settings).await;
    let config = client(&keys, &[]);
    // One thread waits for keyd, the other for its turn to ask.
    let mut first = Box::pin(scene.shake(&config, "0.example"));
    let mut second = Box::pin(scene.shake(&config, "0.example"));
    let mut given_up = Vec::new();
    let refused = async {
        keys.asked.acquire().await.unwrap().forget();
        while given_up.len() < 500 {
            let (client, server) = scene.pair().await;
            tokio::select! {
                biased;
                result = scene.handshaker.accept(CONNECTION, server) => return result.unwrap_err(),
                () = tokio::task::yield_now() => given_up.push(client),
            }
        }
        panic!("all were kept");
    };
    tokio::select! {
        _ = &mut first => panic!("keyd answered"),
        _ = &mut second => panic!("keyd answered"),
        refused = refused => assert!(matches!(refused, HandshakeError::Busy), "{refused}"),
    }
}

#[tokio::test]
async fn a_refused_signature_fails_the_handshake_with_its_reason() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Refusing, &settings()).await;
    let (connected, accepted) = scene.shake(&client(&keys, &[]), "0.example").await;
    assert!(connected.is_err());
    let error = accepted.unwrap_err().to_string();
    assert!(error.contains("keyd refuses: too many signatures asked for"), "{error}");
}

#[tokio::test]
async fn a_keyd_that_was_restarted_serves_with_its_new_certificates() {
    let before = Keys::new(&["0.example"]);
    let scene = Scene::new(&before, Manner::Good, &settings()).await;
    scene.shake(&client(&before, &[]), "0.example").await.0.unwrap();
    let Scene { handshaker, listener, _keyd } = scene;
    drop(_keyd);
    let after = Keys::new(&["0.example"]);
    let (channel, _keyd) = after.keyd(Manner::Good);
    handshaker.set_channel(channel).unwrap();
    let scene = Scene { handshaker, listener, _keyd };
    let config = client(&after, &[]);
    // Until the new certificates are there the old ones are shown, which this client does not trust.
    let mut connected = scene.shake(&config, "0.example").await.0;
    for _ in 0..100 {
        if connected.is_ok() {
            break;
        }
        connected = scene.shake(&config, "0.example").await.0;
    }
    connected.unwrap();
}

#[tokio::test]
async fn more_handshakes_than_allowed_are_refused_at_once() {
    let keys = Keys::new(&["0.example"]);
    let settings = TlsSettings { at_once: NonZeroUsize::MIN, ..settings() };
    let scene = Scene::new(&keys, Manner::Good, &settings).await;
    let (silent, server) = scene.pair().await;
    let mut first = Box::pin(scene.handshaker.accept(CONNECTION, server));
    tokio::select! {
        biased;
        _ = &mut first => panic!("a handshake with nobody"),
        () = tokio::task::yield_now() => {}
    }
    let (_, server) = scene.pair().await;
    assert!(matches!(scene.handshaker.accept(CONNECTION, server).await, Err(HandshakeError::Busy)));
    drop(first);
    let mut octet = [0; 1];
    let mut silent = silent;
    assert_eq!(silent.read(&mut octet).await.unwrap(), 0, "whoever is given up is closed");
    let (connected, accepted) = scene.shake(&client(&keys, &[]), "0.example").await;
    connected.unwrap();
    accepted.unwrap();
}

/// Connects twice with one cache of sessions, to this and to that server: how was the second handshake?
async fn second_handshake(first: &Scene, second: &Scene, keys: &Keys) -> HandshakeKind {
    let config = client(keys, &[]);
    for scene in [first, second] {
        let (client, server) = scene.shake(&config, "0.example").await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        // The ticket comes with the first octets that are read.
        server.write_all(b"x").await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut [0; 1]).await.unwrap();
        if std::ptr::eq(scene, second) && !std::ptr::eq(first, second) {
            return client.get_ref().1.handshake_kind().unwrap();
        }
    }
    let (client, _) = first.shake(&config, "0.example").await;
    client.unwrap().get_ref().1.handshake_kind().unwrap()
}

/// Attack class 42: a ticket is good for the process that gave it, and for no other.
#[tokio::test]
async fn tickets_save_signatures_and_are_valid_nowhere_else() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    assert_eq!(second_handshake(&scene, &scene, &keys).await, HandshakeKind::Resumed);
    assert_eq!(keys.signatures(), 1);
    let other = Scene::new(&keys, Manner::Good, &settings()).await;
    assert_ne!(second_handshake(&scene, &other, &keys).await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn without_tickets_every_handshake_is_a_full_one() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &TlsSettings { tickets: false, ..settings() }).await;
    assert_eq!(second_handshake(&scene, &scene, &keys).await, HandshakeKind::Full);
    assert_eq!(keys.signatures(), 3);
}

/// A client of another protocol is not fooled into talking to this one.
#[tokio::test]
async fn a_client_that_asks_for_other_protocols_only_is_refused() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    let (connected, accepted) = scene.shake(&client(&keys, &["h2"]), "0.example").await;
    assert!(connected.is_err() && accepted.is_err());
    let (connected, accepted) = scene.shake(&client(&keys, &["h2", "imap"]), "0.example").await;
    assert_eq!(connected.unwrap().get_ref().1.alpn_protocol(), Some(&b"imap"[..]));
    accepted.unwrap();
    assert_eq!(keys.signatures(), 1, "nothing was signed for the refused one");
}

#[tokio::test]
async fn what_is_no_tls_fails_at_once() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    let (mut client, server) = scene.pair().await;
    client.write_all(b"EHLO client.example\r\n").await.unwrap();
    let start = Instant::now();
    assert!(matches!(scene.handshaker.accept(CONNECTION, server).await, Err(HandshakeError::Failed(_))));
    assert!(start.elapsed() < Duration::from_secs(1));
}
