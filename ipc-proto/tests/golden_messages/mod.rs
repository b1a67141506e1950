//! One message of every kind. The patterns make the compiler ask for a sample of each new variant.

mod admin;
mod control;
mod imapd;
mod neighbours;
mod quotas;
mod reader;
mod transfer;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use ipc_proto::{
    AccountId, Channel, ConnectionId, DeliveryId, Secret, SessionId,
    admin::*,
    authd::*,
    capability::Capabilities,
    channel::Message,
    control::{Layers, Role},
    delivery::*,
    frame::{self, FrameReader, Kind},
    grant::*,
    logins::*,
    sasl::*,
    submission::*,
    tls::*,
    types::{ClientAddress, Protocol, Run, Timestamp},
};
use mail_lib::address::Address;

/// A message as it crosses.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) octets: Vec<u8>,
    /// Reads octets and compares with the message.
    pub(crate) comes_back: Reads,
}

type Reads = Box<dyn Fn(&[u8]) -> bool>;

/// `samples_of!(Type, make { Pattern => "what": value, ... })`: each value has its pattern, and the patterns are all.
macro_rules! samples_of {
    ($of:ident, $type:ty { $($pattern:pat => $name:literal: $value:expr),* $(,)? }) => {{
        #[allow(unreachable_patterns)]
        let _all = |message: &$type| match message { $($pattern => (),)* };
        vec![$({
            let value: $type = $value;
            assert!(matches!(&value, $pattern), "{} is under the wrong pattern", $name);
            $of($name, value)
        }),*]
    }};
}
use samples_of;

pub(crate) fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    all.extend(tls::<SmtpdKeyd>());
    all.extend(tls::<ImapdKeyd>());
    all.extend(tls::<WebdKeyd>());
    all.extend(tls::<SubmitdKeyd>());
    all.extend(smtpd_authd());
    all.extend(imapd::samples());
    all.extend(webd_authd());
    all.extend(submitd_authd());
    all.extend(queued_authd());
    all.extend(smtpd_queued());
    all.extend(submitd_queued());
    all.extend(authd_queued());
    all.extend(queued_accountd());
    all.extend(admin_authd());
    all.extend(admin::accountd());
    all.extend(transfer::samples());
    all.extend(reader::samples());
    all.extend(admin_supervisor());
    all.extend(admin::queued());
    all.extend(neighbours::samples());
    all.extend(control::orders());
    all.extend(control::events());
    all
}

fn request<C: Channel>(name: &str, message: C::Request) -> Sample
where
    C::Request: PartialEq,
{
    framed::<C, _>(Kind::Request, format!("{:?} request {name}", C::ID), message)
}

fn reply<C: Channel>(name: &str, message: C::Reply) -> Sample
where
    C::Reply: PartialEq,
{
    framed::<C, _>(Kind::Reply, format!("{:?} reply {name}", C::ID), message)
}

fn framed<C: Channel, M: Message + PartialEq>(kind: Kind, name: String, message: M) -> Sample {
    let mut octets = Vec::new();
    frame::encode(kind, 0x0102_0304_0506_0708, &message, C::MAX_BODY, &mut octets).unwrap();
    let comes_back = Box::new(move |octets: &[u8]| {
        let mut reader = FrameReader::new(C::ID, C::MAX_BODY);
        for octets in [&frame::hello(C::ID), octets] {
            reader.space()[..octets.len()].copy_from_slice(octets);
            let fds = (octets[5] != 0).then(|| (0..message.fd_count()).map(|_| an_fd()));
            reader.filled(octets.len(), fds.into_iter().flatten());
        }
        let frame = reader.next_frame().unwrap().unwrap();
        let same = frame.kind == kind && frame.id == 0x0102_0304_0506_0708;
        same && frame.decode::<M>().unwrap() == message
    });
    Sample { name, octets, comes_back }
}

fn an_fd() -> OwnedFd {
    std::os::unix::net::UnixStream::pair().unwrap().0.into()
}

