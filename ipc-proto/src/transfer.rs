//! Mail in bulk: what moxctl brings into an account and takes out of it, in the frames of its channel to that account's
//! process, and the stream of mail that crosses there in sealed memory.
//!
//! A block is a memfd of at most [`BLOCK`] octets that holds whole [`Piece`]s; a message may go on in the next block:
//!
//! ```text
//! u8 kind (0 a value, 1 octets) | u32 length, little endian | that many octets
//! ```

use std::{marker::PhantomData, ops::Range};

use bincode::{Decode, Encode};

use crate::{
    channel::{Message, Violation},
    codec,
};

/// The most that one block holds, octets.
pub const BLOCK: usize = 1 << 20;

/// The most messages that end in one block.
pub const BLOCK_MESSAGES: usize = 400;

/// The most octets of one piece.
pub const PIECE: usize = 64 * 1024;

/// Keys that one answer tells.
pub const KEYS: usize = 2048;

/// Mailboxes or names that one message tells: of at most 255 octets each.
pub const NAMES: usize = 100;

/// Octets before a piece's own.
const PIECE_HEADER: usize = 5;

/// Names one message of one source for all time. Not secret, and never guessed: who brings mail may say what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct ImportKey(pub [u8; 16]);

/// `\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, each a bit in this order, and keywords.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct MailFlags {
    /// Other bits are 0.
    pub system: u8,
    /// Atoms.
    pub keywords: Vec<String>,
}

/// What is known of a message beside its octets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MailHead {
    /// Which message of the source; zeros on the way out.
    pub key: ImportKey,
    /// On the way in: the one to have, if that can be. Never 0.
    pub uid: Option<u32>,
    /// To begin with.
    pub flags: MailFlags,
    /// INTERNALDATE, seconds since 1970 UTC.
    pub received: i64,
}

/// One value of a stream of mail.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Mail {
    /// A message begins. Its octets follow, then `End` or `Gone`.
    Begin(MailHead),
    /// It is whole.
    End,
    /// It could not be read to its end: nothing of it counts.
    Gone,
}

/// What moxctl may have an account's process do to bring mail in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ImportRequest {
    /// The mailbox for what comes now, made if it is missing. Answered by `Ready`.
    Begin(ImportTarget),
    /// What came from this source before, rising, at most [`KEYS`]. Answered by `Known`.
    Known {
        /// Those above this one.
        after: Option<ImportKey>,
    },
    /// More of the stream of [`Mail`]; the block is attached. Answered by `Filed`, after the commit.
    Block {
        /// Octets in it.
        octets: u32,
    },
    /// Subscribe to these names, at most [`NAMES`]. Answered by `Done`.
    Subscribe(Vec<String>),
}

/// Where mail goes, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ImportTarget {
    /// The mailbox's name.
    pub mailbox: String,
    /// Names the source's mailbox, at most 1024 octets: what came from it once does not come again.
    pub source: String,
    /// `\Sent` and the like: given to the mailbox, unless it has one, or another one that ever had a message has this one.
    pub special_use: Option<String>,
    /// Subscribe to it.
    pub subscribed: bool,
    /// The source's UIDVALIDITY and UIDNEXT: kept if the mailbox never had a message.
    pub uids: Option<(u32, u32)>,
    /// Leave out what the mailbox has already, wherever from.
    pub skip_duplicates: bool,
    /// Forget what came from this source before.
    pub again: bool,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Imported {
    /// In the mailbox, with the UID that was asked for, if one was.
    Filed,
    /// In the mailbox, with another UID than was asked for.
    Renumbered,
    /// It came from this source before.
    Known,
    /// The mailbox has it.
    Duplicate,
    /// Over `limits.message_size`.
    TooLarge,
}

/// What an account's process answers to [`ImportRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ImportReply {
    /// The mailbox is there.
    Ready {
        /// Messages get the UIDs of the source.
        keeps_uids: bool,
    },
    /// A page of keys; one that is not full is the last one.
    Known(Vec<ImportKey>),
    /// One for each message that ended in the block.
    Filed(Vec<Imported>),
    /// The answer to `Subscribe`.
    Done,
}

/// What moxctl may have an account's process tell, to take mail out.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ExportRequest {
    /// All mailboxes, by name, at most [`NAMES`]. Answered by `Mailboxes`.
    Mailboxes {
        /// Those above this one.
        after: Option<String>,
    },
    /// Subscribed names, likewise. Answered by `Subscriptions`.
    Subscriptions {
        /// Those above this one.
        after: Option<String>,
    },
    /// Fill the attached block, a memfd of [`BLOCK`] octets that cannot grow, with a stream of [`Mail`]. Answered by
    /// `Written`.
    Messages {
        /// Of this mailbox.
        mailbox: String,
        /// From this UID on.
        from: u32,
        /// Of the first message, from this octet on: its `Begin` was told before if it is not 0.
        offset: u64,
    },
}

/// A mailbox as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExportMailbox {
    /// Its name.
    pub name: String,
    /// `\Sent` and the like.
    pub special_use: Option<String>,
    /// Of its UIDs.
    pub uidvalidity: u32,
    /// The UID that the next message gets.
    pub uidnext: u32,
    /// How many messages.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
}

/// What an account's process answers to [`ExportRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ExportReply {
    /// A page; one that is not full is the last one.
    Mailboxes(Vec<ExportMailbox>),
    /// A page; one that is not full is the last one.
    Subscriptions(Vec<String>),
    /// What the block holds, and where to go on.
    Written {
        /// Octets in the block.
        octets: u32,
        /// The UID and octet to ask for next; `None`: that was all.
        next: Option<(u32, u64)>,
    },
}

