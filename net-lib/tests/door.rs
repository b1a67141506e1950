//! authd's say, as a front hears it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    net::SocketAddr,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use ipc_proto::{
    CallError, ConnectionId,
    authd::{Client, ClientReply, Offence, TurnedAway, WebdAuthd},
    stream,
    types::ClientAddress,
};
use net_lib::{Door, TurnedBack};
use tokio::sync::mpsc;

type Told = Arc<Mutex<Vec<Client>>>;

/// An authd that gives every newcomer this verdict; aborted, it is gone.
fn authd(door: &Door<WebdAuthd>, verdict: ClientReply) -> (Told, tokio::task::AbortHandle) {
    let told = Told::default();
    let seen = Arc::clone(&told);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let serving = stream::serve::<WebdAuthd>(theirs, move |request, _, responder| {
        seen.lock().unwrap().push(request.clone());
        let reply = match request {
            Client::Admit(..) => verdict.clone(),
            Client::Closed(_) | Client::Charge(..) => ClientReply::Noted,
        };
        responder.reply(&reply, Vec::new());
    });
    let task = tokio::spawn(serving.unwrap()).abort_handle();
    door.set_channel(ours, |violation| panic!("{violation}")).unwrap();
    (told, task)
}

async fn until(told: &Told, expected: &[Client]) {
    for _ in 0..1000 {
        if *told.lock().unwrap() == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(*told.lock().unwrap(), expected);
}

fn peer(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn authd_is_told_who_comes_what_they_did_and_that_they_went() {
    let door = Door::default();
    let (told, _) = authd(&door, ClientReply::Admitted);
    let admitted = door.admit(ConnectionId(1), peer("192.0.2.1:999")).await.unwrap();
    admitted.charge(Offence::Bounds);
    tokio::task::yield_now().await;
    drop(admitted);
    until(
        &told,
        &[
            Client::Admit(ConnectionId(1), ClientAddress("192.0.2.1".parse().unwrap())),
            Client::Charge(ConnectionId(1), Offence::Bounds),
            Client::Closed(ConnectionId(1)),
        ],
    )
    .await;
}

/// Attack class 16: one address is one client, however it is written.
#[tokio::test]
async fn an_ipv4_client_on_an_ipv6_listener_is_an_ipv4_client() {
    let door = Door::default();
    let (told, _) = authd(&door, ClientReply::Admitted);
    let _admitted = door.admit(ConnectionId(1), peer("[::ffff:192.0.2.1]:999")).await.unwrap();
    let expected = Client::Admit(ConnectionId(1), ClientAddress("192.0.2.1".parse().unwrap()));
    assert_eq!(told.lock().unwrap()[0], expected);
}

#[tokio::test]
async fn a_refusal_comes_with_its_reason_and_nobody_is_reported_gone() {
    let door = Door::default();
    let (told, _) = authd(&door, ClientReply::TurnedAway(TurnedAway::Abuse));
    let refused = door.admit(ConnectionId(1), peer("192.0.2.1:999")).await.unwrap_err();
    assert_eq!(refused, TurnedBack::Judged(TurnedAway::Abuse));
    assert_eq!(refused.to_string(), "too many errors from your network");
    tokio::task::yield_now().await;
    assert_eq!(told.lock().unwrap().len(), 1);
}

/// A connection whose task is dropped while authd still judges it (a stop, a time-out) is not counted for ever.
#[tokio::test]
async fn an_admission_given_up_half_way_is_reported_gone() {
    let door = Door::<WebdAuthd>::default();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (told, mut said) = mpsc::unbounded_channel();
    let mut unanswered = Vec::new();
    let serving = stream::serve::<WebdAuthd>(theirs, move |request, _, responder| {
        told.send(request).unwrap();
        unanswered.push(responder);
    });
    tokio::spawn(serving.unwrap());
    door.set_channel(ours, |violation| panic!("{violation}")).unwrap();
    let admission = {
        let door = door.clone();
        tokio::spawn(async move { door.admit(ConnectionId(1), peer("192.0.2.1:999")).await })
    };
    let expected = Client::Admit(ConnectionId(1), ClientAddress("192.0.2.1".parse().unwrap()));
    assert_eq!(said.recv().await.unwrap(), expected);
    admission.abort();
    assert_eq!(said.recv().await.unwrap(), Client::Closed(ConnectionId(1)));
}

#[tokio::test]
async fn an_authd_that_was_restarted_hears_again_of_a_client_before_it_logs_in() {
    let door = Door::default();
    let (_, first) = authd(&door, ClientReply::Admitted);
    let mut admitted = door.admit(ConnectionId(1), peer("192.0.2.1:999")).await.unwrap();
    assert!(door.is_connected());
    first.abort();
    while door.is_connected() {
        tokio::task::yield_now().await;
    }
    let (told, _) = authd(&door, ClientReply::Admitted);
    assert!(door.is_connected());
    admitted.renew().await.unwrap();
    admitted.renew().await.unwrap();
    assert_eq!(told.lock().unwrap().len(), 1, "told once");
}

#[tokio::test(start_paused = true)]
async fn without_authd_nobody_gets_in_and_the_wait_has_an_end() {
    let door = Door::<WebdAuthd>::default();
    let refused = door.admit(ConnectionId(1), peer("192.0.2.1:999")).await.unwrap_err();
    assert_eq!(refused, TurnedBack::NotAsked(CallError::PeerRestarted));
}

/// Attack class 26: an authd that answers nonsense lets nobody in.
#[tokio::test]
async fn an_answer_to_another_question_lets_nobody_in() {
    let door = Door::default();
    let _authd = authd(&door, ClientReply::Noted);
    assert!(matches!(
        door.admit(ConnectionId(1), peer("192.0.2.1:999")).await,
        Err(TurnedBack::NotAsked(CallError::Violation(_)))
    ));
}
