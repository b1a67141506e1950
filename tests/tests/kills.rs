//! Nothing acknowledged is lost, whichever process dies when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use moxd_tests::{
    ADDRESS, Imap, Instance, Smtp,
    mail::{assert_same, behind_prefix, message},
    process::eventually,
    smtp::Delivery,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const CLIENTS: u64 = 20;
const KILLED: [&str; 5] = ["mox-accountd", "mox-queued", "mox-smtpd", "mox-imapd", "mox-authd"];

/// What a client knows of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    acknowledged: u32,
    /// Sent whole, and the reply never seen.
    unanswered: u32,
    /// Told to come again.
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

/// Small ones go into the database, large ones into files.
fn size_of(client: u64, number: u64) -> usize {
    if (client + number).is_multiple_of(10) { 100_000 } else { 1000 }
}

fn token(client: u64, number: u64) -> String {
    format!("client{client}-message{number}")
}

/// Delivers until told to stop; each message until it is acknowledged.
fn deliver(instance: &Instance, client: u64, stop: &AtomicBool) -> BTreeMap<String, Known> {
    let mut known = BTreeMap::<String, Known>::new();
    let mut connection: Option<Smtp> = None;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(smtp) = connection.as_mut() else {
            connection = Smtp::connect(instance.smtp()).ok();
            if connection.is_none() {
                thread::sleep(Duration::from_millis(50));
            }
            continue;
        };
        let token = token(client, number);
        let outcome = smtp.deliver(ADDRESS, &message(&token, size_of(client, number)));
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
                thread::sleep(Duration::from_millis(20));
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

/// Kills one process of a random kind every so often; says how many.
fn kill_at_random(instance: &Instance, length: Duration) -> u32 {
    let mut numbers = Numbers(0x006d_6f78);
    let (started, mut kills) = (Instant::now(), 0);
    while started.elapsed() < length {
        let name = KILLED[numbers.below(KILLED.len())];
        // Who is down at the moment is not there to be killed; the ids are asked for just before, so that none is old.
        if let Some((_, pid)) = instance.pids().into_iter().find(|(running, _)| running == name)
            && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
        {
            kills += 1;
        }
        thread::sleep(Duration::from_millis(u64::try_from(200 + numbers.below(400)).unwrap()));
    }
    kills
}

/// How often each message is in INBOX, every one compared with what was sent.
fn stored(instance: &Instance) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for stored in Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap() {
        let sent = behind_prefix(&stored);
        let text = String::from_utf8_lossy(sent);
        let token =
            text.split("Subject: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap().to_owned();
        let (client, number) = token.strip_prefix("client").unwrap().split_once("-message").unwrap();
        let size = size_of(client.parse().unwrap(), number.parse().unwrap());
        assert_same(sent, &message(&token, size));
        *found.entry(token).or_insert(0) += 1;
    }
    found
}

/// Attack class 39: work that is acknowledged survives the death of whoever did it.
#[test]
fn every_acknowledged_message_is_there_exactly_once_after_thirty_kills() {
    let instance = Instance::start();
    let stop = AtomicBool::new(false);
    let (known, kills) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (instance, stop) = (&instance, &stop);
                scope.spawn(move || deliver(instance, client, stop))
            })
            .collect();
        let kills = kill_at_random(&instance, Duration::from_secs(25));
        stop.store(true, Ordering::Relaxed);
        let mut known = BTreeMap::new();
        for client in clients {
            known.extend(client.join().unwrap());
        }
        (known, kills)
    });
    assert!(kills >= 30, "only {kills} kills");
    let acknowledged = known.values().filter(|known| known.acknowledged > 0).count();
    assert!(acknowledged > 100, "only {acknowledged} deliveries between {kills} kills");

    // What was acknowledged from the queue is delivered in its time; then whatever is wrong stays wrong.
    let mut wrong = Vec::new();
    let settled = eventually(Duration::from_secs(60), || {
        let found = stored(&instance);
        wrong = known
            .iter()
            .filter_map(|(token, known)| {
                let count = found.get(token).copied().unwrap_or(0);
                let fine = count >= known.acknowledged && count <= known.acknowledged + known.unanswered;
                (!fine).then(|| format!("{token}: {count} times, {known:?}"))
            })
            .collect();
        wrong.is_empty()
    });
    assert!(
        settled,
        "after {kills} kills, of {acknowledged} acknowledged messages {} are wrong: {wrong:#?}",
        wrong.len()
    );

    let restarts: u64 = instance.status()["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["restarts"].as_u64().unwrap())
        .sum();
    assert!(restarts > 0, "nothing was started again");
    instance.finish();
}

/// The supervisor's death takes all with it, and the next start finds all that was acknowledged.
#[test]
fn what_was_acknowledged_survives_the_death_of_the_supervisor() {
    let mut home = moxd_tests::Home::new();
    let mut sent = Vec::new();
    for round in 0..3 {
        let instance = Instance::start_in(home);
        let supervisor = i32::try_from(instance.status()["pid"].as_i64().unwrap()).unwrap();
        let workers = instance.pids();
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        for number in 0..20 {
            let token = token(round, number);
            smtp.must_deliver(ADDRESS, &message(&token, size_of(round, number)));
            sent.push(token);
        }
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
        home = instance.wait_for_death();
        for (name, pid) in workers {
            let gone = eventually(Duration::from_secs(10), || kill(Pid::from_raw(pid), None).is_err());
            assert!(gone, "{name} outlived the supervisor");
        }
    }
    let instance = Instance::start_in(home);
    let found = stored(&instance);
    assert_eq!(found.len(), sent.len());
    assert!(sent.iter().all(|token| found.get(token) == Some(&1)), "{found:?}");
    instance.finish();
}
