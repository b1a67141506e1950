//! A bad neighbour does not matter: whatever thousands of strangers and two accounts do, somebody else's mail comes in and is
//! read at once, and no process takes more memory than its role may have.
//!
//! ```text
//!   crowd (one thread): idle, slow, flooding connections ──▶ smtpd, imapd, webd
//!   one account's sessions: SEARCH without end ──▶ its accountd
//!   another account's sessions: a large FETCH that nobody reads ──▶ its accountd, imapd
//!   the measured client: connects, delivers; connects, logs in, fetches ──▶ median
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod crowd;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crowd::{Crowd, Habit, Kind};
use moxd_tests::{
    ADDRESS, Home, Imap, Instance, PASSWORD, Smtp, client,
    mail::{assert_same, behind_prefix, message},
    process::{data, data_limit, eventually, fds, private},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Connections that do nothing, and that send an octet now and then.
const IDLE: usize = 5000;
const SLOW: usize = 500;
/// Rounds that are measured, each a delivery and a fetch.
const ROUNDS: usize = 200;
const MEDIAN: Duration = Duration::from_millis(100);

/// Patience is raised to where nobody is let go, so that all connections are there for as long as the test takes: the most
/// memory. All clients come from one address, as no crowd of the world does: localserve's `trust_loopback` exempts it from
/// the limits of each address, which have their own tests. Limits of each process are the configuration's defaults.
const PATIENCE: &str =
    "\n[limits]\nsmtp_command = \"10m\"\nimap_login = \"10m\"\ntls_handshake = \"10m\"\nwrite = \"10m\"\n";

/// What the configuration's defaults give each role (docs/config.md).
fn memory_limits() -> BTreeMap<&'static str, u64> {
    [
        ("mox-smtpd", 512),
        ("mox-submitd", 512),
        ("mox-imapd", 1024),
        ("mox-webd", 256),
        ("mox-queued", 256),
        ("mox-authd", 512),
        ("mox-keyd", 64),
        ("mox-accountd", 256),
    ]
    .map(|(name, mebibytes)| (name, mebibytes << 20))
    .into()
}

fn with_patience() -> Instance {
    let home = Instance::start().stop();
    let configuration = fs::read_to_string(home.configuration()).unwrap();
    fs::write(home.configuration(), configuration + PATIENCE).unwrap();
    Instance::start_in(home)
}

/// For clients of a TLS port of this instance.
fn trusting(server: std::net::SocketAddr, home: &Home) -> Arc<ClientConfig> {
    let file = home.path().join(format!("{}.pem", server.port()));
    client::save_certificate(server, &file);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(Path::new(&file)).unwrap()).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Every literal that RFC 9051 knows, wherever one may stand, without waiting to be asked for.
const LITERALS: &[u8] = b"a LOGIN {4294967295}\r\nb LOGIN {1048576+}\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    c LOGIN {4096+}\r\nyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\
    d AUTHENTICATE {10+}\r\nzzzzzzzzzz {10}\r\ne {3+}\r\nabc {0+}\r\n {0+}\r\n {0+}\r\n {0+}\r\n\r\n";
/// Small ones, each within the bounds: what costs most for its octets. No whole LOGIN: from one address those are limited,
/// which has its own tests.
const SMALL_LITERALS: &[u8] =
    b"a ID ({4+}\r\nname {3+}\r\nabc)\r\nb NOOP\r\nc LOGIN {3+}\r\nabc {3+}\r\nabc {0+}\r\n\r\nd NOOP {0+}\r\n\r\n";
/// Port 25 knows no literals; a line that never ends is what comes nearest.
const NO_LINE: &[u8] = &[b'x'; 16 * 1024];

