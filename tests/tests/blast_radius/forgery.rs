//! What a captured process puts into the ends of channels that it holds.

use ipc_proto::{
    ChannelId, ConnectionId, DeliveryId, Secret,
    admin::AdminToAccountd,
    authd::{
        AdminToAuthd, AuthdToImapd, AuthdToQueued, AuthdToSmtpd, AuthdToSubmitd, Client, ClientReply,
        ImapdToAuthd, Login, Owner, QueuedToAuthd, Recipient, SmtpdToAuthd, SubmitdToAuthd,
    },
    care::Which,
    channel::Message,
    delivery::{AccountdToQueued, Outcome, QueuedToAccountd, QueuedToSmtpd, SmtpdToQueued},
    frame::{self, HEADER, Kind},
    grant::{Noted, Notice},
    neighbours::{AccountdToAuthd, AuthdToAccountd},
    queue::AdminToQueued,
    sasl::SaslReply,
    submission::{QueuedToSubmitd, Sender, SubmitdToQueued, Ungranted},
    tls::{Refusal, TlsReply, TlsRequest},
    types::Timestamp,
};

use crate::matrix::End;

/// Those between two roles.
pub(crate) const CHANNELS: [ChannelId; 14] = [
    ChannelId::SmtpdKeyd,
    ChannelId::ImapdKeyd,
    ChannelId::WebdKeyd,
    ChannelId::SmtpdAuthd,
    ChannelId::ImapdAuthd,
    ChannelId::WebdAuthd,
    ChannelId::SmtpdQueued,
    ChannelId::QueuedAuthd,
    ChannelId::QueuedAccountd,
    ChannelId::SubmitdKeyd,
    ChannelId::SubmitdAuthd,
    ChannelId::SubmitdQueued,
    ChannelId::AuthdQueued,
    ChannelId::AccountdAuthd,
];

/// Octets of the half frame's body that are sent, and those that are not.
const HALF: usize = 10;
const OTHER_HALF: usize = 50;

/// The line of a script that breaks the rules of a channel, whichever end.
pub(crate) fn breaking(channel: ChannelId) -> String {
    format!("send {channel:?} {}", hex(&[0xff; 64]))
}

/// What completes a half frame.
pub(crate) fn other_half(channel: ChannelId) -> String {
    format!("send {channel:?} {}", hex(&[250; OTHER_HALF]))
}

/// The lines of a script.
pub(crate) fn lines(end: End, what: &str) -> Vec<String> {
    let channel = end.channel;
    let kind = if end.asks { Kind::Request } else { Kind::Reply };
    let send = |octets: &[u8]| vec![format!("send {channel:?} {}", hex(octets))];
    // The first question on the next channel is answered so; this one is done with.
    let answer =
        |how: &str, body: &[u8]| vec![format!("answer {channel:?} {how} {}", hex(body)), breaking(channel)];
    match what {
        "garbage" => send(&[0xff; 64]),
        // 250 is no message of any channel.
        "unknown-request" => send(&raw(1, 0, kind, &[250])),
        "admins-request" => {
            let password = Secret(b"captured-captured".to_vec());
            send(&whole(kind, &AdminToAuthd::PasswordSet { account: "mox".to_owned(), password }))
        }
        "admins-queue-request" => {
            let last = (Timestamp { seconds: -1, nanoseconds: 0 }, DeliveryId([0xff; 16]));
            send(&whole(kind, &AdminToQueued::List { after: Some(last) }))
        }
        "admins-account-request" => {
            let which = Which { ids: Some(vec![u64::MAX]), ..Which::default() };
            send(&whole(kind, &AdminToAccountd::Undelete { which, into: Some("INBOX".to_owned()) }))
        }
        "unasked-reply" => send(&raw(1, 0, Kind::Reply, &[0])),
        "second-hello" => send(&frame::hello(channel)),
        "stray-fd" => {
            let body = request(channel);
            vec![format!("send-fd {channel:?} {}", hex(&raw(body.len(), 1, kind, &body)))]
        }
        "half-frame" => send(&raw(HALF + OTHER_HALF, 0, kind, &[250; HALF])),
        "drown" => vec![format!("drown {channel:?} 1000 {}", hex(&request(channel)))],
        "answer-more" => answer("plain", &[&reply(channel)[..], &[0]].concat()),
        "answer-garbage" => answer("plain", &[250; 8]),
        "answer-huge" => answer("huge", &reply(channel)),
        "answer-fd" => answer("with-fd", &reply(channel)),
        "answer-twice" => answer("twice", &reply(channel)),
        "answer-astray" => answer("astray", &reply(channel)),
        "answer-other" => answer("plain", &other_reply(channel)),
        other => panic!("{other}: no such forgery"),
    }
}

/// A header and what it announces, or less.
fn raw(length: usize, fds: u8, kind: Kind, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap();
    [&length.to_le_bytes()[..], &[fds, kind as u8], &u64::MAX.to_le_bytes(), body].concat()
}

fn whole(kind: Kind, message: &impl Message) -> Vec<u8> {
    let mut octets = Vec::new();
    frame::encode(kind, u64::MAX, message, 1 << 20, &mut octets).unwrap();
    octets
}

