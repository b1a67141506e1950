//! The channels of processes that run on tokio, over real socketpairs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    Patient, Quick, deliver, echo, file_with, frame_of, is_closed, numbered, read_first_request,
    read_request, send, text_of, witness,
};
use ipc_proto::{
    CallError, Channel, ChannelId,
    authd::AdminAuthd,
    delivery::{Outcome, QueuedToSmtpd, SmtpdToQueued, SpoolNumber},
    frame::{self, Kind},
    stream::{Asker, End, Link, MAX_IN_FLIGHT, Responder, serve},
};
use tokio::{sync::mpsc, task::JoinHandle};

/// An asker, and what its peer is asked.
type Asked<C> = mpsc::UnboundedReceiver<(<C as Channel>::Request, Responder<C>)>;

fn connected<C: Channel>() -> (Asker<C>, Asked<C>, JoinHandle<End>) {
    let (asking, answering) = UnixStream::pair().unwrap();
    let (to, asked) = mpsc::unbounded_channel();
    let served = serve::<C>(answering, move |request, _, responder| {
        let _ = to.send((request, responder));
    });
    (Asker::start(asking, |_| {}).unwrap(), asked, tokio::spawn(served.unwrap()))
}

/// Answers everything with its own text.
fn echoing(answering: UnixStream) -> JoinHandle<End> {
    let served =
        serve::<AdminAuthd>(answering, |request, _, responder| responder.reply(&echo(&request), vec![]));
    tokio::spawn(served.unwrap())
}

async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_replies_and_their_fds_cross() {
    let (asking, answering) = UnixStream::pair().unwrap();
    let served = serve::<Patient>(answering, |request, fds, responder| match request {
        SmtpdToQueued::Spool => {
            assert!(fds.is_empty());
            responder.reply(&QueuedToSmtpd::Spool(SpoolNumber(9)), vec![file_with("spool")]);
        }
        SmtpdToQueued::Forget(_) => panic!("nobody forgets here"),
        SmtpdToQueued::Deliver(deliver) => {
            let texts: Vec<_> = fds.into_iter().map(text_of).collect();
            assert_eq!(texts, [format!("message {}", deliver.size)]);
            responder.reply(&QueuedToSmtpd::Delivered(vec![Outcome::Filed]), vec![]);
        }
    });
    let served = tokio::spawn(served.unwrap());
    let asker = Asker::<Patient>::start(asking, |_| {}).unwrap();
    for size in 0..3 {
        let (reply, mut fds) = asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap();
        assert_eq!(reply, QueuedToSmtpd::Spool(SpoolNumber(9)));
        assert_eq!(text_of(fds.pop().unwrap()), "spool");
        let message = file_with(&format!("message {size}"));
        let (reply, fds) = asker.call(&deliver(size), vec![message]).await.unwrap();
        assert_eq!((reply, fds.len()), (QueuedToSmtpd::Delivered(vec![Outcome::Filed]), 0));
    }
    drop(asker);
    assert_eq!(served.await.unwrap(), End::Closed);
}

#[tokio::test]
async fn a_hundred_requests_in_flight_are_answered_in_any_order() {
    let (asker, mut asked, _served) = connected::<AdminAuthd>();
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let asker = asker.clone();
            tokio::spawn(async move { (number, asker.call(&numbered(number), vec![]).await.unwrap().0) })
        })
        .collect();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(asked.recv().await.unwrap());
    }
    // 37 and 100 have no common divisor: every one once, out of order.
    held.sort_by_key(|(request, _)| match request {
        ipc_proto::authd::AdminToAuthd::AccountRemove(text) => text.parse::<u64>().unwrap() * 37 % 100,
        other => panic!("{other:?}"),
    });
    for (request, responder) in held {
        responder.reply(&echo(&request), vec![]);
    }
    for call in calls {
        let (number, reply) = call.await.unwrap();
        assert_eq!(reply, echo(&numbered(number)));
    }
}

