//! Nothing acknowledged is lost, whichever process dies when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use moxd_tests::{
    ADDRESS, Home, Imap, Instance, Smtp,
    mail::{assert_same, behind_prefix, message},
    process::eventually,
    smtp::Delivery,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const CLIENTS: u64 = 20;
const LENGTH: Duration = Duration::from_secs(60);
const KILLS: u32 = 30;
const SUPERVISOR: &str = "moxd";
const KILLED: [&str; 6] = ["mox-accountd", "mox-queued", "mox-smtpd", "mox-imapd", "mox-authd", SUPERVISOR];

/// One of so many kills is the supervisor's: all others die with it, and starting again takes its time.
const SUPERVISOR_EVERY: usize = 8;

/// Messages fetched at once, to be compared.
const FETCHED: usize = 50;

/// What a client knows of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    acknowledged: u32,
    /// Sent whole, and the reply never seen.
    unanswered: u32,
    /// Told to come again: it was not kept.
    deferred: u32,
}

/// Numbers that need no quality (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Small ones go into the database, large ones into files, and those over 1 MiB come in through spool files.
fn size_of(client: u64, number: u64) -> usize {
    match (client * 7 + number) % 200 {
        0 => 1_300_000,
        1..10 => 100_000,
        _ => 1000,
    }
}

fn token(client: u64, number: u64) -> String {
    format!("client{client}-message{number}")
}

fn sent_as(token: &str) -> Vec<u8> {
    let (client, number) = token.strip_prefix("client").unwrap().split_once("-message").unwrap();
    message(token, size_of(client.parse().unwrap(), number.parse().unwrap()))
}

/// Whether the instance is up. Its listeners stay bound while workers are restarted, so that clients have to wait for
/// nothing else.
#[derive(Default)]
struct Up {
    is_up: Mutex<bool>,
    changed: Condvar,
}

impl Up {
    fn set(&self, is_up: bool) {
        *self.is_up.lock().unwrap() = is_up;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let limit = Duration::from_secs(120);
        let (_up, waited) =
            self.changed.wait_timeout_while(self.is_up.lock().unwrap(), limit, |is_up| !*is_up).unwrap();
        assert!(!waited.timed_out(), "the instance did not come up again");
    }
}

/// Tells the killer that a client has ended, however it did.
struct Ending(mpsc::Sender<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Lets the clients end, also when the killer fails.
struct Stopping<'a>(&'a AtomicBool, &'a Up);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.set(true);
    }
}

/// Delivers until told to stop; each message until it is acknowledged.
fn deliver(address: SocketAddr, up: &Up, client: u64, stop: &AtomicBool) -> BTreeMap<String, Known> {
    let mut known = BTreeMap::<String, Known>::new();
    let mut connection: Option<Smtp> = None;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(smtp) = connection.as_mut() else {
            up.wait();
            connection = Smtp::connect(address).ok();
            continue;
        };
        let token = token(client, number);
        let outcome = smtp.deliver(ADDRESS, &sent_as(&token));
        let entry = known.entry(token).or_default();
        match outcome {
            Delivery::Acknowledged => {
                entry.acknowledged += 1;
                number += 1;
            }
            Delivery::Refused(reply) => {
                assert!((400..500).contains(&reply.code), "only for now: {reply:?}");
                entry.deferred += 1;
                connection = None;
            }
            Delivery::Unsent(_) => connection = None,
            Delivery::Unknown(_) => {
                entry.unanswered += 1;
                connection = None;
            }
        }
    }
    known
}

fn supervisor_of(instance: &Instance) -> i32 {
    i32::try_from(instance.status()["pid"].as_i64().unwrap()).unwrap()
}

/// Kills the supervisor and waits until everything died with it.
fn kill_supervisor(instance: Instance) -> Home {
    let (supervisor, workers) = (supervisor_of(&instance), instance.pids());
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    let home = instance.wait_for_death();
    for (name, pid) in workers {
        let gone = eventually(Duration::from_secs(10), || kill(Pid::from_raw(pid), None).is_err());
        assert!(gone, "{name} outlived the supervisor");
    }
    // A worker that was just being started has no name yet, and the listeners until it runs its own program.
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port + home.port_offset)).is_ok();
    let all_free = eventually(Duration::from_secs(10), || [25, 80, 143, 443, 993].into_iter().all(free));
    assert!(all_free, "somebody listens on after the death of the supervisor");
    home
}

/// Kills one process of a random kind every so often, until a client ends before its time; how many of each kind.
fn kill_at_random(
    mut instance: Instance,
    up: &Up,
    ended: &mpsc::Receiver<()>,
) -> (Instance, BTreeMap<&'static str, u32>) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let mut numbers = Numbers(u64::try_from(seed & u128::from(u64::MAX)).unwrap());
    let mut kills = BTreeMap::new();
    let (workers, started) = (KILLED.len() - 1, Instant::now());
    // On a slow machine the starts take most of the time: then it goes on for longer, up to twice.
    while started.elapsed() < LENGTH
        || (kills.values().sum::<u32>() < KILLS && started.elapsed() < 2 * LENGTH)
    {
        let pause = Duration::from_millis(u64::try_from(100 + numbers.below(700)).unwrap());
        match ended.recv_timeout(pause) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        let name = match numbers.below(SUPERVISOR_EVERY) {
            0 => SUPERVISOR,
            _ => KILLED[numbers.below(workers)],
        };
        if name == SUPERVISOR {
            up.set(false);
            instance = Instance::start_in(kill_supervisor(instance));
            up.set(true);
        } else {
            // Who is down at the moment is not there to be killed; the ids are asked for just before, so that none is
            // old.
            let found = instance.pids().into_iter().find(|(running, _)| running == name);
            if found.is_none_or(|(_, pid)| kill(Pid::from_raw(pid), Signal::SIGKILL).is_err()) {
                continue;
            }
        }
        *kills.entry(name).or_insert(0) += 1;
    }
    (instance, kills)
}

