//! What a captured process asks in the verbs that its channels have, and what it can do with the answers.

use std::collections::BTreeMap;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ECDSA_P256_SHA256_ASN1, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use ipc_proto::{
    Channel, ChannelId, ConnectionId, DeliveryId, Secret,
    authd::{
        AuthdToSmtpd, Client, ClientReply, ImapdAuthd, ImapdToAuthd, Offence, QueuedAuthd, QueuedToAuthd,
        RecipientQuery, SmtpdAuthd, SmtpdToAuthd, SubmitdAuthd, SubmitdToAuthd, WebdAuthd,
    },
    client_key::ClientKey,
    delivery::{
        AccountDelivery, Deliver, QueuedAccountd, QueuedToAccountd, SmtpdQueued, SmtpdToQueued, SpoolNumber,
    },
    frame::{Frame, Kind},
    grant::{AuthdQueued, Grant, Notice},
    key_proof::{KeyProof, ProofScheme, Signature, TranscriptHash},
    neighbours::{AccountdAuthd, AccountdToAuthd},
    sasl::{Mechanism, SaslStep, Transport},
    submission::{Submit, SubmitdQueued, SubmitdToQueued},
    tls::{ImapdKeyd, KeyNumber, Scheme, SmtpdKeyd, SubmitdKeyd, TlsReply, TlsRequest, WebdKeyd},
    types::{ClientAddress, Run, Timestamp},
};
use mail_lib::address::Address;
use moxd_tests::{ACCOUNT, ADDRESS, PASSWORD, mail};

use crate::{
    forgery::{body, hex},
    matrix::{Captured, Verb},
    world::World,
};

/// In the answer's place.
const DROPPED: i32 = 0x2000_0000;
const CLOSED: i32 = 0x2000_0001;

/// Mark of a piece of an answer.
const PIECE: i32 = 0x1000_0000;

/// What a captured process's script said of one request.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Vec<u8>),
    Dropped,
    Closed,
    /// An errno, or that it was not tried.
    Other(Vec<i32>),
}

impl Answer {
    pub(crate) fn of(results: &[i32]) -> Self {
        match results {
            [DROPPED] => Self::Dropped,
            [CLOSED] => Self::Closed,
            [first, ..] if *first >= PIECE => {
                let octets = results.iter().flat_map(|piece| {
                    let count = usize::try_from(piece >> 24 & 3).unwrap();
                    piece.to_be_bytes().into_iter().skip(4 - count)
                });
                Self::Reply(octets.collect())
            }
            other => Self::Other(other.to_vec()),
        }
    }

    /// As the matrix writes it; answers about a connection are the same whoever asked.
    pub(crate) fn shown(&self, channel: ChannelId) -> String {
        match self {
            Self::Reply(body) => {
                let text = decoded(channel, body);
                text.strip_prefix("Client(").map(str::to_owned).unwrap_or(text)
            }
            Self::Dropped => "no answer".to_owned(),
            Self::Closed => "the end of the channel".to_owned(),
            Self::Other(errnos) => format!("{errnos:?}"),
        }
    }
}

fn decoded(channel: ChannelId, body: &[u8]) -> String {
    fn of<C: Channel>(body: &[u8]) -> String
    where
        C::Reply: std::fmt::Debug,
    {
        let frame = Frame { kind: Kind::Reply, id: 0, body, fds: Vec::new() };
        frame
            .decode::<C::Reply>()
            .map_or_else(|violation| violation.to_string(), |reply| format!("{reply:?}"))
    }
    match channel {
        ChannelId::SmtpdKeyd => of::<SmtpdKeyd>(body),
        ChannelId::ImapdKeyd => of::<ImapdKeyd>(body),
        ChannelId::WebdKeyd => of::<WebdKeyd>(body),
        ChannelId::SmtpdAuthd => of::<SmtpdAuthd>(body),
        ChannelId::ImapdAuthd => of::<ImapdAuthd>(body),
        ChannelId::WebdAuthd => of::<WebdAuthd>(body),
        ChannelId::SmtpdQueued => of::<SmtpdQueued>(body),
        ChannelId::QueuedAuthd => of::<QueuedAuthd>(body),
        ChannelId::QueuedAccountd => of::<QueuedAccountd>(body),
        ChannelId::SubmitdKeyd => of::<SubmitdKeyd>(body),
        ChannelId::SubmitdAuthd => of::<SubmitdAuthd>(body),
        ChannelId::SubmitdQueued => of::<SubmitdQueued>(body),
        ChannelId::AuthdQueued => of::<AuthdQueued>(body),
        ChannelId::AccountdAuthd => of::<AccountdAuthd>(body),
        ChannelId::AdminAuthd
        | ChannelId::AdminAccountd
        | ChannelId::AdminSupervisor
        | ChannelId::AdminQueued => String::new(),
    }
}

