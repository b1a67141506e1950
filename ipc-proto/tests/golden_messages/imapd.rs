//! What imapd asks authd, and what it is answered.

use ipc_proto::{Secret, authd::*, client_key::ClientKey, key_proof::*, sasl::*};

use super::{CONNECTION, SESSION, Sample, reply, request, samples_of};

pub(super) fn samples() -> Vec<Sample> {
    let (ask, answer) = (request::<ImapdAuthd>, reply::<ImapdAuthd>);
    let mut all = samples_of!(ask, ImapdToAuthd {
        ImapdToAuthd::Client(_) => "Client": ImapdToAuthd::Client(Client::Charge(CONNECTION, Offence::Bounds)),
        ImapdToAuthd::Login { .. } => "Login": ImapdToAuthd::Login {
            connection: CONNECTION,
            user: "a@example.org".to_owned(),
            password: Secret(b"secret".to_vec()),
        },
        ImapdToAuthd::Sasl(_, SaslStep::Start { transport: Transport::Bound(_), .. }) => "Sasl start bound":
            start(Mechanism::ScramSha256Plus, Transport::Bound([7; 32]), Some(b"p=tls-exporter,,n=u,r=n")),
        ImapdToAuthd::Sasl(_, SaslStep::Start { transport: Transport::Tls, .. }) => "Sasl start TLS 1.2":
            start(Mechanism::ScramSha256, Transport::Tls, None),
        ImapdToAuthd::Sasl(_, SaslStep::Start { mechanism: Mechanism::Login, .. }) => "Sasl start LOGIN":
            start(Mechanism::Login, Transport::Tls, None),
        ImapdToAuthd::Sasl(_, SaslStep::Start { transport: Transport::Loopback, .. }) => "Sasl start loopback":
            start(Mechanism::Plain, Transport::Loopback, Some(b"\0u\0secret")),
        ImapdToAuthd::Sasl(_, SaslStep::Start { mechanism: Mechanism::External, .. }) => "Sasl start EXTERNAL":
            start(Mechanism::External, keyed(ed25519_proof()), Some(b"")),
        ImapdToAuthd::Sasl(_, SaslStep::Start { transport: Transport::Keyed(..), .. }) => "Sasl start keyed":
            start(Mechanism::ScramSha256, keyed(p384_proof()), None),
        ImapdToAuthd::Sasl(_, SaslStep::Answer(_)) => "Sasl answer":
            ImapdToAuthd::Sasl(CONNECTION, SaslStep::Answer(Secret(b"secret".to_vec()))),
        ImapdToAuthd::Sasl(_, SaslStep::Cancel) => "Sasl cancel": ImapdToAuthd::Sasl(CONNECTION, SaslStep::Cancel),
    });
    let (login, sasl) = (AuthdToImapd::Login, AuthdToImapd::Sasl);
    all.extend(samples_of!(answer, AuthdToImapd {
        AuthdToImapd::Client(_) => "Client": AuthdToImapd::Client(ClientReply::Admitted),
        AuthdToImapd::Login(Login::Ok(_)) => "Login ok": login(Login::Ok(SESSION)),
        AuthdToImapd::Login(Login::Denied { .. }) => "Login denied": login(Login::Denied { wait_ms: 1500 }),
        AuthdToImapd::Login(Login::TryLater) => "Login later": login(Login::TryLater),
        AuthdToImapd::Login(Login::OnlyAsYourself) => "Login as another": login(Login::OnlyAsYourself),
        AuthdToImapd::Sasl(SaslReply::Challenge(_)) => "Sasl challenge":
            sasl(SaslReply::Challenge(b"Username:".to_vec())),
        AuthdToImapd::Sasl(SaslReply::Ended(_)) => "Sasl ended": sasl(SaslReply::Ended(Login::Ok(SESSION))),
        AuthdToImapd::Sasl(SaslReply::Cancelled) => "Sasl cancelled": sasl(SaslReply::Cancelled),
    }));
    all
}

fn keyed(proof: KeyProof) -> Transport {
    Transport::Keyed([7; 32], proof)
}

fn ed25519_proof() -> KeyProof {
    let info = [&[48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0][..], &[9; 32]].concat();
    KeyProof {
        key: ClientKey::parse(&info).unwrap(),
        scheme: ProofScheme::Ed25519,
        transcript: TranscriptHash::Sha256([1; 32]),
        signature: Signature::new(&[2; 64]).unwrap(),
    }
}

fn p384_proof() -> KeyProof {
    let curve = [48, 16, 6, 7, 42, 134, 72, 206, 61, 2, 1, 6, 5, 43, 129, 4, 0, 34];
    let info = [&[48, 118][..], &curve, &[3, 98, 0, 4], &[9; 96]].concat();
    KeyProof {
        key: ClientKey::parse(&info).unwrap(),
        scheme: ProofScheme::EcdsaP384Sha384,
        transcript: TranscriptHash::Sha384([1; 48]),
        signature: Signature::new(&[2; 104]).unwrap(),
    }
}

fn start(mechanism: Mechanism, transport: Transport, initial: Option<&[u8]>) -> ImapdToAuthd {
    let initial = initial.map(|octets| Secret(octets.to_vec()));
    ImapdToAuthd::Sasl(CONNECTION, SaslStep::Start { mechanism, transport, initial })
}