fn crowd(instance: &Instance) -> Vec<Kind> {
    let (imaps, https) = (instance.imaps(), instance.https());
    let mail = trusting(imaps, instance.home());
    let web = trusting(https, instance.home());
    let smtp_words =
        b"EHLO neighbour.example\r\nNOOP\r\nRSET\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<mox@localhost>\r\n";
    let imap_words = b"a CAPABILITY\r\nb NOOP\r\nc ID NIL\r\n";
    let http_words = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a neighbour who has time\r\n";
    let (smtp, imap) = (instance.smtp(), instance.imap());
    let kind = |habit, server, tls, count| Kind { habit, server, tls, count };
    vec![
        kind(Habit::Idle, smtp, None, 1500),
        kind(Habit::Idle, imap, None, 1500),
        kind(Habit::Idle, imaps, Some(Arc::clone(&mail)), 1000),
        kind(Habit::Idle, https, Some(Arc::clone(&web)), 1000),
        kind(Habit::Slow(smtp_words), smtp, None, 100),
        kind(Habit::Slow(imap_words), imap, None, 100),
        kind(Habit::Slow(imap_words), imaps, Some(Arc::clone(&mail)), 50),
        kind(Habit::Slow(http_words), https, Some(Arc::clone(&web)), 50),
        kind(Habit::SlowHandshake, imaps, Some(mail), 100),
        kind(Habit::SlowHandshake, https, Some(web), 100),
        kind(Habit::Flood(LITERALS), imap, None, 20),
        kind(Habit::Flood(SMALL_LITERALS), imap, None, 20),
        kind(Habit::Flood(NO_LINE), smtp, None, 10),
    ]
}

/// Many clients that deliver into one account.
fn fill(instance: &Instance, account: &str, messages: usize, size: usize) {
    let to = format!("{account}@localhost");
    thread::scope(|scope| {
        for client in 0..10 {
            let to = &to;
            scope.spawn(move || {
                let mut smtp = Smtp::connect(instance.smtp()).unwrap();
                for number in 0..messages / 10 {
                    smtp.must_deliver(to, &message(&format!("{account}-{client}-{number}"), size));
                }
            });
        }
    });
}

/// The middle of all.
fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

/// Searches until told to stop; how often.
fn hammer(instance: &Instance, stop: &AtomicBool, searches: &AtomicU64) {
    let mut imap = Imap::login_as(instance.imap(), "hammer", PASSWORD).unwrap();
    imap.command("SELECT INBOX").unwrap();
    while !stop.load(Ordering::Relaxed) {
        let found = imap.command("UID SEARCH OR TEXT nobody-wrote-this BODY {4+}\r\nnor!").unwrap();
        assert_eq!(found[0].text.trim(), "* SEARCH");
        searches.fetch_add(1, Ordering::Relaxed);
    }
}

/// The most that each process was seen to have: what it asked for, and what is in memory.
#[derive(Debug, Default)]
struct Peaks(BTreeMap<(String, i32), (u64, u64)>);

impl Peaks {
    fn look(&mut self, pids: &[(String, i32)]) {
        for (name, pid) in pids {
            let peak = self.0.entry((name.clone(), *pid)).or_default();
            *peak = (peak.0.max(data(*pid)), peak.1.max(private(*pid)));
        }
    }
}

