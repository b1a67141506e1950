//! The control socket: who may speak on it, and the answers.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Instant,
};

use ipc_proto::{
    Channel,
    admin::{
        AdminSupervisor, AdminToSupervisor, ListenerStatus, MAX_LISTED_ACCOUNTS, ProcessStatus, Status,
        SupervisorToAdmin,
    },
    blocking,
    channel::ChannelId,
    control::{Order, Role},
    frame::{self, FrameReader, Kind},
};
use nix::{
    poll::PollFlags,
    sys::socket::{getsockopt, sockopt},
    unistd::Uid,
};

use crate::{
    accounts::Request,
    instance::{ADMIN, Instance, Who},
    process::Process,
    start::StartError,
    sys,
};

/// Admin connections at once; one more, and the one that has been idle for longest is closed. They may be idle for as
/// long as they like.
const MAX_CONNECTIONS: usize = 32;

/// The socket and who is connected.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    next: u64,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    stream: UnixStream,
    reader: FrameReader,
    /// When it last said something.
    used: Instant,
    out: Vec<(Vec<u8>, Vec<OwnedFd>)>,
}

impl ControlSocket {
    /// Makes the socket, 0600. One left by a run that was killed is replaced: the directory's lock is ours.
    pub fn bind(path: &Path) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| {
            let advice = if error.kind() == ErrorKind::NotFound { "; make its directory first" } else { "" };
            StartError::Control(path.to_owned(), format!("{error}{advice}"))
        };
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => {
                let what = "something that is not a socket is there; move it away".to_owned();
                return Err(StartError::Control(path.to_owned(), what));
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from(sys::above_worker_fds(listener.into()).map_err(failed)?);
        Ok(Self { listener, path: path.to_owned(), next: 1, connections: Vec::new() })
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, PollFlags)> {
        self.connections.iter().map(|connection| {
            let out = if connection.out.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            (connection.number, connection.stream.as_fd(), PollFlags::POLLIN | out)
        })
    }