fn account(number: u32) -> AccountId {
    AccountId::new(number).unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn at() -> Timestamp {
    Timestamp { seconds: -2, nanoseconds: 999_999_999 }
}

const DELIVERY: DeliveryId = DeliveryId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const CONNECTION: ConnectionId = ConnectionId(0xa1a2_a3a4_a5a6);
const SESSION: SessionId = SessionId(0xb1b2_b3b4_b5b6_b7b8);
const SCHEME: Scheme = Scheme::EcdsaP256Sha256;

fn tls<C: Channel<Request = TlsRequest, Reply = TlsReply>>() -> Vec<Sample> {
    let (ask, answer) = (request::<C>, reply::<C>);
    let mut all = samples_of!(ask, TlsRequest {
        TlsRequest::Chains => "Chains": TlsRequest::Chains,
        TlsRequest::Tls13 { .. } => "Tls13":
            TlsRequest::Tls13 { key: KeyNumber(1), scheme: SCHEME, transcript_hash: vec![9; 32] },
        TlsRequest::Tls12 { .. } => "Tls12": TlsRequest::Tls12 {
            key: KeyNumber(2),
            scheme: SCHEME,
            client_random: [0xc1; 32],
            server_random: [0x51; 32],
            params: vec![3, 0, 29],
        },
    });
    let refused = TlsReply::Refused;
    all.extend(samples_of!(answer, TlsReply {
        TlsReply::Chains(_) => "Chains": TlsReply::Chains(vec![Chain {
            key: KeyNumber(1),
            scheme: SCHEME,
            names: vec!["mx.example".to_owned(), "x".to_owned()],
            certificates: vec![vec![0x30, 0x82], vec![]],
        }]),
        TlsReply::Signed(_) => "Signed": TlsReply::Signed(vec![0x30, 0x45]),
        TlsReply::Refused(Refusal::UnknownKey) => "Refused unknown": refused(Refusal::UnknownKey),
        TlsReply::Refused(Refusal::NotAHandshake) => "Refused no handshake": refused(Refusal::NotAHandshake),
        TlsReply::Refused(Refusal::RateLimited) => "Refused rate": refused(Refusal::RateLimited),
        TlsReply::Refused(Refusal::Failed) => "Refused failed": refused(Refusal::Failed),
    }));
    all
}

fn smtpd_authd() -> Vec<Sample> {
    let (ask, answer) = (request::<SmtpdAuthd>, reply::<SmtpdAuthd>);
    let recipient = SmtpdToAuthd::Recipient;
    let mut all = samples_of!(ask, SmtpdToAuthd {
        SmtpdToAuthd::Client(_) => "Client": SmtpdToAuthd::Client(Client::Closed(CONNECTION)),
        SmtpdToAuthd::Recipient(RecipientQuery::Address(_), _) => "Recipient address": recipient(
            RecipientQuery::Address(address("\"a b\"@xn--d-eha.example")),
            Some(address("from@example.org")),
        ),
        SmtpdToAuthd::Recipient(RecipientQuery::Postmaster, _) => "Recipient postmaster":
            recipient(RecipientQuery::Postmaster, None),
    });
    let recipient = AuthdToSmtpd::Recipient;
    all.extend(samples_of!(answer, AuthdToSmtpd {
        AuthdToSmtpd::Client(_) => "Client": AuthdToSmtpd::Client(ClientReply::Noted),
        AuthdToSmtpd::Recipient(Recipient::Local(_)) => "Recipient local":
            recipient(Recipient::Local(address("ü@example.org"))),
        AuthdToSmtpd::Recipient(Recipient::Unknown) => "Recipient unknown": recipient(Recipient::Unknown),
        AuthdToSmtpd::Recipient(Recipient::NotLocal) => "Recipient not local": recipient(Recipient::NotLocal),
        AuthdToSmtpd::Recipient(Recipient::Disabled) => "Recipient disabled": recipient(Recipient::Disabled),
        AuthdToSmtpd::Recipient(Recipient::MembersOnly) => "Recipient members only":
            recipient(Recipient::MembersOnly),
        AuthdToSmtpd::Recipient(Recipient::Full) => "Recipient full": recipient(Recipient::Full),
    }));
    all
}

fn submitd_authd() -> Vec<Sample> {
    let (ask, answer) = (request::<SubmitdAuthd>, reply::<SubmitdAuthd>);
    let cancel = SubmitdToAuthd::Sasl(CONNECTION, SaslStep::Cancel);
    let mut all = samples_of!(ask, SubmitdToAuthd {
        SubmitdToAuthd::Client(_) => "Client": SubmitdToAuthd::Client(Client::Closed(CONNECTION)),
        SubmitdToAuthd::Sasl(..) => "Sasl": cancel,
    });
    all.extend(samples_of!(answer, AuthdToSubmitd {
        AuthdToSubmitd::Client(_) => "Client": AuthdToSubmitd::Client(ClientReply::Admitted),
        AuthdToSubmitd::Sasl(_) => "Sasl": AuthdToSubmitd::Sasl(SaslReply::Ended(Login::Ok(SESSION))),
    }));
    all
}

fn webd_authd() -> Vec<Sample> {
    let (ask, answer) = (request::<WebdAuthd>, reply::<WebdAuthd>);
    let admit = |ip: std::net::IpAddr| Client::Admit(CONNECTION, ClientAddress(ip));
    let charge = |offence| Client::Charge(CONNECTION, offence);
    let mut all = samples_of!(ask, Client {
        Client::Admit(_, ClientAddress(std::net::IpAddr::V4(_))) => "Admit IPv4":
            admit(Ipv4Addr::new(192, 0, 2, 1).into()),
        Client::Admit(_, ClientAddress(std::net::IpAddr::V6(_))) => "Admit IPv6":
            admit(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
        Client::Closed(_) => "Closed": Client::Closed(CONNECTION),
        Client::Charge(_, Offence::Crash) => "Charge crash": charge(Offence::Crash),
        Client::Charge(_, Offence::Bounds) => "Charge bounds": charge(Offence::Bounds),
        Client::Charge(_, Offence::Smuggling) => "Charge smuggling": charge(Offence::Smuggling),
        Client::Charge(_, Offence::Harvesting) => "Charge harvesting": charge(Offence::Harvesting),
    });
    let away = ClientReply::TurnedAway;
    all.extend(samples_of!(answer, ClientReply {
        ClientReply::Admitted => "Admitted": ClientReply::Admitted,
        ClientReply::TurnedAway(TurnedAway::Concurrent) => "TurnedAway concurrent": away(TurnedAway::Concurrent),
        ClientReply::TurnedAway(TurnedAway::Rate) => "TurnedAway rate": away(TurnedAway::Rate),
        ClientReply::TurnedAway(TurnedAway::Abuse) => "TurnedAway abuse": away(TurnedAway::Abuse),
        ClientReply::Noted => "Noted": ClientReply::Noted,
    }));
    all
}

fn queued_authd() -> Vec<Sample> {
    let (ask, answer) = (request::<QueuedAuthd>, reply::<QueuedAuthd>);
    let owned = |owner| AuthdToQueued::Owners(vec![Owner::Nobody, owner]);
    let mut all = samples_of!(ask, QueuedToAuthd {
        QueuedToAuthd::MaySend(..) => "MaySend":
            QueuedToAuthd::MaySend(account(7), vec![address("a@example.org")]),
        QueuedToAuthd::Recipients(..) => "Recipients": QueuedToAuthd::Recipients(account(7), vec![
            RecipientQuery::Address(address("a@example.org")),
            RecipientQuery::Postmaster,
        ]),
        QueuedToAuthd::Owners(..) => "Owners": QueuedToAuthd::Owners(
            vec![address("a@example.org"), address("b@sub.example.org")],
            Some(address("from@example.org")),
        ),
    });
    let _all_owners = |owner: &Owner| match owner {
        Owner::Account(_) | Owner::Members(_) | Owner::Nobody | Owner::Disabled => (),
    };
    all.extend(samples_of!(answer, AuthdToQueued {
        AuthdToQueued::Owners(_) => "Owners account": owned(Owner::Account(account(7))),
        AuthdToQueued::Owners(_) => "Owners members": owned(Owner::Members(vec![account(7), account(9)])),
        AuthdToQueued::Owners(_) => "Owners nobody": owned(Owner::Nobody),
        AuthdToQueued::Owners(_) => "Owners disabled": owned(Owner::Disabled),
        AuthdToQueued::MaySend(_) => "MaySend": AuthdToQueued::MaySend(vec![true, false]),
        AuthdToQueued::Recipients(_) => "Recipients":
            AuthdToQueued::Recipients(vec![Recipient::Unknown, Recipient::Local(address("a@example.org"))]),
    }));
    all
}

fn deliver() -> Deliver {
    Deliver {
        id: DELIVERY,
        connection: CONNECTION,
        reverse_path: Some(address("from@example.org")),
        recipients: vec![address("to@example.org"), address("\"a\\\"b\"@example.org")],
        trace: b"Received: x\r\n".to_vec(),
        received: at(),
        size: u64::MAX,
        spool: Some(SpoolNumber(3)),
    }
}

fn submitd_queued() -> Vec<Sample> {
    let (ask, answer) = (request::<SubmitdQueued>, reply::<SubmitdQueued>);
    let submit = |hold| SubmitdToQueued::Submit(Submit { deliver: deliver(), hold });
    let mut all = samples_of!(ask, SubmitdToQueued {
        SubmitdToQueued::Sender(_, Some(_)) => "Sender":
            SubmitdToQueued::Sender(CONNECTION, Some(address("from@example.org"))),
        SubmitdToQueued::Sender(_, None) => "Sender nobody": SubmitdToQueued::Sender(CONNECTION, None),
        SubmitdToQueued::Recipients(..) => "Recipients": SubmitdToQueued::Recipients(
            CONNECTION,
            vec![RecipientQuery::Postmaster, RecipientQuery::Address(address("to@example.org"))],
        ),
        SubmitdToQueued::Spool => "Spool": SubmitdToQueued::Spool,
        SubmitdToQueued::Submit(Submit { hold: None, .. }) => "Submit": submit(None),
        SubmitdToQueued::Submit(Submit { hold: Some(_), .. }) => "Submit later": submit(Some(at())),
        SubmitdToQueued::Forget(_) => "Forget": SubmitdToQueued::Forget(SpoolNumber(3)),
    });
    let (ungranted, refused) = (Sender::Ungranted, |why| QueuedToSubmitd::Submitted(Submitted::Refused(why)));
    all.extend(samples_of!(answer, QueuedToSubmitd {
        QueuedToSubmitd::Sender(Sender::Ok) => "Sender ok": QueuedToSubmitd::Sender(Sender::Ok),
        QueuedToSubmitd::Sender(Sender::NotYours) => "Sender not yours": QueuedToSubmitd::Sender(Sender::NotYours),
        QueuedToSubmitd::Sender(Sender::Ungranted(Ungranted::NotLoggedIn)) => "Sender not logged in":
            QueuedToSubmitd::Sender(ungranted(Ungranted::NotLoggedIn)),
        QueuedToSubmitd::Sender(Sender::Ungranted(Ungranted::TryLater)) => "Sender later":
            QueuedToSubmitd::Sender(ungranted(Ungranted::TryLater)),
        QueuedToSubmitd::Recipients(Ok(_)) => "Recipients":
            QueuedToSubmitd::Recipients(Ok(vec![Recipient::NotLocal, Recipient::Disabled])),
        QueuedToSubmitd::Recipients(Err(_)) => "Recipients not logged in":
            QueuedToSubmitd::Recipients(Err(Ungranted::NotLoggedIn)),
        QueuedToSubmitd::Spool(_) => "Spool": QueuedToSubmitd::Spool(SpoolNumber(3)),
        QueuedToSubmitd::NoSpool => "NoSpool": QueuedToSubmitd::NoSpool,
        QueuedToSubmitd::Submitted(Submitted::Delivered(_)) => "Submitted":
            QueuedToSubmitd::Submitted(Submitted::Delivered(vec![Outcome::Filed, Outcome::Stored])),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::Ungranted(_))) => "Refused not logged in":
            refused(SubmissionRefusal::Ungranted(Ungranted::NotLoggedIn)),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::SenderNotYours)) => "Refused sender":
            refused(SubmissionRefusal::SenderNotYours),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::From)) => "Refused From":
            refused(SubmissionRefusal::From),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::FromNotYours)) => "Refused From not yours":
            refused(SubmissionRefusal::FromNotYours),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::Header)) => "Refused header":
            refused(SubmissionRefusal::Header),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::NotLocal)) => "Refused not local":
            refused(SubmissionRefusal::NotLocal),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::Hold)) => "Refused hold":
            refused(SubmissionRefusal::Hold),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::TooManyMessages { .. })) =>
            "Refused messages": refused(SubmissionRefusal::TooManyMessages { limit: 1000 }),
        QueuedToSubmitd::Submitted(Submitted::Refused(SubmissionRefusal::TooManyNewRecipients { .. })) =>
            "Refused recipients": refused(SubmissionRefusal::TooManyNewRecipients { limit: 200 }),
        QueuedToSubmitd::Refused => "Refused": QueuedToSubmitd::Refused,
        QueuedToSubmitd::Forgotten => "Forgotten": QueuedToSubmitd::Forgotten,
    }));
    all
}

