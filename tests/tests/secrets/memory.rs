//! All that can be read of a process's memory, searched for octets.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

/// Read at once.
const PIECE: usize = 1 << 20;
const PAGE: usize = 4096;

/// Something to be found, in one of its forms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Needle {
    /// What it is and how it is written.
    pub(crate) name: String,
    pub(crate) octets: Vec<u8>,
}

impl Needle {
    pub(crate) fn new(name: impl Into<String>, octets: &[u8]) -> Self {
        assert!(octets.len() >= 8, "too short: it would be found by chance");
        Self { name: name.into(), octets: octets.to_vec() }
    }

    /// What it is, however it is written.
    pub(crate) fn secret(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }
}

/// Needles by their first two octets, so that nearly every place is passed over at once.
pub(crate) struct Search<'a> {
    needles: &'a [Needle],
    first: Vec<bool>,
    longest: usize,
}

impl<'a> Search<'a> {
    pub(crate) fn new(needles: &'a [Needle]) -> Self {
        let mut first = vec![false; 1 << 16];
        for needle in needles {
            first[pair(&needle.octets)] = true;
        }
        let longest = needles.iter().map(|needle| needle.octets.len()).max().expect("something to look for");
        Self { needles, first, longest }
    }

    fn octets(&self, hay: &[u8], found: &mut BTreeSet<&'a str>) {
        for at in 0..hay.len().saturating_sub(1) {
            if self.first[usize::from(hay[at]) << 8 | usize::from(hay[at + 1])] {
                let here = self.needles.iter().filter(|needle| hay[at..].starts_with(&needle.octets));
                found.extend(here.map(|needle| needle.name.as_str()));
            }
        }
    }

    /// Which needles are anywhere in a process, and how much was read of it.
    pub(crate) fn process(&self, pid: i32) -> io::Result<(BTreeSet<&'a str>, usize)> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let mut found = BTreeSet::new();
        let (mut piece, mut read) = (vec![0; PIECE + self.longest], 0);
        for (from, until) in readable(pid)? {
            let mut at = from;
            while at < until {
                // Overlapping, so that nothing lies across the edge of two pieces.
                let size = piece.len().min(until - at);
                let hay = &mut piece[..size];
                match memory.read_exact_at(hay, at as u64) {
                    Ok(()) => {
                        read += size;
                        // Most of what is mapped was never written.
                        let zeros = hay.chunks(PAGE).all(|page| page.iter().all(|octet| *octet == 0));
                        if !zeros {
                            self.octets(hay, &mut found);
                        }
                    }
                    // Behind the end of its file, or gone meanwhile.
                    Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EFAULT)) => {}
                    Err(error) => return Err(error),
                }
                at += PIECE;
            }
        }
        Ok((found, read))
    }
}

fn pair(octets: &[u8]) -> usize {
    usize::from(octets[0]) << 8 | usize::from(octets[1])
}

/// All mappings that can be read, but what the kernel itself shows there.
fn readable(pid: i32) -> io::Result<Vec<(usize, usize)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mapping = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let (from, until) = range.split_once('-')?;
        let number = |hex| usize::from_str_radix(hex, 16).ok();
        let kernel = ["[vvar", "[vsyscall]"].iter().any(|name| line.contains(name));
        (rights.starts_with('r') && !kernel).then_some((number(from)?, number(until)?))
    };
    Ok(maps.lines().filter_map(mapping).collect())
}
