//! The channels of processes without an async runtime, over real socketpairs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, mpsc},
    thread,
};

use common::{
    Patient, Quick, deliver, echo, file_with, frame_of, is_closed, numbered, read_first_request,
    read_request, read_to_the_end, send, text_of, witness,
};
use ipc_proto::{
    CallError, Channel,
    authd::AdminAuthd,
    blocking::{Answerer, Asker, Link},
    delivery::{Outcome, QueuedToSmtpd, SmtpdToQueued, SpoolNumber},
    frame::{self, Kind},
};

fn connected<C: Channel>() -> (Asker<C>, Answerer<C>) {
    let (asking, answering) = UnixStream::pair().unwrap();
    (Asker::new(asking).unwrap(), Answerer::new(answering, 8).unwrap())
}

#[test]
fn requests_replies_and_their_fds_cross() {
    let (asker, mut answerer) = connected::<Patient>();
    let answering = thread::spawn(move || {
        while let Some(question) = answerer.next_question().unwrap() {
            match question.request {
                SmtpdToQueued::Spool => {
                    question.responder.reply(&QueuedToSmtpd::Spool(SpoolNumber(9)), &[file_with("spool")]);
                }
                SmtpdToQueued::Forget(_) => panic!("nobody forgets here"),
                SmtpdToQueued::Deliver(deliver) => {
                    let texts: Vec<_> = question.fds.into_iter().map(text_of).collect();
                    assert_eq!(texts, [format!("message {}", deliver.size)]);
                    question.responder.reply(&QueuedToSmtpd::Delivered(vec![Outcome::Stored]), &[]);
                }
            }
        }
    });
    for size in 0..3 {
        let (reply, mut fds) = asker.call(&SmtpdToQueued::Spool, vec![]).unwrap();
        assert_eq!(reply, QueuedToSmtpd::Spool(SpoolNumber(9)));
        assert_eq!(text_of(fds.pop().unwrap()), "spool");
        let (reply, fds) = asker.call(&deliver(size), vec![file_with(&format!("message {size}"))]).unwrap();
        assert_eq!((reply, fds.len()), (QueuedToSmtpd::Delivered(vec![Outcome::Stored]), 0));
    }
    drop(asker);
    answering.join().unwrap();
}

#[test]
fn answers_go_in_any_order_from_any_thread_and_no_more_is_read_than_agreed() {
    let (asking, answering) = UnixStream::pair().unwrap();
    let mut answerer = Answerer::<AdminAuthd>::new(answering, 100).unwrap();
    let requests: Vec<u8> = (1..=101).flat_map(|id| frame_of(Kind::Request, id, &numbered(id))).collect();
    send(&asking, &[frame::hello(AdminAuthd::ID), requests].concat(), &[]);
    let mut held: Vec<_> = (0..100).map(|_| answerer.next_question().unwrap().unwrap()).collect();
    let (took, taken) = mpsc::channel();
    let more = thread::spawn(move || {
        let question = answerer.next_question().unwrap().unwrap();
        took.send(()).unwrap();
        drop(question);
        assert!(answerer.next_question().unwrap().is_none());
    });
    // The hundred and first waits for the first answer.
    assert!(taken.try_recv().is_err());
    held.reverse();
    let answered = held.into_iter().map(|question| {
        thread::spawn(move || question.responder.reply(&echo(&question.request), &[])).join().unwrap();
    });
    answered.for_each(drop);
    taken.recv().unwrap();
    asking.shutdown(std::net::Shutdown::Write).unwrap();
    more.join().unwrap();
    let octets = read_to_the_end(&asking);
    let greeting = frame::hello(AdminAuthd::ID).len();
    let last_to_first: Vec<u8> =
        (1..=100).rev().flat_map(|id| frame_of(Kind::Reply, id, &echo(&numbered(id)))).collect();
    // The dropped one stands wherever its thread came in.
    let dropped = frame::bare(Kind::Dropped, 101);
    let at = octets.windows(dropped.len()).position(|window| window == dropped).unwrap();
    let without = [&octets[greeting..at], &octets[at + dropped.len()..]].concat();
    assert!(without == last_to_first);
}

#[test]
fn a_request_ends_when_the_answerer_drops_it() {
    let (asker, mut answerer) = connected::<Patient>();
    let answering = thread::spawn(move || drop(answerer.next_question().unwrap().unwrap()));
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::Dropped);
    answering.join().unwrap();
}

#[test]
fn a_request_ends_when_the_answerer_dies_and_so_does_every_later_one() {
    let (asking, answering) = UnixStream::pair().unwrap();
    let asker = Asker::<Patient>::new(asking).unwrap();
    let died = thread::spawn(move || read_first_request(&answering));
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::PeerRestarted);
    died.join().unwrap();
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::PeerRestarted);
}

#[test]
fn a_late_answer_is_thrown_away_and_leaves_nothing_behind() {
    let (asker, mut answerer) = connected::<Quick>();
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::Deadline);
    let (witness, sent) = witness();
    let late = answerer.next_question().unwrap().unwrap();
    late.responder.reply(&QueuedToSmtpd::Spool(SpoolNumber(1)), &[sent]);
    let answering = thread::spawn(move || {
        let question = answerer.next_question().unwrap().unwrap();
        question.responder.reply(&QueuedToSmtpd::NoSpool, &[]);
    });
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).unwrap().0, QueuedToSmtpd::NoSpool);
    answering.join().unwrap();
    assert!(is_closed(&witness), "the late answer's fd is kept");
}

