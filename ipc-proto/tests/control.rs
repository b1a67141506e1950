//! The control channel: orders down, events up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::os::unix::net::UnixStream;

use common::{file_with, send, text_of};
use ipc_proto::{
    AccountId, ChannelId, ConnectionId, SessionId, Violation,
    blocking::{Orders, encode_order},
    capability::Capabilities,
    control::{EVENT_SIZE, Event, Layers, MAX_ORDER, Order, Role, SessionFacts, ViolationKind},
    quota::Quota,
    types::{Protocol, Run},
};
use proptest::prelude::*;

fn facts() -> SessionFacts {
    SessionFacts {
        session: SessionId(u64::MAX),
        connection: ConnectionId(u64::MAX),
        protocol: Protocol::Imap,
        account: AccountId::new(u32::MAX).unwrap(),
        without: Capabilities::parse(["IMAP4rev2", "QUOTA=RES-MESSAGE"]).unwrap(),
    }
}

#[test]
fn orders_and_their_fds_cross_at_every_cut() {
    let sent = [
        (Order::Ping(1), None),
        (Order::Session(facts()), Some("session")),
        (Order::Channel { channel: ChannelId::SmtpdKeyd, account: None, run: Run(1) }, Some("channel")),
        (Order::Stop { grace_ms: 5 }, None),
    ];
    for piece in 1..=64 {
        let (supervisor, worker) = UnixStream::pair().unwrap();
        let (mut orders, mut seen) = (Orders::default(), Vec::new());
        for (order, text) in &sent {
            let octets = encode_order(order).unwrap();
            let mut fds: Vec<_> = text.iter().map(|text| file_with(text)).collect();
            for octets in octets.chunks(piece) {
                send(&supervisor, octets, &std::mem::take(&mut fds));
                assert!(orders.fill(&worker).unwrap());
                while let Some((order, mut fds)) = orders.next_order().unwrap() {
                    seen.push((order, fds.pop().map(text_of)));
                    assert!(fds.is_empty());
                }
            }
        }
        let sent: Vec<_> =
            sent.iter().map(|(order, text)| (order.clone(), text.map(str::to_owned))).collect();
        assert_eq!(seen, sent, "pieces of {piece}");
        drop(supervisor);
        assert!(!orders.fill(&worker).unwrap(), "the supervisor is gone");
    }
}

#[test]
fn many_orders_in_one_read_come_one_by_one() {
    let (supervisor, worker) = UnixStream::pair().unwrap();
    let all: Vec<u8> = (0..100).flat_map(|number| encode_order(&Order::Ping(number)).unwrap()).collect();
    send(&supervisor, &all, &[]);
    let mut orders = Orders::default();
    let mut next = 0;
    while next < 100 {
        assert!(orders.fill(&worker).unwrap());
        while let Some((order, _)) = orders.next_order().unwrap() {
            assert_eq!(order, Order::Ping(next));
            next += 1;
        }
    }
}

#[test]
fn what_is_no_order_is_refused_with_the_reason() {
    let session = encode_order(&Order::Session(facts())).unwrap();
    let ping = encode_order(&Order::Ping(1)).unwrap();
    let changed = |octets: &[u8], at: usize, to: u8| {
        let mut octets = octets.to_vec();
        octets[at] = to;
        octets
    };
    let mut trailing = changed(&ping, 0, ping[0] + 1);
    trailing.push(0);
    let over = u32::try_from(MAX_ORDER + 1).unwrap().to_le_bytes();
    for (octets, reason, is) in [
        (session.clone(), "the fd is missing", Violation::FdCount),
        (changed(&session, 4, 0), "the fd is not claimed", Violation::FdCount),
        (changed(&ping, 4, 1), "an fd is claimed that the order does not carry", Violation::FdCount),
        (changed(&ping, 5, 0xff), "an unknown tag", Violation::Malformed),
        (trailing, "an octet behind it", Violation::Malformed),
        ([&over[..], &[0]].concat(), "over the bound", Violation::TooLarge { limit: MAX_ORDER }),
    ] {
        let (supervisor, worker) = UnixStream::pair().unwrap();
        send(&supervisor, &octets, &[]);
        let mut orders = Orders::default();
        orders.fill(&worker).unwrap();
        assert_eq!(orders.next_order().unwrap_err(), is, "{reason}");
    }
}

