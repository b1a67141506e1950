//! EXTERNAL over the real channel: what a front brings, right or made up.

use aws_lc_rs::{
    encoding::AsDer,
    signature::{Ed25519KeyPair, KeyPair},
};
use ipc_proto::{
    client_key::ClientKey,
    key_proof::{KeyProof, ProofScheme, Signature, TranscriptHash},
    logins::{Fingerprint, LoginInfo, LoginResult, Protocols},
    sasl::{Mechanism, SaslReply, SaslStep, Transport},
};

use super::*;
use crate::sasl::external::fingerprint;

const IMAP: Protocols = Protocols { imap: true, submission: false };

/// A client with a key.
struct Client {
    pair: Ed25519KeyPair,
    handshakes: std::cell::Cell<u8>,
}

impl Client {
    fn new() -> Self {
        Self { pair: Ed25519KeyPair::generate().unwrap(), handshakes: std::cell::Cell::new(0) }
    }

    fn key(&self) -> ClientKey {
        ClientKey::parse(self.pair.public_key().as_der().unwrap().as_ref()).unwrap()
    }

    fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.key())
    }

    /// Of a handshake of its own.
    fn proof(&self) -> KeyProof {
        self.handshakes.set(self.handshakes.get() + 1);
        let transcript = TranscriptHash::Sha384([self.handshakes.get(); 48]);
        let signature = Signature::new(self.pair.sign(&transcript.signed()).as_ref()).unwrap();
        KeyProof { key: self.key(), scheme: ProofScheme::Ed25519, transcript, signature }
    }

    fn add(&self, account: &str, protocols: Protocols, expires: Option<i64>) -> AdminToAuthd {
        AdminToAuthd::LoginKeyAdd {
            account: account.into(),
            name: "laptop".into(),
            fingerprint: self.fingerprint(),
            protocols,
            expires: expires.map(|seconds| Timestamp { seconds, nanoseconds: 0 }),
        }
    }
}

fn keyed(proof: KeyProof) -> Transport {
    Transport::Keyed([7; 32], proof)
}

fn secret(text: &str) -> Secret {
    Secret(text.as_bytes().to_vec())
}