fn authd_queued() -> Vec<Sample> {
    let (ask, answer) = (request::<AuthdQueued>, reply::<AuthdQueued>);
    let run = Run(9);
    let mut all = samples_of!(ask, Notice {
        Notice::Granted(_) => "Granted":
            Notice::Granted(Grant { run, connection: CONNECTION, account: account(7), until: at() }),
        Notice::Ended(..) => "Ended": Notice::Ended(run, CONNECTION),
        Notice::AccountEnded(_) => "AccountEnded": Notice::AccountEnded(account(7)),
        Notice::Complete => "Complete": Notice::Complete,
        Notice::DirectoryChanged => "DirectoryChanged": Notice::DirectoryChanged,
    });
    all.extend(samples_of!(answer, Noted { Noted => "Noted": Noted }));
    all
}

fn smtpd_queued() -> Vec<Sample> {
    let (ask, answer) = (request::<SmtpdQueued>, reply::<SmtpdQueued>);
    let full = deliver();
    let bare = Deliver { reverse_path: None, recipients: vec![], trace: vec![], spool: None, ..full.clone() };
    let mut all = samples_of!(ask, SmtpdToQueued {
        SmtpdToQueued::Spool => "Spool": SmtpdToQueued::Spool,
        SmtpdToQueued::Deliver(_) => "Deliver": SmtpdToQueued::Deliver(full),
        SmtpdToQueued::Deliver(_) => "Deliver from nobody": SmtpdToQueued::Deliver(bare),
        SmtpdToQueued::Forget(_) => "Forget": SmtpdToQueued::Forget(SpoolNumber(3)),
    });
    let outcomes = vec![
        Outcome::Filed,
        Outcome::Stored,
        Outcome::NoSuchRecipient,
        Outcome::Disabled,
        Outcome::MailboxFull,
        Outcome::TryLater { no_space: false },
        Outcome::TryLater { no_space: true },
    ];
    let _all_outcomes = |outcome: &Outcome| match outcome {
        Outcome::Filed
        | Outcome::Stored
        | Outcome::NoSuchRecipient
        | Outcome::Disabled
        | Outcome::MailboxFull
        | Outcome::TryLater { no_space: _ } => (),
    };
    all.extend(samples_of!(answer, QueuedToSmtpd {
        QueuedToSmtpd::Spool(_) => "Spool": QueuedToSmtpd::Spool(SpoolNumber(3)),
        QueuedToSmtpd::NoSpool => "NoSpool": QueuedToSmtpd::NoSpool,
        QueuedToSmtpd::Delivered(_) => "Delivered": QueuedToSmtpd::Delivered(outcomes),
        QueuedToSmtpd::Refused => "Refused": QueuedToSmtpd::Refused,
        QueuedToSmtpd::Forgotten => "Forgotten": QueuedToSmtpd::Forgotten,
    }));
    all
}

