//! Spool files: messages that are too large for a front's memory. smtpd, or submitd, gets a descriptor that can only write; queued
//! keeps its own that can only read, and believes nothing before the kernel says that no writer is left.
//!
//! A spool file lies under its number until smtpd needs it no longer. Should queued die meanwhile, the next one finds
//! it there, and smtpd, which asks again, learns what became of the one message. The number is random, so that an
//! smtpd that was not told it, one that came later, has no file of an earlier one delivered.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipc_proto::delivery::SpoolNumber;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    body::{Body, BodyError},
    disk::Disk,
    queue::QueueError,
    sys,
};

/// How long a file of an earlier queued is kept for its smtpd, which asks again at once if it still lives and takes no
/// longer than [`ipc_proto::delivery::SmtpdQueued`]'s deadline over it. One that is still written to is kept longer.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Who writes to a spool file. Each has places and files of its own: neither names the other's, or uses up its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    Smtpd,
    Submitd,
}

impl Front {
    pub(crate) const ALL: [Self; 2] = [Self::Smtpd, Self::Submitd];

    /// How the names of its files begin; their numbers follow in hexadecimal.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Smtpd => "spool-",
            Self::Submitd => "submit-",
        }
    }
}

/// A spool file without the bookkeeping: new, or left by the queued before this one.
#[derive(Debug)]
pub struct Spooled {
    pub(crate) front: Front,
    pub(crate) number: SpoolNumber,
    pub(crate) reader: File,
    pub(crate) path: PathBuf,
}

/// A spool file and its place in the budget.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    reader: File,
    path: PathBuf,
    _place: OwnedSemaphorePermit,
}

impl SpoolFile {
    fn new(spooled: Spooled, place: OwnedSemaphorePermit) -> (SpoolNumber, Self) {
        (spooled.number, Self { reader: spooled.reader, path: spooled.path, _place: place })
    }
}

/// Tells one smtpd's channel from the next one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChannelNumber(u64);

/// Whom a file was handed to.
#[derive(Debug, PartialEq, Eq)]
enum Of {
    Channel(ChannelNumber),
    /// By the queued before this one.
    Earlier,
}

/// All spool files of one front.
#[derive(Debug)]
pub(crate) struct Spool {
    disk: Disk,
    front: Front,
    places: Arc<Semaphore>,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    channels: u64,
    alive: HashSet<ChannelNumber>,
    handed_out: HashMap<SpoolNumber, (Of, Arc<SpoolFile>)>,
}

impl Files {
    fn note(&mut self, (number, file): (SpoolNumber, SpoolFile), of: Of) -> SpoolNumber {
        self.handed_out.insert(number, (of, Arc::new(file)));
        number
    }

    /// Takes out what `gone` says; the names go with it, the octets once nobody reads them any more.
    fn forget(&mut self, disk: &Disk, mut gone: impl FnMut(SpoolNumber, &Of, &SpoolFile) -> bool) {
        for (_, (_, file)) in self.handed_out.extract_if(|number, (of, file)| gone(*number, of, file)) {
            disk.remove(file.path.clone());
        }
    }
}

impl Spool {
    /// With room for so many, among them those that the queued before this one left.
    pub(crate) fn new(disk: Disk, front: Front, places: u32, left: Vec<Spooled>) -> Self {
        let places = Arc::new(Semaphore::new(places as usize));
        let spool = Self { disk, front, places, files: Mutex::default() };
        for spooled in left {
            match Arc::clone(&spool.places).try_acquire_owned() {
                Ok(place) => {
                    spool.files().note(SpoolFile::new(spooled, place), Of::Earlier);
                }
                // There were more places then.
                Err(_) => spool.disk.remove(spooled.path),
            }
        }
        spool
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new channel of smtpd.
    pub(crate) fn channel(&self) -> ChannelNumber {
        let mut files = self.files();
        files.channels += 1;
        let channel = ChannelNumber(files.channels);
        files.alive.insert(channel);
        channel
    }

    /// Forgets what the smtpd of this channel, which is gone, held. Whoever comes now was told no earlier number.
    pub(crate) fn channel_ended(&self, ended: ChannelNumber) {
        let mut files = self.files();
        files.alive.remove(&ended);
        files.forget(&self.disk, |_, of, _| *of == Of::Channel(ended) || *of == Of::Earlier);
    }

    /// A new file; `Ok(None)`: all places are taken, or smtpd is gone.
    pub(crate) async fn open(
        &self,
        channel: ChannelNumber,
    ) -> Result<Option<(SpoolNumber, OwnedFd)>, QueueError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Ok(None) };
        let front = self.front;
        let (spooled, writer) = self.disk.run(move |queue| queue.spool_file(front)).await?;
        let mut files = self.files();
        let number = files.note(SpoolFile::new(spooled, place), Of::Channel(channel));
        if files.alive.contains(&channel) {
            return Ok(Some((number, writer)));
        }
        // smtpd has gone meanwhile: nobody would ever say that it is not needed.
        files.forget(&self.disk, |file, _, _| file == number);
        Ok(None)
    }

    /// The message in a file: complete, and without a writer.
    pub(crate) fn body(&self, number: SpoolNumber, stated: u64) -> Result<Body, BodyError> {
        let file = self.files().handed_out.get(&number).map(|(_, file)| Arc::clone(file));
        let file = file.ok_or(BodyError::UnknownSpool)?;
        if !sys::has_no_writer(&file.reader)? {
            return Err(BodyError::WriterLeft);
        }
        Body::complete(file.reader.try_clone()?, stated, Some(file))
    }

    /// smtpd needs it no longer. Unknown ones are not an offence: queued may have forgotten first.
    pub(crate) fn forget(&self, number: SpoolNumber) {
        let mut files = self.files();
        if let Some((_, file)) = files.handed_out.remove(&number) {
            self.disk.remove(file.path.clone());
        }
    }

    /// Forgets what nobody asked for again. Runs until nothing of the kind is left.
    pub(crate) async fn forget_earlier(&self) {
        while self.has_earlier() {
            tokio::time::sleep(KEPT_FOR).await;
            self.forget_unclaimed();
        }
    }

    fn has_earlier(&self) -> bool {
        self.files().handed_out.values().any(|(of, _)| *of == Of::Earlier)
    }

    /// Forgets the files of an earlier queued that nobody writes to.
    pub(crate) fn forget_unclaimed(&self) {
        self.files().forget(&self.disk, |_, of, file| {
            *of == Of::Earlier && sys::has_no_writer(&file.reader).unwrap_or(true)
        });
    }
}