/// Attack classes 7, 14, 15 and 46: 5,000 idle connections, 500 slow ones, literals before login without end, an account
/// that searches without end and one that does not read what it fetches.
#[test]
fn somebody_elses_mail_comes_in_and_is_read_at_once_whatever_a_crowd_does() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= 8000, "the crowd needs 8000 open files, and the hard limit is {hard} (`ulimit -Hn`)");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();

    let instance = with_patience();
    for name in ["hammer", "sleeper"] {
        instance.add_account(name, PASSWORD);
    }
    fill(&instance, "hammer", 3000, 2000);
    fill(&instance, "sleeper", 60, 1 << 20);
    let kinds = crowd(&instance);
    let crowd = Crowd::gather(kinds);
    let figures = Arc::clone(&crowd.figures);
    let gathered = eventually(Duration::from_secs(120), || {
        figures.idle.load(Ordering::Relaxed) >= IDLE && figures.slow.load(Ordering::Relaxed) >= SLOW
    });
    assert!(gathered, "not all got in: {figures:?}");

    // Each session has answers of 60 MB waiting that nobody reads.
    let sleepers: Vec<_> = (0..5)
        .map(|_| {
            let mut imap = Imap::login_as(instance.imap(), "sleeper", PASSWORD).unwrap();
            imap.command("SELECT INBOX").unwrap();
            imap.send_only("UID FETCH 1:* (BODY.PEEK[])").unwrap();
            imap
        })
        .collect();
    let (stop, searches) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut peaks = Peaks::default();
    let (mut delivering, mut fetching) = (Vec::new(), Vec::new());
    let before = instance.pids();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| hammer(&instance, &stop, &searches));
        }
        // Told to stop also by a panic of what follows.
        let _stop = StopOnDrop(&stop);
        // The first is the one that starts the account's process.
        round(&instance, usize::MAX);
        let pids = instance.pids();
        for number in 0..ROUNDS {
            let (delivered, fetched) = round(&instance, number);
            delivering.push(delivered);
            fetching.push(fetched);
            peaks.look(&pids);
        }
    });
    let (idle, slow) = (figures.idle.load(Ordering::Relaxed), figures.slow.load(Ordering::Relaxed));
    let flooded = figures.flooded.load(Ordering::Relaxed);
    println!(
        "delivery: median {:?}, longest {:?}; fetch: median {:?}, longest {:?}; meanwhile {} searches and {flooded} octets \
         of floods; {figures:?}",
        median(&delivering),
        delivering.iter().max().unwrap(),
        median(&fetching),
        fetching.iter().max().unwrap(),
        searches.load(Ordering::Relaxed)
    );
    for ((name, pid), (asked, held)) in &peaks.0 {
        println!("{name}[{pid}]: {} KiB asked for, {} KiB in memory", asked >> 10, held >> 10);
    }

    // It was a crowd until the end, and in the processes, not only in the kernel's queues.
    assert!(idle >= IDLE * 9 / 10 && slow >= SLOW * 9 / 10, "the crowd went away: {figures:?}");
    for (front, connections) in [("mox-smtpd", 1600), ("mox-imapd", 2750), ("mox-webd", 1150)] {
        let (_, pid) = before.iter().find(|(name, _)| name == front).unwrap();
        let sockets = fds(*pid).get("socket").copied().unwrap_or_default();
        assert!(sockets >= connections * 9 / 10, "{front} has {sockets} sockets of {connections}");
    }
    assert!(
        flooded > 1 << 20 && searches.load(Ordering::Relaxed) > 3,
        "nobody was a bad neighbour: {figures:?}"
    );
    assert!(sleepers.iter().all(|imap| imap.has_unread().unwrap()), "a session without a reader has ended");
    // And it did not matter.
    assert!(median(&delivering) < MEDIAN, "delivery: {delivering:?}");
    assert!(median(&fetching) < MEDIAN, "fetch: {fetching:?}");
    let limits = memory_limits();
    for ((name, pid), (asked, held)) in &peaks.0 {
        let limit = limits[name.as_str()];
        assert_eq!(data_limit(*pid), limit, "{name}: another limit is in force");
        assert!(asked <= &limit && held <= &limit, "{name}: {asked} octets of {limit}, {held} in memory");
    }
    // Nobody died of it.
    let after = instance.pids();
    assert!(before.iter().all(|process| after.contains(process)), "before {before:?}, after {after:?}");
    drop(sleepers);
    crowd.go();
    instance.finish();
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A delivery and a fetch of it, each from connect to the last answer.
fn round(instance: &Instance, number: usize) -> (Duration, Duration) {
    let sent = message(&format!("round-{number}"), 1000);
    let started = Instant::now();
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    smtp.must_deliver(ADDRESS, &sent);
    assert_eq!(smtp.command("QUIT").unwrap().code, 221);
    let delivered = started.elapsed();

    let started = Instant::now();
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("SELECT INBOX").unwrap();
    let fetched = imap.command("FETCH * (FLAGS BODY.PEEK[])").unwrap();
    imap.command("LOGOUT").unwrap();
    let took = started.elapsed();
    assert_same(behind_prefix(&fetched[0].literals[0]), &sent);
    (delivered, took)
}
