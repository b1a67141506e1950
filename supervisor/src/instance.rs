//! The running instance: what there is, and the loop that serves it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use ipc_proto::{
    AccountId, SessionId,
    control::{Event, Order, PreviousEnd, Role, RoleSettings, SessionFacts},
    types::Run,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use crate::{
    accounts::{self, Account, Waiting},
    admin::{Attacks, ControlSocket},
    config::Config,
    ends::Killed,
    fd_store::Inherited,
    layout::{Binaries, Layout, Lock},
    listening::Listening,
    log::{Log, Source},
    process::{Process, Recipe},
    quotas::Quotas,
    recorder::Recorder,
    renewals::Renewals,
    settings,
    sleepers::{Sleep, Sleepers},
    start::StartError,
    stop::Phase,
    sys::{self, Network},
};

/// A worker that does not answer within this is killed.
const WATCHDOG: Duration = Duration::from_secs(60);
/// How often workers are asked.
const ASK_EVERY: Duration = Duration::from_secs(20);
/// The first pause before a crashed worker is started again; doubles up to [`LONGEST_PAUSE`].
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A start that takes longer shows its log as it comes.
const HELD_AT_MOST: Duration = Duration::from_secs(5);

/// The asking end of a channel that no worker has: moxctl's.
pub(crate) const ADMIN: Run = Run(0);

/// A fixed role: its process, or when it comes back.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) role: Role,
    pub(crate) process: Option<Process>,
    pub(crate) restarts: u32,
    pub(crate) violations: u32,
    pub(crate) pause: Duration,
    again: Instant,
}

/// A running session: enough to cut it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) facts: SessionFacts,
    /// A second handle of the account's end.
    pub(crate) end: UnixStream,
    /// Another account's that is a guest.
    pub(crate) guest: Option<AccountId>,
    /// It sleeps.
    pub(crate) sleep: Option<Sleep>,
}

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Fixed(Role),
    Account(AccountId),
}

/// Everything.
#[derive(Debug)]
pub struct Instance {
    pub(crate) config: Config,
    pub(crate) config_path: PathBuf,
    pub(crate) layout: Layout,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) fixed: Vec<Fixed>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) sessions: HashMap<SessionId, Session>,
    pub(crate) sleepers: Sleepers,
    pub(crate) log: Log,
    pub(crate) notes: Vec<String>,
    pub(crate) started: Instant,
    pub(crate) ready: bool,
    pub(crate) spawn_tokens: f64,
    pub(crate) spawn_counted: Instant,
    binaries: Binaries,
    null: OwnedFd,
    pub(crate) network: OwnNetwork,
    control: ControlSocket,
    #[cfg_attr(not(captured), allow(dead_code))]
    pub(crate) attacks: Attacks,
    signals: SignalFd,
    pub(crate) phase: Phase,
    /// Requests that wait until an account's process may be started.
    pub(crate) room: Vec<Waiting>,
    /// Accounts whose last process crashed, until the next has looked at what it left.
    pub(crate) crashed: BTreeMap<AccountId, PreviousEnd>,
    /// What accounts may hold.
    pub(crate) quotas: Quotas,
    /// Accounts whose directories were made in this run.
    pub(crate) made: BTreeSet<AccountId>,
    /// When each channel may be made anew.
    pub(crate) renewals: Renewals,
    /// Processes started so far.
    runs: u64,
    asked: Instant,
    _lock: Lock,
}

#[derive(Debug)]
pub(crate) enum OwnNetwork {
    Prepared(OwnedFd),
    Own,
    Shared,
}