/// A message as it lies in a frame.
pub(crate) fn body(message: &impl Message) -> Vec<u8> {
    whole(Kind::Request, message).split_off(HEADER)
}

/// A request that the channel has and that costs nothing.
fn request(channel: ChannelId) -> Vec<u8> {
    let closed = Client::Closed(ConnectionId(u64::MAX));
    match channel {
        ChannelId::SmtpdKeyd | ChannelId::ImapdKeyd | ChannelId::WebdKeyd | ChannelId::SubmitdKeyd => {
            body(&TlsRequest::Chains)
        }
        ChannelId::SmtpdAuthd => body(&SmtpdToAuthd::Client(closed)),
        ChannelId::ImapdAuthd => body(&ImapdToAuthd::Client(closed)),
        ChannelId::WebdAuthd => body(&closed),
        ChannelId::SubmitdAuthd => body(&SubmitdToAuthd::Client(closed)),
        ChannelId::SubmitdQueued => body(&SubmitdToQueued::Sender(ConnectionId(u64::MAX), None)),
        ChannelId::AuthdQueued => body(&Notice::DirectoryChanged),
        ChannelId::SmtpdQueued => body(&SmtpdToQueued::Spool),
        ChannelId::QueuedAuthd => body(&QueuedToAuthd::Owners(Vec::new(), None)),
        ChannelId::QueuedAccountd => body(&QueuedToAccountd::Have(DeliveryId([0; 16]))),
        ChannelId::AccountdAuthd => body(&AccountdToAuthd::Owners),
        ChannelId::AdminAuthd
        | ChannelId::AdminAccountd
        | ChannelId::AdminSupervisor
        | ChannelId::AdminQueued => not_between_roles(),
    }
}

/// An answer that the channel has, to what its asker asks first when a client comes.
fn reply(channel: ChannelId) -> Vec<u8> {
    match channel {
        ChannelId::SmtpdKeyd | ChannelId::ImapdKeyd | ChannelId::WebdKeyd | ChannelId::SubmitdKeyd => {
            body(&TlsReply::Refused(Refusal::Failed))
        }
        ChannelId::SmtpdAuthd => body(&AuthdToSmtpd::Client(ClientReply::Admitted)),
        ChannelId::ImapdAuthd => body(&AuthdToImapd::Client(ClientReply::Admitted)),
        ChannelId::WebdAuthd => body(&ClientReply::Admitted),
        ChannelId::SubmitdAuthd => body(&AuthdToSubmitd::Client(ClientReply::Admitted)),
        ChannelId::SubmitdQueued => body(&QueuedToSubmitd::Sender(Sender::Ungranted(Ungranted::TryLater))),
        ChannelId::AuthdQueued => body(&Noted),
        ChannelId::SmtpdQueued => {
            body(&QueuedToSmtpd::Delivered(vec![Outcome::TryLater { no_space: false }]))
        }
        ChannelId::QueuedAuthd => body(&AuthdToQueued::Owners(vec![Owner::Nobody])),
        ChannelId::QueuedAccountd => body(&AccountdToQueued::Known(false)),
        ChannelId::AccountdAuthd => body(&AuthdToAccountd::Owners(Vec::new())),
        ChannelId::AdminAuthd
        | ChannelId::AdminAccountd
        | ChannelId::AdminSupervisor
        | ChannelId::AdminQueued => not_between_roles(),
    }
}

/// An answer that the channel has, to something else.
fn other_reply(channel: ChannelId) -> Vec<u8> {
    match channel {
        ChannelId::SmtpdKeyd | ChannelId::ImapdKeyd | ChannelId::WebdKeyd | ChannelId::SubmitdKeyd => {
            body(&TlsReply::Chains(Vec::new()))
        }
        ChannelId::SmtpdAuthd => body(&AuthdToSmtpd::Recipient(Recipient::Unknown)),
        ChannelId::ImapdAuthd => body(&AuthdToImapd::Login(Login::TryLater)),
        ChannelId::WebdAuthd => body(&ClientReply::Noted),
        ChannelId::SubmitdAuthd => body(&AuthdToSubmitd::Sasl(SaslReply::Cancelled)),
        ChannelId::SubmitdQueued => body(&QueuedToSubmitd::Forgotten),
        // There is no other.
        ChannelId::AuthdQueued => body(&Noted),
        ChannelId::SmtpdQueued => body(&QueuedToSmtpd::Delivered(Vec::new())),
        ChannelId::QueuedAuthd => body(&AuthdToQueued::Owners(Vec::new())),
        ChannelId::QueuedAccountd => body(&AccountdToQueued::Known(true)),
        ChannelId::AccountdAuthd => body(&AuthdToAccountd::Noted),
        ChannelId::AdminAuthd
        | ChannelId::AdminAccountd
        | ChannelId::AdminSupervisor
        | ChannelId::AdminQueued => not_between_roles(),
    }
}

fn not_between_roles() -> ! {
    panic!("the admin's channels have no asking end in a worker")
}

pub(crate) fn hex(octets: &[u8]) -> String {
    if octets.is_empty() {
        return "-".to_owned();
    }
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
