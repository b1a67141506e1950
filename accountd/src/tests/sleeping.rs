//! All sessions asleep, and each taken up again by the next process.

use std::io::{BufRead, BufReader};

use ipc_proto::control::{SessionFacts, Sleeper};

use super::{serving::facts, *};
use crate::Leaving;

/// A moment of silence is enough here.
fn brief() -> AccountdSettings {
    AccountdSettings { sessions: 10, hibernate_after_ms: 100, ..settings() }
}

/// A client, and the supervisor's handle of its session's end.
struct Client {
    stream: BufReader<UnixStream>,
    end: UnixStream,
    session: u64,
}

impl Client {
    fn log_in(world: &World, session: u64) -> Self {
        let (ours, end) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let theirs = end.try_clone().unwrap();
        world.account.take(Order::Session(facts(session)), vec![theirs.into()]).unwrap();
        Self { stream: BufReader::new(ours), end, session }
    }

    fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stream.read_line(&mut line).unwrap() > 0, "closed");
        line
    }

    fn until(&mut self, start: &str) -> String {
        let mut lines = String::new();
        loop {
            let line = self.line();
            lines.push_str(&line);
            if line.starts_with(start) {
                return lines;
            }
        }
    }

    fn idle(&mut self) {
        self.say("a SELECT INBOX\r\nb IDLE\r\n");
        self.until("+ idling");
    }

    fn wake(&self, world: &World, count: u32) {
        let sleeper = Sleeper { facts: facts(self.session), count };
        let fd = self.end.try_clone().unwrap();
        assert_eq!(world.account.take(Order::Resume(sleeper), vec![fd.into()]).unwrap(), Next::Continue);
    }
}

impl World {
    fn leaving(&self) -> Leaving {
        Leaving::new(self.account.activity(), Duration::from_secs(60), Duration::from_millis(100))
    }

    /// As in `main`, once the process has asked.
    fn leave(self, leaving: &Leaving) -> Vec<(SessionId, u32)> {
        assert!(leaving.is_allowed(true));
        assert!(self.account.put_to_sleep());
        leaving.go();
        self.account.close(Duration::ZERO).unwrap();
        let mut slept: Vec<_> = self.slept.try_iter().collect();
        slept.sort();
        assert_eq!(self.ended.try_iter().count(), 0, "none is over");
        slept
    }
}

fn asleep(sessions: impl IntoIterator<Item = u64>) -> AccountdSettings {
    AccountdSettings { asleep: sessions.into_iter().map(SessionId).collect(), ..brief() }
}

#[test]
fn all_sleep_when_the_last_one_rests_and_wake_in_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open_with(directory.path(), &brief());
    let leaving = world.leaving();
    let mut first = Client::log_in(&world, 1);
    let mut second = Client::log_in(&world, 2);
    first.idle();
    assert!(world.asked.recv_timeout(Duration::from_millis(300)).is_err(), "the other one is not in IDLE");
    second.idle();
    world.asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(world.leave(&leaving), [(SessionId(1), 1), (SessionId(2), 1)]);
    // Said to nobody: it stays in the stream.
    second.say("DONE\r\n");

    let world = World::open_with(directory.path(), &asleep([1, 2]));
    let leaving = world.leaving();
    assert_eq!(deliver(&world.queued(), 1, TEXT), AccountdToQueued::Filed);
    first.wake(&world, 1);
    second.wake(&world, 1);
    assert_eq!(first.line(), "* 1 EXISTS\r\n");
    first.until("* ");
    assert!(second.until("b OK").starts_with("* 1 EXISTS\r\n"));
    second.say("c IDLE\r\n");
    second.until("+ idling");
    world.asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(world.leave(&leaving), [(SessionId(1), 2), (SessionId(2), 2)]);

    let world = World::open_with(directory.path(), &asleep([1, 2]));
    first.wake(&world, 2);
    first.say("DONE\r\nd FETCH 1 (UID)\r\ne LOGOUT\r\n");
    assert_eq!(first.until("b OK"), "b OK IDLE completed\r\n");
    assert!(first.until("d OK").contains("UID 1"));
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(1));
    world.check();
}

