//! What each of a process's descriptors is, and what each process is to have.

use std::{collections::BTreeMap, fs, ops::RangeInclusive, path::Path};

/// So many of each kind.
pub(crate) type Kinds = BTreeMap<String, usize>;

/// A kind, how many, and what for.
type Row = (&'static str, RangeInclusive<usize>, &'static str);

const ONE: RangeInclusive<usize> = 1..=1;
const TWO: RangeInclusive<usize> = 2..=2;

/// At rest, with one account's process running. What is not in it nobody has.
pub(crate) const EXPECTED: [(&str, &[Row]); 9] = [
    (
        "moxd",
        &[
            ("/dev/null", 3..=3, "stdin, stdout, and what workers get as theirs"),
            ("log", ONE, "stderr"),
            ("moxd.lock", ONE, "nobody else on this directory"),
            ("signals", ONE, "SIGTERM, SIGCHLD"),
            ("process", 8..=8, "each worker"),
            ("network namespace", ONE, "the empty one, for new workers"),
            ("program", 8..=8, "each role's, to be started again"),
            ("listener", 7..=7, "to be handed to a front that was started again"),
            ("control socket", ONE, "moxctl"),
            ("event set", ONE, "sessions that sleep"),
            (
                "recorder",
                4..=4,
                "where each front notes whom it works for; they have theirs mapped, and closed",
            ),
            ("datagrams", 8..=8, "each worker's log"),
            ("stream", 8..=8, "each worker's orders and events"),
        ],
    ),
    (
        "mox-keyd",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            ("stream", 6..=6, "orders, twice; a channel to each front"),
        ],
    ),
    (
        "mox-authd",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            (
                "stream",
                9..=9,
                "orders, twice; smtpd, submitd, imapd, webd, queued that asks, queued that is told, the account",
            ),
            ("event set", TWO, "the runtime's, twice"),
            ("event", ONE, "to wake the runtime"),
            ("directory/directory.sqlite", ONE, "its database"),
            ("directory/directory.sqlite-wal", ONE, "its database"),
            ("directory/directory.sqlite-shm", ONE, "its database"),
        ],
    ),
    (
        "mox-queued",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            (
                "stream",
                7..=7,
                "orders, twice; smtpd, submitd, authd that is asked, authd that tells, the account",
            ),
            ("event set", TWO, "the runtime's, twice"),
            ("event", ONE, "to wake the runtime"),
            ("queue/queue.sqlite", ONE, "its database"),
            ("queue/queue.sqlite-wal", ONE, "its database"),
        ],
    ),
    (
        "mox-smtpd",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            ("stream", 5..=5, "orders, twice; authd, queued, keyd"),
            ("event set", 6..=6, "of three runtimes: the connections', and two for handshakes"),
            ("event", 3..=3, "to wake them"),
            ("listener", TWO, "port 25, twice"),
        ],
    ),
    (
        "mox-submitd",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            ("stream", 5..=5, "orders, twice; authd, queued, keyd"),
            ("event set", 6..=6, "of three runtimes"),
            ("event", 3..=3, "to wake them"),
            ("listener", 4..=4, "465 and 587, twice"),
        ],
    ),
    (
        "mox-imapd",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            ("stream", 4..=4, "orders, twice; authd, keyd"),
            ("event set", 6..=6, "of three runtimes"),
            ("event", 3..=3, "to wake them"),
            ("listener", 4..=4, "143 and 993, twice"),
        ],
    ),
    (
        "mox-webd",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            ("stream", 4..=4, "orders, twice; authd, keyd"),
            ("event set", 6..=6, "of three runtimes"),
            ("event", 3..=3, "to wake them"),
            ("listener", 4..=4, "80 and 443, twice"),
        ],
    ),
    (
        "mox-accountd",
        &[
            ("/dev/null", TWO, "stdin, stdout"),
            ("datagrams", ONE, "log"),
            ("stream", 4..=4, "orders, twice; queued, authd"),
            ("accounts/1", ONE, "its directory, locked"),
            ("accounts/1/msg", ONE, "large messages"),
            ("accounts/1/account.state", ONE, "what was in hand"),
            ("accounts/1/account.sqlite", 2..=5, "the writer's, the checkpoints', and up to three readers'"),
            ("accounts/1/account.sqlite-wal", 2..=5, "the same"),
            ("accounts/1/account.sqlite-shm", ONE, "shared by all of them"),
            ("accounts/1/search.sqlite", 0..=2, "who searches, and who keeps the index while it works"),
            ("accounts/1/search.sqlite-wal", 0..=2, "the same"),
            ("accounts/1/search.sqlite-shm", 0..=1, "shared by both"),
        ],
    ),
];

