//! What `/proc` says of a process.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

/// What a process's fds are, each kind with its count: sockets and other nameless ones by their kind, files by path.
#[must_use]
pub fn fds(pid: i32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").flatten() {
        // One that is closed meanwhile is none.
        if let Ok(target) = fs::read_link(entry.path()) {
            let target = target.to_string_lossy().into_owned();
            let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind).to_owned();
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    kinds
}

/// The effective user of a process.
#[must_use]
pub fn uid(pid: i32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("Uid:")).expect("a Uid line");
    line.split_whitespace().nth(2).and_then(|uid| uid.parse().ok()).expect("a number")
}

/// The private memory that a process has asked for and holds, in octets: what `limits.memory` limits (RLIMIT_DATA).
#[must_use]
pub fn data(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    kilobytes(&status, "VmData:")
}

/// Of that, what is in memory.
#[must_use]
pub fn private(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process runs");
    kilobytes(&rollup, "Private_Dirty:") + kilobytes(&rollup, "Private_Clean:")
}

/// The limit of [`data`] that is in force.
#[must_use]
pub fn data_limit(pid: i32) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the process runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size")).expect("a limit of data");
    line.split_whitespace().next().and_then(|limit| limit.parse().ok()).expect("a number")
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    let number = line.trim().strip_suffix(" kB").and_then(|number| number.trim().parse::<u64>().ok());
    number.expect("kilobytes") << 10
}

/// Looks until it is so, for at most `limit`; says whether it came.
pub fn eventually(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}
