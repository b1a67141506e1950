//! Orders and events.

use std::{
    io::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::net::UnixStream,
};

use ipc_proto::{
    ChannelId, ConnectionId, SessionId,
    blocking::{Orders, encode_order, send_some},
    capability::Capabilities,
    channel::Message,
    control::*,
    quota::Quota,
    types::{Protocol, Run},
};

use super::{CONNECTION, SESSION, Sample, account, an_fd, samples_of};

fn order(name: &str, order: Order) -> Sample {
    let comes_back = {
        let order = order.clone();
        Box::new(move |octets: &[u8]| {
            let (mut supervisor, worker) = UnixStream::pair().unwrap();
            let fds: Vec<_> = (0..order.fd_count()).map(|_| an_fd()).collect();
            let sent = send_some(&supervisor, octets, &fds).unwrap();
            supervisor.write_all(&octets[sent..]).unwrap();
            let mut orders = Orders::default();
            orders.fill(&worker).unwrap();
            orders.next_order().unwrap().unwrap().0 == order
        })
    };
    Sample { name: format!("Order {name}"), octets: encode_order(&order).unwrap(), comes_back }
}

fn event(name: &str, event: Event) -> Sample {
    let comes_back =
        Box::new(move |octets: &[u8]| Event::from_bytes(octets.try_into().unwrap()) == Some(event));
    Sample { name: format!("Event {name}"), octets: event.to_bytes().to_vec(), comes_back }
}

fn facts() -> SessionFacts {
    SessionFacts {
        session: SESSION,
        connection: CONNECTION,
        protocol: Protocol::Imap,
        account: account(7),
        without: Capabilities::parse(["MOVE", "IDLE"]).unwrap(),
    }
}

fn start(role: Role, own: RoleSettings) -> Order {
    Order::Start(Box::new(Settings {
        role,
        hostname: "mx.example".to_owned(),
        directory: role.directory().map(|name| format!("/data/{name}")),
        log: LogSettings { filter: "info".to_owned() },
        message_size: 1 << 40,
        own,
    }))
}

fn settings() -> Vec<Order> {
    let smtpd = SmtpdSettings {
        connections: 1,
        memory_budget: 2,
        command_timeout_ms: 3,
        tls_timeout_ms: 4,
        data_timeout_ms: 5,
        tarpit: true,
        loopback_exempt: false,
        simulate_failures: true,
    };
    let submitd =
        SubmitdSettings { smtp: smtpd.clone(), pre_login_connections: 6, plain_login_on_loopback: true };
    let imapd = ImapdSettings {
        connections: 1,
        pre_login_connections: 2,
        login_timeout_ms: 3,
        tls_timeout_ms: 4,
        plain_login_on_loopback: true,
    };
    let webd = WebdSettings { connections: 1, header_timeout_ms: 2, idle_timeout_ms: 3, tls_timeout_ms: 4 };
    let queued = QueuedSettings {
        direct_recipients: 1,
        spool_files: 2,
        retry_ms: 3,
        submission_messages: 4,
        submission_new_recipients: 5,
    };
    let authd = AuthdSettings {
        loopback_exempt: true,
        connection_rate: [1, 2, 3],
        connections: [4, 5, 6],
        failure_rate: [7, 8, 9],
        failure_day: [10, 11, 12],
        hash_threads: 13,
        rounds: 14,
    };
    let keyd = KeydSettings { names: vec!["mx.example".to_owned()], signatures_per_second: 1 };
    let accountd = AccountdSettings {
        account: account(7),
        quiet_ms: 1,
        sessions: 2,
        idle_timeout_ms: 3,
        write_timeout_ms: 4,
        hibernate_after_ms: 60_000,
        hibernate_expiry_ms: 86_400_000,
        asleep: vec![SESSION, SessionId(1)],
        undelete_days: 5,
        undelete_size: 6,
        previous: PreviousEnd::Harmless,
        quota: Quota { octets: Some(5), messages: None },
    };
    let crashed = AccountdSettings { previous: PreviousEnd::Crash { sessions: true }, ..accountd.clone() };
    vec![
        start(Role::Smtpd, RoleSettings::Smtpd(smtpd)),
        start(Role::Imapd, RoleSettings::Imapd(imapd)),
        start(Role::Webd, RoleSettings::Webd(webd)),
        start(Role::Queued, RoleSettings::Queued(queued)),
        start(Role::Authd, RoleSettings::Authd(authd)),
        start(Role::Keyd, RoleSettings::Keyd(keyd)),
        start(Role::Accountd, RoleSettings::Accountd(accountd)),
        start(Role::Accountd, RoleSettings::Accountd(crashed)),
        start(Role::Submitd, RoleSettings::Submitd(submitd)),
    ]
}

