//! COMPRESS=DEFLATE (RFC 4978): what lies between the session and its stream once the client asked for it. A fault in it is
//! one in this account's process: the front copies octets that it knows nothing of.
//!
//! The client's octets are inflated into the session's own buffer, so that what a few octets stand for is never in memory
//! as a whole. The compressor, by far the larger half, is one for all sessions of the process: it takes one flush of a
//! session at a time, ends it at an octet's boundary, and begins the next without referring to anything before. Idle
//! sessions keep what it takes to understand their client's next octet, and no more.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Octets read from the stream at once.
const PIECE: usize = 16 << 10;

/// What compressed octets may take beyond those that they stand for: what the compressor holds back until it has room for a
/// whole block of its own, once more than it ever holds.
const ROOM: usize = 192 << 10;

/// What everything that was flushed ends in: the size of a stored block without octets (RFC 1951 §3.2.4).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Of all sessions; there while there are any.
static COMPRESSOR: Mutex<Weak<Mutex<Compress>>> = Mutex::new(Weak::new());

/// Both directions of a compressed stream.
#[derive(Debug)]
pub(crate) struct Deflate {
    inflate: Decompress,
    compress: Arc<Mutex<Compress>>,
    /// Octets of the client that are not inflated yet, from `at` on.
    input: Vec<u8>,
    at: usize,
    /// There was something the last time, so there may be more to what was read: what a few octets stand for comes in
    /// pieces.
    more: bool,
}

/// What came is not what DEFLATE is (RFC 1951), or says that nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

impl Deflate {
    /// `input`: what came behind the command.
    pub(crate) fn new(input: &[u8]) -> Self {
        let inflate = Decompress::new(false);
        Self { inflate, compress: compressor(), input: input.to_vec(), at: 0, more: false }
    }

    /// Whether [`Deflate::inflate`] may have something without reading from the stream.
    pub(crate) fn has_input(&self) -> bool {
        self.more || self.at < self.input.len()
    }

    /// Where the next octets of the stream go; then [`Deflate::received`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.at = 0;
        self.input.resize(PIECE, 0);
        &mut self.input
    }

    /// So many octets were read.
    pub(crate) fn received(&mut self, octets: usize) {
        self.input.truncate(octets);
    }

    /// Inflates into `buffer`; none: more has to be read.
    pub(crate) fn inflate(&mut self, buffer: &mut [u8]) -> Result<usize, Damaged> {
        while self.has_input() {
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let input = self.input.get(self.at..).unwrap_or_default();
            let status =
                self.inflate.decompress(input, buffer, FlushDecompress::None).map_err(|_| Damaged)?;
            let read = usize::try_from(self.inflate.total_in() - before.0).map_err(|_| Damaged)?;
            let written = usize::try_from(self.inflate.total_out() - before.1).map_err(|_| Damaged)?;
            self.at += read;
            self.more = written > 0;
            match status {
                Status::StreamEnd => return Err(Damaged),
                Status::Ok | Status::BufError if written > 0 => return Ok(written),
                Status::Ok | Status::BufError if read == 0 && !input.is_empty() => return Err(Damaged),
                Status::Ok | Status::BufError => (),
            }
        }
        Ok(0)
    }

    /// What stands for `octets`, to its last one.
    pub(crate) fn compress(&self, octets: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::with_capacity(octets.len() + ROOM);
        let mut compress = self.compress.lock().unwrap_or_else(PoisonError::into_inner);
        compress.reset();
        let mut rest = octets;
        loop {
            let before = (compress.total_in(), compressed.len());
            // Fails only for an argument that is not used here.
            let _ = compress.compress_vec(rest, &mut compressed, FlushCompress::Sync);
            let read = usize::try_from(compress.total_in() - before.0).unwrap_or(0);
            rest = rest.get(read..).unwrap_or_default();
            let whole = rest.is_empty() && compressed.ends_with(&FLUSHED);
            if whole || (read == 0 && compressed.len() == before.1) {
                break;
            }
            compressed.reserve(ROOM);
        }
        drop(compress);
        compressed.shrink_to_fit();
        compressed
    }

    /// Gives back the memory of what came, if nothing is left of it.
    pub(crate) fn shrink(&mut self) {
        if !self.has_input() {
            (self.input, self.at) = (Vec::new(), 0);
        }
    }
}

fn compressor() -> Arc<Mutex<Compress>> {
    let mut shared = COMPRESSOR.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let compress = Arc::new(Mutex::new(Compress::new(Compression::fast(), false)));
        *shared = Arc::downgrade(&compress);
        compress
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `octets` in pieces, into a buffer of `size`.
    fn inflate(deflate: &mut Deflate, octets: &[u8], piece: usize, size: usize) -> Result<Vec<u8>, Damaged> {
        let (mut plain, mut buffer) = (Vec::new(), vec![0; size]);
        for piece in octets.chunks(piece) {
            deflate.room().iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
            deflate.received(piece.len());
            loop {
                match deflate.inflate(&mut buffer)? {
                    0 => break,
                    read => plain.extend_from_slice(&buffer[..read]),
                }
            }
            assert!(!deflate.has_input());
        }
        Ok(plain)
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_out_whole(
            texts in proptest::collection::vec(("[ab]{0,2000}|\\PC{0,300}", 0_usize..60), 0..8),
            piece in 1_usize..700,
            size in 1_usize..700,
        ) {
            let (writer, mut reader) = (Deflate::new(b""), Deflate::new(b""));
            for (text, repeat) in texts {
                let text = text.repeat(repeat);
                let compressed = writer.compress(text.as_bytes());
                prop_assert_eq!(inflate(&mut reader, &compressed, piece, size), Ok(text.into_bytes()));
                reader.shrink();
            }
        }

        #[test]
        fn any_octets_do_no_harm(octets in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..9) {
            let _ = inflate(&mut Deflate::new(b""), &octets, piece, 64);
        }
    }

    /// Attack class 11: what a few octets stand for comes out in pieces of the buffer's size.
    #[test]
    fn a_bomb_is_never_in_memory_as_a_whole() {
        let bomb = Deflate::new(b"").compress(&vec![b'x'; 64 << 20]);
        assert!(bomb.len() < 400_000, "{}", bomb.len());
        let (mut reader, mut buffer, mut total) = (Deflate::new(b""), vec![0; 16 << 10], 0);
        for piece in bomb.chunks(PIECE) {
            reader.room()[..piece.len()].copy_from_slice(piece);
            reader.received(piece.len());
            loop {
                match reader.inflate(&mut buffer).unwrap() {
                    0 => break,
                    read => total += read,
                }
            }
            assert!(reader.input.capacity() <= PIECE);
        }
        assert_eq!(total, 64 << 20);
    }

    #[test]
    fn what_is_not_deflate_is_noticed() {
        for octets in [&b"\x07"[..], b"a NOOP\r\n", b"\x03\x00", b"\x00\x01\x00\x00\x00x"] {
            assert_eq!(
                inflate(&mut Deflate::new(b""), octets, 100, 100),
                Err(Damaged),
                "{}",
                octets.escape_ascii()
            );
        }
    }
}
