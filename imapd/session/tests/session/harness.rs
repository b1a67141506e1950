//! Sessions over socket pairs, on a real store in a temporary directory.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use imapd::Capabilities;
use imapd_session::{End, Facts, SessionLimits, Sharing, run};
use store_lib::{Flags, MailboxName, Origin, Parse, Store, UnixSeconds};

/// Longer than anything here takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// An account with its directory.
pub(crate) struct Account {
    pub(crate) store: Store,
    /// What is switched off.
    pub(crate) without: Cell<Capabilities>,
    dir: tempfile::TempDir,
}

impl Account {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: Store::open(dir.path()).unwrap(), without: Cell::new(Capabilities::NONE), dir }
    }

    /// As after a restart. No session may be left.
    pub(crate) fn reopen(&mut self) {
        self.store.close().unwrap();
        self.open();
    }

    /// After it was closed.
    pub(crate) fn open(&mut self) {
        self.store = Store::open(self.dir.path()).unwrap();
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// As if the process had been killed: what was in its files is what there is. No session may be left.
    pub(crate) fn kill(&mut self) {
        let dir = loop {
            let (before, dir) = (states(self.dir.path()), tempfile::tempdir().unwrap());
            copy_tree(self.dir.path(), dir.path());
            // The writer may still do what nobody waits for; a copy of two states at once would be none of them.
            if states(self.dir.path()) == before {
                break dir;
            }
        };
        self.store = Store::open(dir.path()).unwrap();
        self.dir = dir;
    }

    /// Files a message as a delivery would: by no session.
    pub(crate) fn file(&self, mailbox: &str, message: &[u8]) {
        self.file_as(mailbox, message, Parse::Yes);
    }

    pub(crate) fn file_as(&self, mailbox: &str, mut message: &[u8], parse: Parse) {
        let name = MailboxName::parse(mailbox).unwrap();
        let found = self.store.read(&Default::default(), |reader| reader.find(&name)).unwrap().unwrap();
        let staged = self.store.stage(&[], &mut message, parse, 1 << 30).unwrap();
        // 17-Jul-1996 09:44:25 UTC, as in RFC 3501 §7.4.2.
        let received = UnixSeconds(837_596_665);
        self.store.append(found.id, staged, Flags::NONE, received, Origin::NONE).unwrap();
    }

    pub(crate) fn uidvalidity(&self, mailbox: &str) -> u32 {
        let name = MailboxName::parse(mailbox).unwrap();
        let found = self.store.read(&Default::default(), |reader| reader.find(&name)).unwrap().unwrap();
        found.uidvalidity.value()
    }

    pub(crate) fn log_in(&self) -> Client {
        self.log_in_with(SessionLimits::default(), false)
    }

    pub(crate) fn log_in_with(&self, limits: SessionLimits, read_only: bool) -> Client {
        self.log_in_sharing(limits, read_only, Sharing::default())
    }

    pub(crate) fn log_in_sharing(&self, limits: SessionLimits, read_only: bool, sharing: Sharing) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        ours.set_write_timeout(Some(PATIENCE)).unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let facts = Facts {
            connection: "test".to_owned(),
            read_only,
            without: self.without.get(),
            stopping: Arc::clone(&stopping),
            sharing,
            bed: None,
        };
        let store = self.store.clone();
        let session = std::thread::spawn(move || run(store, theirs, facts, limits));
        Client { stream: ours, received: Vec::new(), session, stopping }
    }
}

/// Path, size and time of every file.
fn states(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut states: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .flat_map(|entry| {
            let entry = entry.unwrap();
            match entry.metadata() {
                Ok(found) if found.is_dir() => states(&entry.path()),
                Ok(found) => vec![(entry.path(), found.len(), found.modified().unwrap())],
                Err(_) => Vec::new(),
            }
        })
        .collect();
    states.sort();
    states
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Drop for Account {
    /// Counts are compared with a recount at the end of every test.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.store.verify().unwrap().problems, []);
        }
    }
}

/// The client's end of a session.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    received: Vec<u8>,
    session: JoinHandle<End>,
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
                return String::from_utf8_lossy(&line).into_owned();
            }
            let mut piece = [0; 65536];
            let read = self.stream.read(&mut piece).expect("the session answers in time");
            assert!(read > 0, "the session closed, after {}", self.received.escape_ascii());
            self.received.extend_from_slice(&piece[..read]);
        }
    }

    /// What was read behind the latest line.
    pub(crate) fn buffered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Sends a command tagged `t` and reads up to its tagged answer, which is the last line.
    pub(crate) fn command(&mut self, command: &str) -> Vec<String> {
        self.send(format!("t {command}\r\n"));
        self.until("t ")
    }

    /// Lines up to the one that begins so.
    pub(crate) fn until(&mut self, prefix: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line());
            if lines.last().unwrap().starts_with(prefix) {
                return lines;
            }
        }
    }

    /// Sends a command tagged `t` that is answered by one literal: the text before it, the octets, what follows up to
    /// the tagged answer.
    pub(crate) fn literal(&mut self, command: &str) -> (String, Vec<u8>, Vec<String>) {
        self.send(format!("t {command}\r\n"));
        let line = self.line();
        let (text, size) = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')).expect("a literal");
        let size: usize = size.parse().unwrap();
        while self.received.len() < size {
            let mut piece = [0; 65536];
            let read = self.stream.read(&mut piece).expect("the session answers in time");
            assert!(read > 0, "the session closed in a literal");
            self.received.extend_from_slice(&piece[..read]);
        }
        let octets = self.received.drain(..size).collect();
        (text.to_owned(), octets, self.until("t "))
    }

    /// APPENDs with a non-synchronising literal; the tagged answer.
    pub(crate) fn append(&mut self, mailbox: &str, message: &[u8]) -> String {
        self.send(format!("t APPEND {mailbox} {{{}+}}\r\n", message.len()));
        self.send(message);
        self.send("\r\n");
        self.until("t ").pop().unwrap()
    }

    /// Everything up to the close, and why the session ended.
    pub(crate) fn rest(mut self) -> (String, End) {
        self.stream.read_to_end(&mut self.received).unwrap();
        (String::from_utf8_lossy(&self.received).into_owned(), self.session.join().unwrap())
    }

    /// Why the session ended, without reading on.
    pub(crate) fn end(self) -> End {
        self.session.join().unwrap()
    }
}

/// A message of `tests/messages`, its line ends made CR LF.
pub(crate) fn message(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages").join(name);
    std::fs::read_to_string(path).unwrap().replace('\n', "\r\n").into_bytes()
}
