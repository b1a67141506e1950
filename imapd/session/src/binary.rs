//! BINARY: parts of a message without their transfer encoding (RFC 9051 §6.4.5; RFC 3516). A part is decoded twice,
//! piece by piece: once to know how long the literal will be, once into it. So no part is ever in memory as a whole.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::{Duration, Instant};

use imapd::{FetchItem, Partial, response};
use mail_lib::mime::{self, Encoding};
use mail_lib::text::Transfer;
use store_lib::StoreError;

use crate::End;
use crate::connection::Connection;
use crate::reply::Stop;
use crate::section::Content;

/// What is known of an item before its answer begins.
#[derive(Debug)]
pub(crate) enum Measured {
    /// It is no item of this kind.
    NotBinary,
    /// The message has no such part.
    Nothing,
    /// All that it takes to write it.
    Part(Part),
}

/// A part, or the octets of it that were asked for.
#[derive(Debug)]
pub(crate) struct Part {
    range: Range<u64>,
    encoding: Encoding,
    /// Decoded octets to pass over.
    first: u64,
    /// Decoded octets behind those.
    size: u64,
    has_nul: bool,
}

/// What one FETCH may decode, and has met.
#[derive(Debug)]
pub(crate) struct Decoding {
    /// What is left of its time, in which that of the client taking the octets does not count: a part that costs much
    /// can be asked for in a way that answers little.
    left: Duration,
    /// A part was in an encoding that nobody knows how to undo.
    pub(crate) met_unknown: bool,
}

impl Decoding {
    pub(crate) fn new(left: Duration) -> Self {
        Self { left, met_unknown: false }
    }

    /// Decodes what `item` asks for, as far as it asks for it. `None`: it cannot be decoded.
    pub(crate) fn measure(
        &mut self,
        connection: &Connection,
        content: &mut Content<'_>,
        item: &FetchItem,
    ) -> Result<Option<Measured>, Stop> {
        let Some(asked) = Asked::of(item) else { return Ok(Some(Measured::NotBinary)) };
        let (begun, left) = (Instant::now(), self.left);
        let go_on = || {
            if begun.elapsed() >= left {
                return Err(Stop::from(StoreError::OutOfBudget));
            }
            if connection.is_abandoned()? { Err(End::Disconnected.into()) } else { Ok(()) }
        };
        let measured = measure(content, &asked, &go_on)?;
        self.met_unknown |= measured.is_none();
        self.left = left.saturating_sub(begun.elapsed());
        Ok(measured)
    }
}

/// An item of this kind.
struct Asked<'a> {
    part: &'a [NonZeroU32],
    partial: Option<Partial>,
    /// Only how many octets there are.
    size: bool,
}

impl<'a> Asked<'a> {
    fn of(item: &'a FetchItem) -> Option<Self> {
        match item {
            FetchItem::Binary { part, partial, .. } => Some(Self { part, partial: *partial, size: false }),
            FetchItem::BinarySize { part } => Some(Self { part, partial: None, size: true }),
            FetchItem::Body
            | FetchItem::BodySection { .. }
            | FetchItem::BodyStructure
            | FetchItem::EmailId
            | FetchItem::Envelope
            | FetchItem::Flags
            | FetchItem::InternalDate
            | FetchItem::ModSeq
            | FetchItem::Preview { .. }
            | FetchItem::Rfc822
            | FetchItem::Rfc822Header
            | FetchItem::Rfc822Size
            | FetchItem::Rfc822Text
            | FetchItem::SaveDate
            | FetchItem::ThreadId
            | FetchItem::Uid => None,
        }
    }
}

fn measure(
    content: &mut Content<'_>,
    asked: &Asked<'_>,
    go_on: &dyn Fn() -> Result<(), Stop>,
) -> Result<Option<Measured>, Stop> {
    let number: Vec<u32> = asked.part.iter().map(|number| number.get()).collect();
    let Some(range) = content.locate(&number, mime::Section::Content) else {
        return Ok(Some(Measured::Nothing));
    };
    let encoding = content.encoding(&number);
    let plain = match encoding {
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => true,
        Encoding::Base64 | Encoding::QuotedPrintable => false,
        Encoding::Other => return Ok(None),
    };
    let (first, size) = asked.partial.map_or((0, u64::MAX), |partial| (partial.first, partial.length.get()));
    let mut part = Part { range, encoding, first, size, has_nul: false };
    if plain && asked.size {
        part.size = part.range.end - part.range.start;
        return Ok(Some(Measured::Part(part)));
    }
    let (mut size, mut has_nul) = (0, false);
    part.decode(content, |octets| {
        go_on()?;
        size += octets.len() as u64;
        has_nul |= octets.contains(&0);
        Ok::<_, Stop>(())
    })?;
    Ok(Some(Measured::Part(Part { size, has_nul, ..part })))
}

impl Part {
    /// Gives `each` the decoded octets, piece by piece.
    fn decode<E: From<StoreError>>(
        &self,
        content: &Content<'_>,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut transfer = Transfer::new(self.encoding);
        let mut window = Window { before: self.first, inside: self.size };
        content.pieces(self.range.clone(), |piece| {
            each(window.cut(transfer.decode(piece)))?;
            Ok::<_, E>(window.inside > 0)
        })?;
        each(window.cut(transfer.finish()))
    }
}

/// What `<first.length>` leaves of octets that come in pieces.
struct Window {
    before: u64,
    inside: u64,
}

impl Window {
    fn cut<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let passed = usize::try_from(self.before).unwrap_or(usize::MAX).min(octets.len());
        let rest = octets.get(passed..).unwrap_or_default();
        let taken = usize::try_from(self.inside).unwrap_or(usize::MAX).min(rest.len());
        self.before -= passed as u64;
        self.inside -= taken as u64;
        rest.get(..taken).unwrap_or_default()
    }
}

/// Writes what was measured, with the item's name.
pub(crate) fn write(
    connection: &mut Connection,
    content: &Content<'_>,
    item: &FetchItem,
    measured: &Measured,
) -> Result<(), End> {
    let Some(asked) = Asked::of(item) else { return Ok(()) };
    let out = &mut connection.out;
    out.extend_from_slice(if asked.size { b"BINARY.SIZE" } else { b"BINARY" });
    response::part(out, asked.part);
    if let Some(partial) = asked.partial {
        out.push(b'<');
        response::number(out, partial.first);
        out.push(b'>');
    }
    out.push(b' ');
    match measured {
        Measured::Part(part) if asked.size => response::number(out, part.size),
        Measured::Nothing | Measured::NotBinary if asked.size => out.push(b'0'),
        measured => write_value(connection, content, measured)?,
    }
    Ok(())
}

/// Writes what was decoded, without a name.
pub(crate) fn write_value(
    connection: &mut Connection,
    content: &Content<'_>,
    measured: &Measured,
) -> Result<(), End> {
    let out = &mut connection.out;
    match measured {
        Measured::Nothing | Measured::NotBinary => out.extend_from_slice(b"NIL"),
        Measured::Part(part) => {
            if part.has_nul {
                response::literal8_size(out, part.size);
            } else {
                response::literal_size(out, part.size);
            }
            part.decode(content, |octets| {
                connection.out.extend_from_slice(octets);
                connection.flush_if_full()
            })?;
        }
    }
    Ok(())
}