/// The id of every delivery of a captured process, and what its messages have in them.
const OWN: DeliveryId = DeliveryId([0xca; 16]);

const HASH: [u8; 32] = [0x5a; 32];

fn tls13(key: u8, transcript_hash: Vec<u8>) -> Vec<u8> {
    let scheme = Scheme::EcdsaP256Sha256;
    body(&TlsRequest::Tls13 { key: KeyNumber(key), scheme, transcript_hash })
}

fn tls12(client_random: [u8; 32], params: Vec<u8>) -> Vec<u8> {
    let (key, scheme) = (KeyNumber(0), Scheme::EcdsaP256Sha256);
    body(&TlsRequest::Tls12 { key, scheme, client_random, server_random: client_random, params })
}

/// X25519 and its point.
fn parameters() -> Vec<u8> {
    [&[3, 0, 29, 32][..], &[9; 32]].concat()
}

fn client(channel: ChannelId, client: Client) -> Vec<u8> {
    match channel {
        ChannelId::SmtpdAuthd => body(&SmtpdToAuthd::Client(client)),
        ChannelId::ImapdAuthd => body(&ImapdToAuthd::Client(client)),
        ChannelId::SubmitdAuthd => body(&SubmitdToAuthd::Client(client)),
        _ => body(&client),
    }
}

fn login(connection: u64, password: &str) -> Vec<u8> {
    let password = Secret(password.as_bytes().to_vec());
    body(&ImapdToAuthd::Login { connection: ConnectionId(connection), user: ACCOUNT.to_owned(), password })
}

/// On a connection that nobody admitted.
fn sasl(channel: ChannelId, step: SaslStep) -> Vec<u8> {
    let connection = ConnectionId(u64::MAX - 3);
    match channel {
        ChannelId::SubmitdAuthd => body(&SubmitdToAuthd::Sasl(connection, step)),
        _ => body(&ImapdToAuthd::Sasl(connection, step)),
    }
}

fn plain_start() -> SaslStep {
    let (mechanism, transport) = (Mechanism::Plain, Transport::Bound([7; 32]));
    SaslStep::Start { mechanism, transport, initial: Some(plain()) }
}

/// The connection of a captured submitd on which somebody logs in.
const SUBMITS: ConnectionId = ConnectionId(u64::MAX - 4);

/// Somebody logs in there, as submitd sees it pass.
fn logs_in() -> [Vec<u8>; 2] {
    let admit = Client::Admit(SUBMITS, ClientAddress([192, 0, 2, 9].into()));
    [body(&SubmitdToAuthd::Client(admit)), body(&SubmitdToAuthd::Sasl(SUBMITS, plain_start()))]
}

/// A channel that has to be the attacker's beside the one that a verb is for.
pub(crate) const fn beside(channel: ChannelId) -> Option<ChannelId> {
    match channel {
        ChannelId::SubmitdQueued => Some(ChannelId::SubmitdAuthd),
        _ => None,
    }
}

/// What PLAIN sends (RFC 4616) with the right password.
fn plain() -> Secret {
    Secret(format!("\0{ACCOUNT}\0{PASSWORD}").into_bytes())
}

