//! An mbox file, or a directory of them.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use import_lib::{maildir, name};
use ipc_proto::{
    reader::{Job, Quoting, SourceMailbox, ToReader},
    transfer::{ImportTarget, NAMES},
};
use nix::fcntl::OFlag;

use super::{
    bring::{Bringer, Ended, Source},
    child::Reader,
    options::Common,
    tree::{Directory, is_hidden},
};
use crate::failure::{Failure, reason};

/// Directories within directories.
const MAX_DEPTH: usize = 16;
/// Of the file of subscriptions, octets.
const MAX_SUBSCRIPTIONS: u64 = 4 << 20;

pub(super) fn bring(
    path: &Path,
    quoting: Quoting,
    common: &Common,
    bringer: &mut Bringer,
) -> Result<(), Failure> {
    let failed = |error: io::Error| unreadable(path, &error);
    let place = path.canonicalize().map_err(failed)?;
    if place.is_dir() {
        let directory = Directory::open(&place).map_err(failed)?;
        let levels: Vec<String> = common.mailbox.iter().cloned().collect();
        let mut walk = Walk { quoting, bringer, mailboxes: 0 };
        walk.directory(&directory, &place, &levels)?;
        if walk.mailboxes == 0 {
            return Err(Failure::Usage(format!("{}: there is no mbox file in it", path.display())));
        }
        let subscriptions = directory.text(maildir::SUBSCRIPTIONS, MAX_SUBSCRIPTIONS).map_err(failed)?;
        return subscribe(&subscriptions, common, bringer);
    }
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&place);
    let file = file.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failure::Usage(format!("{}: it is no file; an mbox has to be one", path.display())));
    }
    let mailbox = common.mailbox.clone().unwrap_or_else(|| "INBOX".to_owned());
    one(file, metadata.len(), quoting, mailbox, &place, bringer)
}

/// Subscribes to what the file of an export, or Dovecot's, names.
pub(super) fn subscribe(text: &str, common: &Common, bringer: &mut Bringer) -> Result<(), Failure> {
    let below = |name: String| match &common.mailbox {
        Some(mailbox) => name::from_levels(mailbox.split('/').chain(name.split('/'))),
        None => name,
    };
    let names: Vec<String> = maildir::subscriptions(text).into_iter().map(below).collect();
    names.chunks(NAMES).try_for_each(|names| bringer.subscribe(names.to_vec()))
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {}", path.display(), reason(error)))
}

fn one(
    file: File,
    size: u64,
    quoting: Quoting,
    mailbox: String,
    place: &Path,
    bringer: &mut Bringer,
) -> Result<(), Failure> {
    let mut reader = Reader::start(Some(file.into()))?;
    reader.teller().tell(&ToReader::Job(Job::Mbox { size, quoting }))?;
    let source = format!("mbox:{}", place.display());
    let mut target = OneTarget(Some(bringer.target(mailbox, &source)));
    bringer.read(&mut reader, &mut target).map_err(|ended| match ended {
        Ended::Source { why, .. } => Failure::Usage(format!("{}: {why}", place.display())),
        Ended::Failure(failure) => failure,
    })
}

/// A source of one mailbox.
struct OneTarget(Option<ImportTarget>);

impl Source for OneTarget {
    fn target(&mut self, _: &SourceMailbox) -> Option<ImportTarget> {
        self.0.take()
    }

    fn want(&mut self, _: Vec<u32>) -> Result<(), Failure> {
        Err(super::child::broken())
    }
}

struct Walk<'a> {
    quoting: Quoting,
    bringer: &'a mut Bringer,
    mailboxes: usize,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Directory, place: &Path, levels: &[String]) -> Result<(), Failure> {
        let failed = |error: io::Error| unreadable(place, &error);
        if levels.len() >= MAX_DEPTH {
            return Ok(());
        }
        for entry in directory.names().map_err(failed)?.iter().filter(|name| !is_hidden(name)) {
            let below = |level: &str| [levels, &[level.to_owned()]].concat();
            let inner: PathBuf = place.join(entry);
            if let Some(child) = directory.directory(entry).map_err(failed)? {
                self.directory(&child, &inner, &below(&name::from_file(&entry.to_string_lossy(), ".sbd")))?;
                continue;
            }
            let Some((file, metadata)) = directory.file(entry).map_err(failed)? else { continue };
            if !is_mbox(entry, &file, metadata.len()).map_err(failed)? {
                continue;
            }
            let levels = below(&name::from_file(&entry.to_string_lossy(), ".mbox"));
            let name = name::from_levels(levels.iter().flat_map(|level| level.split('/')));
            let name = if name.eq_ignore_ascii_case("inbox") { "INBOX".to_owned() } else { name };
            self.mailboxes += 1;
            one(file, metadata.len(), self.quoting, name, &inner, self.bringer)?;
        }
        Ok(())
    }
}

/// An empty file has to be called one.
fn is_mbox(name: &OsStr, file: &File, size: u64) -> io::Result<bool> {
    if size == 0 {
        return Ok(name.as_encoded_bytes().ends_with(b".mbox"));
    }
    let mut beginning = [0; 5];
    Ok(file.read_at(&mut beginning, 0)? == beginning.len() && beginning == *b"From ")
}
