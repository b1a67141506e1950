//! How messages lie in the stream; sans-io.
//!
//! ```text
//! u32 body length, little endian | u8 fds | u8 kind | u64 id | body
//! ```
//! The fds travel with the frame's first octet. The kernel never joins the fds of two sends in one read, so they come
//! in the order of their frames. The first frame each way is `Hello`: build id and channel.

use std::{collections::VecDeque, os::fd::OwnedFd};

use crate::{
    channel::{ChannelId, MAX_FDS, Message, Violation},
    codec,
};

/// Octets before the body.
pub const HEADER: usize = 14;

/// The build that this process comes from.
pub const BUILD_ID: &str = env!("MOXD_BUILD_ID");

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Build id and channel; the first frame each way.
    Hello = 0,
    /// From the asking side.
    Request = 1,
    /// From the answering side, with the request's id.
    Reply = 2,
    /// From the answering side: the request of this id ends without a reply.
    Dropped = 3,
}

/// One frame, borrowed from the reader's buffer.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Which request it belongs to.
    pub id: u64,
    /// The encoded message.
    pub body: &'a [u8],
    /// What came with it.
    pub fds: Vec<OwnedFd>,
}

impl Frame<'_> {
    /// The message inside, with as many fds as its kind carries.
    pub fn decode<M: Message>(&self) -> Result<M, Violation> {
        let message: M = codec::decode(self.body)?;
        if message.fd_count() == self.fds.len() { Ok(message) } else { Err(Violation::FdCount) }
    }
}

/// Encodes one frame behind what `to` holds. `Err`: the body is over `max_body`; `to` is as before.
pub fn encode<M: Message>(
    kind: Kind,
    id: u64,
    message: &M,
    max_body: usize,
    to: &mut Vec<u8>,
) -> Result<(), TooLarge> {
    let start = to.len();
    to.extend_from_slice(&[0; HEADER]);
    let fits = codec::encode_to(message, to).is_some() && to.len() - start - HEADER <= max_body;
    let header = fits.then(|| header(to.len() - start - HEADER, message.fd_count(), kind, id)).flatten();
    match (header, to.get_mut(start..start + HEADER)) {
        (Some(header), Some(place)) => {
            place.copy_from_slice(&header);
            Ok(())
        }
        _ => {
            to.truncate(start);
            Err(TooLarge)
        }
    }
}

/// A frame without a message: `Dropped`.
#[must_use]
pub fn bare(kind: Kind, id: u64) -> [u8; HEADER] {
    header(0, 0, kind, id).unwrap_or_default()
}

/// The first frame of a channel.
#[must_use]
pub fn hello(channel: ChannelId) -> Vec<u8> {
    let body = [BUILD_ID.as_bytes(), &[channel as u8]].concat();
    let mut frame = header(body.len(), 0, Kind::Hello, 0).unwrap_or_default().to_vec();
    frame.extend_from_slice(&body);
    frame
}

/// A message over its channel's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

fn header(body: usize, fds: usize, kind: Kind, id: u64) -> Option<[u8; HEADER]> {
    let mut header = [0; HEADER];
    let (length, rest) = header.split_first_chunk_mut::<4>()?;
    *length = u32::try_from(body).ok()?.to_le_bytes();
    let (fields, number) = rest.split_first_chunk_mut::<2>()?;
    *fields = [u8::try_from(fds).ok()?, kind as u8];
    number.copy_from_slice(&id.to_le_bytes());
    Some(header)
}

/// Takes octets and fds as they come and gives frames.
#[derive(Debug)]
pub struct FrameReader {
    channel: ChannelId,
    max_body: usize,
    greeted: bool,
    buffer: Vec<u8>,
    /// Of `buffer`: where unread octets start and end.
    start: usize,
    end: usize,
    fds: VecDeque<OwnedFd>,
}

/// Octets asked of the kernel at once.
pub(crate) const READ: usize = 16 * 1024;

impl FrameReader {
    /// For one end of a channel whose bodies are at most `max_body` octets.
    #[must_use]
    pub fn new(channel: ChannelId, max_body: usize) -> Self {
        Self { channel, max_body, greeted: false, buffer: Vec::new(), start: 0, end: 0, fds: VecDeque::new() }
    }