fn signature(octets: &[u8]) -> Signature {
    Signature::new(octets).unwrap()
}

/// Lines that admit a connection and log in over it with a proof of the first account's login key, changed.
fn external(world: &World, number: u64, change: impl FnOnce(&mut KeyProof)) -> Vec<String> {
    let connection = ConnectionId(u64::MAX - 10 - number);
    let admit = Client::Admit(connection, ClientAddress([192, 0, 2, 9].into()));
    let transcript = TranscriptHash::Sha256(HASH);
    let signed = signature(world.login_key.sign(&transcript.signed()).as_ref());
    let key = client_key(&world.login_key);
    let mut proof = KeyProof { key, scheme: ProofScheme::Ed25519, transcript, signature: signed };
    change(&mut proof);
    let (mechanism, transport) = (Mechanism::External, Transport::Keyed([7; 32], proof));
    let start = SaslStep::Start { mechanism, transport, initial: Some(Secret(Vec::new())) };
    let ask = |request: ImapdToAuthd| format!("ask {:?} 77 {}", ChannelId::ImapdAuthd, hex(&body(&request)));
    vec![ask(ImapdToAuthd::Client(admit)), ask(ImapdToAuthd::Sasl(connection, start))]
}

/// The public half.
pub(crate) fn client_key(pair: &Ed25519KeyPair) -> ClientKey {
    let info: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    ClientKey::parse(info.as_ref()).unwrap()
}

fn account(number: u32) -> ipc_proto::AccountId {
    ipc_proto::AccountId::new(number).unwrap()
}

fn address() -> Address {
    Address::parse(ADDRESS).unwrap()
}

