//! One message before it is written: its length and its lines are known then. A large one waits in a file without a name.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

use import_lib::{maildir::Sizes, mbox::Layout};
use nix::fcntl::OFlag;

/// Up to here in memory, octets.
const IN_MEMORY: usize = 1 << 20;

/// The message.
#[derive(Debug, Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    in_file: u64,
    pub(super) layout: Layout,
    pub(super) sizes: Sizes,
}

impl Spool {
    pub(super) fn clear(&mut self) {
        self.memory.clear();
        self.file = None;
        self.in_file = 0;
        (self.layout, self.sizes) = (Layout::default(), Sizes::default());
    }

    pub(super) fn octets(&self) -> u64 {
        self.in_file + self.memory.len() as u64
    }

    pub(super) fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        self.layout.push(octets);
        self.sizes.push(octets);
        if self.memory.len() + octets.len() > IN_MEMORY {
            let file = match &self.file {
                Some(file) => file,
                None => self.file.insert(unnamed()?),
            };
            file.write_all_at(&self.memory, self.in_file)?;
            self.in_file += self.memory.len() as u64;
            self.memory.clear();
        }
        self.memory.extend_from_slice(octets);
        Ok(())
    }

    /// All of it, piece by piece.
    pub(super) fn read(&self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 0;
        while let Some(file) = self.file.as_ref().filter(|_| offset < self.in_file) {
            let read = file.read_at(&mut buffer, offset)?;
            let left = usize::try_from(self.in_file - offset).unwrap_or(usize::MAX);
            let octets = buffer.get(..read.min(left)).unwrap_or_default();
            if octets.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            each(octets)?;
            offset += octets.len() as u64;
        }
        each(&self.memory)
    }
}

fn unnamed() -> io::Result<File> {
    let directory = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    File::options().read(true).write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits()).open(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_size_comes_back() {
        let mut spool = Spool::default();
        for size in [0, 1, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY + 5] {
            let message: Vec<u8> = (0..size).map(|place| u8::try_from(place % 251).unwrap()).collect();
            spool.clear();
            message.chunks(65_536).for_each(|octets| spool.push(octets).unwrap());
            let mut read = Vec::new();
            spool
                .read(|octets| {
                    read.extend_from_slice(octets);
                    Ok(())
                })
                .unwrap();
            assert!(read == message && spool.octets() == size as u64, "{size}");
        }
    }
}