    /// Where the next octets go; never empty. Holds at most one frame and one read.
    pub fn space(&mut self) -> &mut [u8] {
        self.forget();
        if self.buffer.len() < self.end + 1024 {
            self.buffer.resize(self.end + READ.max(self.missing()), 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// `octets` were put into `space`, and these fds came with them.
    pub fn filled(&mut self, octets: usize, fds: impl IntoIterator<Item = OwnedFd>) {
        self.end = self.buffer.len().min(self.end + octets);
        self.fds.extend(fds);
    }

    /// The next whole frame behind the greeting, which is checked here.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Violation> {
        if !self.greeted {
            match self.take()? {
                None => return Ok(None),
                Some((Kind::Hello, _, range, 0)) => {
                    let (channel, build) =
                        self.buffer.get(range).and_then(<[u8]>::split_last).ok_or(Violation::Malformed)?;
                    if build != BUILD_ID.as_bytes() {
                        return Err(Violation::Build);
                    }
                    if *channel != self.channel as u8 {
                        return Err(Violation::Unexpected);
                    }
                    self.greeted = true;
                }
                Some(_) => return Err(Violation::Unexpected),
            }
        }
        let Some((kind, id, range, count)) = self.take()? else {
            self.forget();
            return Ok(None);
        };
        if kind == Kind::Hello {
            return Err(Violation::Unexpected);
        }
        let fds = self.fds.drain(..count).collect();
        let body = self.buffer.get(range).unwrap_or_default();
        Ok(Some(Frame { kind, id, body, fds }))
    }

    /// Frames that were taken go, and nothing of them stays behind while the next is waited for: it may have been a
    /// password.
    fn forget(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            let left = self.end - self.start;
            if let Some(taken) = self.buffer.get_mut(left..self.end) {
                taken.fill(0);
            }
            (self.start, self.end) = (0, left);
        }
    }

    /// Header checked, body complete, fds there.
    #[allow(clippy::type_complexity)]
    fn take(&mut self) -> Result<Option<(Kind, u64, std::ops::Range<usize>, usize)>, Violation> {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((header, rest)) = unread.split_first_chunk::<HEADER>() else {
            // More fds than any frame carries, and no frame that claims them.
            return if self.fds.len() > MAX_FDS { Err(Violation::FdCount) } else { Ok(None) };
        };
        let [l0, l1, l2, l3, count, kind, id @ ..] = *header;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3]))
            .ok()
            .filter(|length| *length <= self.max_body.max(64))
            .ok_or(Violation::TooLarge { limit: self.max_body })?;
        let kind = match kind {
            0 => Kind::Hello,
            1 => Kind::Request,
            2 => Kind::Reply,
            3 => Kind::Dropped,
            _ => return Err(Violation::Malformed),
        };
        let count = usize::from(count);
        if count > MAX_FDS || self.fds.len() < count {
            return Err(Violation::FdCount);
        }
        // `Dropped` is its id and nothing more.
        if kind == Kind::Dropped && length > 0 {
            return Err(Violation::Malformed);
        }
        if kind == Kind::Dropped && count > 0 {
            return Err(Violation::FdCount);
        }
        if rest.len() < length {
            // No later frame has begun, so all fds are this one's: a body sent octet by octet piles up none.
            return if self.fds.len() > count { Err(Violation::FdCount) } else { Ok(None) };
        }
        let body = self.start + HEADER..self.start + HEADER + length;
        self.start = body.end;
        let surplus = self.start == self.end && self.fds.len() > count;
        if surplus {
            return Err(Violation::FdCount);
        }
        Ok(Some((kind, u64::from_le_bytes(id), body, count)))
    }

    /// What it costs in memory.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// How many octets of the frame at the front are still to come, at most.
    fn missing(&self) -> usize {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        match unread.split_first_chunk::<4>() {
            Some((length, _)) => {
                let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
                (length.min(self.max_body) + HEADER).saturating_sub(unread.len())
            }
            None => 0,
        }
    }
}