/// The lines of a script for one request, the last of which has its answer; its message, if it has one, has this mark.
pub(crate) fn lines(world: &World, role: &Captured, verb: &Verb, mark: &str) -> Vec<String> {
    let channel = role.channel(&verb.to);
    let ask = |body: Vec<u8>| format!("ask {channel:?} 77 {}", hex(&body));
    let again = |times: u32, body: Vec<u8>| format!("ask-again {channel:?} {times} 77 {}", hex(&body));
    let message = mail::message(mark, 300);
    let deliver = |change: &dyn Fn(&mut Deliver), fd: &str| {
        let mut deliver = Deliver {
            id: OWN,
            connection: ConnectionId(1),
            reverse_path: None,
            recipients: vec![address()],
            trace: Vec::new(),
            received: Timestamp::now(),
            size: message.len() as u64,
            spool: None,
        };
        change(&mut deliver);
        let fd = fd.replace("{message}", &hex(&message));
        format!("{} {fd}", ask(body(&SmtpdToQueued::Deliver(deliver))))
    };
    let file = |id: DeliveryId, fd: &str| {
        let (connection, received, size) = (ConnectionId(1), Timestamp::now(), message.len() as u64);
        let delivery = AccountDelivery { id, connection, prefix: Vec::new(), received, size };
        let path = format!("{}/planted", world.own_directory(role.role()));
        let fd = fd.replace("{message}", &hex(&message)).replace("{path}", &path);
        format!("{} {fd}", ask(body(&QueuedToAccountd::Deliver(delivery))))
    };
    // Not the one that a captured smtpd uses.
    let filed_by_queued = DeliveryId([0xcb; 16]);
    let same = &|_: &mut Deliver| {};
    let line = match verb.send.as_str() {
        "chains" | "chains-again" => ask(body(&TlsRequest::Chains)),
        "tls13" => ask(tls13(0, HASH.to_vec())),
        "tls13-text" => {
            ask(tls13(0, b"from:mox@localhost\r\ndkim-signature:v=1; a=ecdsa; d=localhost".to_vec()))
        }
        "tls13-nothing" => ask(tls13(0, Vec::new())),
        "tls13-sha512" => ask(tls13(0, vec![1; 64])),
        "tls13-next-key" => ask(tls13(1, HASH.to_vec())),
        "tls13-last-key" => ask(tls13(u8::MAX, HASH.to_vec())),
        "tls13-flood" => again(20_000, tls13(0, vec![1; 64])),
        "tls12" => ask(tls12([7; 32], parameters())),
        // The start of a PKCS #10 request.
        "tls12-request" => {
            ask(tls12([7; 32], [&[0x30, 0x81, 0x9c, 0x30, 0x44, 2, 1, 0][..], &[0; 60]].concat()))
        }
        "tls12-context" => {
            let context = [b"TLS 1.3, server CertificateVerify\0", &HASH[..]].concat();
            ask(tls12([b' '; 32], context))
        }
        "closed" => ask(client(channel, Client::Closed(ConnectionId(u64::MAX)))),
        "charge" => ask(client(channel, Client::Charge(ConnectionId(u64::MAX), Offence::Smuggling))),
        "admit-flood" => {
            // Of somebody else for each: what one was told long ago drains while another asks.
            let somebody = match channel {
                ChannelId::SmtpdAuthd => [192, 0, 2, 7],
                ChannelId::SubmitdAuthd => [198, 51, 100, 7],
                ChannelId::ImapdAuthd => [203, 0, 113, 7],
                _ => [198, 18, 0, 7],
            };
            let somebody = ClientAddress(somebody.into());
            again(1000, client(channel, Client::Admit(ConnectionId(u64::MAX), somebody)))
        }
        "recipient" => ask(body(&SmtpdToAuthd::Recipient(RecipientQuery::Address(address()), None))),
        "login-astray" => ask(login(u64::MAX - 1, PASSWORD)),
        "sasl-astray" => ask(sasl(channel, plain_start())),
        "sasl-answer" => ask(sasl(channel, SaslStep::Answer(plain()))),
        "sasl-login" => return logs_in().map(ask).into(),
        "grant" => {
            let account = ipc_proto::AccountId::new(1).unwrap();
            let until = Timestamp { seconds: i64::MAX, nanoseconds: 0 };
            // Of a submitd that never ran.
            let grant = Grant { run: Run(u64::MAX), connection: SUBMITS, account, until };
            ask(body(&Notice::Granted(grant)))
        }
        "changed" => ask(body(&Notice::DirectoryChanged)),
        "who" => ask(body(&AccountdToAuthd::Who("other@localhost".to_owned()))),
        "names" => ask(body(&AccountdToAuthd::Names([1, 2, 9].map(account).to_vec()))),
        "names-flood" => ask(body(&AccountdToAuthd::Names(vec![account(2); 1_001]))),
        "owners-of-shares" => ask(body(&AccountdToAuthd::Owners)),
        "share" => ask(body(&AccountdToAuthd::Shares { with: vec![account(2)], anyone: true })),
        "visit" => ask(body(&AccountdToAuthd::Open(account(2)))),
        "visit-itself" => ask(body(&AccountdToAuthd::Open(account(1)))),
        "visit-nobody" => ask(body(&AccountdToAuthd::Open(account(999_999)))),
        "may-send" => {
            let account = ipc_proto::AccountId::new(2).unwrap();
            ask(body(&QueuedToAuthd::MaySend(account, vec![address()])))
        }
        "recipients" => ask(body(&QueuedToAuthd::Recipients(
            ipc_proto::AccountId::new(2).unwrap(),
            vec![RecipientQuery::Address(address())],
        ))),
        "submit" | "submit-again" | "submit-other" | "submit-from-other" | "submit-trace"
        | "submit-ended" | "submit-astray" => {
            let message = match verb.send.as_str() {
                "submit-from-other" => from(OTHER, mark),
                _ => from(ADDRESS, mark),
            };
            let reverse_path = match verb.send.as_str() {
                "submit-other" => OTHER,
                _ => ADDRESS,
            };
            let trace = match verb.send.as_str() {
                "submit-trace" => format!("From: {OTHER}\r\n").into_bytes(),
                _ => Vec::new(),
            };
            let connection = if verb.send == "submit-astray" { ConnectionId(u64::MAX - 5) } else { SUBMITS };
            let deliver = Deliver {
                id: DeliveryId([0xcc; 16]),
                connection,
                reverse_path: Some(Address::parse(reverse_path).unwrap()),
                recipients: vec![address()],
                trace,
                received: Timestamp::now(),
                size: message.len() as u64,
                spool: None,
            };
            let submit = body(&SubmitdToQueued::Submit(Submit { deliver, hold: None }));
            let authd = |body: Vec<u8>| format!("ask SubmitdAuthd 77 {}", hex(&body));
            let mut lines = match verb.send.as_str() {
                "submit-astray" => Vec::new(),
                _ => logs_in().map(authd).to_vec(),
            };
            if verb.send == "submit-ended" {
                lines.push(authd(body(&SubmitdToAuthd::Client(Client::Closed(SUBMITS)))));
                // Until queued has heard of it.
                lines.push(again(1000, body(&SubmitdToQueued::Sender(SUBMITS, Some(address())))));
            }
            lines.push(format!("{} memory:{}", ask(submit), hex(&message)));
            return lines;
        }
        "sender-astray" => ask(body(&SubmitdToQueued::Sender(ConnectionId(u64::MAX - 5), Some(address())))),
        "recipients-astray" => {
            let query = RecipientQuery::Address(address());
            ask(body(&SubmitdToQueued::Recipients(ConnectionId(u64::MAX - 5), vec![query])))
        }
        // As submitd would, on the channel of port 25.
        "submits" => {
            ask(body(&SubmitdToQueued::Recipients(ConnectionId(1), vec![RecipientQuery::Address(address())])))
        }
        "external-made-up" => return external(world, 1, |proof| proof.signature = signature(&[0x5a; 64])),
        "external-elsewhere" => {
            return external(world, 2, |proof| proof.transcript = TranscriptHash::Sha256([0x5b; 32]));
        }
        "external-another-key" => {
            let other = Ed25519KeyPair::generate().unwrap();
            let signed = other.sign(&TranscriptHash::Sha256(HASH).signed());
            return external(world, 3, |proof| proof.signature = signature(signed.as_ref()));
        }
        "external-right" => return external(world, 4, |_| ()),
        "login-guess" => {
            let admit = Client::Admit(ConnectionId(u64::MAX - 2), ClientAddress([192, 0, 2, 8].into()));
            // The admission's answer is not looked at: without it the login is not judged.
            return vec![ask(client(channel, admit)), ask(login(u64::MAX - 2, "wrong-password"))];
        }
        "deliver" | "deliver-again" | "deliver-replaced" => deliver(same, "memory:{message}"),
        "deliver-stolen-id" => {
            let id = world.filed_id();
            deliver(&|deliver| deliver.id = id, "memory:{message}")
        }
        "deliver-unsealed" => deliver(&|deliver| deliver.id = DeliveryId([1; 16]), "unsealed:{message}"),
        "deliver-socket" => deliver(&|deliver| deliver.id = DeliveryId([2; 16]), "log"),
        "deliver-short" => deliver(&|deliver| deliver.size += 1, "memory:{message}"),
        "deliver-nobody" => deliver(&|deliver| deliver.recipients.clear(), "memory:{message}"),
        "deliver-trace" => {
            deliver(&|deliver| deliver.trace = b"\r\nSubject: other\r\n".to_vec(), "memory:{message}")
        }
        "deliver-spool" => deliver(&|deliver| deliver.spool = Some(SpoolNumber(4711)), ""),
        "forget-spool" => ask(body(&SmtpdToQueued::Forget(SpoolNumber(4711)))),
        "owners" => ask(body(&QueuedToAuthd::Owners(vec![address()], None))),
        "owners-flood" => ask(body(&QueuedToAuthd::Owners(vec![address(); 1001], None))),
        "have" => ask(body(&QueuedToAccountd::Have(DeliveryId([0; 16])))),
        "file" | "file-again" | "file-replaced" => file(filed_by_queued, "file:{path}:{message}"),
        "file-stolen-id" => file(world.filed_id(), "file:{path}:{message}"),
        "file-writable" => file(DeliveryId([3; 16]), "writable:{path}:{message}"),
        "file-socket" => file(DeliveryId([4; 16]), "log"),
        other => panic!("{other}: no such request"),
    };
    vec![line]
}