#[tokio::test]
async fn a_request_ends_when_the_answerer_drops_it() {
    let (asker, mut asked, _served) = connected::<AdminAuthd>();
    let one = numbered(1);
    let (answer, _) = tokio::join!(asker.call(&one, vec![]), async { drop(asked.recv().await) });
    assert_eq!(answer.unwrap_err(), CallError::Dropped);
}

#[tokio::test]
async fn requests_end_when_the_answerer_dies() {
    let (asker, mut asked, served) = connected::<AdminAuthd>();
    let (one, two) = (numbered(1), numbered(2));
    let (first, second, ()) = tokio::join!(asker.call(&one, vec![]), asker.call(&two, vec![]), async {
        let _held = (asked.recv().await.unwrap(), asked.recv().await.unwrap());
        served.abort();
        asked.close();
        let _ = served.await;
    });
    // Which of two ends comes first is the kernel's choice: the responders' or the socket's.
    for end in [first, second] {
        assert!(matches!(end, Err(CallError::PeerRestarted | CallError::Dropped)), "{end:?}");
    }
}

#[tokio::test]
async fn a_request_under_way_when_the_process_dies_is_told_of_the_restart() {
    let (asking, answering) = UnixStream::pair().unwrap();
    let asker = Asker::<Patient>::start(asking, |violation| assert_eq!(violation, None)).unwrap();
    let died = std::thread::spawn(move || read_first_request(&answering));
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::PeerRestarted);
    died.join().unwrap();
    // And so is every later one.
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::PeerRestarted);
}

