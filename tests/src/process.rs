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
