//! Sessions, verifications, and the orders that bring them.

use std::io::{BufRead, BufReader, Read};

use ipc_proto::{
    admin::{AccountdToAdmin, AdminToAccountd},
    control::SessionFacts,
    types::{Protocol, Run},
};

use super::*;
use crate::AccountError;

pub(super) fn facts(session: u64) -> SessionFacts {
    SessionFacts {
        session: SessionId(session),
        connection: ConnectionId(session),
        protocol: Protocol::Imap,
        account: number(),
        without: Default::default(),
    }
}

/// The client's end of a session that has just been logged in.
struct Client(BufReader<UnixStream>);

impl World {
    fn session(&self, session: u64) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(
            self.account.take(Order::Session(facts(session)), vec![theirs.into()]).unwrap(),
            Next::Continue
        );
        Client(BufReader::new(ours))
    }
}

impl Client {
    /// All lines up to the tagged one.
    fn command(&mut self, command: &str) -> String {
        let tag = command.split(' ').next().unwrap();
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        loop {
            let start = answer.len();
            assert!(self.0.read_line(&mut answer).unwrap() > 0, "{answer}");
            if answer[start..].starts_with(&format!("{tag} ")) {
                return answer;
            }
        }
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

#[test]
fn a_session_reads_what_was_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
    let mut client = world.session(1);
    assert!(client.command("a SELECT INBOX").contains("* 1 EXISTS\r\n"));
    let body = client.command("b FETCH 1 (BODY.PEEK[])");
    assert!(body.contains(std::str::from_utf8(&stored(TEXT)).unwrap()), "{body}");
    assert!(client.command("d LOGOUT").contains("* BYE"));
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(1));
    until("the process is idle", || world.account.activity().is_idle());
    world.check();
}

#[test]
fn a_delivery_is_told_to_a_client_that_idles() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let mut client = world.session(1);
    client.command("a SELECT INBOX");
    client.0.get_mut().write_all(b"b IDLE\r\n").unwrap();
    let mut line = String::new();
    client.0.read_line(&mut line).unwrap();
    assert!(line.starts_with('+'), "{line}");
    assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
    line.clear();
    client.0.read_line(&mut line).unwrap();
    assert_eq!(line, "* 1 EXISTS\r\n");
    drop(client);
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(1));
    world.check();
}

/// Attack class 15: one more session than allowed is told so, and costs the others nothing.
#[test]
fn sessions_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let mut first = world.session(1);
    let second = world.session(2);
    assert!(world.session(3).rest().starts_with("* BYE [LIMIT]"));
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(3));
    first.command("a NOOP");
    drop(second);
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(2));
    world.session(4).command("a NOOP");
    drop(first);
    until("the process is idle", || world.account.activity().is_idle());
    world.check();
}

#[test]
fn a_stop_tells_the_clients_and_closes_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let client = world.session(1);
    let order = Order::Stop { grace_ms: 5_000 };
    assert_eq!(world.account.take(order, Vec::new()).unwrap(), Next::Stop(Duration::from_secs(5)));
    let start = Instant::now();
    world.account.close(PATIENCE).unwrap();
    assert!(start.elapsed() < PATIENCE, "it did not wait for the client");
    assert!(client.rest().starts_with("* BYE"));
    assert_eq!(World::open(directory.path()).account.store.crashes(), []);
}

#[test]
fn leave_is_an_order_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    for asked in [true, false] {
        let leave = world.account.take(Order::Leave { asked }, Vec::new()).unwrap();
        assert_eq!(leave, Next::Leave { asked });
    }
    world.check();
}

/// Attack class 31: nothing of another account is served here, whoever mixed up the numbers.
#[test]
fn orders_for_others_end_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let fd = || vec![OwnedFd::from(UnixStream::pair().unwrap().0)];
    let other = SessionFacts { account: AccountId::new(8).unwrap(), ..facts(1) };
    for (order, fds) in [
        (Order::Session(other), fd()),
        (Order::Session(facts(1)), Vec::new()),
        (Order::Channel { channel: ChannelId::SmtpdQueued, account: None, run: Run(1) }, fd()),
        (Order::ChannelRefused(number()), Vec::new()),
        (Order::AccountReady(number()), Vec::new()),
    ] {
        let answer = world.account.take(order.clone(), fds);
        assert!(matches!(answer, Err(AccountError::Order(_))), "{order:?}");
    }
    world.check();
}

#[test]
fn a_verification_counts_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
    let moxctl = world.moxctl();
    match moxctl.call(&AdminToAccountd::Verify, Vec::new()).unwrap().0 {
        AccountdToAdmin::Verified(verified) => {
            assert_eq!((verified.messages, verified.problems), (1, Vec::<String>::new()));
            assert_eq!(verified.octets, stored(TEXT).len() as u64);
            assert!(verified.mailboxes >= 1);
        }
        other => panic!("{other:?}"),
    }
    assert!(!world.account.activity().is_idle(), "moxctl is still there");
    drop(moxctl);
    until("the process is idle", || world.account.activity().is_idle());
    world.check();
}

/// Bad input: a store that does not open is one line that says what to do.
#[test]
fn a_damaged_store_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    World::open(directory.path()).account.close(PATIENCE).unwrap();
    let path = directory.path().join("account.sqlite");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let ears = Ears {
        asked: Mutex::new(mpsc::channel().0),
        slept: Mutex::new(mpsc::channel().0),
        ended: Mutex::new(mpsc::channel().0),
        violations: Mutex::new(mpsc::channel().0),
        fulls: Mutex::new(mpsc::channel().0),
    };
    let error =
        Account::open(directory.path(), &settings(), 1 << 20, Arc::new(ears)).unwrap_err().to_string();
    assert!(error.contains("backup") && !error.contains('\n'), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 8192]);
}

/// Attack class 8: the deepest command that the parser takes fits on a session's stack.
#[test]
fn the_deepest_search_fits_on_the_stack() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
    let mut client = world.session(1);
    client.command("a SELECT INBOX");
    for depth in 1..200 {
        let (open, close) = ("(".repeat(depth), ")".repeat(depth));
        let answer = client.command(&format!("s{depth} SEARCH {open}ALL{close}"));
        if !answer.contains(" OK ") {
            assert!(depth > 4, "{answer}");
            break;
        }
    }
    client.command("z LOGOUT");
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(1));
    world.check();
}

/// Attack class 8: whatever makes a session panic costs that session, not its neighbours and not the delivery.
#[test]
fn a_panic_ends_its_session_alone() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let mut neighbour = world.session(1);
    let (ours, theirs) = UnixStream::pair().unwrap();
    world.account.sessions.start_with(facts(2), None, 0, theirs, |_, _stream, _, _| panic!("as a bug would"));
    assert_eq!(Client(BufReader::new(ours)).rest(), "");
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(2));
    neighbour.command("a NOOP");
    assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
    drop(neighbour);
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(1));
    world.check();
}