fn queued_accountd() -> Vec<Sample> {
    let (ask, answer) = (request::<QueuedAccountd>, reply::<QueuedAccountd>);
    let mut all = samples_of!(ask, QueuedToAccountd {
        QueuedToAccountd::Deliver(_) => "Deliver": QueuedToAccountd::Deliver(AccountDelivery {
            id: DELIVERY,
            connection: CONNECTION,
            prefix: b"Return-Path: <>\r\n".to_vec(),
            received: at(),
            size: 12,
        }),
        QueuedToAccountd::Have(_) => "Have": QueuedToAccountd::Have(DELIVERY),
    });
    let refused = AccountdToQueued::Refused;
    all.extend(samples_of!(answer, AccountdToQueued {
        AccountdToQueued::Filed => "Filed": AccountdToQueued::Filed,
        AccountdToQueued::Refused(AccountRefusal::MailboxFull) => "Refused full": refused(AccountRefusal::MailboxFull),
        AccountdToQueued::Refused(AccountRefusal::NoSpace) => "Refused no space": refused(AccountRefusal::NoSpace),
        AccountdToQueued::Refused(AccountRefusal::Fault) => "Refused fault": refused(AccountRefusal::Fault),
        AccountdToQueued::Known(_) => "Known": AccountdToQueued::Known(true),
    }));
    all
}

