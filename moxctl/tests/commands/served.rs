//! A control socket that a test serves, and moxctl run against it.

use std::{
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use ipc_proto::{
    AccountId,
    admin::{
        AccountdToAdmin, AdminAccountd, AdminSupervisor, AdminToAccountd, AdminToSupervisor,
        SupervisorToAdmin,
    },
    authd::{AdminAuthd, AdminToAuthd, AuthdToAdmin},
    blocking::Answerer,
    queue::{AdminQueued, AdminToQueued, QueuedToAdmin},
};

/// What a command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs moxctl against an instance.
pub(crate) fn moxctl(instance: &Instance, arguments: &str, stdin: &str) -> Done {
    let socket = instance.socket.to_str().unwrap();
    let mut words = vec!["--socket", socket];
    words.extend(arguments.split_whitespace());
    run(&words, stdin)
}

/// Runs moxctl.
pub(crate) fn run(arguments: &[&str], stdin: &str) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moxctl"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its stdin closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// One control socket; its thread ends with the process of the test.
pub(crate) struct Instance {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    waited: Arc<Mutex<Option<bool>>>,
}

type Directory = Arc<dyn Fn(&AdminToAuthd) -> AuthdToAdmin + Send + Sync>;
type Account = Arc<dyn Fn(AccountId, &AdminToAccountd) -> AccountdToAdmin + Send + Sync>;

impl Instance {
    pub(crate) fn with_directory(
        directory: impl Fn(&AdminToAuthd) -> AuthdToAdmin + Send + Sync + 'static,
    ) -> Self {
        Self::new(directory, |_, _| AccountdToAdmin::Refused("no account is served".into()))
    }

    pub(crate) fn new(
        directory: impl Fn(&AdminToAuthd) -> AuthdToAdmin + Send + Sync + 'static,
        account: impl Fn(AccountId, &AdminToAccountd) -> AccountdToAdmin + Send + Sync + 'static,
    ) -> Self {
        let queue = |_: &AdminToQueued| QueuedToAdmin::Refused("no queue is served".into());
        Self::serving(Arc::new(directory), Arc::new(account), queue)
    }

    pub(crate) fn with_queue(queue: fn(&AdminToQueued) -> QueuedToAdmin) -> Self {
        let refused = || "nothing else is served".to_owned();
        Self::serving(
            Arc::new(move |_| AuthdToAdmin::Refused(refused())),
            Arc::new(move |_, _| AccountdToAdmin::Refused(refused())),
            queue,
        )
    }

    fn serving(directory: Directory, account: Account, queue: fn(&AdminToQueued) -> QueuedToAdmin) -> Self {
        Self::accepting(move |stream, waited| supervise(stream, &directory, &account, queue, waited))
    }

    /// Somebody else than moxd.
    pub(crate) fn speaking(greeting: &'static [u8]) -> Self {
        Self::accepting(move |mut stream, _| {
            stream.write_all(greeting).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }

    fn accepting(serve: impl Fn(UnixStream, &Mutex<Option<bool>>) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let waited = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&waited);
        thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap(), &shared)));
        Self { _directory: directory, socket, waited }
    }

    /// Where it is.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether who asked for a stop was still there when the socket was closed; `None`: nobody asked.
    pub(crate) fn was_waited_for(&self) -> Option<bool> {
        *self.waited.lock().unwrap()
    }
}

fn supervise(
    stream: UnixStream,
    directory: &Directory,
    account: &Account,
    queue: fn(&AdminToQueued) -> QueuedToAdmin,
    waited: &Mutex<Option<bool>>,
) {
    let watched = stream.try_clone().unwrap();
    let mut answerer = Answerer::<AdminSupervisor>::new(stream, 1).unwrap();
    while let Ok(Some(question)) = answerer.next_question() {
        match question.request {
            AdminToSupervisor::OpenDirectory => {
                let (ours, theirs) = UnixStream::pair().unwrap();
                let directory = Arc::clone(directory);
                thread::spawn(move || {
                    let mut answerer = Answerer::<AdminAuthd>::new(ours, 1).unwrap();
                    while let Ok(Some(question)) = answerer.next_question() {
                        let reply = directory(&question.request);
                        question.responder.reply(&reply, &[]);
                    }
                });
                question.responder.reply(&SupervisorToAdmin::Opened, &[OwnedFd::from(theirs)]);
            }
            AdminToSupervisor::OpenAccount(id) => {
                let (ours, theirs) = UnixStream::pair().unwrap();
                let account = Arc::clone(account);
                thread::spawn(move || {
                    let mut answerer = Answerer::<AdminAccountd>::new(ours, 1).unwrap();
                    while let Ok(Some(question)) = answerer.next_question() {
                        let reply = account(id, &question.request);
                        question.responder.reply(&reply, &[]);
                    }
                });
                question.responder.reply(&SupervisorToAdmin::Opened, &[OwnedFd::from(theirs)]);
            }
            AdminToSupervisor::OpenQueue => {
                let (ours, theirs) = UnixStream::pair().unwrap();
                thread::spawn(move || {
                    let mut answerer = Answerer::<AdminQueued>::new(ours, 1).unwrap();
                    while let Ok(Some(question)) = answerer.next_question() {
                        question.responder.reply(&queue(&question.request), &[]);
                    }
                });
                question.responder.reply(&SupervisorToAdmin::Opened, &[OwnedFd::from(theirs)]);
            }
            AdminToSupervisor::Stop => {
                question.responder.reply(&SupervisorToAdmin::Done, &[]);
                // A command that does not wait for the end hangs up first, and would be seen here.
                watched.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                let hung_up = matches!((&watched).read(&mut [0; 1]), Ok(0));
                *waited.lock().unwrap() = Some(!hung_up);
                return;
            }
            AdminToSupervisor::Status | AdminToSupervisor::Reload | AdminToSupervisor::Attack { .. } => {
                question.responder.reply(&SupervisorToAdmin::Refused("not here".into()), &[]);
            }
        }
    }
}