/// The other account's address.
const OTHER: &str = "other@localhost";

/// A message with this author.
fn from(author: &str, mark: &str) -> Vec<u8> {
    format!("From: <{author}>\r\nSubject: {mark}\r\n\r\n{mark}\r\n").into_bytes()
}

/// Whose message a request carries: the ones that repeat have that of the first.
pub(crate) fn mark(verb: &Verb) -> String {
    format!("mark-{}", verb.send.trim_end_matches("-again"))
}

/// Certificates and signatures that fronts were given, to be compared.
#[derive(Debug, Default)]
pub(crate) struct Given {
    points: BTreeMap<String, Vec<u8>>,
    signatures: Vec<(String, Vec<u8>, Vec<u8>)>,
}

impl Given {
    /// Notes what keyd gave.
    pub(crate) fn note(&mut self, role: &Captured, verb: &Verb, answer: &Answer) {
        let Answer::Reply(body) = answer else { return };
        let frame = Frame { kind: Kind::Reply, id: 0, body, fds: Vec::new() };
        let signed = match verb.send.as_str() {
            "tls13" => [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &HASH].concat(),
            "tls12" => [&[7; 64][..], &parameters()].concat(),
            "chains" => Vec::new(),
            _ => return,
        };
        match frame.decode::<TlsReply>() {
            Ok(TlsReply::Chains(chains)) => {
                assert_eq!(chains.len(), 1, "{}", role.name);
                self.points.insert(role.name.clone(), point(&chains[0].certificates[0]));
            }
            Ok(TlsReply::Signed(signature)) => self.signatures.push((role.name.clone(), signed, signature)),
            other => panic!("{}: {other:?}", role.name),
        }
    }