/// What is not as expected, a line each.
pub(crate) fn differences(found: &BTreeMap<String, Kinds>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (process, kinds) in found {
        let Some((_, rows)) = EXPECTED.iter().find(|(name, _)| name == process) else {
            wrong.push(format!("{process} is not expected"));
            continue;
        };
        for (kind, count, why) in *rows {
            let has = kinds.get(*kind).copied().unwrap_or_default();
            if !count.contains(&has) {
                wrong.push(format!("{process} has {has} of {kind:?}, not {count:?}: {why}"));
            }
        }
        let surplus = kinds.iter().filter(|(kind, _)| !rows.iter().any(|(name, ..)| name == kind));
        wrong.extend(
            surplus.map(|(kind, count)| format!("{process} has {count} of {kind:?}, which is not expected")),
        );
    }
    let missing = EXPECTED.iter().filter(|(name, _)| !found.contains_key(*name));
    wrong.extend(missing.map(|(name, _)| format!("{name} does not run")));
    wrong
}

/// Sockets by what they are. Those of all processes are here: they were made in this network namespace.
#[derive(Debug)]
pub(crate) struct Sockets(BTreeMap<String, &'static str>);

impl Sockets {
    pub(crate) fn read() -> Self {
        let mut sockets = BTreeMap::new();
        for name in ["tcp", "tcp6"] {
            for line in lines(&format!("/proc/net/{name}")) {
                if let [_, _, _, state, _, _, _, _, _, inode, ..] = line.as_slice() {
                    let kind = if state == "0A" { "listener" } else { "client" };
                    sockets.insert(inode.clone(), kind);
                }
            }
        }
        for line in lines("/proc/net/unix") {
            if let [_, _, _, flags, kind, _, inode, ..] = line.as_slice() {
                // Only listening ones have the flag __SO_ACCEPTCON.
                let kind = match (kind.as_str(), flags.as_str()) {
                    ("0001", "00010000") => "control socket",
                    ("0001", _) => "stream",
                    _ => "datagrams",
                };
                sockets.insert(inode.clone(), kind);
            }
        }
        Self(sockets)
    }
}

fn lines(path: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// What a process holds. Files are named from `data` on.
pub(crate) fn kinds(pid: i32, data: &Path, sockets: &Sockets) -> Kinds {
    let mut kinds = Kinds::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").flatten() {
        // One that is closed meanwhile is none.
        if let Ok(target) = fs::read_link(entry.path()) {
            *kinds.entry(kind(&target, data, sockets)).or_default() += 1;
        }
    }
    kinds
}

fn kind(target: &Path, data: &Path, sockets: &Sockets) -> String {
    let text = target.to_string_lossy();
    if let Ok(below) = target.strip_prefix(data) {
        return below.to_string_lossy().into_owned();
    }
    let known = match text.as_ref() {
        "anon_inode:[eventfd]" => "event",
        "anon_inode:[eventpoll]" => "event set",
        "anon_inode:[pidfd]" => "process",
        "anon_inode:[signalfd]" => "signals",
        text if text.starts_with("net:[") => "network namespace",
        text if text.starts_with("pidfd:") => "process",
        text if text.starts_with("/memfd:recorder") => "recorder",
        text if text.ends_with("/stderr.log") => "log",
        text if text.rsplit('/').next().is_some_and(|name| name.starts_with("mox-")) => "program",
        text => match text.strip_prefix("socket:[").and_then(|text| text.strip_suffix(']')) {
            // Neither listening nor connected any more.
            Some(inode) => sockets.0.get(inode).copied().unwrap_or("closed socket"),
            None => return text.to_owned(),
        },
    };
    known.to_owned()
}
