//! What was in hand when the process died, and when it died: small facts that outlive the process without an fsync.
//!
//! They are in `account.state`, written in place: the page cache keeps them when the process is killed, and after a
//! power cut they do not matter. Nothing here is needed to read mail; octets that make no sense are taken for none.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::{DeliveryId, Store, StoreError, UnixSeconds};

const FILE_NAME: &str = "account.state";
const MAGIC: &[u8; 8] = b"moxhand1";
/// Deliveries that can be in hand at once, and that are remembered as poisoned.
const SLOTS: usize = 64;
const MAX_CRASHES: usize = 8;
/// The file: magic, run, inode number of the database, whether the run was closed; crashes; deliveries in hand;
/// poisoned deliveries. Numbers are little-endian.
const RUN_AT: usize = 8;
const DATABASE_AT: usize = 16;
const CLEAN_AT: usize = 24;
const CRASHES_AT: usize = 32;
/// When (8), 1 if used, 1 if a message was being parsed.
const CRASH_OCTETS: usize = 16;
const SLOTS_AT: usize = CRASHES_AT + MAX_CRASHES * CRASH_OCTETS;
/// Id (16), 1 if used.
const SLOT_OCTETS: usize = 32;
const POISONED_AT: usize = SLOTS_AT + SLOTS * SLOT_OCTETS;
const FILE_OCTETS: usize = POISONED_AT + SLOTS * SLOT_OCTETS;

/// How the run before this one ended, as somebody saw who watched the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastEnd {
    /// In order, or killed from outside, or nobody knows: what was in hand is not to blame.
    Harmless,
    /// By its own fault.
    Crash {
        /// There was more in hand than the store knows of: sessions.
        busy: bool,
    },
}

/// One end of the account's process by its own fault, with something in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// When it was noticed: at the next open.
    pub at: UnixSeconds,
    /// Whether a message was being parsed.
    pub parsing: bool,
}

/// Says that a delivery is being parsed; until dropped.
#[derive(Debug)]
pub struct InHand {
    hand: Arc<Hand>,
    slot: usize,
}

/// The open file and what the last run left in it.
#[derive(Debug)]
pub(crate) struct Hand {
    file: File,
    /// This run: above all earlier ones, also when the clock was set back.
    pub(crate) run: u64,
    past: Past,
    slots: Mutex<[bool; SLOTS]>,
}

/// What the file says about earlier runs.
#[derive(Debug, Default)]
struct Past {
    /// The number of the last run; 0 when there was none.
    run: u64,
    /// The inode number of the database that it worked on.
    database: u64,
    crashed: bool,
    crashes: Vec<Crash>,
    poisoned: Vec<DeliveryId>,
}

impl Hand {
    /// Whether an account was in this directory before.
    pub(crate) fn is_there(account: &File) -> bool {
        openat(account, FILE_NAME, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
            .is_ok()
    }

    /// Reads what the last run left and begins the next, which works on the database with this inode number.
    pub(crate) fn open(account: &File, database: u64, last: LastEnd) -> Result<Self, StoreError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(account, FILE_NAME, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let mut octets = Vec::with_capacity(FILE_OCTETS);
        (&file)
            .take(FILE_OCTETS as u64)
            .read_to_end(&mut octets)
            .map_err(|error| StoreError::file(&error))?;
        let past = Past::read(&octets, last).unwrap_or_default();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let run = u64::try_from(clock).unwrap_or_default().max(past.run.saturating_add(1));
        file.write_all_at(&past.begin(run, database), 0).map_err(|error| StoreError::file(&error))?;
        Ok(Self { file, run, past, slots: Mutex::new([false; SLOTS]) })
    }

    /// Whether the last run ended without closing the store.
    pub(crate) fn crashed(&self) -> bool {
        self.past.crashed
    }

    /// The number of the last run, if it crashed and worked on this same database file.
    pub(crate) fn crashed_run(&self, database: u64) -> Option<u64> {
        (self.past.crashed && self.past.database == database).then_some(self.past.run)
    }

    /// The store was closed in order.
    pub(crate) fn mark_clean(&self) {
        // When this fails, the next run takes this one for crashed and looks around once more than needed.
        let _ = self.file.write_all_at(&[1], CLEAN_AT as u64);
    }

    fn begin(self: &Arc<Self>, id: DeliveryId) -> Result<InHand, StoreError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let free = slots.iter_mut().enumerate().find(|(_, used)| !**used);
        let (slot, used) = free.ok_or(StoreError::TooMany("deliveries in hand at once"))?;
        let mut octets = [0; SLOT_OCTETS];
        for (to, from) in octets.iter_mut().zip(id.0.iter().chain(&[1])) {
            *to = *from;
        }
        let at = SLOTS_AT + slot * SLOT_OCTETS;
        self.file.write_all_at(&octets, at as u64).map_err(|error| StoreError::file(&error))?;
        *used = true;
        Ok(InHand { hand: Arc::clone(self), slot })
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let at = SLOTS_AT + self.slot * SLOT_OCTETS;
        // When this fails, a crash of this run has the delivery filed without parsing: safe.
        let _ = self.hand.file.write_all_at(&[0; SLOT_OCTETS], at as u64);
        let mut slots = self.hand.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = slots.get_mut(self.slot) {
            *used = false;
        }
    }
}

