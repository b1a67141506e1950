//! One stored message: what a listing shows of it, and its octets.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::{EmailId, Flags, MessageId, ModSeq, StoreError, Uid, UnixSeconds};

/// How much [`crate::Reader::fetch`] reads per message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// UID, flags, modseq, date and size: the narrow rows only, neither bodies nor envelopes are touched.
    Flags,
    /// Also [`Message::summary`] and [`Message::email_id`].
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
    /// RFC822.SIZE: prefix and octets as received.
    pub size: u64,
    /// Names its octets.
    pub id: MessageId,
    /// With [`Columns::Summary`], unless the message was filed without parsing.
    pub summary: Option<Summary<'a>>,
    /// With [`Columns::Summary`]: the digest of the octets as received, and the prefix.
    pub(crate) octets: Option<(&'a [u8], &'a [u8])>,
}

impl Message<'_> {
    /// With [`Columns::Summary`]: what it has in common with every message of the same octets.
    #[must_use]
    pub fn email_id(&self) -> Option<EmailId> {
        self.octets.map(|(hash, prefix)| EmailId::of(hash, prefix))
    }
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
