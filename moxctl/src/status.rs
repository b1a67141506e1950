//! `moxctl status`: what runs, as whom, and what locks it in.

use std::fmt::Write;

use ipc_proto::{
    admin::{ListenerStatus, ProcessStatus, Status},
    control::{Layers, Role},
};
use serde::Serialize;

use crate::{
    control::Instance,
    failure::Failure,
    output::{Output, printable},
    table::Table,
};

pub(crate) fn run(instance: &Instance, output: &Output) -> Result<(), Failure> {
    output.show(&Shown::from(instance.status()?), Shown::text);
    Ok(())
}

/// The state of an instance as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    version: String,
    ready: bool,
    pid: u32,
    uid: u32,
    uptime_seconds: u64,
    directory: String,
    notes: Vec<String>,
    listeners: Vec<Listener>,
    processes: Vec<Process>,
    /// Account processes beyond those listed.
    more_accounts: u32,
}

#[derive(Debug, Serialize)]
struct Listener {
    name: String,
    protocol: String,
    address: String,
    process: &'static str,
}

#[derive(Debug, Serialize)]
struct Process {
    process: &'static str,
    account: Option<u32>,
    pid: Option<u32>,
    uid: u32,
    uptime_seconds: u64,
    restarts: u32,
    violations: u32,
    /// `null`: not reported yet.
    layers: Option<Locks>,
}

/// Names of layers.
#[derive(Debug, Serialize)]
struct Locks {
    in_force: Vec<&'static str>,
    missing: Vec<&'static str>,
    landlock_abi: u8,
    /// Digests of the filter and of Landlock's rules: the same in every process of a role and release.
    filter: String,
    rules: String,
}

impl Shown {
    fn text(&self) -> String {
        let state = if self.ready { "ready" } else { "starting" };
        let mut text = format!(
            "moxd {}, {state}, up {}: pid {}, uid {}, {}\n",
            printable(&self.version),
            span(self.uptime_seconds),
            self.pid,
            self.uid,
            printable(&self.directory)
        );
        for note in &self.notes {
            let _ = writeln!(text, "note: {}", printable(note));
        }
        let mut listeners = Table::new(&["LISTENER", "PROTOCOL", "ADDRESS", "PROCESS"], "no listeners");
        for listener in &self.listeners {
            let Listener { name, protocol, address, process } = listener;
            listeners.row([name.clone(), protocol.clone(), address.clone(), (*process).to_owned()]);
        }
        let headings = ["PROCESS", "ACCOUNT", "PID", "UID", "UP", "RESTARTS", "VIOLATIONS", "LAYERS"];
        let mut processes = Table::new(&headings, "no processes");
        for process in &self.processes {
            processes.row([
                process.process.to_owned(),
                process.account.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                process.pid.map_or_else(|| "down".to_owned(), |pid| pid.to_string()),
                process.uid.to_string(),
                span(process.uptime_seconds),
                process.restarts.to_string(),
                process.violations.to_string(),
                process.layers.as_ref().map_or_else(|| "not yet".to_owned(), Locks::text),
            ]);
        }
        let _ = write!(text, "\n{listeners}\n{processes}");
        if self.more_accounts > 0 {
            let _ = writeln!(text, "and {} more accounts", self.more_accounts);
        }
        let names: Vec<_> = named(&Layers::default()).map(|(name, _)| name).collect();
        let _ = writeln!(text, "\nall layers: {}", names.join(", "));
        text
    }
}

impl Locks {
    /// What is missing is what matters.
    fn text(&self) -> String {
        match (self.missing.as_slice(), self.in_force.as_slice()) {
            ([], _) => "all".to_owned(),
            (_, []) => "NONE".to_owned(),
            (missing, _) => format!("all but {}", missing.join(", ")),
        }
    }
}

