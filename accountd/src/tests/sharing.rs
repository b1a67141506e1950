//! Guests of this account, and this account as a guest of others.

use std::{
    io::{BufRead, BufReader, Read},
    num::NonZeroU32,
};

use imapd_session::{Neighbours as _, Unavailable};
use ipc_proto::{
    blocking::Answerer,
    control::SessionFacts,
    neighbours::{AccountdAuthd, AccountdToAuthd, AuthdToAccountd},
    types::Protocol,
};
use store_lib::{Grantee, Rights, RightsChange};

use super::*;

fn owner() -> AccountId {
    AccountId::new(9).unwrap()
}

/// A made-up authd on this process's channel.
fn authd(
    world: &World,
    mut answer: impl FnMut(AccountdToAuthd) -> AuthdToAccountd + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let order = Order::Channel { channel: ChannelId::AccountdAuthd, account: Some(number()), run: Run(0) };
    assert_eq!(world.account.take(order, vec![theirs.into()]).unwrap(), Next::Continue);
    std::thread::spawn(move || {
        let mut answerer = Answerer::<AccountdAuthd>::new(ours, 1).unwrap();
        while let Ok(Some(question)) = answerer.next_question() {
            let reply = answer(question.request);
            question.responder.reply(&reply, &[]);
        }
    })
}

fn names(request: AccountdToAuthd) -> AuthdToAccountd {
    match request {
        AccountdToAuthd::Names(numbers) => {
            AuthdToAccountd::Names(vec![Some("bob".to_owned()); numbers.len()])
        }
        AccountdToAuthd::Open(_) => AuthdToAccountd::Opening,
        other => panic!("{other:?}"),
    }
}

fn guest(world: &World, session: u64, principal: u32) -> BufReader<UnixStream> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let facts = SessionFacts {
        session: SessionId(session),
        connection: ConnectionId(session),
        protocol: Protocol::Imap,
        account: number(),
        without: ipc_proto::capability::Capabilities::NONE,
    };
    let order = Order::Guest { facts, principal: AccountId::new(principal).unwrap() };
    assert_eq!(world.account.take(order, vec![theirs.into()]).unwrap(), Next::Continue);
    BufReader::new(ours)
}

fn ask(guest: &mut BufReader<UnixStream>, command: &str) -> String {
    guest.get_mut().write_all(format!("t {command}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    while !answer.lines().any(|line| line.starts_with("t ")) {
        assert!(guest.read_line(&mut answer).unwrap() > 0, "{answer}");
    }
    answer
}

#[test]
fn a_guest_is_who_the_supervisor_says_and_may_what_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let served = authd(&world, names);
    let inbox = world.account.store.read(&Budget::default(), |reader| reader.find(&MailboxName::inbox()));
    let give = RightsChange::Replace(Rights::parse(b"lr").unwrap());
    let eight = Grantee::Account(NonZeroU32::new(8).unwrap());
    world.account.store.change_rights(inbox.unwrap().unwrap().id, eight, give).unwrap();
    let mut of_eight = guest(&world, 1, 8);
    let status = ask(&mut of_eight, "STATUS \"Other Users/bob/INBOX\" (MESSAGES)");
    assert!(status.starts_with("* STATUS \"Other Users/bob/INBOX\" (MESSAGES 0)\r\n"), "{status}");
    let mut of_nine = guest(&world, 2, 9);
    let status = ask(&mut of_nine, "STATUS \"Other Users/bob/INBOX\" (MESSAGES)");
    assert!(status.starts_with("t NO [NONEXISTENT]"), "{status}");
    drop((of_eight, of_nine));
    let mut ended: Vec<_> = (0..2).map(|_| world.ended.recv_timeout(PATIENCE).unwrap().0).collect();
    ended.sort_unstable();
    assert_eq!(ended, [1, 2]);
    world.check();
    served.join().unwrap();
}

/// Attack class 27: guests take no place of the owner's sessions, and one account's none of another's.
#[test]
fn guests_have_places_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let _served = authd(&world, names);
    let mut guests: Vec<_> = (0..8).map(|session| guest(&world, session, 8)).collect();
    for guest in &mut guests {
        ask(guest, "NOOP");
    }
    let mut refused = String::new();
    guest(&world, 100, 8).read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("* BYE [LIMIT]"), "{refused}");
    ask(&mut guest(&world, 101, 9), "NOOP");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let facts = SessionFacts {
        session: SessionId(200),
        connection: ConnectionId(200),
        protocol: Protocol::Imap,
        account: number(),
        without: ipc_proto::capability::Capabilities::NONE,
    };
    world.account.take(Order::Session(facts), vec![theirs.into()]).unwrap();
    ours.write_all(b"t LOGOUT\r\n").unwrap();
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert!(said.ends_with("t OK LOGOUT completed\r\n"), "{said}");
    drop(guests);
    world.check();
}

#[test]
fn a_stream_goes_to_who_waits_for_it_and_a_refusal_ends_the_wait() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let (opened, opening) = mpsc::channel();
    let _served = authd(&world, move |request| {
        let reply = names(request);
        opened.send(()).unwrap();
        reply
    });
    let neighbours = Arc::clone(&world.account.neighbours);
    let visit = || {
        let neighbours = Arc::clone(&neighbours);
        std::thread::spawn(move || neighbours.open(owner().0))
    };
    // One that nobody waits for is closed.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    world.account.take(Order::Shared { owner: owner() }, vec![theirs.into()]).unwrap();
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    let visitor = visit();
    opening.recv_timeout(PATIENCE).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    world.account.take(Order::Shared { owner: owner() }, vec![theirs.into()]).unwrap();
    let mut stream = visitor.join().unwrap().unwrap();
    stream.write_all(b"x").unwrap();
    assert_eq!(ours.read(&mut [0]).unwrap(), 1);
    let visitor = visit();
    opening.recv_timeout(PATIENCE).unwrap();
    world.account.take(Order::SharedRefused { owner: owner() }, Vec::new()).unwrap();
    assert_eq!(visitor.join().unwrap().map(drop), Err(Unavailable));
    world.check();
}

/// Attack class 26: answers of another kind are no answers.
#[test]
fn an_authd_that_answers_something_else_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let _served = authd(&world, |_| AuthdToAccountd::Names(vec![Some("x".to_owned()); 3]));
    let neighbours = &world.account.neighbours;
    assert_eq!(neighbours.number_of("x"), Err(Unavailable));
    assert_eq!(neighbours.names_of(&[owner().0]), Err(Unavailable));
    assert_eq!(neighbours.owners(), Err(Unavailable));
    assert_eq!(neighbours.shares_changed(), Err(Unavailable));
    assert_eq!(neighbours.open(owner().0).map(drop), Err(Unavailable));
    world.check();
}
