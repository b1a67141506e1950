//! What must hold for any octets that a captured process sends. Run by the fuzz target over its corpus and by the unit
//! tests over the same.
//!
//! The first octet of an input says what the rest is: a channel's number for a request's body, that plus 64 for a
//! reply's; 128 for an order, 129 for an event, 130 for a stream of frames behind the greeting, 131 for a stream from
//! its first octet, 132 for a stream of orders; 133 for a stream of mail, 134 and 135 for one to and from moxctl's
//! confined reader.

use crate::{
    ChannelId, Violation,
    admin::{AdminAccountd, AdminSupervisor},
    authd::{AdminAuthd, ImapdAuthd, QueuedAuthd, SmtpdAuthd, SubmitdAuthd, WebdAuthd},
    blocking::{Orders, encode_order},
    channel::{Channel, Message},
    client_key::ClientKey,
    codec,
    control::{EVENT_SIZE, Event, MAX_ORDER, Order},
    delivery::{QueuedAccountd, SmtpdQueued},
    frame::{self, FrameReader, Kind},
    grant::AuthdQueued,
    neighbours::AccountdAuthd,
    queue::AdminQueued,
    reader::{FromReader, ToReader},
    submission::SubmitdQueued,
    tls::{ImapdKeyd, SmtpdKeyd, SubmitdKeyd, WebdKeyd},
    transfer::{Mail, Piece, PieceReader, write_octets, write_value},
};

/// No input panics or holds more than its bound; what decodes is the same message after another crossing; how a stream
/// is cut changes nothing.
pub fn check_channel(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    match which {
        0..=63 => {
            check_edge(*which, Side::Request, rest);
        }
        64..=127 => {
            check_edge(which - 64, Side::Reply, rest);
        }
        128 => check_message::<Order>(rest, MAX_ORDER),
        129 => check_event(rest),
        130 => check_stream(&[&frame::hello(ChannelId::SmtpdQueued), rest].concat()),
        131 => check_stream(rest),
        132 => check_orders(rest),
        133 => check_pieces::<Mail>(rest),
        134 => check_pieces::<ToReader>(rest),
        135 => check_pieces::<FromReader>(rest),
        _ => {}
    }
}

/// No certificate of a stranger panics; a key that is found in one is the same key when it stands alone.
pub fn check_client_key(input: &[u8]) {
    for key in [ClientKey::of_certificate(input), ClientKey::parse(input)].into_iter().flatten() {
        assert!(ClientKey::parse(key.info()).as_ref() == Ok(&key) && key.info().ends_with(key.octets()));
        assert!(input.windows(key.info().len()).any(|window| window == key.info()));
    }
}

/// What a stream of pieces says is the same after another crossing, and however it is cut.
fn check_pieces<T: Message>(stream: &[u8]) {
    let again = |stream: &[u8], at_once: usize| {
        let (mut reader, mut again) = (PieceReader::<T>::default(), Vec::new());
        for octets in stream.chunks(at_once) {
            reader.push(octets);
            loop {
                match reader.next_piece() {
                    Ok(Some(Piece::Value(value))) => assert_eq!(write_value(&value, &mut again), Ok(())),
                    Ok(Some(Piece::Octets([]))) => {}
                    Ok(Some(Piece::Octets(octets))) => write_octets(octets, &mut again),
                    Ok(None) => break,
                    Err(_) => return again,
                }
            }
        }
        again
    };
    let once = again(stream, stream.len().max(1));
    assert_eq!(again(stream, 7), once);
    assert_eq!(again(&once, once.len().max(1)), once);
}

#[derive(Clone, Copy)]
enum Side {
    Request,
    Reply,
}

/// Whether there is such an edge.
fn check_edge(number: u8, side: Side, body: &[u8]) -> bool {
    fn of<C: Channel>(number: u8, side: Side, body: &[u8]) -> bool {
        if number != C::ID as u8 {
            return false;
        }
        match side {
            Side::Request => check_message::<C::Request>(body, C::MAX_BODY),
            Side::Reply => check_message::<C::Reply>(body, C::MAX_BODY),
        }
        true
    }
    of::<SmtpdKeyd>(number, side, body)
        || of::<ImapdKeyd>(number, side, body)
        || of::<WebdKeyd>(number, side, body)
        || of::<SmtpdAuthd>(number, side, body)
        || of::<ImapdAuthd>(number, side, body)
        || of::<WebdAuthd>(number, side, body)
        || of::<SmtpdQueued>(number, side, body)
        || of::<QueuedAuthd>(number, side, body)
        || of::<QueuedAccountd>(number, side, body)
        || of::<AdminAuthd>(number, side, body)
        || of::<AdminAccountd>(number, side, body)
        || of::<AdminSupervisor>(number, side, body)
        || of::<SubmitdKeyd>(number, side, body)
        || of::<SubmitdAuthd>(number, side, body)
        || of::<SubmitdQueued>(number, side, body)
        || of::<AuthdQueued>(number, side, body)
        || of::<AdminQueued>(number, side, body)
        || of::<AccountdAuthd>(number, side, body)
}

