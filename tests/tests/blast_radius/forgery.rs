//! What a captured process puts into the ends of channels that it holds.

use ipc_proto::{
    ChannelId, ConnectionId, DeliveryId, Secret,
    authd::{AdminToAuthd, Client, ImapdToAuthd, QueuedToAuthd, SmtpdToAuthd},
    channel::Message,
    control::Role,
    delivery::{QueuedToAccountd, SmtpdToQueued},
    frame::{self, Kind},
    tls::TlsRequest,
};

/// One end of a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) role: Role,
    pub(crate) channel: ChannelId,
    pub(crate) asks: bool,
}

const fn asks(role: Role, channel: ChannelId) -> End {
    End { role, channel, asks: true }
}

const fn answers(role: Role, channel: ChannelId) -> End {
    End { role, channel, asks: false }
}

/// Both ends of every edge that an instance has while it serves.
pub(crate) const ENDS: [End; 18] = [
    asks(Role::Smtpd, ChannelId::SmtpdKeyd),
    asks(Role::Imapd, ChannelId::ImapdKeyd),
    asks(Role::Webd, ChannelId::WebdKeyd),
    asks(Role::Smtpd, ChannelId::SmtpdAuthd),
    asks(Role::Imapd, ChannelId::ImapdAuthd),
    asks(Role::Webd, ChannelId::WebdAuthd),
    asks(Role::Smtpd, ChannelId::SmtpdQueued),
    asks(Role::Queued, ChannelId::QueuedAuthd),
    asks(Role::Queued, ChannelId::QueuedAccountd),
    answers(Role::Keyd, ChannelId::SmtpdKeyd),
    answers(Role::Keyd, ChannelId::ImapdKeyd),
    answers(Role::Keyd, ChannelId::WebdKeyd),
    answers(Role::Authd, ChannelId::SmtpdAuthd),
    answers(Role::Authd, ChannelId::ImapdAuthd),
    answers(Role::Authd, ChannelId::WebdAuthd),
    answers(Role::Queued, ChannelId::SmtpdQueued),
    answers(Role::Authd, ChannelId::QueuedAuthd),
    answers(Role::Accountd, ChannelId::QueuedAccountd),
];

impl End {
    /// Whether the peer reads without having asked, and counts what it finds. A front asks keyd from a thread that reads
    /// only while it waits for a signature; an account's process has no count for queued.
    pub(crate) fn heard_at_once(self) -> bool {
        let keyd_answers = !self.asks && self.role == Role::Keyd;
        let queued_asks = self.asks && matches!(self.channel, ChannelId::QueuedAccountd);
        !keyd_answers && !queued_asks
    }
}

/// The lines of a script.
pub(crate) fn lines(end: End, what: &str) -> Vec<String> {
    let channel = end.channel;
    let kind = if end.asks { Kind::Request } else { Kind::Reply };
    let send = |octets: &[u8]| vec![format!("send {channel:?} {}", hex(octets))];
    match what {
        "garbage" => send(&[0xff; 64]),
        // 250 is no message of any channel.
        "unknown-request" => send(&raw(1, 0, kind, &[250])),
        "admins-request" => {
            let password = Secret(b"captured-captured".to_vec());
            send(&whole(kind, &AdminToAuthd::PasswordSet { account: "mox".to_owned(), password }))
        }
        "unasked-reply" => send(&raw(1, 0, Kind::Reply, &[0])),
        "second-hello" => send(&frame::hello(channel)),
        "stray-fd" => {
            let mut octets = request(channel);
            octets[4] = 1;
            octets[5] = kind as u8;
            vec![format!("send-fd {channel:?} {}", hex(&octets))]
        }
        // What follows completes it, and is then no message.
        "half-frame" => send(&raw(60, 0, kind, &[250; 10])),
        "flood" => vec![format!("flood {channel:?} {} 3000", hex(&request(channel)))],
        other => panic!("{other}: no such forgery"),
    }
}

/// A header and what it announces, or less.
fn raw(length: u32, fds: u8, kind: Kind, body: &[u8]) -> Vec<u8> {
    let id = u64::MAX;
    [&length.to_le_bytes()[..], &[fds, kind as u8], &id.to_le_bytes(), body].concat()
}

fn whole(kind: Kind, message: &impl Message) -> Vec<u8> {
    let mut octets = Vec::new();
    frame::encode(kind, u64::MAX, message, 1024, &mut octets).unwrap();
    octets
}

/// A request that the channel has.
fn request(channel: ChannelId) -> Vec<u8> {
    let closed = Client::Closed(ConnectionId(u64::MAX));
    match channel {
        ChannelId::SmtpdKeyd | ChannelId::ImapdKeyd | ChannelId::WebdKeyd => {
            whole(Kind::Request, &TlsRequest::Chains)
        }
        ChannelId::SmtpdAuthd => whole(Kind::Request, &SmtpdToAuthd::Client(closed)),
        ChannelId::ImapdAuthd => whole(Kind::Request, &ImapdToAuthd::Client(closed)),
        ChannelId::WebdAuthd => whole(Kind::Request, &closed),
        ChannelId::SmtpdQueued => whole(Kind::Request, &SmtpdToQueued::Spool),
        ChannelId::QueuedAuthd => whole(Kind::Request, &QueuedToAuthd::Owners(Vec::new())),
        ChannelId::QueuedAccountd => whole(Kind::Request, &QueuedToAccountd::Have(DeliveryId([0; 16]))),
        ChannelId::AdminAuthd | ChannelId::AdminAccountd | ChannelId::AdminSupervisor => {
            panic!("{channel:?} has no end in a worker that attacks")
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