fn logins() -> Vec<LoginInfo> {
    let results = [LoginResult::Ok, LoginResult::Denied, LoginResult::Limited, LoginResult::Disabled];
    let login = |(number, result)| LoginInfo {
        number,
        first: at(),
        last: at(),
        count: 2,
        account: Some("alice".to_owned()),
        user: None,
        address: ClientAddress(Ipv4Addr::new(192, 0, 2, 1).into()),
        protocol: Protocol::Imap,
        mechanism: Some(Mechanism::ScramSha256),
        app_password: Some("phone".to_owned()),
        result,
    };
    (1..).zip(results).map(login).collect()
}

fn abusers() -> Vec<AbuseInfo> {
    let address = std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0));
    let who = [
        Abuser::Network { address, prefix: 26 },
        Abuser::Account(account(1)),
        Abuser::Owner { account: account(2), address, prefix: 26 },
        Abuser::Nobody,
    ];
    who.map(|who| AbuseInfo { who, failures_minute: 1, failures_day: 2, points: 3, refused: true }).to_vec()
}

fn admin_authd() -> Vec<Sample> {
    let (ask, answer) = (request::<AdminAuthd>, reply::<AdminAuthd>);
    let name = || "alice".to_owned();
    let domain = || "example.org".to_owned();
    let mut all = samples_of!(ask, AdminToAuthd {
        AdminToAuthd::AccountAdd { .. } => "AccountAdd":
            AdminToAuthd::AccountAdd { name: name(), address: Some(Pattern::Address(address("alice@example.org"))) },
        AdminToAuthd::AccountRemove(_) => "AccountRemove": AdminToAuthd::AccountRemove(name()),
        AdminToAuthd::AccountWithout(..) => "AccountWithout":
            AdminToAuthd::AccountWithout(name(), Capabilities::parse(["ID"]).unwrap()),
        AdminToAuthd::AccountDisable(..) => "AccountDisable": AdminToAuthd::AccountDisable(name(), true),
        AdminToAuthd::AccountList { .. } => "AccountList": AdminToAuthd::AccountList { after: Some(name()) },
        AdminToAuthd::AddressAdd { .. } => "AddressAdd":
            AdminToAuthd::AddressAdd { account: name(), pattern: Pattern::Domain(domain()) },
        AdminToAuthd::AddressRemove(_) => "AddressRemove": AdminToAuthd::AddressRemove(Pattern::Everything),
        AdminToAuthd::AddressDisable(..) => "AddressDisable":
            AdminToAuthd::AddressDisable(Pattern::Everything, true),
        AdminToAuthd::AddressList { .. } => "AddressList": AdminToAuthd::AddressList { after: None },
        AdminToAuthd::DomainAdd(_) => "DomainAdd": AdminToAuthd::DomainAdd(domain()),
        AdminToAuthd::DomainRemove(_) => "DomainRemove": AdminToAuthd::DomainRemove(domain()),
        AdminToAuthd::DomainDisable(..) => "DomainDisable": AdminToAuthd::DomainDisable(domain(), false),
        AdminToAuthd::DomainList { .. } => "DomainList": AdminToAuthd::DomainList { after: Some(domain()) },
        AdminToAuthd::PasswordSet { .. } => "PasswordSet":
            AdminToAuthd::PasswordSet { account: name(), password: Secret(b"pass word".to_vec()) },
        AdminToAuthd::AppPasswordAdd { .. } => "AppPasswordAdd": AdminToAuthd::AppPasswordAdd {
            account: name(),
            name: "phone".to_owned(),
            protocols: Protocols { imap: true, submission: false },
            expires: Some(at()),
        },
        AdminToAuthd::AppPasswordRemove { .. } => "AppPasswordRemove":
            AdminToAuthd::AppPasswordRemove { account: name(), name: "phone".to_owned() },
        AdminToAuthd::LoginKeyAdd { .. } => "LoginKeyAdd": AdminToAuthd::LoginKeyAdd {
            account: name(),
            name: "laptop".to_owned(),
            fingerprint: Fingerprint([0xf1; 32]),
            protocols: Protocols { imap: true, submission: false },
            expires: Some(at()),
        },
        AdminToAuthd::LoginKeyRemove { .. } => "LoginKeyRemove":
            AdminToAuthd::LoginKeyRemove { account: name(), name: "laptop".to_owned() },
        AdminToAuthd::LoginKeyList(_) => "LoginKeyList": AdminToAuthd::LoginKeyList(name()),
        AdminToAuthd::AppPasswordList(_) => "AppPasswordList": AdminToAuthd::AppPasswordList(name()),
        AdminToAuthd::LoginList { .. } => "LoginList":
            AdminToAuthd::LoginList { account: Some(name()), before: Some(9) },
        AdminToAuthd::AbuseList { .. } => "AbuseList": AdminToAuthd::AbuseList { skip: 200 },
        AdminToAuthd::AbuseClear(AbuseClear::Everything) => "AbuseClear all":
            AdminToAuthd::AbuseClear(AbuseClear::Everything),
        AdminToAuthd::AbuseClear(AbuseClear::Address(_)) => "AbuseClear address":
            AdminToAuthd::AbuseClear(AbuseClear::Address(ClientAddress(Ipv4Addr::new(192, 0, 2, 1).into()))),
        AdminToAuthd::AbuseClear(AbuseClear::Account(_)) => "AbuseClear account":
            AdminToAuthd::AbuseClear(AbuseClear::Account(name())),
        AdminToAuthd::Alias(_) => "Alias Add": AdminToAuthd::Alias(admin::alias_add()),
        AdminToAuthd::Quota(_) => "Quota Set": AdminToAuthd::Quota(quotas::set()),
    });
    all.extend(admin::alias_requests());
    all.extend(quotas::requests());
    let info = AccountInfo {
        id: account(1),
        name: name(),
        disabled: true,
        password: false,
        addresses: 2,
        last_login: Some(at()),
        without: Capabilities::parse(["MOVE", "IDLE"]).unwrap(),
    };
    let addresses = vec![
        AddressInfo { pattern: Pattern::Address(address("a@example.org")), account: name(), disabled: false },
        AddressInfo { pattern: Pattern::Domain(domain()), account: name(), disabled: true },
        AddressInfo { pattern: Pattern::Everything, account: name(), disabled: false },
    ];
    let domains = vec![DomainInfo { name: domain(), disabled: false, addresses: 3 }];
    all.extend(samples_of!(answer, AuthdToAdmin {
        AuthdToAdmin::Done => "Done": AuthdToAdmin::Done,
        AuthdToAdmin::Added(_) => "Added": AuthdToAdmin::Added(account(u32::MAX)),
        AuthdToAdmin::Accounts(_) => "Accounts": AuthdToAdmin::Accounts(vec![info]),
        AuthdToAdmin::Addresses(_) => "Addresses": AuthdToAdmin::Addresses(addresses),
        AuthdToAdmin::Domains(_) => "Domains": AuthdToAdmin::Domains(domains),
        AuthdToAdmin::AppPassword(_) => "AppPassword": AuthdToAdmin::AppPassword(Secret(b"abcd-efgh".to_vec())),
        AuthdToAdmin::LoginKeys(_) => "LoginKeys": AuthdToAdmin::LoginKeys(vec![LoginKeyInfo {
            name: "laptop".to_owned(),
            fingerprint: Fingerprint([0xf1; 32]),
            protocols: Protocols::ALL,
            created: at(),
            expires: None,
            last_use: Some(at()),
        }]),
        AuthdToAdmin::AppPasswords(_) => "AppPasswords": AuthdToAdmin::AppPasswords(vec![AppPasswordInfo {
            name: "phone".to_owned(),
            protocols: Protocols::ALL,
            created: at(),
            expires: None,
            last_use: Some(at()),
        }]),
        AuthdToAdmin::Logins(_) => "Logins": AuthdToAdmin::Logins(logins()),
        AuthdToAdmin::Abuse(_) => "Abuse": AuthdToAdmin::Abuse(abusers()),
        AuthdToAdmin::Cleared(_) => "Cleared": AuthdToAdmin::Cleared(3),
        AuthdToAdmin::Aliases(_) => "Aliases": AuthdToAdmin::Aliases(admin::aliases()),
        AuthdToAdmin::Members(_) => "Members": AuthdToAdmin::Members(admin::members()),
        AuthdToAdmin::Quotas(_) => "Quotas": AuthdToAdmin::Quotas(quotas::infos()),
        AuthdToAdmin::Quota(_) => "Quota": AuthdToAdmin::Quota(quotas::quota()),
        AuthdToAdmin::Refused(_) => "Refused": AuthdToAdmin::Refused("no account `bob`".to_owned()),
    }));
    all
}