/// Attack class 27: half a message, then nothing.
#[tokio::test]
async fn half_a_frame_and_the_end_is_an_ordinary_end() {
    let whole = [frame::hello(Patient::ID), frame_of(Kind::Request, 1, &SmtpdToQueued::Spool)].concat();
    for cut in 0..=whole.len() {
        let (asking, answering) = UnixStream::pair().unwrap();
        send(&asking, &whole[..cut], &[]);
        asking.shutdown(std::net::Shutdown::Write).unwrap();
        let mut asked = 0;
        let end = serve::<Patient>(answering, |_, _, _| asked += 1).unwrap().await;
        assert_eq!((end, asked), (End::Closed, usize::from(cut == whole.len())), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_late_answer_to_an_abandoned_request_leaves_nothing_behind() {
    let (asker, mut asked, _served) = connected::<Patient>();
    let (request, reply) = (SmtpdToQueued::Spool, QueuedToSmtpd::Spool(SpoolNumber(1)));
    // More of them than may be in flight: none is kept in the books.
    for round in 0..MAX_IN_FLIGHT + 10 {
        let responder = tokio::select! {
            biased;
            asked = asked.recv() => asked.unwrap().1,
            answer = asker.call(&request, vec![]) => panic!("round {round}: {answer:?}"),
        };
        let (witness, sent) = (round % 512 == 0).then(witness).unzip();
        responder.reply(&reply, vec![sent.unwrap_or_else(|| UnixStream::pair().unwrap().0.into())]);
        if let Some(witness) = witness {
            while !is_closed(&witness) {
                tokio::task::yield_now().await;
            }
        }
    }
    let (answer, ()) = tokio::join!(asker.call(&request, vec![]), async {
        asked.recv().await.unwrap().1.reply(&QueuedToSmtpd::NoSpool, vec![]);
    });
    assert_eq!(answer.unwrap().0, QueuedToSmtpd::NoSpool);
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_at_its_deadline_and_the_channel_goes_on() {
    let (asker, mut asked, _served) = connected::<Quick>();
    let started = tokio::time::Instant::now();
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::Deadline);
    assert_eq!(started.elapsed().as_millis() / 10, Quick::DEADLINE.as_millis() / 10);
    tokio::time::resume();
    let late = asked.recv().await.unwrap().1;
    late.reply(&QueuedToSmtpd::NoSpool, vec![]);
    let (answer, ()) = tokio::join!(asker.call(&SmtpdToQueued::Spool, vec![]), async {
        asked.recv().await.unwrap().1.reply(&QueuedToSmtpd::Refused, vec![]);
    });
    assert_eq!(answer.unwrap().0, QueuedToSmtpd::Refused);
}

/// Attack class 27: a peer that reads nothing holds up no more than its own bound.
#[tokio::test]
async fn beyond_the_bound_of_requests_in_flight_the_asker_is_busy() {
    let (asking, _deaf) = UnixStream::pair().unwrap();
    let asker = Asker::<Patient>::start(asking, |_| {}).unwrap();
    let calls: Vec<_> = (0..MAX_IN_FLIGHT)
        .map(|_| {
            let asker = asker.clone();
            tokio::spawn(
                async move { asker.call(&SmtpdToQueued::Spool, vec![]).await.map(|(reply, _)| reply) },
            )
        })
        .collect();
    turns(MAX_IN_FLIGHT).await;
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::Busy);
    // To give up is not enough: the answers may still come.
    for call in calls {
        call.abort();
        let _ = call.await;
    }
    assert_eq!(asker.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::Busy);
}

#[tokio::test]
async fn a_message_over_its_channels_bound_is_not_sent_and_the_channel_goes_on() {
    let (asker, mut asked, _served) = connected::<AdminAuthd>();
    let (one, two) = (numbered(1), numbered(2));
    let large = ipc_proto::authd::AdminToAuthd::AccountRemove("x".repeat(AdminAuthd::MAX_BODY));
    assert_eq!(asker.call(&large, vec![]).await.unwrap_err(), CallError::TooLarge);
    let (answer, ()) = tokio::join!(asker.call(&one, vec![]), async {
        let large = ipc_proto::authd::AuthdToAdmin::Refused("x".repeat(AdminAuthd::MAX_BODY));
        asked.recv().await.unwrap().1.reply(&large, vec![]);
    });
    assert_eq!(answer.unwrap_err(), CallError::Dropped);
    let (answer, ()) = tokio::join!(asker.call(&two, vec![]), async {
        let (request, responder) = asked.recv().await.unwrap();
        responder.reply(&echo(&request), vec![]);
    });
    assert_eq!(answer.unwrap().0, echo(&numbered(2)));
}

/// Attack class 27: who never reads its answers is not read either; what waits in memory stays small.
#[tokio::test]
async fn an_asker_that_never_reads_its_answers_is_not_read_either() {
    let (mut asking, answering) = UnixStream::pair().unwrap();
    asking.set_nonblocking(true).unwrap();
    let handled = Arc::new(AtomicUsize::new(0));
    let served = serve::<AdminAuthd>(answering, {
        let handled = Arc::clone(&handled);
        move |request, _, responder| {
            handled.fetch_add(1, Ordering::Relaxed);
            responder.reply(&echo(&request), vec![]);
        }
    });
    let served = tokio::spawn(served.unwrap());

    let (mut unsent, mut asked, mut refused) = (frame::hello(AdminAuthd::ID), 0_u64, 0);
    while refused < 100 {
        if unsent.is_empty() {
            asked += 1;
            assert!(asked < 50_000, "{asked} requests were taken, {handled:?} handled");
            unsent = frame_of(Kind::Request, asked, &numbered(asked));
        }
        match asking.write(&unsent) {
            Ok(sent) => drop(unsent.drain(..sent)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused += 1;
                turns(2).await;
            }
        }
    }
    assert!(handled.load(Ordering::Relaxed) < 2000, "{handled:?} were handled");

    // As soon as it reads, all goes on, and nothing is lost.
    let (mut received, mut space) = (0, vec![0; 1 << 16]);
    let mut answers = Vec::new();
    while received < asked - 1 {
        match asking.read(&mut space) {
            Ok(octets) => answers.extend_from_slice(&space[..octets]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        received = u64::try_from(handled.load(Ordering::Relaxed)).unwrap();
        tokio::task::yield_now().await;
    }
    drop(asking);
    assert_eq!(served.await.unwrap(), End::Closed);
    let first = [frame::hello(AdminAuthd::ID), frame_of(Kind::Reply, 1, &echo(&numbered(1)))].concat();
    assert!(answers.starts_with(&first));
}

/// Attack class 27: a flood on one channel.
#[tokio::test]
async fn a_flood_of_requests_leaves_others_their_turn_and_stops_at_the_bound() {
    let (asking, answering) = UnixStream::pair().unwrap();
    let count = MAX_IN_FLIGHT + 100;
    let flood: Vec<u8> =
        (0..count).flat_map(|id| frame_of(Kind::Request, id as u64, &SmtpdToQueued::Spool)).collect();
    send(&asking, &[frame::hello(Patient::ID), flood].concat(), &[]);
    let held = Arc::new(Mutex::new(Vec::new()));
    let served = serve::<Patient>(answering, {
        let held = Arc::clone(&held);
        move |_, _, responder| held.lock().unwrap().push(responder)
    });
    let _served = tokio::spawn(served.unwrap());
    let (mut before, mut most) = (0, 0);
    while before < MAX_IN_FLIGHT {
        tokio::task::yield_now().await;
        let now = held.lock().unwrap().len();
        (before, most) = (now, most.max(now - before));
    }
    assert!(most <= 512, "{most} requests in one turn");
    turns(50).await;
    assert_eq!(held.lock().unwrap().len(), MAX_IN_FLIGHT);
    // One is let go, one is taken.
    drop(held.lock().unwrap().pop());
    turns(50).await;
    assert_eq!(held.lock().unwrap().len(), MAX_IN_FLIGHT);
}

#[tokio::test]
async fn a_link_waits_for_its_channel_and_takes_a_new_one_after_a_restart() {
    let link = Arc::new(Link::<AdminAuthd>::default());
    let early = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.call(&numbered(1), vec![]).await.unwrap().0 }
    });
    turns(5).await;
    assert!(!early.is_finished());
    let (asking, answering) = UnixStream::pair().unwrap();
    let served = echoing(answering);
    link.set(asking, |_| {}).unwrap();
    assert_eq!(early.await.unwrap(), echo(&numbered(1)));

    served.abort();
    let _ = served.await;
    // The end is seen when the reader gets its turn: from then on a call waits for the next channel.
    while link.call(&numbered(2), vec![]).now_or_end().await {}
    let waiting = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.call(&numbered(3), vec![]).await.unwrap().0 }
    });
    turns(5).await;
    assert!(!waiting.is_finished());
    let (asking, answering) = UnixStream::pair().unwrap();
    let _served = echoing(answering);
    link.set(asking, |_| {}).unwrap();
    assert_eq!(waiting.await.unwrap(), echo(&numbered(3)));
}

