//! Octets of a message: where a section stands, and its way to the client (RFC 3501 §6.4.5).

use std::ops::Range;

use imapd::{FetchItem, Partial, Section, SectionText, response};
use mail_lib::header::{self, Selection};
use mail_lib::mime::{self, Index};
use store_lib::{Body, StoreError};

use crate::End;
use crate::connection::Connection;
use crate::preview::preview;

/// Octets of a header that HEADER.FIELDS looks at.
const HEADER_LIMIT: u64 = 1 << 20;

/// A message's octets with its table of parts, which is read when first needed.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    body: &'a Body,
    /// The inner `None`: filed without parsing, or the table is of another version.
    index: Option<Option<Index>>,
}

impl<'a> Content<'a> {
    pub(crate) fn new(body: &'a Body) -> Self {
        Self { body, index: None }
    }

    pub(crate) fn index(&mut self) -> Option<&Index> {
        let parts = self.body.parts();
        let index = self.index.get_or_insert_with(|| match Index::from_bytes(parts?) {
            Ok(index) => Some(index),
            Err(error) => {
                tracing::warn!(%error, "a message is shown as plain text");
                None
            }
        });
        index.as_ref()
    }

    /// Where a section stands; `None`: there is none. Without a table the message is one plain text without a header.
    pub(crate) fn locate(&mut self, part: &[u32], section: mime::Section) -> Option<Range<u64>> {
        let whole = 0..self.body.size();
        if part.is_empty() && section == mime::Section::Content {
            return Some(whole);
        }
        match (self.index(), part, section) {
            (Some(index), part, section) => index.locate(part, section),
            (None, [], mime::Section::Header) => Some(0..0),
            (None, [] | [1], mime::Section::Text | mime::Section::Content) => Some(whole),
            (None, _, _) => None,
        }
    }

    /// How the body of a part is encoded. The message as a whole is not, nor is what has parts of its own, whatever its
    /// header says (RFC 2045 §6.4).
    pub(crate) fn encoding(&mut self, part: &[u32]) -> mime::Encoding {
        let found = self.index().filter(|_| !part.is_empty()).and_then(|index| index.section(part));
        found.filter(|part| part.kind.is_leaf()).map_or(mime::Encoding::Binary, |part| part.encoding)
    }

    /// A header block, cut at [`HEADER_LIMIT`].
    pub(crate) fn header(&self, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let size = range.end.saturating_sub(range.start).min(HEADER_LIMIT);
        self.octets(range.start, usize::try_from(size).unwrap_or(0))
    }

    fn octets(&self, from: u64, size: usize) -> Result<Vec<u8>, StoreError> {
        let mut octets = vec![0; size];
        let read = self.body.read_at(from, &mut octets)?;
        octets.truncate(read);
        Ok(octets)
    }

    /// Gives `each` the octets of `range` piece by piece, until it has enough.
    pub(crate) fn pieces<E: From<StoreError>>(
        &self,
        range: Range<u64>,
        each: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.body.pieces(range, each)
    }
}

/// Writes one item that is made of the message's octets, with its name. Flushes on the way, so that memory does not
/// depend on the message.
pub(crate) fn write_item(
    connection: &mut Connection,
    content: &mut Content<'_>,
    item: &FetchItem,
) -> Result<(), End> {
    let whole = |text| Section { text, ..whole() };
    match item {
        FetchItem::BodySection { section, partial, .. } => {
            connection.out.extend_from_slice(b"BODY");
            response::section(&mut connection.out, section);
            if let Some(partial) = partial {
                connection.out.push(b'<');
                response::number(&mut connection.out, partial.first);
                connection.out.push(b'>');
            }
            connection.out.push(b' ');
            write_section(connection, content, section, *partial)
        }
        FetchItem::Preview { .. } => {
            let text = preview(content)?;
            connection.out.extend_from_slice(b"PREVIEW ");
            response::string(&mut connection.out, text.as_bytes());
            Ok(())
        }
        FetchItem::Rfc822 => {
            connection.out.extend_from_slice(b"RFC822 ");
            write_section(connection, content, &whole(SectionText::Whole), None)
        }
        FetchItem::Rfc822Header => {
            connection.out.extend_from_slice(b"RFC822.HEADER ");
            write_section(connection, content, &whole(SectionText::Header), None)
        }
        FetchItem::Rfc822Text => {
            connection.out.extend_from_slice(b"RFC822.TEXT ");
            write_section(connection, content, &whole(SectionText::Text), None)
        }
        FetchItem::Binary { .. }
        | FetchItem::BinarySize { .. }
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::EmailId
        | FetchItem::Envelope
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::ModSeq
        | FetchItem::Rfc822Size
        | FetchItem::SaveDate
        | FetchItem::ThreadId
        | FetchItem::Uid => Ok(()),
    }
}

/// What a section of a message is.
pub(crate) enum Found {
    /// Octets of the message.
    Range(Range<u64>),
    /// Made of some of its header's fields.
    Fields(Vec<u8>),
}

/// All of the message.
pub(crate) fn whole() -> Section {
    Section { part: Vec::new(), text: SectionText::Whole }
}

/// `None`: there is no such section.
pub(crate) fn find(
    content: &mut Content<'_>,
    section: &Section,
    partial: Option<Partial>,
) -> Result<Option<Found>, StoreError> {
    let part: Vec<u32> = section.part.iter().map(|number| number.get()).collect();
    let (place, selection) = match &section.text {
        SectionText::Whole => (mime::Section::Content, None),
        SectionText::Header => (mime::Section::Header, None),
        SectionText::HeaderFields(names) => (mime::Section::Header, Some((Selection::Fields, names))),
        SectionText::HeaderFieldsNot(names) => (mime::Section::Header, Some((Selection::FieldsNot, names))),
        SectionText::Mime => (mime::Section::Mime, None),
        SectionText::Text => (mime::Section::Text, None),
    };
    let Some(range) = content.locate(&part, place) else { return Ok(None) };
    let Some((selection, names)) = selection else { return Ok(Some(Found::Range(cut(range, partial)))) };
    let mut fields = header::select(&content.header(range)?, selection, names);
    let kept = cut(0..fields.len() as u64, partial);
    fields.truncate(usize::try_from(kept.end).unwrap_or(0));
    fields.drain(..usize::try_from(kept.start).unwrap_or(0).min(fields.len()));
    Ok(Some(Found::Fields(fields)))
}

pub(crate) fn write_section(
    connection: &mut Connection,
    content: &mut Content<'_>,
    section: &Section,
    partial: Option<Partial>,
) -> Result<(), End> {
    match find(content, section, partial)? {
        None => connection.out.extend_from_slice(b"NIL"),
        Some(Found::Fields(fields)) => response::literal(&mut connection.out, &fields),
        Some(Found::Range(range)) => {
            response::literal_size(&mut connection.out, range.end - range.start);
            content.pieces(range, |piece| {
                connection.out.extend_from_slice(piece);
                connection.flush_if_full()?;
                Ok::<_, End>(true)
            })?;
        }
    }
    Ok(())
}

/// What `<first.length>` leaves of a range. Beyond the end that is nothing.
fn cut(range: Range<u64>, partial: Option<Partial>) -> Range<u64> {
    let Some(partial) = partial else { return range };
    let start = range.start.saturating_add(partial.first).min(range.end);
    start..start.saturating_add(partial.length.get()).min(range.end)
}