const RUN: Run = Run(0x0102_0304_0506_0708);

const CHANNELS: [ChannelId; 18] = [
    ChannelId::SmtpdKeyd,
    ChannelId::ImapdKeyd,
    ChannelId::WebdKeyd,
    ChannelId::SmtpdAuthd,
    ChannelId::ImapdAuthd,
    ChannelId::WebdAuthd,
    ChannelId::SmtpdQueued,
    ChannelId::QueuedAuthd,
    ChannelId::QueuedAccountd,
    ChannelId::AdminAuthd,
    ChannelId::AdminAccountd,
    ChannelId::AdminSupervisor,
    ChannelId::SubmitdKeyd,
    ChannelId::SubmitdAuthd,
    ChannelId::SubmitdQueued,
    ChannelId::AuthdQueued,
    ChannelId::AdminQueued,
    ChannelId::AccountdAuthd,
];

pub(crate) fn orders() -> Vec<Sample> {
    let mut starts = settings();
    let first = starts.remove(0);
    let Order::Start(settings) = first.clone() else { unreachable!() };
    let again = Order::Settings(settings);
    let listener = |service, address: SocketAddr| {
        Order::Listener(Listener { name: format!("{service:?}").to_lowercase(), address, service })
    };
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 25));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 993));
    let mut all = samples_of!(order, Order {
        Order::Start(_) => "Start Smtpd": first,
        Order::Channel { account: Some(_), .. } => "Channel of an account":
            Order::Channel { channel: ChannelId::QueuedAccountd, account: Some(account(7)), run: RUN },
        Order::Channel { account: None, .. } => "Channel":
            Order::Channel { channel: ChannelId::SmtpdKeyd, account: None, run: RUN },
        Order::ChannelRefused(_) => "ChannelRefused": Order::ChannelRefused(account(7)),
        Order::Listener(Listener { service: Service::Smtp, .. }) => "Listener smtp": listener(Service::Smtp, v4),
        Order::Listener(Listener { service: Service::Imap, .. }) => "Listener imap": listener(Service::Imap, v4),
        Order::Listener(Listener { service: Service::Imaps, .. }) => "Listener imaps": listener(Service::Imaps, v6),
        Order::Listener(Listener { service: Service::Http, .. }) => "Listener http": listener(Service::Http, v6),
        Order::Listener(Listener { service: Service::Https, .. }) => "Listener https": listener(Service::Https, v6),
        Order::Listener(Listener { service: Service::Submission, .. }) => "Listener submission":
            listener(Service::Submission, v4),
        Order::Listener(Listener { service: Service::Submissions, .. }) => "Listener submissions":
            listener(Service::Submissions, v6),
        Order::Session(_) => "Session": Order::Session(facts()),
        Order::Guest { .. } => "Guest": Order::Guest { facts: facts(), principal: account(8) },
        Order::Shared { .. } => "Shared": Order::Shared { owner: account(8) },
        Order::SharedRefused { .. } => "SharedRefused": Order::SharedRefused { owner: account(8) },
        Order::SessionRefused(_) => "SessionRefused": Order::SessionRefused(CONNECTION),
        Order::Connected(_) => "Connected": Order::Connected(SESSION),
        Order::ConnectRefused(_) => "ConnectRefused": Order::ConnectRefused(SESSION),
        Order::SessionEnded(_) => "SessionEnded": Order::SessionEnded(SESSION),
        Order::AccountReady(_) => "AccountReady": Order::AccountReady(account(7)),
        Order::AccountRefused(_) => "AccountRefused": Order::AccountRefused(account(7)),
        Order::Crashed { .. } => "Crashed":
            Order::Crashed { front: Role::Smtpd, connections: vec![CONNECTION, ConnectionId(1)] },
        Order::Quota(_) => "Quota": Order::Quota(Quota { octets: None, messages: Some(u64::MAX) }),
        Order::Full(_) => "Full": Order::Full(account(7)),
        Order::Leave { asked: true } => "Leave asked": Order::Leave { asked: true },
        Order::Leave { asked: false } => "Leave": Order::Leave { asked: false },
        Order::ListenerGone(_) => "ListenerGone": Order::ListenerGone(v4),
        Order::Settings(_) => "Settings": again,
        Order::Stop { .. } => "Stop": Order::Stop { grace_ms: 5000 },
        Order::Ping(_) => "Ping": Order::Ping(u64::MAX),
        Order::Attack(_) => "Attack": Order::Attack("fork".to_owned()),
        Order::Waking(_) => "Waking": Order::Waking(SESSION),
        Order::Resume(_) => "Resume": Order::Resume(Sleeper { facts: facts(), count: u32::MAX }),
    });
    for (start, role) in starts.into_iter().zip([
        "Imapd",
        "Webd",
        "Queued",
        "Authd",
        "Keyd",
        "Accountd",
        "Accountd crashed",
        "Submitd",
    ]) {
        all.push(order(&format!("Start {role}"), start));
    }
    for channel in CHANNELS {
        all.push(order(&format!("Channel {channel:?}"), Order::Channel { channel, account: None, run: RUN }));
    }
    all
}