impl Imapd {
    async fn external(&self, connection: u64, transport: Transport, initial: Option<&str>) -> SaslReply {
        let (mechanism, initial) = (Mechanism::External, initial.map(secret));
        let step = SaslStep::Start { mechanism, transport, initial };
        let request = ImapdToAuthd::Sasl(ConnectionId(connection), step);
        match self.0.call(&request, Vec::new()).await.unwrap().0 {
            AuthdToImapd::Sasl(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
}

async fn logins(admin: &Asker<AdminAuthd>) -> Vec<LoginInfo> {
    match ask_admin(admin, AdminToAuthd::LoginList { account: None, before: None }).await {
        AuthdToAdmin::Logins(logins) => logins,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_has_proved_a_key_is_let_in_as_its_owner_and_as_nobody_else() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let (client, imapd) = (Client::new(), Imapd(instance.ask()));
    done(&admin, client.add("alice", IMAP, None)).await;
    for (connection, name) in [(1, ""), (2, "alice"), (3, "Alice@Example.org")] {
        imapd.admit(connection, "192.0.2.1").await;
        let (reply, facts) =
            tokio::join!(imapd.external(connection, keyed(client.proof()), Some(name)), instance.join());
        assert_eq!(reply, SaslReply::Ended(Login::Ok(facts.session)), "{name}");
        assert_eq!(facts.account.number(), 1, "{name}");
    }
    imapd.admit(4, "192.0.2.1").await;
    let asked = imapd.external(4, keyed(client.proof()), None).await;
    assert_eq!(asked, SaslReply::Challenge(Vec::new()), "the client is asked to begin");
    let answer = ImapdToAuthd::Sasl(ConnectionId(4), SaslStep::Answer(secret("")));
    let (reply, facts) = tokio::join!(imapd.0.call(&answer, Vec::new()), instance.join());
    assert_eq!(reply.unwrap().0, AuthdToImapd::Sasl(SaslReply::Ended(Login::Ok(facts.session))));

    imapd.admit(5, "192.0.2.1").await;
    for name in ["bob", "bob@example.org", "nobody", "a b"] {
        let reply = imapd.external(5, keyed(client.proof()), Some(name)).await;
        assert_eq!(reply, SaslReply::Ended(Login::OnlyAsYourself), "{name}");
    }
    assert!(instance.events.try_recv().is_err());
    let logins = logins(&admin).await;
    assert!(logins.iter().all(|login| login.mechanism == Some(Mechanism::External)
        && login.account.as_deref() == Some("alice")
        && login.app_password.as_deref() == Some("laptop")
        && login.result == LoginResult::Ok));
}

/// Attack classes 16 and 17: whatever is wrong, the answer is one, and it is judged by no password.
#[tokio::test]
async fn whatever_is_wrong_is_denied_alike() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    let now = Timestamp::now().seconds;
    let [good, other, unknown, late, sender, removed, disabled] = std::array::from_fn(|_| Client::new());
    instance.add(&admin, "carol").await;
    done(&admin, good.add("alice", IMAP, None)).await;
    done(&admin, other.add("bob", IMAP, None)).await;
    done(&admin, disabled.add("carol", IMAP, None)).await;
    instance.changed(&admin, AdminToAuthd::AccountDisable("carol".into(), true)).await;
    for (client, name, protocols, expires) in [
        (&late, "late", IMAP, Some(now + 1)),
        (&sender, "sender", Protocols { imap: false, submission: true }, None),
        (&removed, "removed", IMAP, None),
    ] {
        let (account, name, fingerprint) = ("alice".into(), name.into(), client.fingerprint());
        let expires = expires.map(|seconds| Timestamp { seconds, nanoseconds: 0 });
        done(&admin, AdminToAuthd::LoginKeyAdd { account, name, fingerprint, protocols, expires }).await;
    }
    let remove = AdminToAuthd::LoginKeyRemove { account: "alice".into(), name: "removed".into() };
    assert_eq!(instance.changed(&admin, remove).await.number(), 1, "its sessions end");
    while Timestamp::now().seconds <= now {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let made_up =
        |signature: &[u8]| KeyProof { signature: Signature::new(signature).unwrap(), ..good.proof() };
    let elsewhere = KeyProof { transcript: good.proof().transcript, ..good.proof() };
    let borrowed = KeyProof { signature: other.proof().signature, ..good.proof() };
    let swapped = KeyProof { key: good.key(), ..other.proof() };
    let misnamed = KeyProof { scheme: ProofScheme::RsaPssSha256, ..good.proof() };
    let before = instance.service.rounds();
    for (number, (transport, name, why)) in [
        (keyed(unknown.proof()), "", "a key that is nobody's"),
        (keyed(unknown.proof()), "alice", "the same, for somebody"),
        (keyed(late.proof()), "", "expired"),
        (keyed(sender.proof()), "", "for sending only"),
        (keyed(removed.proof()), "", "removed"),
        (keyed(disabled.proof()), "", "of a disabled account"),
        (keyed(disabled.proof()), "alice", "the same, for somebody else"),
        (keyed(made_up(&[0; 64])), "", "a known key with a signature that is made up"),
        (keyed(made_up(&[])), "", "the same, without one"),
        (keyed(elsewhere), "", "a signature of another handshake"),
        (keyed(borrowed), "", "another key's signature"),
        (keyed(swapped), "", "another key's proof under a known name"),
        (keyed(misnamed), "", "another scheme"),
        (keyed(good.proof()), "al\0ice", "no name"),
        (Transport::Bound([7; 32]), "", "no key at all"),
        (Transport::Tls, "alice", "TLS 1.2"),
        (Transport::Loopback, "alice", "no TLS"),
    ]
    .into_iter()
    .enumerate()
    {
        let connection = number as u64;
        imapd.admit(connection, &format!("10.0.{number}.1")).await;
        let reply = imapd.external(connection, transport, Some(name)).await;
        assert_eq!(reply, SaslReply::Ended(Login::Denied { wait_ms: 0 }), "{why}");
    }
    assert_eq!(instance.service.rounds(), before);
    assert!(instance.events.try_recv().is_err(), "no session was asked for");
    let results: Vec<_> =
        logins(&admin).await.into_iter().map(|login| (login.account, login.result)).collect();
    assert!(results.contains(&(None, LoginResult::Denied)), "{results:?}");
    assert!(results.contains(&(Some("alice".into()), LoginResult::Denied)), "{results:?}");
    assert!(results.contains(&(Some("carol".into()), LoginResult::Disabled)), "{results:?}");
}

/// Attack class 16: keys that are nobody's are failed logins of their address, like guesses; an owner who is known goes
/// on.
#[tokio::test]
async fn unknown_keys_are_limited_like_passwords() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let (client, imapd) = (Client::new(), Imapd(instance.ask()));
    done(&admin, client.add("alice", IMAP, None)).await;
    let (mut judged, mut put_off) = (0, 0);
    for connection in 100..150 {
        imapd.admit(connection, "10.0.0.1").await;
        match imapd.external(connection, keyed(Client::new().proof()), Some("")).await {
            SaslReply::Ended(Login::Denied { .. }) => judged += 1,
            SaslReply::Ended(Login::TryLater) => put_off += 1,
            other => panic!("{other:?}"),
        }
        imapd.client(ipc_proto::authd::Client::Closed(ConnectionId(connection))).await;
    }
    assert_eq!((judged, put_off), (10, 40), "as many as of passwords in a minute");
    imapd.admit(1, "10.0.0.1").await;
    let reply = imapd.external(1, keyed(client.proof()), Some("")).await;
    assert_eq!(reply, SaslReply::Ended(Login::TryLater), "a known key from there is put off as well");
    imapd.admit(2, "192.0.2.1").await;
    let (reply, _) = tokio::join!(imapd.external(2, keyed(client.proof()), Some("")), instance.join());
    assert!(matches!(reply, SaslReply::Ended(Login::Ok(_))), "{reply:?}");
}
