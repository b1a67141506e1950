//! The texts of a message: what a search looks at, and in what pieces.
//!
//! Sessions and the index read messages through this and nothing else, so they cannot differ. One text is one header
//! field, one name of an attachment or one part; nothing is found across two of them.

use std::ops::Range;

use mail_lib::header::{self, Headers};
use mail_lib::mime::{self, Description, Encoding, Index, Kind, Part};
use mail_lib::text::{Decoder, HtmlText};

use crate::{Body, StoreError};

/// Octets of one header that are looked at.
const HEADER_LIMIT: u64 = 1 << 20;

/// What comes next of a message's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Another text begins.
    Begin,
    /// Octets are about to be read, up to 64 KiB: a good moment to look at the clock.
    Reading,
    /// The text goes on.
    Text(&'a str),
}

/// Gets each piece; `false`: it has enough.
type Each<'a, E> = &'a mut dyn FnMut(Piece<'_>) -> Result<bool, E>;

/// One message's texts. Reads what it is asked for, when it is asked.
#[derive(Debug)]
pub struct Texts<'a> {
    body: &'a Body,
    /// The inner `None`: filed without parsing, or the table is of another version.
    index: Option<Option<Index>>,
    header: Option<Vec<u8>>,
}

impl<'a> Texts<'a> {
    /// Of that message.
    #[must_use]
    pub fn new(body: &'a Body) -> Self {
        Self { body, index: None, header: None }
    }

    fn index(&mut self) -> Option<&Index> {
        let parts = self.body.parts();
        self.index.get_or_insert_with(|| Index::from_bytes(parts?).ok()).as_ref()
    }

    /// Whether the message's parts are known. Without them it is one plain text without a header.
    pub(crate) fn is_parsed(&mut self) -> bool {
        self.index().is_some()
    }

    /// The message's own header, cut at 1 MiB.
    pub fn header(&mut self) -> Result<Headers<'_>, StoreError> {
        if self.header.is_none() {
            let root = self.index().and_then(|index| index.parts().first());
            let range = root.map_or(0..0, |root| root.header.clone());
            self.header = Some(block(self.body, &range)?);
        }
        Ok(Headers::new(self.header.as_deref().unwrap_or_default()))
    }

    /// The fields of the message's own header, each as `name: value`, decoded.
    pub fn in_header<E: From<StoreError>>(&mut self, each: Each<'_, E>) -> Result<(), E> {
        fields(self.header()?, each).map(drop)
    }

    /// The text parts, decoded, those of HTML as the text that they show; the names of attachments; the headers of
    /// messages within the message.
    pub fn in_body<E: From<StoreError>>(&mut self, each: Each<'_, E>) -> Result<(), E> {
        let body = self.body;
        let Some(index) = self.index() else {
            let decoder = Decoder::new(Encoding::EightBit, None);
            return part_text(body, 0..body.size(), decoder, None, each).map(drop);
        };
        let mut after_message = false;
        for part in index.parts() {
            // In pre-order the message within a message/rfc822 part stands right behind it.
            let inner_message = std::mem::replace(&mut after_message, part.kind == Kind::Message);
            if (inner_message || part.kind != Kind::Multipart) && !in_part(body, part, inner_message, each)? {
                break;
            }
        }
        Ok(())
    }
}

fn in_part<E: From<StoreError>>(
    body: &Body,
    part: &Part,
    inner_message: bool,
    each: Each<'_, E>,
) -> Result<bool, E> {
    if !each(Piece::Reading)? {
        return Ok(false);
    }
    let block = block(body, &part.header)?;
    let headers = Headers::new(&block);
    if inner_message && !fields(headers, each)? {
        return Ok(false);
    }
    if part.kind == Kind::Multipart {
        return Ok(true);
    }
    let described = Description::parse(headers);
    for name in described.file_names() {
        if !(each(Piece::Begin)? && each(Piece::Text(&name))?) {
            return Ok(false);
        }
    }
    if part.kind != Kind::Text {
        return Ok(true);
    }
    let decoder = Decoder::new(part.encoding, mime::charset(headers).as_deref());
    let html = described.is("text", "html").then(HtmlText::new);
    part_text(body, part.body.clone(), decoder, html, each)
}

fn block(body: &Body, range: &Range<u64>) -> Result<Vec<u8>, StoreError> {
    let size = range.end.saturating_sub(range.start).min(HEADER_LIMIT);
    let mut octets = vec![0; usize::try_from(size).unwrap_or(0)];
    let read = body.read_at(range.start, &mut octets)?;
    octets.truncate(read);
    Ok(octets)
}

fn fields<E>(headers: Headers<'_>, each: Each<'_, E>) -> Result<bool, E> {
    for field in headers.fields() {
        let goes_on = each(Piece::Begin)?
            && each(Piece::Text(&String::from_utf8_lossy(field.name)))?
            && each(Piece::Text(": "))?
            && each(Piece::Text(&header::decode(field.value)))?;
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

fn part_text<E: From<StoreError>>(
    body: &Body,
    range: Range<u64>,
    mut decoder: Decoder,
    mut html: Option<HtmlText>,
    each: Each<'_, E>,
) -> Result<bool, E> {
    let mut sink = Sink { goes_on: each(Piece::Begin)?, failed: None, each };
    let range = range.start..range.end.min(body.size());
    body.pieces::<E>(range, |octets| {
        sink.take(Piece::Reading);
        decoder.push(octets, &mut |text| sink.show(&mut html, text));
        Ok(sink.goes_on)
    })?;
    decoder.finish(&mut |text| sink.show(&mut html, text));
    if let Some(html) = html {
        html.finish(&mut |shown| sink.take(Piece::Text(shown)));
    }
    match sink.failed {
        Some(error) => Err(error),
        None => Ok(sink.goes_on),
    }
}

/// Passes pieces on until somebody has enough or fails: the decoders know no end.
struct Sink<'a, E> {
    each: Each<'a, E>,
    goes_on: bool,
    failed: Option<E>,
}

impl<E> Sink<'_, E> {
    fn take(&mut self, piece: Piece<'_>) {
        if self.goes_on {
            match (self.each)(piece) {
                Ok(more) => self.goes_on = more,
                Err(error) => (self.goes_on, self.failed) = (false, Some(error)),
            }
        }
    }

    fn show(&mut self, html: &mut Option<HtmlText>, text: &str) {
        match html {
            None => self.take(Piece::Text(text)),
            Some(html) => html.push(text, &mut |shown| self.take(Piece::Text(shown))),
        }
    }
}