fn admin_supervisor() -> Vec<Sample> {
    let (ask, answer) = (request::<AdminSupervisor>, reply::<AdminSupervisor>);
    let mut all = samples_of!(ask, AdminToSupervisor {
        AdminToSupervisor::Status => "Status": AdminToSupervisor::Status,
        AdminToSupervisor::Stop => "Stop": AdminToSupervisor::Stop,
        AdminToSupervisor::OpenDirectory => "OpenDirectory": AdminToSupervisor::OpenDirectory,
        AdminToSupervisor::OpenAccount(_) => "OpenAccount": AdminToSupervisor::OpenAccount(account(1)),
        AdminToSupervisor::OpenQueue => "OpenQueue": AdminToSupervisor::OpenQueue,
        AdminToSupervisor::Reload => "Reload": AdminToSupervisor::Reload,
        AdminToSupervisor::Attack { .. } => "Attack": AdminToSupervisor::Attack {
            role: Role::Accountd,
            account: Some(account(1)),
            script: "open /etc/passwd".to_owned(),
        },
    });
    let listener = ListenerStatus {
        name: "public".to_owned(),
        address: SocketAddr::from((Ipv6Addr::LOCALHOST, 25)),
        protocol: "smtp".to_owned(),
        role: Role::Smtpd,
    };
    let up = ProcessStatus {
        role: Role::Keyd,
        account: None,
        pid: Some(10),
        uid: 60_010,
        layers: Some(Layers { seccomp: true, landlock_abi: 7, ..Layers::default() }),
        uptime: 11,
        restarts: 12,
        violations: 13,
    };
    let down = ProcessStatus {
        role: Role::Accountd,
        account: Some(account(1)),
        pid: None,
        layers: None,
        ..up.clone()
    };
    let status = Status {
        version: "0.1.0".to_owned(),
        pid: 1,
        uid: 0,
        uptime: 2,
        ready: true,
        directory: "/var/lib/moxd".to_owned(),
        notes: vec!["no Landlock".to_owned()],
        listeners: vec![listener],
        processes: vec![up, down],
        more_accounts: 3,
    };
    all.extend(samples_of!(answer, SupervisorToAdmin {
        SupervisorToAdmin::Status(_) => "Status": SupervisorToAdmin::Status(status),
        SupervisorToAdmin::Done => "Done": SupervisorToAdmin::Done,
        SupervisorToAdmin::Opened => "Opened": SupervisorToAdmin::Opened,
        SupervisorToAdmin::Reloaded(_) => "Reloaded": SupervisorToAdmin::Reloaded(Reloaded {
            changed: vec!["log.level".to_owned()],
            restart: vec!["host.name".to_owned(), "users.base".to_owned()],
        }),
        SupervisorToAdmin::Attacked(_) => "Attacked": SupervisorToAdmin::Attacked(vec![(1, 0), (2, 13)]),
        SupervisorToAdmin::Refused(_) => "Refused": SupervisorToAdmin::Refused("not root".to_owned()),
    }));
    all
}