/// The token in a message's header.
fn subject(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(&message[..message.len().min(2048)]);
    text.split("Subject: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap().to_owned()
}

/// Looks into INBOX; how many messages are in it.
fn examine(instance: &Instance) -> (Imap, usize) {
    let mut imap = Imap::login(instance.imap()).unwrap();
    let responses = imap.command("EXAMINE INBOX").unwrap();
    let exists = responses
        .iter()
        .find_map(|response| response.text.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok());
    (imap, exists.expect("an EXISTS"))
}

/// How often each message is in INBOX.
fn counted(instance: &Instance) -> BTreeMap<String, u32> {
    let (mut imap, exists) = examine(instance);
    let mut found = BTreeMap::new();
    // Not the header alone: of a message that was filed unparsed none is known.
    for response in imap.command(&format!("FETCH 1:{exists} (BODY.PEEK[]<0.2048>)")).unwrap() {
        if let Some(start) = response.literals.first() {
            *found.entry(subject(start)).or_insert(0) += 1;
        }
    }
    found
}

/// Compares every octet of every message with what was sent.
fn compare_all(instance: &Instance) {
    let (mut imap, exists) = examine(instance);
    let mut compared = 0;
    for first in (1..=exists).step_by(FETCHED) {
        let last = exists.min(first + FETCHED - 1);
        let fetched = imap.command(&format!("FETCH {first}:{last} (BODY.PEEK[])")).unwrap();
        for stored in fetched.iter().filter_map(|response| response.literals.first()) {
            let sent = behind_prefix(stored);
            assert_same(sent, &sent_as(&subject(sent)));
            compared += 1;
        }
    }
    assert_eq!(compared, exists);
}

/// Attack class 39: work that is acknowledged survives the death of whoever did it, the supervisor's included.
#[test]
fn every_acknowledged_message_is_there_exactly_once_after_thirty_kills() {
    let instance = Instance::start();
    let address = instance.smtp();
    let (stop, up) = (AtomicBool::new(false), Up::default());
    up.set(true);
    let (ending, ended) = mpsc::channel();
    let (instance, known, kills) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (up, stop, ending) = (&up, &stop, Ending(ending.clone()));
                scope.spawn(move || {
                    let _ending = ending;
                    deliver(address, up, client, stop)
                })
            })
            .collect();
        let stopping = Stopping(&stop, &up);
        let (instance, kills) = kill_at_random(instance, &up, &ended);
        drop(stopping);
        let known: BTreeMap<_, _> =
            clients.into_iter().flat_map(|client| client.join().expect("a client failed")).collect();
        (instance, known, kills)
    });
    let sum = |figure: fn(&Known) -> u32| known.values().map(figure).sum::<u32>();
    let acknowledged = sum(|known| known.acknowledged);
    let (unanswered, deferred) = (sum(|known| known.unanswered), sum(|known| known.deferred));
    let spooled =
        known.iter().filter(|(token, known)| known.acknowledged > 0 && sent_as(token).len() > 1 << 20);
    let spooled = spooled.count();
    println!(
        "{kills:?}: {acknowledged} acknowledged, {spooled} of them large, {unanswered} unanswered, {deferred} deferred"
    );
    assert!(kills.values().sum::<u32>() >= KILLS, "{kills:?}");
    assert!(KILLED.iter().all(|name| kills.contains_key(name)), "{kills:?}");
    assert!(acknowledged > 100 && spooled > 1, "only {acknowledged} deliveries, {spooled} of them large");

    // What was acknowledged from the queue is delivered in its time; then whatever is wrong stays wrong.
    let mut wrong = Vec::new();
    let settled = eventually(Duration::from_secs(120), || {
        let found = counted(&instance);
        let is_wrong = |(token, known): (&String, &Known)| {
            let count = found.get(token).copied().unwrap_or(0);
            let fine = count >= known.acknowledged && count <= known.acknowledged + known.unanswered;
            (!fine).then(|| format!("{token}: {count} times, {known:?}"))
        };
        wrong = known.iter().filter_map(is_wrong).collect();
        wrong.is_empty() && found.keys().all(|token| known.contains_key(token))
    });
    assert!(settled, "after {kills:?}, of {acknowledged} messages {} are wrong: {wrong:#?}", wrong.len());
    compare_all(&instance);
    instance.finish();
}

/// The supervisor's death takes all with it, and the next start finds all that was acknowledged.
#[test]
fn what_was_acknowledged_survives_the_death_of_the_supervisor() {
    let mut home = Home::new();
    let mut sent = Vec::new();
    for round in 0..3 {
        let instance = Instance::start_in(home);
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        for number in 0..20 {
            let token = token(round, number);
            smtp.must_deliver(ADDRESS, &sent_as(&token));
            sent.push(token);
        }
        home = kill_supervisor(instance);
    }
    let instance = Instance::start_in(home);
    let found = counted(&instance);
    assert_eq!(found.len(), sent.len());
    assert!(sent.iter().all(|token| found.get(token) == Some(&1)), "{found:?}");
    compare_all(&instance);
    instance.finish();
}