impl From<Layers> for Locks {
    fn from(layers: Layers) -> Self {
        let with = |wanted| {
            named(&layers)
                .filter(move |(_, there)| *there == wanted)
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        Self {
            in_force: with(true),
            missing: with(false),
            landlock_abi: layers.landlock_abi,
            filter: format!("{:016x}", layers.filter),
            rules: format!("{:016x}", layers.rules),
        }
    }
}

/// Every layer, by the name that `[sandbox] accept_missing` has for it.
fn named(layers: &Layers) -> impl Iterator<Item = (&'static str, bool)> + use<> {
    let Layers {
        own_user,
        no_capabilities,
        empty_network,
        no_new_privs,
        not_dumpable,
        limits,
        seccomp,
        landlock_files,
        landlock_network,
        landlock_scopes,
        landlock_abi: _,
        filter: _,
        rules: _,
    } = *layers;
    [
        ("own_user", own_user),
        ("no_capabilities", no_capabilities),
        ("empty_network", empty_network),
        ("no_new_privs", no_new_privs),
        ("not_dumpable", not_dumpable),
        ("limits", limits),
        ("seccomp", seccomp),
        ("landlock_files", landlock_files),
        ("landlock_network", landlock_network),
        ("landlock_scopes", landlock_scopes),
    ]
    .into_iter()
}

impl From<Status> for Shown {
    fn from(status: Status) -> Self {
        Self {
            version: status.version,
            ready: status.ready,
            pid: status.pid,
            uid: status.uid,
            uptime_seconds: status.uptime,
            directory: status.directory,
            notes: status.notes,
            listeners: status.listeners.into_iter().map(Listener::from).collect(),
            processes: status.processes.into_iter().map(Process::from).collect(),
            more_accounts: status.more_accounts,
        }
    }
}

impl From<ListenerStatus> for Listener {
    fn from(listener: ListenerStatus) -> Self {
        Self {
            name: listener.name,
            protocol: listener.protocol,
            address: listener.address.to_string(),
            process: Role::binary(listener.role),
        }
    }
}

impl From<ProcessStatus> for Process {
    fn from(process: ProcessStatus) -> Self {
        Self {
            process: process.role.binary(),
            account: process.account.map(ipc_proto::AccountId::number),
            pid: process.pid,
            uid: process.uid,
            uptime_seconds: process.uptime,
            restarts: process.restarts,
            violations: process.violations,
            layers: process.layers.map(Locks::from),
        }
    }
}

/// The two largest units: `3d 4h`, `5m 12s`, `8s`.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(all: bool) -> Layers {
        Layers {
            own_user: all,
            no_capabilities: all,
            empty_network: all,
            no_new_privs: true,
            not_dumpable: true,
            limits: true,
            seccomp: true,
            landlock_files: true,
            landlock_network: true,
            landlock_scopes: true,
            landlock_abi: 7,
            filter: 0x0123_4567_89ab_cdef,
            rules: 7,
        }
    }

    fn process(role: Role, account: Option<u32>, pid: Option<u32>, layers: Option<Layers>) -> ProcessStatus {
        ProcessStatus {
            role,
            account: account.and_then(ipc_proto::AccountId::new),
            pid,
            uid: 1_900_000_001,
            layers,
            uptime: 75,
            restarts: 2,
            violations: 0,
        }
    }

    fn status() -> Shown {
        Shown::from(Status {
            version: "0.1.0".into(),
            pid: 7,
            uid: 0,
            uptime: 100_000,
            ready: true,
            directory: "/var/lib/moxd".into(),
            notes: vec!["the user has no namespace".into()],
            listeners: vec![ListenerStatus {
                name: "smtp".into(),
                address: ([127, 0, 0, 1], 1025).into(),
                protocol: "smtp".into(),
                role: Role::Smtpd,
            }],
            processes: vec![
                process(Role::Keyd, None, Some(11), Some(layers(true))),
                process(Role::Smtpd, None, None, None),
                process(Role::Accountd, Some(1), Some(13), Some(layers(false))),
            ],
            more_accounts: 4,
        })
    }

    #[test]
    fn the_table_shows_every_process_and_what_does_not_lock_it_in() {
        assert_eq!(
            status().text(),
            "moxd 0.1.0, ready, up 1d 3h: pid 7, uid 0, /var/lib/moxd\n\
             note: the user has no namespace\n\
             \n\
             LISTENER  PROTOCOL  ADDRESS         PROCESS\n\
             smtp      smtp      127.0.0.1:1025  mox-smtpd\n\
             \n\
             PROCESS       ACCOUNT  PID   UID         UP      RESTARTS  VIOLATIONS  LAYERS\n\
             mox-keyd      -        11    1900000001  1m 15s  2         0           all\n\
             mox-smtpd     -        down  1900000001  1m 15s  2         0           not yet\n\
             mox-accountd  1        13    1900000001  1m 15s  2         0           all but own_user, no_capabilities, empty_network\n\
             and 4 more accounts\n\
             \n\
             all layers: own_user, no_capabilities, empty_network, no_new_privs, not_dumpable, limits, seccomp, \
             landlock_files, landlock_network, landlock_scopes\n"
        );
    }

    #[test]
    fn json_names_every_layer() {
        let json = serde_json::to_value(status()).unwrap();
        assert_eq!(json["processes"][2]["layers"]["missing"][0], "own_user");
        assert_eq!(json["processes"][0]["layers"]["in_force"].as_array().unwrap().len(), 10);
        assert_eq!(json["processes"][0]["layers"]["filter"], "0123456789abcdef");
        assert_eq!(json["processes"][0]["layers"]["rules"], "0000000000000007");
        assert!(json["processes"][1]["pid"].is_null() && json["processes"][1]["layers"].is_null());
        assert_eq!(json["listeners"][0]["address"], "127.0.0.1:1025");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, shown) in [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3600, "1h 0m"), (90_061, "1d 1h")] {
            assert_eq!(span(seconds), shown);
        }
    }
}