impl Instance {
    /// Checks, binds, opens; nothing is started yet.
    /// `path`: where the configuration was read, and is read again.
    pub fn prepare(config: Config, path: PathBuf) -> Result<Self, StartError> {
        let mut inherited = Inherited::take();
        let root = nix::unistd::Uid::effective().is_root();
        let layout = Layout::new(config.host.data.clone(), root.then_some(config.users.base));
        let lock = layout.prepare()?;
        let other = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| StartError::Other(format!("{what}: {error}"))
        };
        let mut notes = Vec::new();
        let network = if root {
            match sys::empty_network().and_then(sys::above_worker_fds) {
                Ok(fd) => OwnNetwork::Prepared(fd),
                // Without CONFIG_NET_NS. Whether that may be is asked of the first worker that is without.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {
                    OwnNetwork::Shared
                }
                Err(error) => return Err(other("cannot make a network namespace")(error)),
            }
        } else if sys::own_network_works() {
            OwnNetwork::Own
        } else {
            notes.push("no network namespaces: this user may not make them".to_owned());
            OwnNetwork::Shared
        };
        if !root {
            notes.push(
                "one user for all: Landlock is the only wall between accounts; run as root for more"
                    .to_owned(),
            );
        }
        let binaries = Binaries::open()?;
        let mut listeners = Vec::new();
        for (name, listener) in &config.listeners {
            for address in &listener.addresses {
                listeners.push(match inherited.of(*address) {
                    Some(socket) => Listening::kept(name, listener, *address, socket),
                    None => Listening::bind(name, listener, *address)?,
                });
            }
        }
        notes.extend(inherited.finish());
        listeners.iter().for_each(Listening::keep);
        let control = ControlSocket::bind(&config.host.control)?;
        let null = File::options().read(true).write(true).open("/dev/null").map_err(other("/dev/null"))?;
        let null = sys::above_worker_fds(null.into()).map_err(other("/dev/null"))?;
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block().map_err(|error| StartError::Other(format!("signals: {error}")))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| StartError::Other(format!("signals: {error}")))?;
        if root {
            sys::keep_named_capabilities().map_err(other("cannot drop capabilities"))?;
        }
        let now = Instant::now();
        let fixed = Role::FIXED
            .into_iter()
            .map(|role| Fixed {
                role,
                process: None,
                restarts: 0,
                violations: 0,
                pause: FIRST_PAUSE,
                again: now,
            })
            .collect();
        Ok(Self {
            log: Log::new(config.log.format),
            layout,
            listeners,
            fixed,
            accounts: BTreeMap::new(),
            sessions: HashMap::new(),
            sleepers: Sleepers::new().map_err(other("epoll"))?,
            notes,
            started: now,
            ready: false,
            spawn_tokens: f64::from(config.limits.account_spawns),
            spawn_counted: now,
            binaries,
            null,
            network,
            control,
            attacks: Attacks::default(),
            signals,
            phase: Phase::Running,
            room: Vec::new(),
            crashed: BTreeMap::new(),
            quotas: Quotas::default(),
            made: BTreeSet::new(),
            renewals: Renewals::default(),
            runs: 0,
            asked: now,
            _lock: lock,
            config,
            config_path: path,
        })
    }

    /// Runs until told to stop.
    pub fn run(mut self) -> Result<(), StartError> {
        let end = self.serve_until_stopped();
        if end.is_err() {
            self.leave_nobody();
        }
        end
    }

    fn serve_until_stopped(&mut self) -> Result<(), StartError> {
        // Who asks for every detail gets it, also of a start that fails.
        if !["debug", "trace"].iter().any(|level| self.config.log.level.0.contains(level)) {
            self.log.hold();
        }
        loop {
            self.start_due();
            if self.started.elapsed() > HELD_AT_MOST {
                self.log.release();
            }
            if self.ask_all() {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
            self.accounts_due();
            self.places_due();
            self.renewals_due();
            self.sleepers_due();
            if let Some(end) = self.advance_stop() {
                return end;
            }
            self.log.flush();
            let ready = self.wait()?;
            for (what, flags) in ready {
                self.serve(what, flags)?;
            }
        }
    }

    /// What has something for us, or nothing after at most a second.
    fn wait(&self) -> Result<Vec<(Ready, PollFlags)>, StartError> {
        let mut keys = vec![Ready::Signal, Ready::Knock, Ready::Sleepers];
        let mut fds: Vec<(BorrowedFd<'_>, PollFlags)> =
            vec![self.signals.as_fd(), self.control.listener(), self.sleepers.as_fd()]
                .into_iter()
                .map(|fd| (fd, PollFlags::POLLIN))
                .collect();
        for (number, fd, flags) in self.control.connections() {
            keys.push(Ready::Admin(number));
            fds.push((fd, flags));
        }
        for process in self.processes() {
            let who = who(process);
            let out = if process.has_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
            keys.extend([Ready::Log(who), Ready::Control(who), Ready::Ended(who)]);
            fds.push((process.log.as_fd(), PollFlags::POLLIN));
            fds.push((process.control.as_fd(), PollFlags::POLLIN | out));
            fds.push((process.child.pidfd.as_fd(), PollFlags::POLLIN));
        }
        let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(fd, flags)| PollFd::new(*fd, *flags)).collect();
        let milliseconds = self.next_due().saturating_duration_since(Instant::now()).as_millis().min(1000);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::ZERO);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(StartError::Other(format!("poll: {error}"))),
        }
        let flags = polled.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(keys.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let fixed = self.fixed.iter().filter(|fixed| fixed.process.is_none()).map(|fixed| fixed.again);
        let accounts = self.accounts.values().filter(|account| account.process.is_none());
        let places = (!self.room.is_empty()).then(|| now + accounts::LOOK);
        fixed
            .chain(accounts.map(|account| account.again))
            .chain(places)
            .chain(self.renewals.next())
            .min()
            .unwrap_or(now + Duration::from_secs(1))
    }

    fn serve(&mut self, what: Ready, flags: PollFlags) -> Result<(), StartError> {
        match what {
            Ready::Signal => {
                while let Ok(Some(signal)) = self.signals.read_signal() {
                    if signal.ssi_signo == libc::SIGHUP.unsigned_abs() {
                        self.reload_told();
                    } else {
                        self.stop();
                    }
                }
            }
            Ready::Knock => self.control.accept(),
            Ready::Sleepers => self.stir(),
            Ready::Admin(number) => self.serve_admin(number, flags),
            Ready::Log(who) => self.pass_log(who),
            Ready::Control(who) => {
                if let Some(process) = self.process_mut(who) {
                    process.flush();
                }
                self.take_events(who)?;
            }
            Ready::Ended(who) => self.ended(who)?,
        }
        Ok(())
    }

    fn serve_admin(&mut self, number: u64, flags: PollFlags) {
        for (id, request) in self.control.read(number, flags) {
            let (reply, fds) = self.answer_admin(number, id, request);
            if let Some(reply) = reply {
                self.control.reply(number, id, &reply, fds);
            }
        }
    }

    pub(crate) fn reply_admin(
        &mut self,
        number: u64,
        id: u64,
        reply: &ipc_proto::admin::SupervisorToAdmin,
        fds: Vec<OwnedFd>,
    ) {
        self.control.reply(number, id, reply, fds);
    }

    fn start_due(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        let now = Instant::now();
        let due: Vec<Role> = self
            .fixed
            .iter()
            .filter(|fixed| fixed.process.is_none() && fixed.again <= now)
            .map(|fixed| fixed.role)
            .collect();
        for role in due {
            match self.spawn(role, None) {
                Ok(process) => {
                    if let Some(fixed) = self.fixed_mut(role) {
                        fixed.process = Some(process);
                    }
                }
                Err(error) => {
                    self.log.own("ERROR", &format!("cannot start {}: {error}", role.binary()));
                    self.come_back(role);
                }
            }
        }
    }

    /// Starts a process and tells it its settings.
    pub(crate) fn spawn(&mut self, role: Role, account: Option<AccountId>) -> std::io::Result<Process> {
        let binary = self.binaries.of(role).ok_or(std::io::ErrorKind::NotFound)?;
        let limits = settings::limits(&self.config, role);
        self.runs += 1;
        let recorder = if role.is_front() { Some(Recorder::new()?) } else { None };
        let page = recorder.as_ref().map(Recorder::hand_out).transpose()?;
        let mut process = Process::start(&Recipe {
            role,
            account,
            run: Run(self.runs),
            binary,
            null: &self.null,
            network: match &self.network {
                OwnNetwork::Prepared(fd) => Network::Prepared(fd.as_fd()),
                OwnNetwork::Own => Network::Own,
                OwnNetwork::Shared => Network::Shared,
            },
            user: self.layout.user(role, account),
            limits: &limits,
        })?;
        let directory = self.layout.directory(role, account);
        let previous = self.previous_end(account);
        if role == Role::Authd {
            self.quotas.begin();
        }
        let quota = account.map(|account| self.quotas.of(account)).unwrap_or_default();
        let asleep = account.map(|account| self.sleepers.of(account)).unwrap_or_default();
        let mut settings = settings::of(&self.config, role, account, directory.as_deref(), previous, quota);
        if let RoleSettings::Accountd(own) = &mut settings.own {
            own.asleep = asleep;
        }
        process.recorder = recorder;
        process.send(&Order::Start(Box::new(settings)), page.into_iter().collect());
        Ok(process)
    }

    /// Which start of a fixed role runs now.
    pub(crate) fn run_of(&self, role: Role) -> Run {
        self.process(Who::Fixed(role)).map_or(ADMIN, |process| process.run)
    }

    pub(crate) fn come_back(&mut self, role: Role) {
        if let Some(fixed) = self.fixed_mut(role) {
            fixed.again = Instant::now() + fixed.pause;
            fixed.pause = (fixed.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks every worker whether it lives; kills those that did not answer the last time. True: it was time to ask.
    fn ask_all(&mut self) -> bool {
        let now = Instant::now();
        if now < self.asked + ASK_EVERY {
            return false;
        }
        self.asked = now;
        let mut hung = Vec::new();
        for process in self.processes_mut() {
            match process.asked {
                Some(asked) if asked + WATCHDOG < now => {
                    hung.push(process.role);
                    process.kill(Killed::Hung);
                }
                Some(_) => {}
                None => {
                    process.asked = Some(now);
                    process.send(&Order::Ping(0), Vec::new());
                }
            }
        }
        for role in hung {
            self.log.own("ERROR", &format!("{} does not answer; killed", role.binary()));
        }
        true
    }

    /// At most a few lines at once: a worker that floods its log waits its turn.
    fn pass_log(&mut self, who: Who) {
        for _ in 0..64 {
            let line = self.process_mut(who).and_then(|process| {
                process.read_log().map(|line| (line, process.role, process.child.pid, process.account))
            });
            let Some((line, role, pid, account)) = line else { return };
            self.log.line(Source { name: role.binary(), pid, account }, &line);
        }
    }

    pub(crate) fn take_events(&mut self, who: Who) -> Result<(), StartError> {
        let Some(process) = self.process_mut(who) else { return Ok(()) };
        match process.read_events() {
            Ok(events) => {
                for event in events {
                    self.event(who, event)?;
                }
            }
            Err(crate::process::NotAnEvent) => {
                let line = format!("{} sent what is not an event; killed", process.role.binary());
                process.kill(Killed::Rules);
                self.log.own("ERROR", &line);
            }
        }
        Ok(())
    }

    /// Everything that was to be in use is in use, for the first time.
    pub(crate) fn check_ready(&mut self) {
        let all = self.fixed.iter().all(|fixed| fixed.process.as_ref().is_some_and(|process| process.ready));
        if all && !self.ready {
            self.ready = true;
            let millis = self.started.elapsed().as_millis();
            self.log.own("INFO", &format!("ready after {millis} ms"));
            self.log.release();
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
    }

    pub(crate) fn revive_listeners(&mut self) {
        for listener in &mut self.listeners {
            match listener.revive() {
                Ok(false) => {}
                Ok(true) => self.log.own(
                    "WARN",
                    &format!("listener {} was shut down by its worker; bound again", listener.name),
                ),
                Err(error) => self.log.own("ERROR", &error.to_string()),
            }
        }
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        let accounts = self.accounts.values().filter_map(|account| account.process.as_ref());
        self.fixed.iter().filter_map(|fixed| fixed.process.as_ref()).chain(accounts)
    }

    pub(crate) fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        let accounts = self.accounts.values_mut().filter_map(|account| account.process.as_mut());
        self.fixed.iter_mut().filter_map(|fixed| fixed.process.as_mut()).chain(accounts)
    }

    pub(crate) fn fixed_mut(&mut self, role: Role) -> Option<&mut Fixed> {
        self.fixed.iter_mut().find(|fixed| fixed.role == role)
    }

    pub(crate) fn process(&self, who: Who) -> Option<&Process> {
        match who {
            Who::Fixed(role) => self.fixed.iter().find(|fixed| fixed.role == role)?.process.as_ref(),
            Who::Account(account) => self.accounts.get(&account)?.process.as_ref(),
        }
    }

    pub(crate) fn process_mut(&mut self, who: Who) -> Option<&mut Process> {
        match who {
            Who::Fixed(role) => self.fixed_mut(role)?.process.as_mut(),
            Who::Account(account) => self.accounts.get_mut(&account)?.process.as_mut(),
        }
    }

    /// Sends to a fixed role, if it is up and locked in.
    pub(crate) fn tell(&mut self, role: Role, order: &Order, fds: Vec<OwnedFd>) -> bool {
        match self.process_mut(Who::Fixed(role)) {
            Some(process) if process.layers.is_some() => {
                process.send(order, fds);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Kills a worker for an event that its role never sends.
    pub(crate) fn out_of_role(&mut self, who: Who, event: &Event) {
        if let Some(process) = self.process_mut(who) {
            process.kill(Killed::Rules);
            let line = format!("{} sent {event:?}, which is not its to send; killed", process.role.binary());
            self.log.own("ERROR", &line);
        }
    }
}

/// What has something for us.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Signal,
    Knock,
    Sleepers,
    Admin(u64),
    Log(Who),
    Control(Who),
    Ended(Who),
}

fn who(process: &Process) -> Who {
    process.account.map_or(Who::Fixed(process.role), Who::Account)
}