fn check_message<M: Message>(body: &[u8], max_body: usize) {
    if body.len() > max_body {
        return; // the frame's header is refused
    }
    let Ok(message) = codec::decode::<M>(body) else { return };
    assert!(message.fd_count() <= crate::channel::MAX_FDS);
    let first = encoded(&message);
    // A domain may come in another spelling than it leaves in; from then on nothing changes.
    assert!(first.len() <= 4 * body.len(), "{} octets become {}", body.len(), first.len());
    let Ok(again) = codec::decode::<M>(&first) else { panic!("not decoded: {}", first.escape_ascii()) };
    assert!(encoded(&again) == first, "changed by crossing: {}", first.escape_ascii());
}

fn encoded<M: Message>(message: &M) -> Vec<u8> {
    let mut octets = Vec::new();
    assert!(codec::encode_to(message, &mut octets).is_some());
    octets
}

/// Numbers only, so the octets themselves come back.
fn check_event(input: &[u8]) {
    let Some(octets) = input.first_chunk::<EVENT_SIZE>() else { return };
    if let Some(event) = Event::from_bytes(octets) {
        assert!(event.to_bytes() == *octets, "{event:?}");
    }
}

/// What a stream of frames came to.
type Read = (Vec<(Kind, u64, Vec<u8>)>, Option<Violation>);

fn check_stream(input: &[u8]) {
    let whole = read_frames(input, usize::MAX);
    for piece in [1, 13, 15, 1024] {
        assert!(read_frames(input, piece) == whole, "in pieces of {piece}");
    }
}

fn read_frames(input: &[u8], piece: usize) -> Read {
    const MAX_BODY: usize = 4096;
    let mut reader = FrameReader::new(ChannelId::SmtpdQueued, MAX_BODY);
    let (mut rest, mut frames) = (input, Vec::new());
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                assert!(frame.body.len() <= MAX_BODY && frame.fds.is_empty());
                frames.push((frame.kind, frame.id, frame.body.to_vec()));
            }
            Ok(None) if rest.is_empty() => return (frames, None),
            Ok(None) => {
                let space = reader.space();
                let (now, later) = rest.split_at(space.len().min(piece).min(rest.len()));
                assert!(!now.is_empty(), "no space");
                if let Some(space) = space.get_mut(..now.len()) {
                    space.copy_from_slice(now);
                }
                reader.filled(now.len(), []);
                assert!(reader.held() <= frame::HEADER + MAX_BODY + frame::READ, "{} held", reader.held());
                rest = later;
            }
            Err(violation) => return (frames, Some(violation)),
        }
    }
}

/// Orders carry no fds here, so those that need one are refused.
fn check_orders(input: &[u8]) {
    let read = |piece: usize| {
        let (mut orders, mut seen) = (Orders::default(), Vec::new());
        for piece in input.chunks(piece) {
            orders.take(piece, []);
            loop {
                match orders.next_order() {
                    Ok(Some((order, fds))) => {
                        assert!(fds.is_empty());
                        seen.push(encode_order(&order).ok());
                    }
                    Ok(None) => break,
                    Err(violation) => return (seen, Some(violation)),
                }
            }
        }
        (seen, None)
    };
    let whole = read(input.len().max(1));
    assert!(read(1) == whole && read(7) == whole, "the cut matters: {}", input.escape_ascii());
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fuzzers_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/channels");
        let mut count = 0;
        for entry in fs::read_dir(&corpus).unwrap() {
            check_channel(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 100, "{count} inputs in {}", corpus.display());
    }

    #[test]
    fn every_channel_is_checked() {
        for number in 0_u8..64 {
            // On the wire variants count from zero, channels from one.
            let known = number
                .checked_sub(1)
                .is_some_and(|variant| codec::decode::<ChannelId>(&u32::from(variant).to_le_bytes()).is_ok());
            assert_eq!(check_edge(number, Side::Request, &[]), known, "channel {number}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_hold(which in 0_u8..=132, rest in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..200)) {
            check_channel(&[&[which][..], &rest].concat());
        }
    }
}
