//! The queue on disk: messages that were acknowledged and are not yet filed for everybody.
//!
//! ```text
//! queue/queue.sqlite    which messages, for whom, when to try next; the octets of small ones (WAL, synchronous=FULL)
//! queue/message-ID      the octets of a larger one as received, hashed; durable before the row that names it
//! queue/new-ID          being written, or on its way to an account; removed at start
//! queue/spool-NUMBER    a message that smtpd is writing or waits for; see `spool`
//! queue/submit-NUMBER   the same of submitd
//! ```
//! How it changes: `change`. A file is durable before the commit of the row that names it, and is unlinked after the
//! commit that removes the row. A crash in between leaves a file that no row names and nobody was promised, which the
//! next start removes; never a row without its file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use ipc_proto::{
    AccountId, ConnectionId, DeliveryId, delivery::SpoolNumber, submission::MAX_HOLD, types::Timestamp,
};
use mail_lib::address::Address;
use nix::libc;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{
    body::Body,
    limits::DAY_MS,
    recipient::{Recipient, from_number},
    schema,
    spool::{Front, Spooled},
    sys,
};

/// The longest pause between two attempts; [`crate::retry`] keeps to it. A row that is due later than this was written
/// before the clock jumped back, and counts as due.
pub(crate) const LONGEST_PAUSE_MS: i64 = 3_600_000;

/// The farthest ahead that a message is held back, and a day for a clock that was put right. One that is to be held longer
/// was written before the clock jumped back, likewise.
const LONGEST_HOLD_MS: i64 = MAX_HOLD as i64 * 1000 + DAY_MS;

/// Why the queue cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The disk or the file size limit is used up.
    #[error("no space left for the queue; free some on the disk that holds it")]
    NoSpace,
    /// The system refused to read or write.
    #[error("the queue cannot be read or written: {0}; look for disk errors in the kernel's log")]
    Fault(String),
    /// The database is not one, or not whole.
    #[error("{path} is damaged ({detail}); stop moxd and put it back from a backup")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found, in SQLite's words.
        detail: String,
    },
    /// What was in it was acknowledged.
    #[error(
        "{path} is missing or empty and was not before; put it back from a backup, or remove the whole directory to lose \
         what was queued"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error("{path} has schema {found}, this moxd knows up to {known}; start the newer moxd that wrote it")]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process; stop the other moxd on this directory")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The directory or the database cannot be opened at all.
    #[error("cannot open {path}: {detail}; it must belong to queued's user, mode 0700, and not be a link")]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// The id of a stored message came with other octets.
    #[error("a message of this id and other content is in the queue already")]
    OtherContent,
    /// The file of a stored message is gone or not what was stored.
    #[error("{path} is damaged ({detail}); put it back from a backup, the message stays queued")]
    MessageDamaged {
        /// The file.
        path: PathBuf,
        /// How.
        detail: String,
    },
}

impl From<io::Error> for QueueError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Self::NoSpace,
            _ => Self::Fault(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::NoSpace,
            _ => Self::Fault(error.to_string()),
        }
    }
}

/// What is known of a message besides its octets and recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) id: DeliveryId,
    pub(crate) connection: ConnectionId,
    pub(crate) reverse_path: Option<Address>,
    /// The front's trace fields, and what a submitted message lacked.
    pub(crate) trace: Vec<u8>,
    pub(crate) received: Timestamp,
}

/// A message of the queue whose time has come.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) envelope: Envelope,
    /// Who still has to get it.
    pub(crate) recipients: Vec<Recipient>,
    /// Attempts since it last got anywhere.
    pub(crate) attempts: u32,
}

/// The queue, open. Everything here blocks: it belongs to the disk's thread.
#[derive(Debug)]
pub struct Queue {
    pub(crate) directory: PathBuf,
    pub(crate) database: Connection,
    left: Vec<Spooled>,
}

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

pub(crate) fn millis(time: Timestamp) -> Millis {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanoseconds / 1_000_000))
}