/// Whether a call ends within some turns.
trait NowOrEnd: Future + Sized {
    async fn now_or_end(self) -> bool {
        tokio::select! {
            biased;
            _ = self => true,
            () = turns(10) => false,
        }
    }
}

impl<F: Future> NowOrEnd for F {}

#[tokio::test]
async fn a_request_that_was_under_way_is_not_repeated_on_the_new_channel() {
    let link = Arc::new(Link::<Patient>::default());
    let (asking, answering) = UnixStream::pair().unwrap();
    link.set(asking, |_| {}).unwrap();
    let died = std::thread::spawn(move || read_first_request(&answering));
    assert_eq!(link.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::PeerRestarted);
    died.join().unwrap();
    let (asking, answering) = UnixStream::pair().unwrap();
    link.set(asking, |_| {}).unwrap();
    let answerer = std::thread::spawn(move || {
        send(&answering, &frame::hello(ChannelId::SmtpdQueued), &[]);
        read_first_request(&answering);
        send(&answering, &frame_of(Kind::Reply, 1, &QueuedToSmtpd::NoSpool), &[]);
        let second = read_request(&answering);
        send(&answering, &frame::bare(Kind::Dropped, second), &[]);
        second
    });
    assert_eq!(link.call(&SmtpdToQueued::Spool, vec![]).await.unwrap().0, QueuedToSmtpd::NoSpool);
    assert_eq!(link.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::Dropped);
    assert_eq!(answerer.join().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_link_without_a_channel_gives_up_after_the_deadline() {
    let link = Link::<Quick>::default();
    assert_eq!(link.call(&SmtpdToQueued::Spool, vec![]).await.unwrap_err(), CallError::PeerRestarted);
}