/// Attack class 27: half a message, then nothing.
#[test]
fn half_a_frame_and_the_end_is_an_ordinary_end() {
    let whole = [frame::hello(Patient::ID), frame_of(Kind::Request, 1, &SmtpdToQueued::Spool)].concat();
    for cut in 0..whole.len() {
        let (asking, answering) = UnixStream::pair().unwrap();
        send(&asking, &whole[..cut], &[]);
        asking.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answerer = Answerer::<Patient>::new(answering, 8).unwrap();
        assert!(answerer.next_question().unwrap().is_none(), "cut at {cut}");
    }
}

/// Attack class 27: who never reads its answers loses the channel, and the answerer is free again.
#[test]
fn an_asker_that_never_reads_its_answers_loses_the_channel() {
    let (asking, answering) = UnixStream::pair().unwrap();
    let flood = thread::spawn(move || {
        send(&asking, &frame::hello(AdminAuthd::ID), &[]);
        for id in 1..100_000 {
            send(&asking, &frame_of(Kind::Request, id, &numbered(id)), &[]);
        }
        asking
    });
    let mut answerer = Answerer::<AdminAuthd>::new(answering, 8).unwrap();
    let mut answered = 0;
    while let Some(question) = answerer.next_question().unwrap() {
        question.responder.reply(&echo(&question.request), &[]);
        answered += 1;
        assert!(answered < 50_000, "answers go nowhere, and requests are still taken");
    }
    drop(flood.join().unwrap());
}

#[test]
fn a_message_over_its_channels_bound_is_not_sent_and_the_channel_goes_on() {
    let (asker, mut answerer) = connected::<AdminAuthd>();
    let large = ipc_proto::authd::AdminToAuthd::AccountRemove("x".repeat(AdminAuthd::MAX_BODY));
    assert_eq!(asker.call(&large, vec![]).unwrap_err(), CallError::TooLarge);
    let answering = thread::spawn(move || {
        let large = ipc_proto::authd::AuthdToAdmin::Refused("x".repeat(AdminAuthd::MAX_BODY));
        answerer.next_question().unwrap().unwrap().responder.reply(&large, &[]);
        let question = answerer.next_question().unwrap().unwrap();
        question.responder.reply(&echo(&question.request), &[]);
    });
    assert_eq!(asker.call(&numbered(1), vec![]).unwrap_err(), CallError::Dropped);
    assert_eq!(asker.call(&numbered(2), vec![]).unwrap().0, echo(&numbered(2)));
    answering.join().unwrap();
}

#[test]
fn a_link_waits_for_its_channel_and_takes_a_new_one_after_a_restart() {
    let link = Arc::new(Link::<Patient>::default());
    let waiting = thread::spawn({
        let link = Arc::clone(&link);
        move || link.call(&SmtpdToQueued::Spool, vec![]).unwrap().0
    });
    let first = new_channel(&link);
    assert_eq!(waiting.join().unwrap(), QueuedToSmtpd::NoSpool);
    first.join().unwrap(); // the process died
    assert_eq!(link.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::PeerRestarted);
    let waiting = thread::spawn({
        let link = Arc::clone(&link);
        move || link.call(&SmtpdToQueued::Spool, vec![]).unwrap().0
    });
    let second = new_channel(&link);
    assert_eq!(waiting.join().unwrap(), QueuedToSmtpd::NoSpool);
    second.join().unwrap();
}

/// A process that answers one request and dies.
fn new_channel(link: &Link<Patient>) -> thread::JoinHandle<()> {
    let (asking, answering) = UnixStream::pair().unwrap();
    link.set(asking).unwrap();
    thread::spawn(move || {
        send(&answering, &frame::hello(Patient::ID), &[]);
        read_first_request(&answering);
        send(&answering, &frame_of(Kind::Reply, 1, &QueuedToSmtpd::NoSpool), &[]);
    })
}

#[test]
fn a_link_without_a_channel_gives_up_after_the_deadline() {
    let link = Link::<Quick>::default();
    assert_eq!(link.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::PeerRestarted);
}

#[test]
fn many_threads_share_one_asker() {
    let (asker, mut answerer) = connected::<AdminAuthd>();
    let answering = thread::spawn(move || {
        while let Some(question) = answerer.next_question().unwrap() {
            question.responder.reply(&echo(&question.request), &[]);
        }
    });
    thread::scope(|scope| {
        for number in 0..8 {
            let asker = &asker;
            scope.spawn(move || {
                for round in 0..50 {
                    let request = numbered(number * 100 + round);
                    assert_eq!(asker.call(&request, vec![]).unwrap().0, echo(&request));
                }
            });
        }
    });
    drop(asker);
    answering.join().unwrap();
}

#[test]
fn ids_are_never_used_twice() {
    let (asking, answering) = UnixStream::pair().unwrap();
    let asker = Asker::<Patient>::new(asking).unwrap();
    let peer = thread::spawn(move || {
        send(&answering, &frame::hello(Patient::ID), &[]);
        read_first_request(&answering);
        let mut ids = vec![1];
        for _ in 0..5 {
            send(&answering, &frame::bare(Kind::Dropped, *ids.last().unwrap()), &[]);
            ids.push(read_request(&answering));
        }
        ids
    });
    for _ in 0..5 {
        assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::Dropped);
    }
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).unwrap_err(), CallError::PeerRestarted);
    assert_eq!(peer.join().unwrap(), [1, 2, 3, 4, 5, 6]);
}