impl Queue {
    /// Opens the queue in `directory`, which exists, and removes what a crash left behind.
    pub fn open(directory: &Path) -> Result<Self, QueueError> {
        let leftover = leftovers(directory)?;
        let database = schema::open(&directory.join(schema::FILE), !leftover.messages.is_empty())?;
        let left = leftover.spooled.into_iter().map(|(front, number, path)| {
            let reader = open(&path)?;
            Ok(Spooled { front, number, reader, path })
        });
        let left = left.collect::<Result<_, QueueError>>()?;
        let queue = Self { directory: directory.to_owned(), database, left };
        for path in leftover.unfinished {
            match fs::remove_file(path) {
                // What was left of making the database went when it was made.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        for (id, path) in leftover.messages {
            if !queue.has(id)? {
                tracing::info!(mail = %id, "removing a file that was never acknowledged");
                fs::remove_file(path)?;
            }
        }
        Ok(queue)
    }

    fn has(&self, id: DeliveryId) -> Result<bool, QueueError> {
        let mut find = self.database.prepare_cached("SELECT 1 FROM message WHERE id = ?1")?;
        Ok(find.exists([id.0])?)
    }

    /// Where a message is that does not lie in the database.
    pub(crate) fn path_of(&self, id: DeliveryId) -> PathBuf {
        self.directory.join(format!("message-{id}"))
    }

    /// Where it is while it is written.
    pub(crate) fn new_path(&self, id: DeliveryId) -> PathBuf {
        self.directory.join(format!("new-{id}"))
    }

    /// The spool files that were there when it was opened.
    pub fn take_spooled(&mut self) -> Vec<Spooled> {
        std::mem::take(&mut self.left)
    }

    /// A new file, opened twice: as what reads it here, and as what smtpd writes to.
    pub(crate) fn spool_file(&mut self, front: Front) -> Result<(Spooled, OwnedFd), QueueError> {
        let number = SpoolNumber(sys::random()?);
        let path = self.directory.join(format!("{}{:016x}", front.prefix(), number.0));
        let writer = create(&path)?;
        match open(&path) {
            Ok(reader) => Ok((Spooled { front, number, reader, path }, writer.into())),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error.into())
            }
        }
    }

    pub(crate) fn begin(&mut self) -> Result<Transaction<'_>, QueueError> {
        Ok(self.database.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Messages to be tried now, the longest due first, without those that `busy` has.
    pub(crate) fn due(
        &mut self,
        now: Millis,
        most: usize,
        busy: impl Fn(DeliveryId) -> bool,
    ) -> Result<Vec<Due>, QueueError> {
        let mut due = Vec::new();
        let mut find = self.database.prepare_cached(
            "SELECT id, connection, reverse_path, trace, received_s, received_ns, attempts FROM message
             WHERE next_ms <= ?1 OR (next_ms > ?2 AND (hold_ms IS NULL OR next_ms > ?3)) ORDER BY next_ms",
        )?;
        let after = |longest| now.saturating_add(longest);
        let mut rows = find.query([now, after(2 * LONGEST_PAUSE_MS), after(LONGEST_HOLD_MS)])?;
        while let Some(row) = rows.next()?.filter(|_| due.len() < most) {
            let id = DeliveryId(row.get(0)?);
            if busy(id) {
                continue;
            }
            let reverse_path: Option<String> = row.get(2)?;
            due.push(Due {
                envelope: Envelope {
                    id,
                    connection: ConnectionId(row.get::<_, i64>(1)?.cast_unsigned()),
                    reverse_path: reverse_path.map(|text| address(&text)).transpose()?,
                    trace: row.get(3)?,
                    received: Timestamp { seconds: row.get(4)?, nanoseconds: row.get(5)? },
                },
                recipients: self.recipients(id)?,
                attempts: row.get(6)?,
            });
        }
        Ok(due)
    }

    /// Who has not got it yet.
    pub(crate) fn recipients(&self, id: DeliveryId) -> Result<Vec<Recipient>, QueueError> {
        let mut find = self
            .database
            .prepare_cached("SELECT address, reason FROM recipient WHERE message = ?1 ORDER BY address")?;
        let mut members = self.database.prepare_cached(
            "SELECT account FROM member WHERE message = ?1 AND address = ?2 ORDER BY account",
        )?;
        let (mut rows, mut recipients) = (find.query([id.0])?, Vec::new());
        while let Some(row) = rows.next()? {
            let text: String = row.get(0)?;
            let accounts = members.query_map(params![id.0, text], |row| row.get::<_, u32>(0))?;
            let accounts: Vec<_> = accounts.collect::<Result<_, _>>()?;
            recipients.push(Recipient {
                address: address(&text)?,
                members: accounts.into_iter().filter_map(AccountId::new).collect(),
                reason: row.get::<_, Option<u8>>(1)?.and_then(from_number),
            });
        }
        Ok(recipients)
    }

    /// When the next message is due, of those that `busy` does not have.
    pub(crate) fn next_due(
        &mut self,
        busy: impl Fn(DeliveryId) -> bool,
    ) -> Result<Option<Millis>, QueueError> {
        let mut find = self.database.prepare_cached("SELECT id, next_ms FROM message ORDER BY next_ms")?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            if !busy(DeliveryId(row.get(0)?)) {
                return Ok(Some(row.get(1)?));
            }
        }
        Ok(None)
    }

    /// The octets of a stored message, hashed again: what is filed is what was acknowledged.
    pub(crate) fn body(&mut self, id: DeliveryId) -> Result<Body, QueueError> {
        let path = self.path_of(id);
        let damaged = |detail: String| QueueError::MessageDamaged { path: path.clone(), detail };
        let (size, hash, octets): (i64, [u8; 32], Option<Vec<u8>>) = self
            .database
            .prepare_cached(
                "SELECT size, hash, octets FROM message LEFT JOIN body ON message.id = body.message WHERE id = ?1",
            )?
            .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let file = match octets {
            Some(octets) => self.nameless(id, &octets)?,
            None => open(&path).map_err(|error| damaged(error.to_string()))?,
        };
        let body =
            Body::complete(file, size.cast_unsigned(), None).map_err(|error| damaged(error.to_string()))?;
        if *body.copy_to(&mut io::sink())?.as_bytes() != hash {
            return Err(damaged("its hash is another".to_owned()));
        }
        Ok(body)
    }

    /// A file of these octets that can only be read, for as long as it is open.
    fn nameless(&self, id: DeliveryId, octets: &[u8]) -> Result<File, QueueError> {
        let path = self.new_path(id);
        let file = create(&path).and_then(|mut file| file.write_all(octets)).and_then(|()| open(&path));
        fs::remove_file(&path)?;
        Ok(file?)
    }
}

