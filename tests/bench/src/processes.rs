//! A server's processes as the kernel accounts for them.

use std::{cmp::Reverse, collections::BTreeMap, fmt, fs, io, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

use crate::failure::Failure;

/// The first process of a server and its children.
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
        let all = all()?;
        let moxd = all.iter().find(|process| process.parent == parent && process.name == "moxd");
        match moxd.map(|process| process.pid) {
            Some(supervisor) => Ok(Self::family(all, supervisor)),
            None => Err(Failure::new("moxd has ended")),
        }
    }

    /// `first` and its children.
    pub(crate) fn of(first: u32) -> Result<Self, Failure> {
        Ok(Self::family(all()?, first))
    }

    fn family(all: Vec<Process>, first: u32) -> Self {
        let (first, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|process| process.pid == first);
        let pids: Vec<u32> = first.iter().map(|process| process.pid).collect();
        let children = others.into_iter().filter(|process| pids.contains(&process.parent));
        Self(first.into_iter().chain(children).collect())
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|process| process.pid)
    }

    /// Whether there is one with this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|process| process.name == name)
    }

    /// Memory that is no file's of the processes with this name, KiB.
    pub(crate) fn anonymous(&self, name: &str) -> Result<u64, Failure> {
        Ok(self.memory(name)?.iter().map(|memory| memory.anonymous).sum())
    }

    /// Private memory of that one of them that has most, KiB.
    pub(crate) fn most_private(&self, name: &str) -> Result<u64, Failure> {
        Ok(self.memory(name)?.iter().map(|memory| memory.private).max().unwrap_or_default())
    }

    fn memory(&self, name: &str) -> Result<Vec<Kilobytes>, Failure> {
        let named = self.0.iter().filter(|process| process.name == name);
        let memory = named.map(Process::memory).collect::<io::Result<_>>();
        memory.map_err(|error| Failure::io(format!("memory of {name}; run as root"), error))
    }

    /// Which process it was, over all rows of a part: processor time by name, those that have ended left out.
    pub(crate) fn spent(&self) -> Result<String, Failure> {
        let mut names = BTreeMap::<&str, u64>::new();
        for process in &self.0 {
            *names.entry(&process.name).or_default() += process.used;
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|(_, used)| Reverse(*used));
        let each =
            names.into_iter().map(|(name, used)| Ok(format!("{name} {:.1} s", ticks(used)?.as_secs_f64())));
        Ok(format!("CPU of all rows: {}", each.collect::<Result<Vec<_>, Failure>>()?.join(", ")))
    }

    /// Processor time of all of them, those that have ended too.
    pub(crate) fn processor_time(&self) -> Result<Duration, Failure> {
        ticks(self.0.iter().map(|process| process.used + process.buried).sum())
    }
}

fn all() -> Result<Vec<Process>, Failure> {
    let failed = |error| Failure::io("/proc", error);
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        // A process that has ended meanwhile is none of ours: ours are waited for by the first one, which counts them.
        all.extend(pid.and_then(Process::read));
    }
    Ok(all)
}

fn ticks(ticks: u64) -> Result<Duration, Failure> {
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    let a_second = a_second.ok_or_else(|| Failure::new("the system does not say how long a tick is"))?;
    Ok(Duration::from_millis(ticks * 1000 / a_second))
}

impl Process {
    /// `None`: it is gone.
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn memory(&self) -> io::Result<Kilobytes> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let of = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
        };
        Ok(Kilobytes {
            proportional: of("Pss:"),
            private: of("Private_Clean:") + of("Private_Dirty:"),
            anonymous: of("Anonymous:") + of("Swap:"),
        })
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

/// Memory, 1024 octets each.
#[derive(Debug, Clone, Copy)]
struct Kilobytes {
    /// PSS.
    proportional: u64,
    /// Nobody else's.
    private: u64,
    /// No file's, swapped out or not.
    anonymous: u64,
}

impl Memory {
    pub(crate) fn of(processes: &Processes) -> Self {
        Self(processes.0.iter().map(|process| (process.name.clone(), process.memory())).collect())
    }

    /// PSS of all, if all may be looked at.
    pub(crate) fn proportional(&self) -> Option<u64> {
        self.0.iter().map(|(_, memory)| memory.as_ref().ok().map(|memory| memory.proportional)).sum()
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
