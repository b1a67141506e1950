//! What waits for the disk, counted by the kernel: a trace of its own in tracefs, which costs the server nothing but
//! the counting. Not while times are measured.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    delivery::{self, Load},
    failure::Failure,
    instance::Instance,
    message::Octets,
    processes::Processes,
};

const TRACEFS: &str = "/sys/kernel/tracing";

/// A log that begins anew has a header of 32 octets, which waits for the disk once.
const HEADER: &str = "count == 32 && pos == 0";

/// Room for each processor's events, KiB.
const ROOM: &str = "16384";

/// How often a load waited for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Syncs {
    /// Before answers: commits, and files that commits name.
    pub(crate) answers: u64,
    /// For folding logs into databases.
    pub(crate) checkpoints: u64,
}

/// The rows. `None`: the kernel does not trace here.
pub(crate) fn measure(instance: &Instance, share: usize) -> Result<Option<Vec<(Load, Syncs)>>, Failure> {
    let mut rows = Vec::new();
    for (size, connections, messages) in [
        (Octets(1024), 1, 1_000),
        (Octets(1024), 10, 5_000),
        (Octets(1024), 50, 5_000),
        (Octets(50 * 1024), 10, 2_000),
    ] {
        let load = Load { size, connections, messages: messages / share };
        // The account's process is there before the trace begins, and its own first commits too.
        delivery::measure(instance, Load { messages: connections, ..load })?;
        let Some(trace) = Trace::start(&instance.processes()?) else { return Ok(None) };
        delivery::measure(instance, load)?;
        // The one that finds the account awake counts.
        let load = Load { messages: load.messages + 1, ..load };
        rows.push((load, trace.syncs(&instance.processes()?)?));
    }
    Ok(Some(rows))
}

pub(crate) fn print(rows: &[(Load, Syncs)]) {
    crate::line(format_args!("\nfsyncs     connections  a message  checkpoints' a message"));
    for (load, syncs) in rows {
        crate::line(format_args!(
            "{:<10} {:>11} {:>10.2} {:>23.3}",
            load.size,
            load.connections,
            load.share(syncs.answers),
            load.share(syncs.checkpoints)
        ));
    }
}

/// A trace of some processes and all their threads; gone when dropped.
struct Trace(PathBuf);

impl Trace {
    fn start(processes: &Processes) -> Option<Self> {
        let instances = Path::new(TRACEFS).join("instances");
        if !instances.is_dir() {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tracefs", "none", TRACEFS]).stderr(Stdio::null());
            mount.status().ok().filter(std::process::ExitStatus::success)?;
        }
        let trace = Self(instances.join(format!("moxd-bench-{}", std::process::id())));
        fs::create_dir(&trace.0).ok()?;
        let threads: Vec<String> = threads(processes).map(|(thread, _)| thread.to_string()).collect();
        for (file, text) in [
            ("tracing_on", "0"),
            ("buffer_size_kb", ROOM),
            ("set_event_pid", threads.join(" ").as_str()),
            ("options/event-fork", "1"),
            ("events/syscalls/sys_enter_fsync/enable", "1"),
            ("events/syscalls/sys_enter_fdatasync/enable", "1"),
            ("events/syscalls/sys_enter_pwrite64/filter", HEADER),
            ("events/syscalls/sys_enter_pwrite64/enable", "1"),
            ("tracing_on", "1"),
        ] {
            fs::write(trace.0.join(file), text).ok()?;
        }
        Some(trace)
    }

