//! Attack classes 26 and 27: a hostile build of each side breaks every rule in turn, against both implementations. It
//! loses its channel, the violation has the right name, and nothing else happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::{os::unix::net::UnixStream, sync::mpsc, thread};

use common::{Patient, deliver, file_with, frame_of, read_first_request, read_to_the_end, send};
use ipc_proto::{
    CallError, Channel, ChannelId, Violation,
    blocking::{Answerer, Asker},
    delivery::{QueuedToSmtpd, SmtpdToQueued, SpoolNumber},
    frame::{self, Kind},
    stream::{self, End},
};

/// One rule broken: what is sent, piece by piece, with so many fds each, and what that is.
struct Breach {
    name: &'static str,
    sends: Vec<(Vec<u8>, usize)>,
    is: Violation,
}

fn breach(name: &'static str, sends: Vec<(Vec<u8>, usize)>, is: Violation) -> Breach {
    Breach { name, sends, is }
}

/// Behind a proper greeting.
fn greeted(name: &'static str, frames: Vec<(Vec<u8>, usize)>, is: Violation) -> Breach {
    breach(name, [vec![(hello(), 0)], frames].concat(), is)
}

fn hello() -> Vec<u8> {
    frame::hello(Patient::ID)
}

/// A frame whose header and body are what the test says.
fn raw(length: usize, fds: u8, kind: u8, id: u64, body: &[u8]) -> Vec<u8> {
    [&u32::try_from(length).unwrap().to_le_bytes()[..], &[fds, kind], &id.to_le_bytes(), body].concat()
}

/// What either side can do wrong, `kind` being what it may send.
fn anyones(kind: Kind, good: &[u8]) -> Vec<Breach> {
    const LIMIT: Violation = Violation::TooLarge { limit: Patient::MAX_BODY };
    let of = |fds, body: &[u8]| raw(body.len(), fds, kind as u8, 1, body);
    let build =
        raw(frame::BUILD_ID.len() + 1, 0, 0, 0, &[b"0".repeat(frame::BUILD_ID.len()), vec![7]].concat());
    let mut trailing = good.to_vec();
    trailing.push(0);
    let piecemeal = (0..40).map(|_| (vec![0], 4)).collect::<Vec<_>>();
    vec![
        breach("no greeting", vec![(of(0, good), 0)], Violation::Unexpected),
        breach("another build", vec![(build, 0)], Violation::Build),
        breach("a shorter build id", vec![(raw(2, 0, 0, 0, b"0\x07"), 0)], Violation::Build),
        breach("a greeting without anything", vec![(raw(0, 0, 0, 0, b""), 0)], Violation::Malformed),
        breach("another channel", vec![(frame::hello(ChannelId::ImapdKeyd), 0)], Violation::Unexpected),
        breach("a greeting with an fd", vec![(hello(), 1)], Violation::FdCount),
        breach("not even a frame", vec![(b"EHLO client.example\r\n".to_vec(), 0)], LIMIT),
        greeted("the greeting twice", vec![(hello(), 0)], Violation::Unexpected),
        greeted("octets behind the message", vec![(of(0, &trailing), 0)], Violation::Malformed),
        greeted("half a message", vec![(of(0, &good[..good.len() - 1]), 0)], Violation::Malformed),
        greeted("no message", vec![(of(0, b""), 0)], Violation::Malformed),
        greeted("an unknown tag", vec![(of(0, &[0xff; 4]), 0)], Violation::Malformed),
        greeted("an unknown kind", vec![(raw(0, 0, 4, 1, b""), 0)], Violation::Malformed),
        greeted("an fd that is claimed and missing", vec![(of(1, good), 0)], Violation::FdCount),
        greeted("an fd that is not claimed", vec![(of(0, good), 1)], Violation::FdCount),
        greeted("an fd that the message does not carry", vec![(of(1, good), 1)], Violation::FdCount),
        greeted("more fds than claimed", vec![(of(1, good), 3)], Violation::FdCount),
        greeted("more fds than any message has", vec![(of(5, good), 5)], Violation::FdCount),
        greeted(
            "fds with every octet of a message that does not end",
            [vec![(raw(4096, 0, kind as u8, 1, b""), 0)], piecemeal.clone()].concat(),
            Violation::FdCount,
        ),
        greeted("fds with every octet of a header", piecemeal, Violation::FdCount),
        greeted("a body over the bound", vec![(raw(4097, 0, kind as u8, 1, b""), 0)], LIMIT),
        greeted("a body of four gigabytes", vec![(raw(0xffff_ffff, 0, kind as u8, 1, b""), 0)], LIMIT),
    ]
}

fn of_an_asker() -> Vec<Breach> {
    let reply = frame_of(Kind::Reply, 1, &QueuedToSmtpd::NoSpool);
    let fd_missing = frame_of(Kind::Request, 1, &deliver(1));
    let mut unclaimed = fd_missing.clone();
    unclaimed[4] = 0;
    let mut vast = frame_of(Kind::Request, 1, &deliver(1));
    // The number of recipients, behind tag, id, connection and an absent reverse-path.
    vast[frame::HEADER + 29..][..8].fill(0xff);
    let mut breaches =
        anyones(Kind::Request, &frame_of(Kind::Request, 1, &SmtpdToQueued::Spool)[frame::HEADER..]);
    breaches.extend([
        greeted("an answer to the answering side", vec![(reply, 0)], Violation::Unexpected),
        greeted("a drop", vec![(frame::bare(Kind::Dropped, 1).to_vec(), 0)], Violation::Unexpected),
        greeted("an fd that is due, claimed and missing", vec![(fd_missing, 0)], Violation::FdCount),
        greeted("an fd that is due and not there", vec![(unclaimed, 0)], Violation::FdCount),
        greeted("more recipients than octets", vec![(vast, 1)], Violation::Malformed),
    ]);
    breaches
}

