//! The configuration read again: what can change while moxd runs is changed, the rest is named, and no connection ends.

use std::net::SocketAddr;

use ipc_proto::{
    admin::Reloaded,
    control::{Order, Role},
};
use sd_notify::NotifyState;

use crate::{
    config::{Config, Limits},
    fd_store,
    instance::Instance,
    listening::Listening,
    settings, sys,
};

/// Sorts the keys that differ. The compiler asks for every key of [`Limits`] to be in one of the lists.
macro_rules! compare_limits {
    ($old:expr, $new:expr, $found:expr, live: [$($live:ident),*], restart: [$($restart:ident),*]) => {{
        let Limits { $($live: _,)* $($restart: _,)* } = $old;
        $(if format!("{:?}", $old.$live) != format!("{:?}", $new.$live) {
            $found.changed.push(concat!("limits.", stringify!($live)).to_owned());
        })*
        $(if format!("{:?}", $old.$restart) != format!("{:?}", $new.$restart) {
            $found.restart.push(concat!("limits.", stringify!($restart)).to_owned());
            $new.$restart = $old.$restart.clone();
        })*
    }};
}

/// What differs; `new` is left with the values that are in force from now on.
fn compare(old: &Config, new: &mut Config) -> Reloaded {
    let mut found = Reloaded { changed: Vec::new(), restart: Vec::new() };
    let differs =
        |old: &dyn std::fmt::Debug, new: &dyn std::fmt::Debug| format!("{old:?}") != format!("{new:?}");
    let mut at_start = |key: &str, differs: bool| {
        if differs {
            found.restart.push(key.to_owned());
        }
    };
    at_start("host.name", differs(&old.host.name, &new.host.name));
    at_start("host.data", old.host.data != new.host.data);
    at_start("host.control", old.host.control != new.host.control);
    at_start("host.trust_loopback", old.host.trust_loopback != new.host.trust_loopback);
    at_start("host.simulate_failures", old.host.simulate_failures != new.host.simulate_failures);
    at_start("host.certificate_names", old.host.certificate_names != new.host.certificate_names);
    at_start("users.base", old.users.base != new.users.base);
    at_start("sandbox.accept_missing", differs(&old.sandbox, &new.sandbox));
    new.host = old.host.clone();
    new.users = old.users.clone();
    new.sandbox = old.sandbox.clone();
    compare_limits!(
        &old.limits, new.limits, found,
        live: [
            account_processes, account_spawns, account_quiet, account_sessions, smtp_connections, imap_connections,
            submission_connections, submission_logins, submission_messages, submission_new_recipients, imap_logins, http_connections, direct_recipients, queue_retry, undelete_days, undelete_size, imap_idle, hibernate_after, hibernate_expiry, write, smtp_command, smtp_data,
            imap_login, stop, connection_rate, connections, login_failures_minute, login_failures_day
        ],
        restart: [
            message_size, smtp_memory, spool_files, tls_handshake, password_rounds, signatures, memory
        ]
    );
    if differs(&old.log.level, &new.log.level) {
        found.changed.push("log.level".to_owned());
    }
    if differs(&old.log.format, &new.log.format) {
        found.changed.push("log.format".to_owned());
    }
    found
}