    /// Every signature holds with its own group's key, over the handshake that keyd built, and in no other way.
    pub(crate) fn compare(&self) {
        let holds = |point: &[u8], content: &[u8], signature: &[u8]| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(content, signature).is_ok()
        };
        assert!(!self.points.is_empty());
        assert_eq!(self.signatures.len(), 2 * self.points.len(), "one for each version of TLS");
        for (role, content, signature) in &self.signatures {
            for (other, point) in &self.points {
                let same = group(role) == group(other);
                assert_eq!(holds(point, content, signature), same, "{role}'s with {other}'s key");
                for foreign in [&HASH[..], &content[..64], &content[64..]] {
                    assert!(!holds(point, foreign, signature), "{role}: a part of it is signed, too");
                }
            }
        }
    }
}

/// Whose listeners share a key: those of mail programs.
fn group(role: &str) -> &str {
    if role == "submitd" { "imapd" } else { role }
}

/// The public key in a certificate: what follows the name of its curve, prime256v1.
fn point(certificate: &[u8]) -> Vec<u8> {
    const BEFORE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0];
    let at = certificate.windows(BEFORE.len()).position(|window| window == BEFORE).unwrap();
    certificate[at + BEFORE.len()..][..65].to_vec()
}

#[test]
fn answers_are_put_together_from_pieces() {
    let pieces = [PIECE | 3 << 24 | 0x01_0203, PIECE | 2 << 24 | 0x0405];
    assert!(matches!(Answer::of(&pieces), Answer::Reply(body) if body == [1, 2, 3, 4, 5]));
    assert!(matches!(Answer::of(&[PIECE]), Answer::Reply(body) if body.is_empty()));
    assert!(matches!(Answer::of(&[CLOSED]), Answer::Closed));
    assert!(matches!(Answer::of(&[-1]), Answer::Other(_)));
    let noted = body(&AuthdToSmtpd::Client(ClientReply::Noted));
    assert_eq!(Answer::Reply(noted).shown(ChannelId::SmtpdAuthd), "Noted)");
}