/// An address as it was written by us.
pub(crate) fn address(text: &str) -> Result<Address, QueueError> {
    Address::parse(text)
        .map_err(|error| QueueError::Fault(format!("a stored address does not parse: {error}")))
}

pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    match options.open(path) {
        // Left by an earlier failure; the name is ours alone.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        result => result,
    }
}

pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// What lies in the directory besides the database.
#[derive(Debug, Default)]
struct Leftovers {
    unfinished: Vec<PathBuf>,
    messages: Vec<(DeliveryId, PathBuf)>,
    spooled: Vec<(Front, SpoolNumber, PathBuf)>,
}

/// Lists our own files; names that are not ours stay untouched.
fn leftovers(directory: &Path) -> Result<Leftovers, QueueError> {
    let list = || {
        let mut found = Leftovers::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with("new-") {
                found.unfinished.push(entry.path());
            } else if let Some((front, number)) = spooled(name) {
                match parse_number(number) {
                    Some(number) => found.spooled.push((front, number, entry.path())),
                    None => found.unfinished.push(entry.path()),
                }
            } else if let Some(id) = name.strip_prefix("message-").and_then(parse_id) {
                found.messages.push((id, entry.path()));
            }
        }
        Ok(found)
    };
    list().map_err(|error: io::Error| QueueError::Open {
        path: directory.to_owned(),
        detail: error.to_string(),
    })
}

/// Whose spool file has that name, and what follows.
fn spooled(name: &str) -> Option<(Front, &str)> {
    Front::ALL.into_iter().find_map(|front| Some((front, name.strip_prefix(front.prefix())?)))
}

fn parse_id(hex: &str) -> Option<DeliveryId> {
    let number = u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32)?;
    Some(DeliveryId(number.to_be_bytes()))
}

fn parse_number(hex: &str) -> Option<SpoolNumber> {
    u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 16).map(SpoolNumber)
}
