//! moxd's processes as the kernel accounts for them.

use std::{fmt, fs, io, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

use crate::failure::Failure;

/// The supervisor and its children.
#[derive(Debug, Clone)]
pub(crate) struct Processes(Vec<Process>);

/// One of them.
#[derive(Debug, Clone)]
struct Process {
    pid: u32,
    name: String,
    parent: u32,
    /// Of all its threads.
    used: u64,
    /// Of the children that it has buried.
    buried: u64,
}

impl Processes {
    /// moxd as a child of `parent`, and its own children.
    pub(crate) fn below(parent: u32) -> Result<Self, Failure> {
        let failed = |error| Failure::io("/proc", error);
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let pid = name.to_str().and_then(|name| name.parse().ok());
            // A process that has ended meanwhile is none of ours: ours are waited for by moxd, which counts them.
            all.extend(pid.and_then(Process::read));
        }
        let moxd: Vec<Process> = all
            .iter()
            .filter(|process| process.parent == parent && process.name == "moxd")
            .cloned()
            .collect();
        let Some(supervisor) = moxd.first().map(|process| process.pid) else {
            return Err(Failure::new("moxd has ended"));
        };
        let workers = all.into_iter().filter(|process| process.parent == supervisor);
        Ok(Self(moxd.into_iter().chain(workers).collect()))
    }

    /// Processor time of all of them, those that have ended too.
    pub(crate) fn processor_time(&self) -> Result<Duration, Failure> {
        let ticks: u64 = self.0.iter().map(|process| process.used + process.buried).sum();
        let a_second =
            sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
        let a_second = a_second.ok_or_else(|| Failure::new("the system does not say how long a tick is"))?;
        Ok(Duration::from_millis(ticks * 1000 / a_second))
    }
}

impl Process {
    /// `None`: it is gone.
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc(5): `pid (name) state ppid …`, utime to cstime being fields 14 to 17.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (front, rest) = stat.rsplit_once(") ")?;
        let (_, name) = front.split_once('(')?;
        let mut fields = rest.split(' ');
        let parent = fields.nth(1)?.parse().ok()?;
        let mut times = fields.skip(9).map(str::parse::<u64>);
        let mut next = || times.next()?.ok();
        let (user, system, children_user, children_system) = (next()?, next()?, next()?, next()?);
        Some(Self {
            pid,
            name: name.to_owned(),
            parent,
            used: user + system,
            buried: children_user + children_system,
        })
    }
}

/// Memory of all of them: what is shared counts in parts (PSS).
#[derive(Debug)]
pub(crate) struct Memory(Vec<(String, io::Result<Kilobytes>)>);

#[derive(Debug, Clone, Copy)]
struct Kilobytes {
    proportional: u64,
    private: u64,
}

impl Memory {
    pub(crate) fn of(processes: &Processes) -> Self {
        let memory = |process: &Process| {
            let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid))?;
            let of = |name: &str| -> u64 {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
            };
            Ok(Kilobytes { proportional: of("Pss:"), private: of("Private_Clean:") + of("Private_Dirty:") })
        };
        Self(processes.0.iter().map(|process| (process.name.clone(), memory(process))).collect())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "memory at rest      PSS KiB   private KiB")?;
        let mut total = 0;
        let mut unseen = false;
        for (name, memory) in &self.0 {
            match memory {
                Ok(memory) => {
                    total += memory.proportional;
                    writeln!(f, "{name:<16} {:>10} {:>13}", memory.proportional, memory.private)?;
                }
                // Workers are not dumpable: only root may look.
                Err(_) => {
                    unseen = true;
                    writeln!(f, "{name:<16} {:>10}", "root only")?;
                }
            }
        }
        if unseen { writeln!(f, "all: run as root") } else { writeln!(f, "{:<16} {total:>10}", "all") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_do_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 31 12 5 6 20 0 1 0 99 1 2";
        let process = Process::parse(42, stat).unwrap();
        assert_eq!((process.name.as_str(), process.parent), ("a) b (c", 7));
        assert_eq!((process.used, process.buried), (43, 11));
    }

    #[test]
    fn this_very_process_can_be_read() {
        let process = Process::read(std::process::id()).unwrap();
        assert_eq!(process.parent, std::os::unix::process::parent_id());
    }
}
