//! AUTHENTICATE over the real channel, with a client of its own.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipc_proto::sasl::{Mechanism, SaslReply, SaslStep, Transport};

use super::*;

const BOUND: Transport = Transport::Bound([7; 32]);

fn secret(text: &str) -> Secret {
    Secret(text.as_bytes().to_vec())
}

impl Imapd {
    async fn step(&self, connection: u64, step: SaslStep) -> SaslReply {
        let request = ImapdToAuthd::Sasl(ConnectionId(connection), step);
        match self.0.call(&request, Vec::new()).await.unwrap().0 {
            AuthdToImapd::Sasl(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    async fn begin(
        &self,
        connection: u64,
        mechanism: Mechanism,
        transport: Transport,
        initial: Option<&str>,
    ) -> SaslReply {
        let initial = initial.map(secret);
        self.step(connection, SaslStep::Start { mechanism, transport, initial }).await
    }

    async fn answer(&self, connection: u64, text: &str) -> SaslReply {
        self.step(connection, SaslStep::Answer(secret(text))).await
    }

    /// SCRAM up to the client's proof: server-first-message, and what was answered to the proof.
    async fn prove(&self, connection: u64, user: &str, password: &str) -> (String, SaslReply) {
        let bare = format!("n={user},r=clientnonce");
        let reply = self.begin(connection, Mechanism::ScramSha256, BOUND, Some(&format!("n,,{bare}"))).await;
        let SaslReply::Challenge(first) = reply else { panic!("{reply:?}") };
        let first = String::from_utf8(first).unwrap();
        let last = client_final(&bare, &first, password, b"n,,");
        let reply = self.answer(connection, &last).await;
        (first, reply)
    }
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    message.split(',').find_map(|field| field.strip_prefix(name)).unwrap()
}

/// RFC 5802 §3, the client's side.
fn client_final(bare: &str, first: &str, password: &str, channel: &[u8]) -> String {
    let rounds = NonZeroU32::new(field(first, "i=").parse().unwrap()).unwrap();
    let salt = STANDARD.decode(field(first, "s=")).unwrap();
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let without_proof = format!("c={},r={}", STANDARD.encode(channel), field(first, "r="));
    let signature = mac(stored_key.as_ref(), format!("{bare},{first},{without_proof}").as_bytes());
    let proof: Vec<_> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

fn is_denied(reply: &SaslReply) -> bool {
    matches!(reply, SaslReply::Ended(Login::Denied { .. }))
}

#[tokio::test]
async fn every_mechanism_logs_in() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    for connection in 1..=4 {
        imapd.admit(connection, "192.0.2.1").await;
    }
    let (reply, facts) =
        tokio::join!(imapd.begin(1, Mechanism::Plain, BOUND, Some("\0alice\0moxmoxmox")), instance.join());
    assert_eq!(reply, SaslReply::Ended(Login::Ok(facts.session)));

    let asked = imapd.begin(2, Mechanism::Login, Transport::Loopback, None).await;
    assert_eq!(asked, SaslReply::Challenge(b"Username:".to_vec()));
    assert_eq!(imapd.answer(2, "alice@example.org").await, SaslReply::Challenge(b"Password:".to_vec()));
    let (reply, facts) = tokio::join!(imapd.answer(2, "moxmoxmox"), instance.join());
    assert_eq!(reply, SaslReply::Ended(Login::Ok(facts.session)));

    let (_, reply) = imapd.prove(3, "alice@example.org", "moxmoxmox").await;
    let SaslReply::Challenge(last) = reply else { panic!("{reply:?}") };
    assert!(last.starts_with(b"v="));
    let (reply, facts) = tokio::join!(imapd.answer(3, ""), instance.join());
    assert_eq!(reply, SaslReply::Ended(Login::Ok(facts.session)));

    let asked = imapd.begin(4, Mechanism::ScramSha256Plus, BOUND, None).await;
    assert_eq!(asked, SaslReply::Challenge(Vec::new()), "the client is asked to begin");
    let SaslReply::Challenge(first) = imapd.answer(4, "p=tls-exporter,,n=alice,r=abc").await else {
        panic!()
    };
    let first = String::from_utf8(first).unwrap();
    let channel = [&b"p=tls-exporter,,"[..], &[7; 32]].concat();
    let reply = imapd.answer(4, &client_final("n=alice,r=abc", &first, "moxmoxmox", &channel)).await;
    assert!(matches!(reply, SaslReply::Challenge(_)), "{reply:?}");
    let (reply, facts) = tokio::join!(imapd.answer(4, ""), instance.join());
    assert_eq!(reply, SaslReply::Ended(Login::Ok(facts.session)));
}

/// Attack class 16: who does not exist, who is disabled and who has another password all get the same, and it costs the
/// same: the rounds are counted, not the time.
#[tokio::test]
async fn nothing_tells_whether_a_user_exists() {
    let (mut instance, admin) = Instance::with_accounts().await;
    instance.add(&admin, "nopass").await;
    instance.add(&admin, "disabled").await;
    instance.changed(&admin, password_set("disabled", "moxmoxmox")).await;
    instance.changed(&admin, AdminToAuthd::AccountDisable("disabled".into(), true)).await;
    let imapd = Imapd(instance.ask());
    let users = [
        "alice",
        "alice@example.org",
        "nobody",
        "nobody@example.org",
        "nopass",
        "disabled",
        "a@b@c",
        "\u{e9}",
    ];
    for (number, user) in users.into_iter().enumerate() {
        let connection = number as u64;
        imapd.admit(connection, &format!("10.0.{number}.1")).await;
        let before = instance.service.rounds();
        let reply =
            imapd.begin(connection, Mechanism::Plain, BOUND, Some(&format!("\0{user}\0wrongwrong"))).await;
        assert_eq!(reply, SaslReply::Ended(Login::Denied { wait_ms: 0 }), "{user}");
        assert_eq!(instance.service.rounds() - before, u64::from(ROUNDS), "{user}");

        let before = instance.service.rounds();
        let (first, reply) = imapd.prove(connection, user, "wrongwrong").await;
        assert_eq!(reply, SaslReply::Ended(Login::Denied { wait_ms: 0 }), "{user}");
        assert_eq!(instance.service.rounds(), before, "no password was seen, none was hashed: {user}");
        assert_eq!(field(&first, "i="), ROUNDS.to_string(), "{user}");
        assert_eq!(STANDARD.decode(field(&first, "s=")).unwrap().len(), 16, "{user}");
        let (again, _) = imapd.prove(connection, user, "wrongwrong").await;
        assert_eq!(field(&again, "s="), field(&first, "s="), "the salt stays: {user}");
    }
    // One account has one salt whatever it is called; so has a name that is nobody's.
    for name in ["alice", "nobody", "nopass", "disabled"] {
        let mut salts = Vec::new();
        for (number, user) in
            [name.to_owned(), format!("{name}@example.org"), format!("{name}@nowhere.example")]
                .iter()
                .enumerate()
        {
            let connection = 100 + number as u64;
            imapd.admit(connection, &format!("10.1.{number}.1")).await;
            let message = format!("n,,n={user},r=abc");
            let reply = imapd.begin(connection, Mechanism::ScramSha256, BOUND, Some(&message)).await;
            let SaslReply::Challenge(first) = reply else { panic!("{reply:?}") };
            salts.push(field(&String::from_utf8(first).unwrap(), "s=").to_owned());
        }
        assert!(salts.iter().all(|salt| *salt == salts[0]), "{name}: {salts:?}");
    }
}

/// Attack class 17: what was overheard is of no use, neither on this connection nor on another.
#[tokio::test]
async fn a_replayed_exchange_is_denied() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    for connection in 1..=2 {
        imapd.admit(connection, "192.0.2.1").await;
    }
    let begin =
        |connection| imapd.begin(connection, Mechanism::ScramSha256, BOUND, Some("n,,n=alice,r=clientnonce"));
    let SaslReply::Challenge(first) = begin(1).await else { panic!() };
    let first = String::from_utf8(first).unwrap();
    let last = client_final("n=alice,r=clientnonce", &first, "moxmoxmox", b"n,,");
    assert!(matches!(imapd.answer(1, &last).await, SaslReply::Challenge(_)));
    let (reply, _) = tokio::join!(imapd.answer(1, ""), instance.join());
    assert!(matches!(reply, SaslReply::Ended(Login::Ok(_))), "{reply:?}");

    // The client's nonce is the same again; ours is not.
    let SaslReply::Challenge(again) = begin(2).await else { panic!() };
    assert_ne!(field(&first, "r="), field(&String::from_utf8(again).unwrap(), "r="));
    assert!(is_denied(&imapd.answer(2, &last).await));
    assert_eq!(imapd.answer(2, &last).await, SaslReply::Ended(Login::TryLater), "the exchange is over");
    assert_eq!(imapd.answer(1, &last).await, SaslReply::Ended(Login::TryLater), "so is this one");
    assert!(instance.events.try_recv().is_err(), "no session was asked for");
}

/// Attack class 17: out of step, cancelled, oversize, downgraded: denied or put off, and the connection can go on.
#[tokio::test]
async fn exchanges_out_of_step_come_to_nothing() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    let scram = Mechanism::ScramSha256;
    let plain = "\0alice\0moxmoxmox";
    imapd.admit(1, "192.0.2.1").await;
    assert_eq!(imapd.answer(1, plain).await, SaslReply::Ended(Login::TryLater), "nothing was begun");
    assert_eq!(imapd.begin(2, scram, BOUND, None).await, SaslReply::Ended(Login::TryLater), "not admitted");
    imapd.begin(1, Mechanism::Plain, BOUND, None).await;
    assert_eq!(imapd.step(1, SaslStep::Cancel).await, SaslReply::Cancelled);
    assert_eq!(imapd.answer(1, plain).await, SaslReply::Ended(Login::TryLater), "it was cancelled");
    imapd.begin(1, Mechanism::Plain, BOUND, None).await;
    imapd.begin(1, scram, BOUND, None).await;
    assert!(is_denied(&imapd.answer(1, plain).await), "a new start ends the one before");
    let long = "n,,n=alice,r=".to_owned() + &"a".repeat(2100);
    for (mechanism, transport, message, why) in [
        (scram, BOUND, "y,,n=alice,r=abc", "a downgrade"),
        (Mechanism::ScramSha256Plus, Transport::Tls, "p=tls-exporter,,n=alice,r=abc", "not offered there"),
        (Mechanism::ScramSha256Plus, BOUND, "n,,n=alice,r=abc", "-PLUS without a binding"),
        (scram, BOUND, &long, "oversize"),
        (Mechanism::Plain, BOUND, "alice\0moxmoxmox", "half of PLAIN"),
        (Mechanism::Login, BOUND, "", "nobody"),
    ] {
        assert!(is_denied(&imapd.begin(1, mechanism, transport, Some(message)).await), "{why}");
        imapd.admit(1, "192.0.2.1").await;
    }
    for (mechanism, message) in
        [(Mechanism::Plain, "bob\0alice\0moxmoxmox"), (scram, "n,a=bob,n=alice,r=abc")]
    {
        let reply = imapd.begin(1, mechanism, BOUND, Some(message)).await;
        assert_eq!(reply, SaslReply::Ended(Login::OnlyAsYourself));
    }
    // Who has proved the password and does not take the server's proof gets no session.
    let (_, reply) = imapd.prove(1, "alice", "moxmoxmox").await;
    assert!(matches!(reply, SaslReply::Challenge(_)));
    assert!(is_denied(&imapd.answer(1, "no").await));
    let (_, reply) = imapd.prove(1, "alice", "moxmoxmox").await;
    assert!(matches!(reply, SaslReply::Challenge(_)));
    assert_eq!(imapd.step(1, SaslStep::Cancel).await, SaslReply::Cancelled);
    assert!(instance.events.try_recv().is_err());
    let (reply, _) = tokio::join!(imapd.begin(1, Mechanism::Plain, BOUND, Some(plain)), instance.join());
    assert!(matches!(reply, SaslReply::Ended(Login::Ok(_))), "{reply:?}");
}

#[tokio::test]
async fn a_proof_that_is_overtaken_by_a_password_change_is_denied() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "192.0.2.1").await;
    let (_, reply) = imapd.prove(1, "alice", "moxmoxmox").await;
    assert!(matches!(reply, SaslReply::Challenge(_)));
    done(&admin, password_set("alice", "otherother")).await;
    assert!(is_denied(&imapd.answer(1, "").await));
    while let Ok(event) = instance.events.try_recv() {
        assert!(!matches!(event, Event::Connect { .. }), "{event:?}");
    }
}

