//! Spool files: messages that are too large for smtpd's memory. smtpd gets a descriptor that can only write; queued
//! keeps its own that can only read, and believes nothing before the kernel says that no writer is left.

use std::{
    collections::HashMap,
    fs::File,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipc_proto::delivery::SpoolNumber;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    body::{Body, BodyError},
    sys,
};

/// How often a spool file is asked for its last writer, in pauses that double from [`FIRST_PAUSE`]: smtpd sends its
/// descriptor first and closes its own copy right after, so the two may cross.
const ASKED: u32 = 10;

/// See [`ASKED`]; all pauses together are about one second.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// Both ends of a new spool file, which has no name any more.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    /// For smtpd.
    pub(crate) writer: OwnedFd,
    /// For us.
    pub(crate) reader: File,
}

/// The spool files of one channel; gone with it.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Shared by all channels: how many there may be at once.
    places: Arc<Semaphore>,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    next: u64,
    handed_out: HashMap<SpoolNumber, (File, OwnedSemaphorePermit)>,
}

impl Spool {
    pub(crate) fn new(places: Arc<Semaphore>) -> Self {
        Self { places, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, `None` when all are taken. Files that smtpd has closed without handing them in (the
    /// client went away) are forgotten here: the kernel says which have no writer left, and one that is on its way
    /// back to us still counts as open.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.files().handed_out.retain(|_, (file, _)| !sys::has_no_writer(file).unwrap_or(false));
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Notes a file that is handed out now.
    pub(crate) fn note(&self, reader: File, place: OwnedSemaphorePermit) -> SpoolNumber {
        let mut files = self.files();
        files.next += 1;
        let number = SpoolNumber(files.next);
        files.handed_out.insert(number, (reader, place));
        number
    }

    /// The file that comes back: the same one, complete, and without a writer. Only our own descriptor is used. Each
    /// number works once.
    pub(crate) async fn take(
        &self,
        number: SpoolNumber,
        fd: OwnedFd,
        stated: u64,
    ) -> Result<Body, BodyError> {
        let (reader, place) = self.files().handed_out.remove(&number).ok_or(BodyError::UnknownSpool)?;
        let (theirs, ours) = (File::from(fd), reader.metadata()?);
        let identity = theirs.metadata().map(|theirs| (theirs.dev(), theirs.ino()))?;
        if identity != (ours.dev(), ours.ino()) {
            return Err(BodyError::OtherFile);
        }
        // It can write: while we hold it, it is a writer too.
        drop(theirs);
        let mut pause = FIRST_PAUSE;
        for _ in 0..ASKED {
            if sys::has_no_writer(&reader)? {
                return Body::complete(reader, stated, Some(place));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(BodyError::WriterLeft)
    }
}
