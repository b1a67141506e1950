//! One stored message: what a listing shows of it, and its octets.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::{Flags, MessageId, ModSeq, StoreError, Uid, UnixSeconds};

/// Octets read at once from a message that is in a file.
const PIECE: usize = 64 << 10;

/// How much [`crate::Reader::fetch`] reads per message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// UID, flags, modseq, date and size: the narrow rows only, neither bodies nor envelopes are touched.
    Flags,
    /// Also [`Message::sent`], from a narrow row of another table.
    Sent,
    /// Also [`Message::summary`].
    Summary,
}

/// One message of a listing, borrowed from the row that is being read.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its UID.
    pub uid: Uid,
    /// Of its latest change.
    pub modseq: ModSeq,
    /// All its flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub received: UnixSeconds,
    /// When it came into this mailbox, if that was noted (RFC 8514).
    pub saved: Option<UnixSeconds>,
    /// What its Date field says; with [`Columns::Sent`], if that was looked for and found.
    pub sent: Option<UnixSeconds>,
    /// RFC822.SIZE: prefix and octets as received.
    pub size: u64,
    /// Names its octets.
    pub id: MessageId,
    /// With [`Columns::Summary`], unless the message was filed without parsing.
    pub summary: Option<Summary<'a>>,
}

/// What was found in the message when it was filed. Offsets count from the first octet of the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary<'a> {
    /// ENVELOPE, as it goes over the wire.
    pub envelope: &'a [u8],
    /// BODYSTRUCTURE, as it goes over the wire.
    pub bodystructure: &'a [u8],
    /// BODY without extensions, as it goes over the wire.
    pub body: &'a [u8],
    /// The table of parts, for `mail_lib::mime::Index::from_bytes`.
    pub parts: &'a [u8],
}

/// The octets of one message, to be read without holding anything of the database. They stay readable when the
/// message is expunged meanwhile.
#[derive(Debug)]
pub struct Body {
    pub(crate) size: u64,
    pub(crate) parts: Option<Box<[u8]>>,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// The prefix and all octets.
    Memory(Vec<u8>),
    /// The prefix, and the octets as received.
    File { prefix: Vec<u8>, file: File },
}

impl Body {
    /// Octets, the prefix included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The table of parts, for `mail_lib::mime::Index::from_bytes`; `None` when the message was filed without
    /// parsing: it is shown as one plain text.
    #[must_use]
    pub fn parts(&self) -> Option<&[u8]> {
        self.parts.as_deref()
    }

    /// All octets at once, where they are in memory: messages up to 64 KiB.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Memory(octets) => Some(octets),
            Content::File { .. } => None,
        }
    }

    /// Reads octets from `offset`, which counts from the first octet of the prefix. Fills `buffer` unless the
    /// message ends before; 0 at its end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        if offset >= self.size {
            return Ok(0);
        }
        match &self.content {
            Content::Memory(octets) => Ok(copy_from(octets, offset, buffer)),
            Content::File { prefix, file } => {
                let mut filled = copy_from(prefix, offset, buffer);
                let prefix_size = prefix.len() as u64;
                while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                    let at = (offset + filled as u64).saturating_sub(prefix_size);
                    match file.read_at(rest, at) {
                        Ok(0) => break,
                        Ok(read) => filled += read,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(StoreError::file(&error)),
                    }
                }
                Ok(filled)
            }
        }
    }

    /// Gives `each` the octets of `range` piece by piece, those in memory at once, until it has enough.
    pub fn pieces<E: From<StoreError>>(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        if let (Some(octets), Some((start, end))) = (self.in_memory(), bounds) {
            each(octets.get(start..end).unwrap_or_default())?;
            return Ok(());
        }
        let mut at = range.start;
        let mut piece = vec![0; PIECE.min(usize::try_from(range.end.saturating_sub(at)).unwrap_or(PIECE))];
        while at < range.end {
            let wanted = piece.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            let buffer = piece.get_mut(..wanted).unwrap_or_default();
            let read = self.read_at(at, buffer)?;
            if read == 0 {
                return Err(StoreError::Fault("a message is shorter than the store says".to_owned()).into());
            }
            at += read as u64;
            if !each(buffer.get(..read).unwrap_or_default())? {
                break;
            }
        }
        Ok(())
    }
}

/// Copies what `octets` has from `offset` on; nothing when that is beyond its end.
fn copy_from(octets: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let from = usize::try_from(offset).ok().and_then(|offset| octets.get(offset..)).unwrap_or_default();
    let count = from.len().min(buffer.len());
    if let (Some(from), Some(to)) = (from.get(..count), buffer.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    count
}