impl Past {
    /// `None`: written by nobody, or not whole.
    fn read(octets: &[u8], last: LastEnd) -> Option<Self> {
        if octets.len() != FILE_OCTETS || octets.get(..MAGIC.len()) != Some(MAGIC) {
            return None;
        }
        let mut past = Self {
            run: number(octets, RUN_AT)?,
            database: number(octets, DATABASE_AT)?,
            crashed: octets.get(CLEAN_AT) == Some(&0),
            crashes: octets.get(CRASHES_AT..SLOTS_AT)?.chunks_exact(CRASH_OCTETS).filter_map(crash).collect(),
            poisoned: octets.get(POISONED_AT..)?.chunks_exact(SLOT_OCTETS).filter_map(delivery).collect(),
        };
        if let (true, LastEnd::Crash { busy }) = (past.crashed, last) {
            let slots = octets.get(SLOTS_AT..POISONED_AT)?;
            let in_hand: Vec<_> = slots.chunks_exact(SLOT_OCTETS).filter_map(delivery).collect();
            if busy || !in_hand.is_empty() {
                past.crashes.push(Crash { at: UnixSeconds::now(), parsing: !in_hand.is_empty() });
            }
            past.poisoned.extend(in_hand);
            keep_last(&mut past.crashes, MAX_CRASHES);
            keep_last(&mut past.poisoned, SLOTS);
        }
        Some(past)
    }

    /// The whole file for a run that begins now: running, nothing in hand.
    fn begin(&self, run: u64, database: u64) -> Vec<u8> {
        let mut octets = Vec::with_capacity(FILE_OCTETS);
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&run.to_le_bytes());
        octets.extend_from_slice(&database.to_le_bytes());
        octets.resize(CRASHES_AT, 0);
        for crash in &self.crashes {
            octets.extend_from_slice(&crash.at.0.to_le_bytes());
            octets.extend_from_slice(&[1, u8::from(crash.parsing), 0, 0, 0, 0, 0, 0]);
        }
        octets.resize(POISONED_AT, 0);
        for id in &self.poisoned {
            octets.extend_from_slice(&id.0);
            octets.push(1);
            octets.resize(octets.len().next_multiple_of(SLOT_OCTETS), 0);
        }
        octets.resize(FILE_OCTETS, 0);
        octets
    }
}

fn number(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

fn crash(record: &[u8]) -> Option<Crash> {
    let at = UnixSeconds(i64::from_le_bytes(*record.first_chunk()?));
    (record.get(8) == Some(&1)).then_some(Crash { at, parsing: record.get(9) == Some(&1) })
}

fn delivery(slot: &[u8]) -> Option<DeliveryId> {
    (slot.get(16) == Some(&1)).then_some(DeliveryId(*slot.first_chunk()?))
}

fn keep_last<T>(all: &mut Vec<T>, limit: usize) {
    all.drain(..all.len().saturating_sub(limit));
}

impl Store {
    /// Call before a delivery's octets are parsed, drop when they are. Two small writes, no fsync. At most 64 at once.
    pub fn begin_parse(&self, id: DeliveryId) -> Result<InHand, StoreError> {
        self.hand().begin(id)
    }

    /// Whether this delivery was being parsed when the process died: stage it with [`crate::Parse::No`].
    #[must_use]
    pub fn is_poisoned(&self, id: DeliveryId) -> bool {
        self.hand().past.poisoned.contains(&id)
    }

    /// The latest crashes, oldest first, at most 8. Three within ten minutes: open in safe mode.
    #[must_use]
    pub fn crashes(&self) -> Vec<Crash> {
        self.hand().past.crashes.clone()
    }
}