    fn syncs(&self, processes: &Processes) -> Result<Syncs, Failure> {
        let path = self.0.join("trace");
        let failed = |error| Failure::io(path.display().to_string(), error);
        fs::write(self.0.join("tracing_on"), "0").map_err(failed)?;
        let mut events = Vec::new();
        for line in BufReader::new(File::open(&path).map_err(failed)?).lines() {
            events.extend(Event::parse(&line.map_err(failed)?));
        }
        let owners: HashMap<u32, u32> = threads(processes).collect();
        Ok(count(&events, |event| {
            let process = owners.get(&event.thread)?;
            fs::read_link(format!("/proc/{process}/fd/{}", event.fd)).ok()
        }))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Every thread, and whose it is.
fn threads(processes: &Processes) -> impl Iterator<Item = (u32, u32)> {
    processes.pids().flat_map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.filter_map(move |task| Some((task.file_name().to_str()?.parse().ok()?, pid)))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    thread: u32,
    fd: u32,
    call: Call,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Sync,
    Header,
}

impl Event {
    /// `   store-writer-27835   [001] ..... 12572.780442: sys_fdatasync(fd: 7)`, numbers in hexadecimal.
    fn parse(line: &str) -> Option<Self> {
        let (task, rest) = line.split_once(" [")?;
        let (_, thread) = task.trim_end().rsplit_once('-')?;
        let (_, call) = rest.split_once(": sys_")?;
        let (name, arguments) = call.split_once("(fd: ")?;
        let (fd, _) = arguments.split_once([',', ')'])?;
        let call = match name {
            "fsync" | "fdatasync" => Call::Sync,
            "pwrite64" => Call::Header,
            _ => return None,
        };
        Some(Self {
            thread: thread.parse().ok()?,
            fd: u32::from_str_radix(fd.trim_start_matches("0x"), 16).ok()?,
            call,
        })
    }
}

/// A checkpoint syncs the log, then the database; the log that begins anew syncs its header. A thread that is gone
/// folded in a log.
fn count(events: &[Event], file: impl Fn(&Event) -> Option<PathBuf>) -> Syncs {
    let mut syncs = Syncs::default();
    // Of each thread: whether its last sync was a log's and counted for answers, and whether a header waits.
    let mut last: HashMap<u32, (bool, bool)> = HashMap::new();
    for event in events {
        let (logs, header) = last.entry(event.thread).or_default();
        match (event.call, file(event)) {
            (Call::Header, _) => *header = true,
            (Call::Sync, None) => syncs.checkpoints += 1,
            (Call::Sync, Some(_)) if std::mem::take(header) => syncs.checkpoints += 1,
            (Call::Sync, Some(path)) => {
                let name = path.to_string_lossy();
                if name.ends_with("-wal") {
                    syncs.answers += 1;
                    *logs = true;
                } else if name.ends_with(".sqlite") {
                    if std::mem::take(logs) {
                        syncs.answers = syncs.answers.saturating_sub(1);
                        syncs.checkpoints += 1;
                    }
                    syncs.checkpoints += 1;
                } else {
                    syncs.answers += 1;
                }
            }
        }
    }
    syncs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_trace_are_understood() {
        for (line, expected) in [
            (
                "    store-writer-27835   [001] ..... 12572.780442: sys_fdatasync(fd: 7)",
                Some(Event { thread: 27835, fd: 7, call: Call::Sync }),
            ),
            (
                " large message-9 [000] ..... 1.5: sys_fsync(fd: 0xc)",
                Some(Event { thread: 9, fd: 12, call: Call::Sync }),
            ),
            (
                " store-writer-7 [000] ..... 1.5: sys_pwrite64(fd: 7, buf: 0x7f00, count: 20, pos: 0)",
                Some(Event { thread: 7, fd: 7, call: Call::Header }),
            ),
            ("# tracer: nop", None),
        ] {
            assert_eq!(Event::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn checkpoints_are_counted_apart() {
        let sync = |thread, fd| Event { thread, fd, call: Call::Sync };
        let header = |thread, fd| Event { thread, fd, call: Call::Header };
        let file = |event: &Event| match event.fd {
            1 => Some("/a/account.sqlite-wal".into()),
            2 => Some("/a/account.sqlite".into()),
            3 => Some("/a/msg/1".into()),
            _ => None,
        };
        for (events, answers, checkpoints, reason) in [
            (vec![sync(1, 1), sync(1, 1)], 2, 0, "two commits"),
            (vec![sync(1, 1), sync(1, 1), sync(1, 2)], 1, 2, "a commit, then log and database"),
            (vec![header(1, 1), sync(1, 1), sync(1, 1)], 1, 1, "a new header, then a commit"),
            (vec![sync(1, 1), sync(2, 9), sync(1, 1)], 2, 1, "a thread that is gone, between two commits"),
            (vec![sync(4, 3), sync(1, 1)], 2, 0, "a file, then the commit that names it"),
        ] {
            assert_eq!(count(&events, file), Syncs { answers, checkpoints }, "{reason}");
        }
    }
}