fn of_an_answerer() -> Vec<Breach> {
    let no_spool = frame_of(Kind::Reply, 1, &QueuedToSmtpd::NoSpool);
    let spool = frame_of(Kind::Reply, 1, &QueuedToSmtpd::Spool(SpoolNumber(1)));
    let mut unclaimed = spool.clone();
    unclaimed[4] = 0;
    let dropped = |length: usize, fds| raw(length, fds, Kind::Dropped as u8, 1, &vec![0; length]);
    let to_nothing = frame_of(Kind::Reply, 2, &QueuedToSmtpd::NoSpool);
    let mut breaches = anyones(Kind::Reply, &no_spool[frame::HEADER..]);
    breaches.extend([
        greeted(
            "a request to the asking side",
            vec![(frame_of(Kind::Request, 1, &SmtpdToQueued::Spool), 0)],
            Violation::Unexpected,
        ),
        greeted("an answer to nothing", vec![(to_nothing, 0)], Violation::Unexpected),
        greeted(
            "a drop of nothing",
            vec![(frame::bare(Kind::Dropped, 2).to_vec(), 0)],
            Violation::Unexpected,
        ),
        greeted("a drop with a body", vec![(dropped(1, 0), 0)], Violation::Malformed),
        greeted("a drop with an fd", vec![(dropped(0, 1), 1)], Violation::FdCount),
        greeted("an fd that is due, claimed and missing", vec![(spool, 0)], Violation::FdCount),
        greeted("an fd that is due and not there", vec![(unclaimed, 0)], Violation::FdCount),
    ]);
    breaches
}

/// Does it, and waits for its channel's end.
fn commit(stream: &UnixStream, breach: &Breach) {
    for (octets, fds) in &breach.sends {
        let fds: Vec<_> = (0..*fds).map(|_| file_with("hostile")).collect();
        send(stream, octets, &fds);
    }
    read_to_the_end(stream);
}

#[test]
fn a_hostile_asker_loses_its_channel_to_a_blocking_answerer() {
    for breach in of_an_asker() {
        let (asking, answering) = UnixStream::pair().unwrap();
        let mut answerer = Answerer::<Patient>::new(answering, 8).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| commit(&asking, &breach));
            let violation = answerer.next_question().map(|question| question.map(|_| "taken"));
            assert_eq!(violation, Err(breach.is), "{}", breach.name);
        });
    }
}

#[tokio::test]
async fn a_hostile_asker_loses_its_channel_to_an_async_answerer() {
    for breach in of_an_asker() {
        let (name, is) = (breach.name, breach.is);
        let (asking, answering) = UnixStream::pair().unwrap();
        let hostile = thread::spawn(move || commit(&asking, &breach));
        let served = stream::serve::<Patient>(answering, |_, _, _| panic!("{name} was taken"));
        assert_eq!(served.unwrap().await, End::Violation(is), "{name}");
        hostile.join().unwrap();
    }
}

#[test]
fn a_hostile_answerer_loses_its_channel_to_a_blocking_asker() {
    for breach in of_an_answerer() {
        let (asking, answering) = UnixStream::pair().unwrap();
        let asker = Asker::<Patient>::new(asking).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                read_first_request(&answering);
                commit(&answering, &breach);
            });
            let end = asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err();
            assert_eq!(end, CallError::Violation(breach.is), "{}", breach.name);
            let next = asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err();
            assert_eq!(next, CallError::PeerRestarted, "{}", breach.name);
        });
    }
}

#[tokio::test]
async fn a_hostile_answerer_loses_its_channel_to_an_async_asker() {
    for breach in of_an_answerer() {
        let (name, is) = (breach.name, breach.is);
        let (asking, answering) = UnixStream::pair().unwrap();
        let (tell, told) = mpsc::channel();
        let asker =
            stream::Asker::<Patient>::start(asking, move |violation| tell.send(violation).unwrap()).unwrap();
        let hostile = thread::spawn(move || {
            read_first_request(&answering);
            commit(&answering, &breach);
        });
        for _ in 0..2 {
            let end = asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err();
            assert_eq!(end, CallError::Violation(is), "{name}");
        }
        assert_eq!(told.recv().unwrap(), Some(is), "{name}");
        hostile.join().unwrap();
    }
}

#[tokio::test]
async fn a_second_answer_to_one_request_is_a_violation() {
    let twice = [
        frame::hello(Patient::ID),
        frame_of(Kind::Reply, 1, &QueuedToSmtpd::NoSpool),
        frame_of(Kind::Reply, 1, &QueuedToSmtpd::NoSpool),
    ]
    .concat();
    let answer = |answering: UnixStream, twice: Vec<u8>| {
        thread::spawn(move || {
            read_first_request(&answering);
            send(&answering, &twice, &[]);
            read_to_the_end(&answering);
        })
    };
    let (asking, answering) = UnixStream::pair().unwrap();
    let hostile = answer(answering, twice.clone());
    let asker = stream::Asker::<Patient>::start(asking, |_| {}).unwrap();
    assert!(asker.call(&SmtpdToQueued::Spool, vec![]).await.is_ok());
    let end = asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err();
    assert_eq!(end, CallError::Violation(Violation::Unexpected));
    hostile.join().unwrap();

    let (asking, answering) = UnixStream::pair().unwrap();
    let hostile = answer(answering, twice);
    let asker = Asker::<Patient>::new(asking).unwrap();
    assert!(asker.call(&SmtpdToQueued::Spool, vec![]).is_ok());
    let end = asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err();
    assert_eq!(end, CallError::Violation(Violation::Unexpected));
    hostile.join().unwrap();
}
