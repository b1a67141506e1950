//! `msg/`: the octets of larger messages, one file each, written once. Names are our own numbers; every step goes
//! through directory descriptors and follows no link.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::StoreError;

const DIRECTORY: &str = "msg";
/// 16 hex digits of the run, 8 of the message.
const NAME_OCTETS: usize = 24;

/// The name of a body's file. The run comes first, so that leftovers of the run that crashed can be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BodyName(String);

impl BodyName {
    /// Only what [`Files::create`] made up: a damaged row cannot name anything else in the file system.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
        (text.len() == NAME_OCTETS && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn is_of_run(&self, run: u64) -> bool {
        self.0.starts_with(&format!("{run:016x}"))
    }

    fn temporary(&self) -> String {
        format!("{}.tmp", self.0)
    }

    /// The last two digits: successive messages go to different directories.
    fn directory(&self) -> &str {
        self.0.get(NAME_OCTETS - 2..).unwrap_or("00")
    }
}

/// The directory of large messages.
#[derive(Debug)]
pub(crate) struct Files {
    root: OwnedFd,
    run: u64,
    next: AtomicU32,
}

/// A file being written. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct NewFile {
    files: Arc<Files>,
    name: BodyName,
    directory: OwnedFd,
    file: File,
    renamed: bool,
}

/// A complete and durable file that goes again unless a commit named it.
#[derive(Debug)]
pub(crate) struct KeptFile {
    files: Arc<Files>,
    pub(crate) name: BodyName,
    keep: AtomicBool,
}

impl Files {
    /// `run` is above those of all earlier runs.
    pub(crate) fn open(account: &File, run: u64) -> Result<Self, StoreError> {
        let root = match open_directory(account, DIRECTORY) {
            Err(Errno::ENOENT) => {
                make_directory(account, DIRECTORY)?;
                account.sync_all().map_err(|error| StoreError::file(&error))?;
                open_directory(account, DIRECTORY)
            }
            other => other,
        };
        Ok(Self { root: root?, run, next: AtomicU32::new(0) })
    }

    /// Whether there is anything in it.
    pub(crate) fn is_used(account: &File) -> bool {
        let Ok(root) = open_directory(account, DIRECTORY) else { return false };
        list(&root).is_ok_and(|names| !names.is_empty())
    }

    /// Begins a file under a temporary name.
    pub(crate) fn create(self: &Arc<Self>) -> Result<NewFile, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = BodyName(format!("{:016x}{number:08x}", self.run));
        let directory = match open_directory(&self.root, name.directory()) {
            Err(Errno::ENOENT) => {
                make_directory(&self.root, name.directory())?;
                nix::unistd::fsync(&self.root)?;
                open_directory(&self.root, name.directory())?
            }
            other => other?,
        };
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&directory, name.temporary().as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(NewFile { files: Arc::clone(self), name, directory, file: file.into(), renamed: false })
    }

    /// For reading. `None`: not there.
    pub(crate) fn open_body(&self, name: &BodyName) -> Result<Option<File>, StoreError> {
        let opened = open_directory(&self.root, name.directory()).and_then(|directory| {
            openat(
                &directory,
                name.as_str(),
                OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        });
        match opened {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a body; one that is gone already is fine.
    pub(crate) fn remove(&self, name: &BodyName) -> Result<(), StoreError> {
        let removed = open_directory(&self.root, name.directory())
            .and_then(|directory| unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir));
        match removed {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All files that are there under a body's name, or under another: `Err` carries its path below `msg/`.
    pub(crate) fn walk(&self, mut each: impl FnMut(Result<BodyName, String>)) -> Result<(), StoreError> {
        for directory in list(&self.root)? {
            let Ok(opened) = open_directory(&self.root, directory.as_str()) else {
                each(Err(directory));
                continue;
            };
            for file in list(&opened)? {
                match BodyName::parse(&file).filter(|name| name.directory() == directory) {
                    Some(name) => each(Ok(name)),
                    None => each(Err(format!("{directory}/{file}"))),
                }
            }
        }
        Ok(())
    }

    /// Whether `name` was made up since this store was opened: its commit may still be on its way.
    pub(crate) fn is_of_this_run(&self, name: &BodyName) -> bool {
        name.is_of_run(self.run)
    }

    /// After a crash: removes temporary files, and the files of the run that crashed which no row names.
    pub(crate) fn sweep(
        &self,
        crashed: Option<u64>,
        mut named: impl FnMut(&BodyName) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for directory in list(&self.root)? {
            let Ok(opened) = open_directory(&self.root, directory.as_str()) else { continue };
            for file in list(&opened)? {
                let temporary = file.strip_suffix(".tmp").and_then(BodyName::parse).is_some();
                let orphan = match (BodyName::parse(&file), crashed) {
                    (Some(name), Some(run)) if name.is_of_run(run) => !named(&name)?,
                    _ => false,
                };
                if temporary || orphan {
                    unlinkat(&opened, file.as_str(), UnlinkatFlags::NoRemoveDir)?;
                }
            }
        }
        Ok(())
    }
}

impl NewFile {
    /// Where the octets go.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// fsync the file, rename it, fsync its directory: after this a commit may name it.
    pub(crate) fn finish(mut self) -> Result<KeptFile, StoreError> {
        self.file.sync_data().map_err(|error| StoreError::file(&error))?;
        renameat(&self.directory, self.name.temporary().as_str(), &self.directory, self.name.as_str())?;
        self.renamed = true;
        let kept = KeptFile {
            files: Arc::clone(&self.files),
            name: self.name.clone(),
            keep: AtomicBool::new(false),
        };
        nix::unistd::fsync(&self.directory)?;
        Ok(kept)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = unlinkat(&self.directory, self.name.temporary().as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

impl KeptFile {
    /// A commit named it, or may have.
    pub(crate) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed) {
            let _ = self.files.remove(&self.name);
        }
    }
}

fn open_directory(parent: impl AsFd, name: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn make_directory(parent: impl AsFd, name: &str) -> nix::Result<()> {
    match mkdirat(parent, name, Mode::S_IRWXU) {
        Err(Errno::EEXIST) => Ok(()), // another thread's, or not a directory: opening it will tell
        other => other,
    }
}

fn list(directory: &OwnedFd) -> nix::Result<Vec<String>> {
    let mut listed = Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE)?)?;
    let mut names = Vec::new();
    for entry in listed.iter() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}