/// Attack class 16: proofs are guesses, and are counted with the passwords.
#[tokio::test]
async fn guesses_by_scram_are_limited_like_passwords_and_do_not_lock_out_the_owner() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "203.0.113.7").await;
    instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await;
    for user in ["alice", "nobody"] {
        let mut judged = 0;
        for number in 0..100_u64 {
            let connection = 100 + number;
            imapd.admit(connection, &format!("10.{number}.{}.1", user.len())).await;
            let (_, reply) = imapd.prove(connection, user, &format!("guess{number}")).await;
            judged += u32::from(is_denied(&reply));
        }
        assert!((30..=32).contains(&judged), "{user}: {judged}");
    }
    imapd.admit(2, "203.0.113.9").await;
    let (_, reply) = imapd.prove(2, "alice", "moxmoxmox").await;
    assert!(matches!(reply, SaslReply::Challenge(_)), "{reply:?}");
    let (reply, _) = tokio::join!(imapd.answer(2, ""), instance.join());
    assert!(matches!(reply, SaslReply::Ended(Login::Ok(_))), "{reply:?}");
}

/// Attack class 27: exchanges are bounded for each connection, in all, and in time.
#[tokio::test]
async fn exchanges_are_bounded_in_number_and_in_time() {
    let (instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "127.0.0.1").await;
    let mut begun = 0;
    while matches!(imapd.begin(1, Mechanism::ScramSha256, BOUND, None).await, SaslReply::Challenge(_)) {
        begun += 1;
    }
    assert_eq!(begun, 32);
    let begin = |connection| imapd.begin(connection, Mechanism::ScramSha256, BOUND, Some("n,,n=alice,r=abc"));
    let mut held = 0;
    for connection in 10..10 + 4100 {
        imapd.admit(connection, "127.0.0.1").await;
        held += usize::from(matches!(begin(connection).await, SaslReply::Challenge(_)));
    }
    assert_eq!(held, connection::MAX_EXCHANGES);
    imapd.client(Client::Closed(ConnectionId(10))).await;
    imapd.admit(5000, "127.0.0.1").await;
    assert!(matches!(begin(5000).await, SaslReply::Challenge(_)), "room that one left");
    imapd.admit(5001, "127.0.0.1").await;
    assert_eq!(begin(5001).await, SaslReply::Ended(Login::TryLater));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert!(matches!(begin(5001).await, SaslReply::Challenge(_)), "those of a minute ago are over");
    assert_eq!(imapd.answer(5000, "anything").await, SaslReply::Ended(Login::TryLater), "too late");
}
