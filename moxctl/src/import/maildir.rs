//! A Maildir with its folders. Listing and opening is done here, what it means is the reader's to say.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use import_lib::{maildir, name};
use ipc_proto::{
    reader::{Job, SourceMailbox, ToReader},
    transfer::{ImportTarget, PIECE},
};

use super::{
    bring::{Bringer, Ended, Source},
    child::{Reader, Teller},
    mbox::{subscribe, unreadable},
    options::Common,
    tree::Directory,
};
use crate::failure::{Failure, reason};

/// Of the file of subscriptions, octets.
const MAX_SUBSCRIPTIONS: u64 = 4 << 20;

pub(super) fn bring(path: &Path, common: &Common, bringer: &mut Bringer) -> Result<(), Failure> {
    let failed = |error: io::Error| unreadable(path, &error);
    let place = path.canonicalize().map_err(failed)?;
    let root = Directory::open(&place).map_err(failed)?;
    let mut folders: Vec<OsString> = vec![OsString::new()];
    folders
        .extend(root.names().map_err(failed)?.into_iter().filter(|name| name.as_bytes().starts_with(b".")));
    let mut found = false;
    for folder in &folders {
        let directory = match folder.is_empty() {
            true => Some(Directory::open(&place).map_err(failed)?),
            false => root.directory(folder).map_err(failed)?,
        };
        let Some(directory) = directory else { continue };
        let Some(current) = directory.directory(OsStr::new("cur")).map_err(failed)? else { continue };
        found = true;
        let new = directory.directory(OsStr::new("new")).map_err(failed)?;
        let mailbox = name::from_folder(folder.as_bytes());
        let mailbox = match &common.mailbox {
            Some(below) if folder.is_empty() => below.clone(),
            Some(below) => name::from_levels(below.split('/').chain(mailbox.split('/'))),
            None => mailbox,
        };
        let source = format!("maildir:{}/{}", place.display(), folder.to_string_lossy());
        let special_use = directory.text(maildir::SPECIAL_USE, 64).map_err(failed)?;
        let special_use = Some(special_use.trim().to_owned()).filter(|special_use| !special_use.is_empty());
        let target = ImportTarget { special_use, ..bringer.target(mailbox, &source) };
        one(Folder { directory, current, new }, target, bringer)?;
    }
    if !found {
        return Err(Failure::Usage(format!("{}: it is no Maildir: there is no `cur` in it", path.display())));
    }
    subscribe(&root.text(maildir::SUBSCRIPTIONS, MAX_SUBSCRIPTIONS).map_err(failed)?, common, bringer)
}

struct Folder {
    directory: Directory,
    current: Directory,
    new: Option<Directory>,
}

fn one(folder: Folder, target: ImportTarget, bringer: &mut Bringer) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Unavailable(format!("the Maildir: {}", reason(&error)));
    let mut reader = Reader::start(None)?;
    let teller = reader.teller();
    teller.tell(&ToReader::Job(Job::Maildir))?;
    for list in [maildir::UIDLIST, maildir::KEYWORDS, maildir::OUR_KEYWORDS] {
        send(&folder.directory, OsStr::new(list), &teller)?;
    }
    let mut names = Vec::new();
    let directories = [(false, Some(&folder.current)), (true, folder.new.as_ref())];
    for (new, directory) in directories.into_iter().filter_map(|(new, directory)| Some((new, directory?))) {
        for name in directory.names().map_err(failed)? {
            teller.tell(&ToReader::Name { new, name: name.as_bytes().to_vec() })?;
            names.push((new, name));
        }
    }
    teller.tell(&ToReader::Read)?;
    // Files go in while mail comes out: each way would wait for the other.
    let (want, wanted) = mpsc::channel::<Vec<u32>>();
    let feeder = thread::spawn(move || -> Result<(), Failure> {
        for numbers in wanted {
            for number in numbers {
                let named = usize::try_from(number).ok().and_then(|number| names.get(number));
                let file = named.and_then(|(new, name)| {
                    let directory = if *new { folder.new.as_ref() } else { Some(&folder.current) };
                    Some((directory?, name))
                });
                match file {
                    Some((directory, name)) => send(directory, name, &teller)?,
                    None => teller.tell(&ToReader::FileGone)?,
                }
            }
        }
        Ok(())
    });
    let mut source = Wanting { target: Some(target), want: Some(want) };
    let read = bringer.read(&mut reader, &mut source);
    // A reader that ended with files still to come holds nobody up.
    drop((source, reader));
    let fed = join(feeder);
    match read {
        Ok(()) => fed,
        Err(Ended::Source { why, .. }) => Err(Failure::Usage(why)),
        Err(Ended::Failure(failure)) => Err(failure),
    }
}

fn join(feeder: JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    feeder.join().unwrap_or_else(|_| Err(super::child::broken()))
}

struct Wanting {
    target: Option<ImportTarget>,
    want: Option<mpsc::Sender<Vec<u32>>>,
}

impl Source for Wanting {
    fn target(&mut self, _: &SourceMailbox) -> Option<ImportTarget> {
        self.target.take()
    }

    fn want(&mut self, numbers: Vec<u32>) -> Result<(), Failure> {
        let sent = self.want.as_ref().and_then(|want| want.send(numbers).ok());
        sent.ok_or_else(super::child::broken)
    }
}

/// A file to its end, or that there is none.
fn send(directory: &Directory, name: &OsStr, teller: &Teller) -> Result<(), Failure> {
    let Ok(Some((mut file, metadata))) = directory.file(name) else {
        return teller.tell(&ToReader::FileGone);
    };
    teller.tell(&ToReader::File { modified: metadata.mtime(), size: metadata.len() })?;
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return teller.tell(&ToReader::FileEnd),
            Ok(read) => teller.octets(buffer.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return teller.tell(&ToReader::FileGone),
        }
    }
}
