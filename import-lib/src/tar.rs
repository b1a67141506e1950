//! Writing a tar archive (POSIX.1-2017 pax): directories and files, nothing else.

use std::io;

/// A header or a block of a file.
const BLOCK: usize = 512;
/// The longest path of a plain header.
const NAME: usize = 100;
/// The largest size of a plain header: eleven octal digits.
const SIZE: u64 = 0o77_777_777_777;

/// Writes one entry after the other.
#[derive(Debug)]
pub struct Tar<W> {
    to: W,
    /// Of the file that is written, octets so far.
    octets: u64,
}

impl<W: io::Write> Tar<W> {
    /// Begins an archive.
    pub fn new(to: W) -> Self {
        Self { to, octets: 0 }
    }

    /// A directory: its path without a slash at the end.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(&format!("{path}/"), 0, 0, b'5')
    }

    /// A file begins: so many octets have to follow.
    pub fn file(&mut self, path: &str, size: u64, modified: i64) -> io::Result<()> {
        self.entry(path, size, modified, b'0')
    }

    /// Octets of the file.
    pub fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        self.octets += octets.len() as u64;
        self.to.write_all(octets)
    }

    /// The file is whole.
    pub fn end(&mut self) -> io::Result<()> {
        let over = usize::try_from(self.octets % BLOCK as u64).unwrap_or_default();
        self.octets = 0;
        if over == 0 { Ok(()) } else { self.to.write_all([0; BLOCK].get(over..).unwrap_or_default()) }
    }

    /// There is nothing more. What it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, path: &str, size: u64, modified: i64, kind: u8) -> io::Result<()> {
        if path.len() > NAME || size > SIZE || !path.is_ascii() {
            let records = record("path", path) + &record("size", &size.to_string());
            self.to.write_all(&header("pax", records.len() as u64, 0, b'x'))?;
            self.push(records.as_bytes())?;
            self.end()?;
        }
        let plain = path.get(..path.floor_char_boundary(NAME)).unwrap_or_default();
        self.to.write_all(&header(plain, size.min(SIZE), modified, kind))
    }
}

/// `LENGTH KEY=VALUE`, the length counting itself.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    format!("{length} {key}={value}\n")
}

fn header(path: &str, size: u64, modified: i64, kind: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, octets: &[u8]| {
        if let Some(place) = header.get_mut(at..at + octets.len()) {
            place.copy_from_slice(octets);
        }
    };
    put(0, path.as_bytes());
    put(100, if kind == b'5' { b"0000700\0" } else { b"0000600\0" });
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    let modified = u64::try_from(modified).unwrap_or_default().min(SIZE);
    put(136, format!("{modified:011o}\0").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u64 = header.iter().map(|octet| u64::from(*octet)).sum();
    let sum = format!("{sum:06o}\0 ");
    if let Some(place) = header.get_mut(148..156) {
        place.copy_from_slice(sum.as_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_itself_unpacks_what_was_written() {
        let temporary = tempfile::tempdir().unwrap();
        let archive = temporary.path().join("a.tar");
        let long = format!("d/{}", "x".repeat(200));
        let mut tar = Tar::new(std::fs::File::create(&archive).unwrap());
        tar.directory("d").unwrap();
        for (path, octets) in [("d/empty", &b""[..]), (&long, &[7; 512]), ("d/ü", b"text")] {
            tar.file(path, octets.len() as u64, 1_700_000_000).unwrap();
            octets.chunks(3).for_each(|octets| tar.push(octets).unwrap());
            tar.end().unwrap();
        }
        tar.finish().unwrap();
        let done = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(temporary.path()).status();
        assert!(done.unwrap().success());
        let read = |path: &str| std::fs::read(temporary.path().join(path)).unwrap();
        assert_eq!((read("d/empty"), read(&long), read("d/ü")), (vec![], vec![7; 512], b"text".to_vec()));
        let modified = std::fs::metadata(temporary.path().join("d/ü")).unwrap().modified().unwrap();
        let seconds = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds, 1_700_000_000);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for value in ["", "x", &"x".repeat(90), &"x".repeat(985), &"x".repeat(990)] {
            let record = record("path", value);
            assert!(record.starts_with(&format!("{} path=", record.len())), "{record:.20}");
        }
    }
}
