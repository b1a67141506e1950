//! `moxctl account import` of a large mbox: rate, and the memory of each process that has a part in it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::{
    aims::{Aims, Bound},
    failure::Failure,
    instance::{ACCOUNT, Instance, Programs},
};

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);

/// Imports so many messages of 4 KB, and once more, when all are known.
pub(crate) fn measure(
    instance: &Instance,
    programs: &Programs,
    place: &Path,
    messages: usize,
    aims: &mut Aims,
) -> Result<(), Failure> {
    let file = place.join("import.mbox");
    write(&file, messages).map_err(|error| Failure::io(file.display().to_string(), error))?;
    crate::line(format_args!("\nimport of {messages} messages of 4 KB from an mbox"));
    let mut peaks = BTreeMap::new();
    for (what, aim) in [("new", Some(3000.0)), ("all known", None)] {
        let start = Instant::now();
        let mut moxctl = instance.command(programs);
        moxctl.args(["account", "import", "mbox", ACCOUNT]).arg(&file).arg("--skip-duplicates");
        let child = moxctl.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut child = child.map_err(|error| Failure::io("moxctl", error))?;
        let status = loop {
            let ended = child.try_wait().map_err(|error| Failure::io("moxctl", error))?;
            if let Some(status) = ended {
                break status;
            }
            let servers = instance.processes()?.pids().collect::<Vec<_>>();
            for pid in servers.into_iter().chain([child.id()]).chain(children(child.id())) {
                if let Some((name, peak)) = peak(pid) {
                    let known = peaks.entry(name).or_insert(0_u64);
                    *known = peak.max(*known);
                }
            }
            thread::sleep(LOOK);
        };
        if !status.success() {
            return Err(Failure::new(format!("the import ended with {status}")));
        }
        let rate = messages as f64 / start.elapsed().as_secs_f64();
        crate::line(format_args!("  {what}: {rate:.0} messages a second"));
        if let Some(aim) = aim {
            aims.add("import of 4 KB", Bound::AtLeast(aim), "/s", rate);
        }
    }
    for name in ["moxctl", "moxctl-reader", "mox-accountd"] {
        let peak = peaks.get(name).copied().unwrap_or_default() as f64 / 1024.0;
        crate::line(format_args!("  {name}: {peak:.0} MiB at most"));
        aims.add(format!("memory of {name} in an import of {messages}"), Bound::AtMost(95.0), "MiB", peak);
    }
    fs::remove_file(&file).map_err(|error| Failure::io(file.display().to_string(), error))
}

fn write(file: &Path, messages: usize) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(file)?);
    for number in 0..messages {
        write!(
            file,
            "From a@example.org Sat Nov 28 16:25:28 2026\nStatus: RO\nMessage-Id: <{number}@example.org>\n\
             From: <a@example.org>\nTo: <mox@localhost>\nSubject: message {number}\n\n"
        )?;
        for line in 0..50 {
            writeln!(file, "{number} {line} and so on, as it is said in mail, which is text of many lines.")?;
        }
        writeln!(file)?;
    }
    file.flush()
}

fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A process's name and what it used of memory at most, KiB; `None`: it is gone.
fn peak(pid: u32) -> Option<(String, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let peak = field("VmHWM:")?.split_whitespace().next()?.parse().ok()?;
    Some((field("Name:")?.to_owned(), peak))
}