    /// Root and our own user may speak; all others are closed at once.
    pub(crate) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let allowed = getsockopt(&stream, sockopt::PeerCredentials).is_ok_and(|peer| {
                let uid = Uid::from_raw(peer.uid());
                uid.is_root() || uid == Uid::effective()
            });
            let raised = stream.set_nonblocking(true).and_then(|()| sys::above_worker_fds(stream.into()));
            if let (true, Ok(fd)) = (allowed, raised) {
                if self.connections.len() >= MAX_CONNECTIONS
                    && let Some(idlest) =
                        self.connections.iter().map(|found| (found.used, found.number)).min()
                {
                    self.connections.retain(|found| found.number != idlest.1);
                }
                let mut connection = Connection {
                    number: self.next,
                    stream: UnixStream::from(fd),
                    reader: FrameReader::new(AdminSupervisor::ID, AdminSupervisor::MAX_BODY),
                    used: Instant::now(),
                    out: vec![(frame::hello(AdminSupervisor::ID), Vec::new())],
                };
                connection.flush();
                self.next += 1;
                self.connections.push(connection);
            }
        }
    }

    /// The requests that came on one connection. What is not a request costs that connection, nothing else.
    pub(crate) fn read(&mut self, number: u64, flags: PollFlags) -> Vec<(u64, AdminToSupervisor)> {
        let Some(connection) = self.connections.iter_mut().find(|found| found.number == number) else {
            return Vec::new();
        };
        connection.flush();
        let mut requests = Vec::new();
        let mut alive = true;
        if flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            match (&connection.stream).read(connection.reader.space()) {
                Ok(0) => alive = false,
                Ok(octets) => {
                    connection.used = Instant::now();
                    connection.reader.filled(octets, []);
                }
                Err(error) => alive = error.kind() == ErrorKind::WouldBlock,
            }
        }
        loop {
            match connection.reader.next_frame() {
                Ok(Some(frame)) if frame.kind == Kind::Request => match frame.decode() {
                    Ok(request) => requests.push((frame.id, request)),
                    Err(_) => alive = false,
                },
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => {
                    alive = false;
                    break;
                }
            }
        }
        if !alive {
            self.connections.retain(|found| found.number != number);
        }
        requests
    }

    pub(crate) fn reply(&mut self, number: u64, id: u64, reply: &SupervisorToAdmin, fds: Vec<OwnedFd>) {
        let Some(connection) = self.connections.iter_mut().find(|found| found.number == number) else {
            return;
        };
        let mut octets = Vec::new();
        if frame::encode(Kind::Reply, id, reply, AdminSupervisor::MAX_BODY, &mut octets).is_err() {
            octets = frame::bare(Kind::Dropped, id).to_vec();
        }
        connection.out.push((octets, fds));
        connection.flush();
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Connection {
    fn flush(&mut self) {
        while let Some((octets, fds)) = self.out.first_mut() {
            match blocking::send_some(&self.stream, octets, fds) {
                Ok(sent) if sent < octets.len() => {
                    fds.clear();
                    octets.drain(..sent);
                }
                Ok(_) => drop(self.out.remove(0)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Its end is read soon.
                Err(_) => return self.out.clear(),
            }
        }
    }
}

/// A script that runs in a worker, for whoever asked.
#[derive(Debug, Default)]
pub struct Attacks(#[cfg(captured)] Vec<Attack>);

#[cfg(captured)]
#[derive(Debug)]
struct Attack {
    who: Who,
    connection: u64,
    id: u64,
    steps: Vec<(u32, i32)>,
}

impl Instance {
    /// `None`: the answer comes later.
    pub(crate) fn answer_admin(
        &mut self,
        connection: u64,
        id: u64,
        request: AdminToSupervisor,
    ) -> (Option<SupervisorToAdmin>, Vec<OwnedFd>) {
        match request {
            AdminToSupervisor::Status => (Some(SupervisorToAdmin::Status(self.status())), Vec::new()),
            AdminToSupervisor::Stop => {
                self.stop();
                (Some(SupervisorToAdmin::Done), Vec::new())
            }
            AdminToSupervisor::Reload => {
                let reply =
                    self.reload().map_or_else(SupervisorToAdmin::Refused, SupervisorToAdmin::Reloaded);
                (Some(reply), Vec::new())
            }
            AdminToSupervisor::OpenDirectory => self.open_for_admin(Role::Authd, ChannelId::AdminAuthd),
            AdminToSupervisor::OpenQueue => self.open_for_admin(Role::Queued, ChannelId::AdminQueued),
            AdminToSupervisor::OpenAccount(account) => {
                self.want(account, Request::Admin { connection, id });
                (None, Vec::new())
            }
            AdminToSupervisor::Attack { role, account, script } => {
                let who = account.map_or(Who::Fixed(role), Who::Account);
                (self.attack(connection, id, who, script), Vec::new())
            }
        }
    }

    /// A new channel, one end of it for the process, one for the admin.
    fn open_for_admin(
        &mut self,
        role: Role,
        channel: ChannelId,
    ) -> (Option<SupervisorToAdmin>, Vec<OwnedFd>) {
        let refused = |text: String| (Some(SupervisorToAdmin::Refused(text)), Vec::new());
        match UnixStream::pair() {
            Ok((ours, theirs)) => {
                if self.tell(
                    role,
                    &Order::Channel { channel, account: None, run: ADMIN },
                    vec![theirs.into()],
                ) {
                    (Some(SupervisorToAdmin::Opened), vec![ours.into()])
                } else {
                    let name = role.binary().trim_start_matches("mox-");
                    refused(format!("{name} is being started; try again"))
                }
            }
            Err(error) => refused(error.to_string()),
        }
    }

    #[cfg(not(captured))]
    fn attack(&mut self, _: u64, _: u64, _: Who, _: String) -> Option<SupervisorToAdmin> {
        Some(SupervisorToAdmin::Refused("only the build for tests does that".to_owned()))
    }

    #[cfg(not(captured))]
    pub(crate) fn attacked(&mut self, _: Who, _: u32, _: i32) {}

    #[cfg(not(captured))]
    pub(crate) fn attack_ended(&mut self, _: Who) {}

    /// The process died of its script: whoever asked is told, and the next script is not answered in its place.
    #[cfg(captured)]
    pub(crate) fn attack_ended(&mut self, who: Who) {
        while self.attacks.0.iter().any(|attack| attack.who == who) {
            self.attacked(who, u32::MAX, 0);
        }
    }

    #[cfg(captured)]
    fn attack(&mut self, connection: u64, id: u64, who: Who, script: String) -> Option<SupervisorToAdmin> {
        let Some(process) = self.process_mut(who).filter(|process| process.layers.is_some()) else {
            return Some(SupervisorToAdmin::Refused("that process is not up".to_owned()));
        };
        process.send(&Order::Attack(script), Vec::new());
        self.attacks.0.push(Attack { who, connection, id, steps: Vec::new() });
        None
    }

    #[cfg(captured)]
    pub(crate) fn attacked(&mut self, who: Who, step: u32, errno: i32) {
        let Some(at) = self.attacks.0.iter().position(|attack| attack.who == who) else { return };
        if step != u32::MAX {
            self.attacks.0[at].steps.push((step, errno));
            return;
        }
        let attack = self.attacks.0.remove(at);
        self.reply_admin(
            attack.connection,
            attack.id,
            &SupervisorToAdmin::Attacked(attack.steps),
            Vec::new(),
        );
    }

    fn status(&self) -> Status {
        let listed = self.accounts.len().min(MAX_LISTED_ACCOUNTS);
        let fixed = self.fixed.iter().map(|fixed| {
            let user = self.layout.user(fixed.role, None);
            process_status(fixed.role, fixed.process.as_ref(), user, fixed.restarts, fixed.violations)
        });
        let accounts = self.accounts.iter().take(listed).map(|(id, account)| {
            let user = self.layout.user(Role::Accountd, Some(*id));
            let process = account.process.as_ref();
            let status = process_status(Role::Accountd, process, user, account.restarts, account.violations);
            ProcessStatus { account: Some(*id), ..status }
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uid: Uid::effective().as_raw(),
            uptime: self.started.elapsed().as_secs(),
            ready: self.ready,
            directory: self.config.host.data.display().to_string(),
            notes: self.notes.clone(),
            listeners: self
                .listeners
                .iter()
                .map(|listener| ListenerStatus {
                    name: listener.name.clone(),
                    address: listener.address,
                    protocol: listener.config.protocol.name().to_owned(),
                    role: listener.role(),
                })
                .collect(),
            processes: fixed.chain(accounts).collect(),
            more_accounts: u32::try_from(self.accounts.len() - listed).unwrap_or(u32::MAX),
        }
    }
}

fn process_status(
    role: Role,
    process: Option<&Process>,
    user: Option<u32>,
    restarts: u32,
    violations: u32,
) -> ProcessStatus {
    ProcessStatus {
        role,
        account: None,
        pid: process.map(|process| process.child.pid),
        uid: user.unwrap_or_else(|| Uid::effective().as_raw()),
        layers: process.and_then(|process| process.layers),
        uptime: process.map_or(0, |process| process.started.elapsed().as_secs()),
        restarts,
        violations,
    }
}