pub(crate) fn events() -> Vec<Sample> {
    let layers = Layers {
        own_user: true,
        not_dumpable: true,
        landlock_scopes: true,
        landlock_abi: 7,
        filter: 0x0123_4567_89ab_cdef,
        ..Layers::default()
    };
    let violation = |kind| Event::Violation { channel: ChannelId::SmtpdQueued, account: None, kind };
    let connect = |front| Event::Connect { front, facts: facts() };
    samples_of!(event, Event {
        Event::Sandboxed(_) => "Sandboxed": Event::Sandboxed(layers),
        Event::Ready => "Ready": Event::Ready,
        Event::Pong(_) => "Pong": Event::Pong(u64::MAX),
        Event::Violation { account: Some(_), .. } => "Violation of an account": Event::Violation {
            channel: ChannelId::QueuedAccountd,
            account: Some(account(7)),
            kind: ViolationKind::Malformed,
        },
        Event::Violation { kind: ViolationKind::TooLarge, .. } => "Violation size": violation(ViolationKind::TooLarge),
        Event::Violation { kind: ViolationKind::Malformed, .. } => "Violation form": violation(ViolationKind::Malformed),
        Event::Violation { kind: ViolationKind::Fds, .. } => "Violation fds": violation(ViolationKind::Fds),
        Event::Violation { kind: ViolationKind::Build, .. } => "Violation build": violation(ViolationKind::Build),
        Event::Violation { kind: ViolationKind::Unexpected, .. } => "Violation unexpected":
            violation(ViolationKind::Unexpected),
        Event::Violation { kind: ViolationKind::Flood, .. } => "Violation flood": violation(ViolationKind::Flood),
        Event::LogDropped(_) => "LogDropped": Event::LogDropped(9),
        Event::Connect { front: Role::Smtpd, .. } => "Connect Smtpd": connect(Role::Smtpd),
        Event::Connect { front: Role::Imapd, .. } => "Connect Imapd": connect(Role::Imapd),
        Event::Connect { front: Role::Webd, .. } => "Connect Webd": connect(Role::Webd),
        Event::Connect { front: Role::Queued, .. } => "Connect Queued": connect(Role::Queued),
        Event::Connect { front: Role::Authd, .. } => "Connect Authd": connect(Role::Authd),
        Event::Connect { front: Role::Keyd, .. } => "Connect Keyd": connect(Role::Keyd),
        Event::Connect { front: Role::Accountd, .. } => "Connect Accountd": connect(Role::Accountd),
        Event::Connect { front: Role::Submitd, .. } => "Connect Submitd": connect(Role::Submitd),
        Event::Share { .. } => "Share":
            Event::Share { session: SESSION, principal: account(7), owner: account(8) },
        Event::Disconnect(_) => "Disconnect": Event::Disconnect(SESSION),
        Event::DisconnectAccount(_) => "DisconnectAccount": Event::DisconnectAccount(account(7)),
        Event::CreateAccount(_) => "CreateAccount": Event::CreateAccount(account(7)),
        Event::Quota { .. } => "Quota":
            Event::Quota { account: account(7), quota: Quota { octets: Some(u64::MAX), messages: Some(1) } },
        Event::OpenDelivery(_) => "OpenDelivery": Event::OpenDelivery(account(7)),
        Event::Quiet => "Quiet": Event::Quiet,
        Event::Full => "Full": Event::Full,
        Event::SessionEnded(_) => "SessionEnded": Event::SessionEnded(SESSION),
        Event::Attacked { .. } => "Attacked": Event::Attacked { step: 1, errno: -1 },
        Event::Asleep { .. } => "Asleep": Event::Asleep { session: SESSION, count: u32::MAX },
        Event::Awaken(_) => "Awaken": Event::Awaken(SESSION),
    })
}