#[test]
fn an_order_over_the_bound_is_not_encoded() {
    assert!(encode_order(&Order::Attack("x".repeat(MAX_ORDER - 12))).is_ok());
    assert!(encode_order(&Order::Attack("x".repeat(MAX_ORDER - 11))).is_err());
}

fn events() -> Vec<Event> {
    let account = AccountId::new(u32::MAX).unwrap();
    let all = Layers {
        own_user: true,
        no_capabilities: true,
        empty_network: true,
        no_new_privs: true,
        not_dumpable: true,
        limits: true,
        seccomp: true,
        landlock_files: true,
        landlock_network: true,
        landlock_scopes: true,
        landlock_abi: u8::MAX,
        filter: u64::MAX,
        rules: u64::MAX,
    };
    let channel = ChannelId::AdminSupervisor;
    vec![
        Event::Sandboxed(all),
        Event::Sandboxed(Layers::default()),
        Event::Ready,
        Event::Pong(u64::MAX),
        Event::Violation { channel, account: Some(account), kind: ViolationKind::Flood },
        Event::LogDropped(u32::MAX),
        Event::Connect { front: Role::Accountd, facts: facts() },
        Event::Share { session: SessionId(u64::MAX), principal: account, owner: account },
        Event::Disconnect(SessionId(u64::MAX)),
        Event::DisconnectAccount(account),
        Event::CreateAccount(account),
        Event::Quota { account, quota: Quota { octets: Some(u64::MAX), messages: Some(u64::MAX) } },
        Event::OpenDelivery(account),
        Event::Quiet,
        Event::Full,
        Event::SessionEnded(SessionId(u64::MAX)),
        Event::Attacked { step: u32::MAX, errno: i32::MIN },
        Event::Asleep { session: SessionId(u64::MAX), count: u32::MAX },
        Event::Awaken(SessionId(u64::MAX)),
    ]
}

#[test]
fn every_event_fits_its_octets_and_comes_back() {
    for event in events() {
        assert_eq!(Event::from_bytes(&event.to_bytes()), Some(event));
    }
}

/// Attack class 26: the supervisor reads nothing else into an event.
#[test]
fn an_event_with_anything_behind_it_is_refused() {
    for event in events() {
        let octets = event.to_bytes();
        let used = 1 + octets.iter().rposition(|octet| *octet != 0).unwrap_or(0);
        for at in used.max(4)..EVENT_SIZE {
            let mut changed = octets;
            changed[at] = 1;
            // Either it is garbage, or it was a zero of the event's own and makes another one.
            assert_ne!(Event::from_bytes(&changed), Some(event), "octet {at}");
            if let Some(other) = Event::from_bytes(&changed) {
                assert_eq!(other.to_bytes(), changed);
            }
        }
        let mut last = octets;
        last[EVENT_SIZE - 1] = 1;
        assert_eq!(Event::from_bytes(&last), None, "{event:?}");
    }
}

proptest! {
    #[test]
    fn what_is_read_as_an_event_is_all_that_was_written(
        tag in 0_u8..20, head in prop::array::uniform32(prop_oneof![Just(0_u8), Just(1), any::<u8>()]), used in 0..32_usize,
    ) {
        let mut octets = [0; EVENT_SIZE];
        octets[0] = tag;
        octets[4..4 + used].copy_from_slice(&head[..used]);
        if let Some(event) = Event::from_bytes(&octets) {
            prop_assert_eq!(event.to_bytes(), octets);
        }
    }
}

#[test]
fn every_violation_has_its_number_for_the_supervisor() {
    for (violation, kind) in [
        (Violation::TooLarge { limit: 1 }, ViolationKind::TooLarge),
        (Violation::Malformed, ViolationKind::Malformed),
        (Violation::FdCount, ViolationKind::Fds),
        (Violation::Build, ViolationKind::Build),
        (Violation::Unexpected, ViolationKind::Unexpected),
        (Violation::Flood, ViolationKind::Flood),
    ] {
        assert_eq!(ViolationKind::from(violation), kind);
    }
}