impl Instance {
    /// By SIGHUP: nobody waits for the answer.
    pub(crate) fn reload_told(&mut self) {
        let now = NotifyState::monotonic_usec_now();
        if let Ok(now) = now {
            let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
        }
        // What there is to say is in the log.
        let _ = self.reload();
        if self.ready {
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
    }

    /// `Err`: one line; everything is as before.
    pub(crate) fn reload(&mut self) -> Result<Reloaded, String> {
        let result = self.reload_quietly();
        match &result {
            Ok(Reloaded { changed, restart }) if changed.is_empty() && restart.is_empty() => {
                self.log.own("INFO", "configuration read again: nothing changed");
            }
            Ok(Reloaded { changed, restart }) => {
                let mut line = "configuration read again".to_owned();
                if !changed.is_empty() {
                    line.push_str(&format!(": changed {}", changed.join(", ")));
                }
                if !restart.is_empty() {
                    line.push_str(&format!("; counts after the next start only: {}", restart.join(", ")));
                }
                self.log.own(if restart.is_empty() { "INFO" } else { "WARN" }, &line);
            }
            Err(line) => {
                self.log.own("ERROR", &format!("the configuration stays as it was: {line}"));
            }
        }
        result
    }

    fn reload_quietly(&mut self) -> Result<Reloaded, String> {
        let mut new = Config::read(&self.config_path).map_err(|error| error.to_string())?;
        let mut found = compare(&self.config, &mut new);
        let bound = self.bind_new(&new).map_err(|error| error.to_string())?;
        // From here on nothing fails.
        self.change_listeners(&new, bound, &mut found);
        self.config = new;
        self.log.set_format(self.config.log.format);
        self.raise_file_limits(&mut found);
        self.pass_settings();
        Ok(found)
    }

    /// Binds the addresses that are new, all of them or none.
    fn bind_new(&self, new: &Config) -> Result<Vec<Listening>, crate::start::StartError> {
        let mut bound = Vec::new();
        for (name, listener) in &new.listeners {
            for address in &listener.addresses {
                if !self.listeners.iter().any(|old| old.address == *address) {
                    bound.push(Listening::bind(name, listener, *address)?);
                }
            }
        }
        Ok(bound)
    }

    fn change_listeners(&mut self, new: &Config, bound: Vec<Listening>, found: &mut Reloaded) {
        let wanted = |address: SocketAddr| {
            new.listeners.iter().find(|(_, listener)| listener.addresses.contains(&address))
        };
        let mut hand_out = Vec::new();
        for mut old in std::mem::take(&mut self.listeners) {
            let change = match wanted(old.address) {
                Some((name, listener)) if *name == old.name && listener.protocol == old.config.protocol => {
                    old.config = listener.clone();
                    self.listeners.push(old);
                    continue;
                }
                other => other,
            };
            found.changed.push(format!("listeners.{}", old.name));
            self.tell(old.role(), &Order::ListenerGone(old.address), Vec::new());
            match change {
                // The same socket, for another name or protocol: who waits in its queue is served.
                Some((name, listener)) => {
                    old.name.clone_from(name);
                    old.config = listener.clone();
                    hand_out.push(old.address);
                    self.listeners.push(old);
                }
                None => fd_store::forget(old.address),
            }
        }
        for listening in bound {
            listening.keep();
            hand_out.push(listening.address);
            found.changed.push(format!("listeners.{}", listening.name));
            self.listeners.push(listening);
        }
        found.changed.sort();
        found.changed.dedup();
        let handed: Vec<_> = self
            .listeners
            .iter()
            .filter(|listening| hand_out.contains(&listening.address))
            .filter_map(|listening| Some((listening.role(), listening.hand_out().ok()?)))
            .collect();
        for (role, (listener, fd)) in handed {
            self.tell(role, &Order::Listener(listener), vec![fd]);
        }
    }

    /// More connections need more descriptors.
    fn raise_file_limits(&mut self, found: &mut Reloaded) {
        for (role, key) in [
            (Role::Smtpd, "limits.smtp_connections"),
            (Role::Submitd, "limits.submission_connections"),
            (Role::Imapd, "limits.imap_connections"),
            (Role::Webd, "limits.http_connections"),
        ] {
            if !found.changed.iter().any(|changed| changed == key) {
                continue;
            }
            let files = settings::files(&self.config, role);
            let process = self.process(crate::instance::Who::Fixed(role));
            if process.is_some_and(|process| sys::raise_files(process.child.pid, files).is_err()) {
                // It goes on with as many connections as it has descriptors for.
                found.restart.push(key.to_owned());
            }
        }
    }

    /// Every worker gets its settings anew; those of accounts that run take the log's level only.
    fn pass_settings(&mut self) {
        let Self { config, layout, .. } = self;
        let (config, layout) = (config.clone(), layout.clone());
        // Also to those that are still starting: they read it after they are locked in.
        for process in self.processes_mut() {
            let directory = layout.directory(process.role, process.account);
            let previous = ipc_proto::control::PreviousEnd::Harmless;
            // A quota comes by an order of its own.
            let quota = ipc_proto::quota::Quota::default();
            let settings =
                settings::of(&config, process.role, process.account, directory.as_deref(), previous, quota);
            process.send(&Order::Settings(Box::new(settings)), Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const LEAST: &str = "[host]\nname = \"a.example\"\ndata = \"/d\"\ncontrol = \"/c\"\n\
                         [listeners.a]\nprotocol = \"smtp\"\naddresses = [\"0.0.0.0:25\"]\n";

    fn read(text: &str) -> Config {
        Config::parse(Path::new("moxd.toml"), text).unwrap()
    }

    #[test]
    fn what_can_change_while_running_is_told_from_what_cannot() {
        let old = read(LEAST);
        let mut new = read(&LEAST.replace("a.example", "b.example"));
        new.limits.imap_logins = 7;
        new.limits.signatures = 11;
        new.log.level.0 = "debug".to_owned();
        let found = compare(&old, &mut new);
        assert_eq!(found.changed, ["limits.imap_logins", "log.level"]);
        assert_eq!(found.restart, ["host.name", "limits.signatures"]);
        assert_eq!(new.limits.imap_logins, 7);
        assert_eq!(
            (new.host.name.0.as_str(), new.limits.signatures),
            ("a.example", 2000),
            "as it is in force"
        );
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let found = compare(&read(LEAST), &mut read(LEAST));
        assert_eq!((found.changed.len(), found.restart.len()), (0, 0));
    }
}
