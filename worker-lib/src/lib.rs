//! How every worker process starts and keeps in touch with the supervisor.
//!
//!   exec ─▶ not dumpable ─▶ `Order::Start` (settings, a front's page) ─▶ log ─▶ role opens its own files
//!        ─▶ [`Worker::lock_in`]: Landlock, seccomp, `Event::Sandboxed` ─▶ threads ─▶ [`Control`]: channels, listeners
//!
//! A worker finds two fds when it starts: its log (2) and its control channel (3). Everything else it is handed.
//! It leaves when the supervisor says so or is gone.

#[cfg(captured)]
mod captured;
mod control;
mod live;
mod log;
mod recorder;
mod sys;

use std::{ffi::CString, fmt, os::unix::net::UnixStream, path::Path, process::ExitCode};

use ipc_proto::{
    blocking::Orders,
    control::{Event, Layers, Order, Role, Settings},
};
use sandbox_lib::{Profile, profiles};

pub use control::{AsyncControl, Control, Events};
pub use live::Live;
pub use recorder::{Slot, Working};
pub use sys::Wiping;

/// Why a worker ends before it was told to: one line for the log.
#[derive(Debug)]
pub struct Fault(String);

impl Fault {
    /// From a line that says what is wrong and what to do.
    #[must_use]
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        let mut line = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = cause.source();
        }
        Self(line)
    }
}

/// A worker that has its settings and is not yet locked in.
#[derive(Debug)]
pub struct Worker {
    /// What the supervisor wants of it.
    pub settings: Settings,
    stream: UnixStream,
    orders: Orders,
}

/// The exit code of a worker that could not start: the supervisor does not try again before it is up at all.
pub const EXIT_CONFIG: u8 = 78;

/// `main` of every role's binary: runs `run` with the settings, and logs the one line of its fault.
#[must_use]
pub fn main(role: Role, run: fn(Worker) -> Result<(), Fault>) -> ExitCode {
    let worker = match start(role) {
        Ok(worker) => worker,
        Err(fault) => {
            log::fault(&fault.0);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match run(worker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            log::fault(&fault.0);
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn start(role: Role) -> Result<Worker, Fault> {
    sandbox_lib::sys::become_undumpable()?;
    sandbox_lib::sys::name_process(&CString::new(role.binary()).unwrap_or_default())?;
    let Some(stream) = sys::control_stream() else {
        return Err(Fault::new("started by moxd only; run `moxctl localserve` or `moxd --config FILE`"));
    };
    let mut orders = Orders::default();
    loop {
        match orders.next_order()? {
            Some((Order::Start(settings), fds)) if settings.role == role => {
                log::start(&settings.log);
                // Before the lock: behind it nothing new is needed for it.
                for page in fds {
                    recorder::set(sys::map_recorder(page)?);
                }
                return Ok(Worker { settings: *settings, stream, orders });
            }
            Some(_) => return Err(Fault::new("the supervisor speaks another version; restart moxd")),
            None if orders.fill(&stream)? => {}
            None => return Err(Fault::new("the supervisor is gone")),
        }
    }
}

/// The profile of a role's syscalls.
#[must_use]
pub fn profile(role: Role) -> &'static Profile {
    match role {
        Role::Smtpd => &profiles::SMTPD,
        Role::Submitd => &profiles::SUBMITD,
        Role::Imapd => &profiles::IMAPD,
        Role::Webd => &profiles::WEBD,
        Role::Queued => &profiles::QUEUED,
        Role::Authd => &profiles::AUTHD,
        Role::Keyd => &profiles::KEYD,
        Role::Accountd => &profiles::ACCOUNTD,
    }
}

impl Worker {
    /// Landlock and seccomp as the role's profile says, then tells the supervisor. Call while there is one thread and
    /// before any input.
    pub fn lock_in(self) -> Result<Control, Fault> {
        let profile = profile(self.settings.role);
        let directory = self.settings.directory.as_deref().filter(|_| profile.keeps_directory);
        let report = sandbox_lib::lock_in(profile, directory.map(Path::new))?;
        let events = Events::new(self.stream.try_clone()?);
        events.send(Event::Sandboxed(Layers {
            // The supervisor knows these two: it changed the user and the namespace.
            own_user: false,
            empty_network: false,
            no_capabilities: report.no_capabilities,
            no_new_privs: report.no_new_privs,
            not_dumpable: report.not_dumpable,
            limits: report.limits,
            seccomp: report.seccomp,
            landlock_files: report.landlock_files,
            landlock_network: report.landlock_network,
            landlock_scopes: report.landlock_scopes,
            landlock_abi: report.landlock_abi,
            filter: report.filter,
            rules: report.rules,
        }));
        Ok(Control::new(self.stream, self.orders, events))
    }
}