/// Attack class 31: a row is good for one waking, at its own time, of a session that the supervisor still has.
#[test]
fn a_used_row_an_old_one_and_one_of_nobody_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open_with(directory.path(), &brief());
    let leaving = world.leaving();
    let mut clients: Vec<_> = (1..=4).map(|session| Client::log_in(&world, session)).collect();
    clients.iter_mut().for_each(Client::idle);
    world.asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(world.leave(&leaving).len(), 4);

    // The third is over, as far as the supervisor knows.
    let world = World::open_with(directory.path(), &asleep([1, 2, 4]));
    let gone = "* BYE [UNAVAILABLE] the session cannot go on, come back\r\n";
    clients[0].wake(&world, 1);
    clients[0].say("DONE\r\n");
    assert_eq!(clients[0].line(), "b OK IDLE completed\r\n");
    let (ours, end) = UnixStream::pair().unwrap();
    let mut replayed = Client { stream: BufReader::new(ours), end, session: 1 };
    replayed.wake(&world, 1);
    assert_eq!(replayed.line(), gone, "used");
    for (mut client, count, reason) in
        [(clients.remove(2), 1, "nobody's"), (clients.remove(1), 2, "of another time")]
    {
        client.wake(&world, count);
        assert_eq!(client.line(), gone, "{reason}");
    }
    let last = clients.pop().unwrap();
    let (ours, end) = UnixStream::pair().unwrap();
    let mut stranger = Client { stream: BufReader::new(ours), end, session: 99 };
    stranger.wake(&world, 1);
    assert_eq!(stranger.line(), gone, "never slept");
    last.wake(&world, 1);
    drop(last);
    drop(clients);
    until("all are over", || world.account.activity().is_idle() && world.account.sessions.is_empty());
    world.check();
}

#[test]
fn who_comes_at_the_last_moment_keeps_everybody_awake() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open_with(directory.path(), &brief());
    let leaving = world.leaving();
    let queued = world.queued();
    let mut client = Client::log_in(&world, 1);
    client.idle();
    world.asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(deliver(&queued, 1, TEXT), AccountdToQueued::Filed);
    assert_eq!(client.line(), "* 1 EXISTS\r\n");
    client.until("* ");
    assert!(!leaving.is_allowed(true), "a delivery came in between");
    world.asked.recv_timeout(PATIENCE).unwrap();
    assert!(leaving.is_allowed(true));
    // It came after the permission was looked at; its session cannot be told before it is decided.
    assert_eq!(deliver(&queued, 2, TEXT), AccountdToQueued::Filed);
    assert!(!world.account.put_to_sleep());
    leaving.stay();
    assert_eq!(client.line(), "* 2 EXISTS\r\n");
    client.say("DONE\r\nc LOGOUT\r\n");
    client.until("c OK");
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(1));
    assert_eq!(world.slept.try_iter().count(), 0);
    world.check();
}

#[test]
fn with_zero_nobody_sleeps() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open_with(directory.path(), &AccountdSettings { hibernate_after_ms: 0, ..brief() });
    let _leaving = Leaving::new(world.account.activity(), Duration::from_millis(10), Duration::ZERO);
    let mut client = Client::log_in(&world, 1);
    client.idle();
    assert!(world.asked.recv_timeout(Duration::from_millis(200)).is_err());
    client.say("DONE\r\nc LOGOUT\r\n");
    client.until("c OK");
    assert_eq!(world.ended.recv_timeout(PATIENCE).unwrap(), SessionId(1));
    world.check();
}

#[test]
fn orders_to_wake_others_end_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let other = SessionFacts { account: AccountId::new(8).unwrap(), ..facts(1) };
    let fd = || vec![OwnedFd::from(UnixStream::pair().unwrap().0)];
    for (order, fds) in [
        (Order::Resume(Sleeper { facts: other, count: 1 }), fd()),
        (Order::Resume(Sleeper { facts: facts(1), count: 1 }), Vec::new()),
        (Order::Waking(SessionId(1)), Vec::new()),
    ] {
        assert!(matches!(world.account.take(order, fds), Err(crate::AccountError::Order(_))));
    }
    world.check();
}