impl ImportRequest {
    pub(crate) fn fds(&self) -> usize {
        match self {
            Self::Block { .. } => 1,
            Self::Begin(_) | Self::Known { .. } | Self::Subscribe(_) => 0,
        }
    }
}

impl ExportRequest {
    pub(crate) fn fds(&self) -> usize {
        match self {
            Self::Messages { .. } => 1,
            Self::Mailboxes { .. } | Self::Subscriptions { .. } => 0,
        }
    }
}

impl Message for Mail {}

/// One piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a, T> {
    /// A value.
    Value(T),
    /// Octets of the message that began.
    Octets(&'a [u8]),
}

/// Appends a value. `Err`: it is larger than a piece may be; `to` is as before.
pub fn write_value(value: &impl Message, to: &mut Vec<u8>) -> Result<(), Violation> {
    let start = to.len();
    to.extend_from_slice(&[0; PIECE_HEADER]);
    let body = start + PIECE_HEADER;
    let length = codec::encode_to(value, to).map(|()| to.len() - body).filter(|length| *length <= PIECE);
    match (length.and_then(|length| u32::try_from(length).ok()), to.get_mut(start + 1..body)) {
        (Some(length), Some(place)) => {
            place.copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        _ => {
            to.truncate(start);
            Err(Violation::TooLarge { limit: PIECE })
        }
    }
}

/// Appends octets, in as many pieces as it takes.
pub fn write_octets(octets: &[u8], to: &mut Vec<u8>) {
    for octets in octets.chunks(PIECE) {
        to.push(1);
        to.extend_from_slice(&u32::try_from(octets.len()).unwrap_or_default().to_le_bytes());
        to.extend_from_slice(octets);
    }
}

/// How many octets a piece of so many takes.
#[must_use]
pub const fn piece_size(octets: usize) -> usize {
    octets + PIECE_HEADER
}

/// Takes a stream apart, however it was cut. Holds at most one piece and what was pushed last.
#[derive(Debug)]
pub struct PieceReader<T> {
    buffer: Vec<u8>,
    start: usize,
    value: PhantomData<fn() -> T>,
}

impl<T> Default for PieceReader<T> {
    fn default() -> Self {
        Self { buffer: Vec::new(), start: 0, value: PhantomData }
    }
}

impl<T: Message> PieceReader<T> {
    /// More of the stream.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// Whether a whole piece is there.
    pub fn is_ready(&self) -> Result<bool, Violation> {
        Ok(self.whole()?.is_some())
    }

    /// The next whole piece.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_, T>>, Violation> {
        let Some((kind, body)) = self.whole()? else { return Ok(None) };
        self.start = body.end;
        let body = self.buffer.get(body).unwrap_or_default();
        Ok(Some(match kind {
            0 => Piece::Value(codec::decode(body)?),
            _ => Piece::Octets(body),
        }))
    }

    /// Kind and place of the piece at the front, if all of it is there.
    fn whole(&self) -> Result<Option<(u8, Range<usize>)>, Violation> {
        let unread = self.buffer.get(self.start..).unwrap_or_default();
        let Some(([kind, length @ ..], rest)) = unread.split_first_chunk::<PIECE_HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length))
            .ok()
            .filter(|length| *length <= PIECE)
            .ok_or(Violation::TooLarge { limit: PIECE })?;
        if *kind > 1 {
            return Err(Violation::Malformed);
        }
        let start = self.start + PIECE_HEADER;
        Ok((rest.len() >= length).then_some((*kind, start..start + length)))
    }

    /// Whether nothing of a piece is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut octets = Vec::new();
        let head = MailHead {
            key: ImportKey([7; 16]),
            uid: Some(3),
            flags: MailFlags { system: 1, keywords: vec!["a".to_owned()] },
            received: -1,
        };
        write_value(&Mail::Begin(head), &mut octets).unwrap();
        write_octets(&vec![b'x'; PIECE + 3], &mut octets);
        write_value(&Mail::End, &mut octets).unwrap();
        octets
    }

    fn pieces(stream: &[u8], cut: usize) -> Vec<String> {
        let mut reader = PieceReader::<Mail>::default();
        let mut pieces = Vec::new();
        for octets in [&stream[..cut], &stream[cut..]] {
            reader.push(octets);
            while let Some(piece) = reader.next_piece().unwrap() {
                pieces.push(match piece {
                    Piece::Value(value) => format!("{value:?}"),
                    Piece::Octets(octets) => format!("{} octets", octets.len()),
                });
            }
        }
        assert!(reader.is_empty());
        pieces
    }

    #[test]
    fn how_a_stream_is_cut_changes_nothing() {
        let stream = stream();
        let whole = pieces(&stream, 0);
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[1..], ["65536 octets", "3 octets", "End"]);
        for cut in (0..stream.len()).step_by(97).chain([1, 4, 5, 6, stream.len()]) {
            assert_eq!(pieces(&stream, cut), whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_piece_is_a_violation_before_room_is_made_for_it() {
        for (octets, violation) in [
            (&[0, 1, 0, 1, 0][..], Violation::TooLarge { limit: PIECE }),
            (&[1, 0xff, 0xff, 0xff, 0xff], Violation::TooLarge { limit: PIECE }),
            (&[2, 0, 0, 0, 0], Violation::Malformed),
            (&[0, 5, 0, 0, 0, 1, 0, 0, 0, 9], Violation::Malformed),
            (&[0, 4, 0, 0, 0, 3, 0, 0, 0], Violation::Malformed),
        ] {
            let mut reader = PieceReader::<Mail>::default();
            reader.push(octets);
            assert_eq!(reader.next_piece().unwrap_err(), violation, "{octets:?}");
        }
    }
}
