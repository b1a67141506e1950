//! One pass over a message, in chunks of any size.
//!
//! The scanner knows the path from the message to the part it is in (`open`) and whether it reads a header or a body.
//! In a body it looks only for line starts with `--`; everything between is counted, not copied. Kept are: header octets
//! up to the caps of [`super`], the boundaries of open multiparts, and the start of one line that may be a delimiter.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memmem};

use super::{
    DefaultType, Description, Encoding, Index, Kind, MAX_BOUNDARY, MAX_DEPTH, MAX_HEADER, MAX_HEADERS,
    MAX_PART_HEADER, MAX_PARTS, Part,
};
use crate::header::Headers;

/// As much of a line as can matter: both dashes, the boundary, the closing dashes.
const MAX_DELIMITER: usize = MAX_BOUNDARY + 4;

/// Finds the parts of a message that comes in chunks of any size; see [`super`].
#[derive(Debug)]
pub struct Indexer {
    parts: Vec<Part>,
    kept: Vec<Kept>,
    headers: Vec<u8>,
    /// From the message down to the part that the next octet belongs to.
    open: Vec<Open>,
    /// Whether any open part has a boundary.
    delimited: bool,
    reading: Reading,
    /// What was seen of the current line, up to [`MAX_DELIMITER`] octets.
    line: Vec<u8>,
    /// Where the current line starts.
    line_start: Mark,
    /// Where the next octet stands.
    here: Mark,
    finder: memmem::Finder<'static>,
    truncated: bool,
}

/// What one pass over a message found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The part of it that is worth storing.
    pub index: Index,
    headers: Vec<u8>,
    kept: Vec<Kept>,
}

/// A part's header octets, as far as they were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    headers: Range<usize>,
    default: DefaultType,
}

/// A part that has not ended.
#[derive(Debug)]
struct Open {
    place: usize,
    /// While delimiters are looked for.
    boundary: Option<Box<[u8]>>,
    /// multipart/digest.
    digest: bool,
    /// Line ends before its body.
    newlines: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// A header, line by line.
    Header,
    /// A body, at the start of a line.
    LineStart,
    /// A body, in a line that starts with a dash.
    Candidate,
    /// A body, in a line that is no delimiter.
    Line,
}

/// A place in the message, and what stands before it.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    offset: u64,
    newlines: u64,
    last: [u8; 3],
}

impl Mark {
    fn advance(&mut self, octets: &[u8]) {
        self.offset += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        self.newlines += u64::try_from(memchr_iter(b'\n', octets).count()).unwrap_or(u64::MAX);
        self.last = match (self.last, octets) {
            (_, [.., a, b, c]) => [*a, *b, *c],
            ([_, _, a], [b, c]) => [a, *b, *c],
            ([_, a, b], [c]) => [a, b, *c],
            (last, []) => last,
        };
    }

    /// The end of what stands before a delimiter line that starts here: the line end belongs to the delimiter.
    fn before_line_end(self) -> Self {
        match self.last {
            [a, b'\r', b'\n'] => {
                Self { offset: self.offset - 2, newlines: self.newlines - 1, last: [0, 0, a] }
            }
            [a, b, b'\n'] => Self { offset: self.offset - 1, newlines: self.newlines - 1, last: [0, a, b] },
            [_, _, _] => self,
        }
    }
}

impl Default for Indexer {
    fn default() -> Self {
        Self::new()
    }
}

impl Indexer {
    /// Before the first octet.
    #[must_use]
    pub fn new() -> Self {
        let mut indexer = Self {
            parts: Vec::new(),
            kept: Vec::new(),
            headers: Vec::new(),
            open: Vec::new(),
            delimited: false,
            reading: Reading::Header,
            line: Vec::new(),
            line_start: Mark::default(),
            here: Mark::default(),
            finder: memmem::Finder::new(b"\n--"),
            truncated: false,
        };
        indexer.open_part(DefaultType::Text);
        indexer
    }

    /// The next octets of the message, any number of them.
    pub fn push(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let used = match self.reading {
                Reading::Header => self.read_line(rest),
                Reading::LineStart | Reading::Candidate | Reading::Line if !self.delimited => {
                    self.here.advance(rest);
                    rest.len()
                }
                Reading::LineStart => {
                    self.reading =
                        if rest.first() == Some(&b'-') { Reading::Candidate } else { Reading::Line };
                    0
                }
                Reading::Candidate => self.read_line(rest),
                Reading::Line => self.skip_lines(rest),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// There are no more octets.
    #[must_use]
    pub fn finish(mut self) -> Indexed {
        if !self.line.is_empty() {
            self.end_line(&[]); // a last line without line end
        }
        self.close_above(0, self.here);
        Indexed { index: Index::new(self.parts, self.truncated), headers: self.headers, kept: self.kept }
    }

    /// Goes to the next line that starts with a dash; says how much of `rest` it passed over.
    fn skip_lines(&mut self, rest: &[u8]) -> usize {
        let (used, at_line_start) = match (self.finder.find(rest), rest) {
            (Some(at), _) => (at + 1, true),
            (None, [.., b'\n']) => (rest.len(), true),
            (None, [.., b'\n', b'-']) => (rest.len() - 1, true),
            (None, _) => (rest.len(), false),
        };
        self.here.advance(rest.get(..used).unwrap_or_default());
        if at_line_start {
            self.start_line();
        }
        used
    }

    /// Takes a line, or as much of it as `rest` has; says how much that was.
    fn read_line(&mut self, rest: &[u8]) -> usize {
        let end = memchr(b'\n', rest).map(|at| at + 1);
        let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.here.advance(piece);
        if self.reading == Reading::Header {
            self.keep(piece);
        }
        if end.is_some() {
            self.end_line(piece);
        } else {
            self.remember(piece);
        }
        piece.len()
    }

    /// Adds to the start of a line that is not complete. Once it cannot be a delimiter, a body goes on without it.
    fn remember(&mut self, piece: &[u8]) {
        let room = MAX_DELIMITER.saturating_sub(self.line.len()).min(piece.len());
        let (kept, beyond) = piece.split_at_checked(room).unwrap_or((piece, &[]));
        self.line.extend_from_slice(kept);
        // White space behind a delimiter may be any length, and does not have to be kept to be known.
        let possible = self.line.iter().zip(b"--").all(|(octet, dash)| octet == dash)
            && beyond.iter().all(|octet| is_padding(*octet));
        if !possible {
            match self.reading {
                Reading::Header => {
                    // Neither a delimiter nor a blank line, however it goes on.
                    if !beyond.is_empty() {
                        self.line.clear();
                        self.line.push(b'x');
                    }
                }
                Reading::LineStart | Reading::Candidate | Reading::Line => {
                    self.line.clear();
                    self.reading = Reading::Line;
                }
            }
        }
    }

    /// A line is complete: what was remembered of it, and `piece`.
    fn end_line(&mut self, piece: &[u8]) {
        let cut = !self.line.is_empty();
        if cut {
            self.remember(piece);
        }
        let mut remembered = std::mem::take(&mut self.line);
        let line = if cut { &remembered } else { piece };
        let in_header = self.reading == Reading::Header;
        if let Some((level, closes)) = self.delimiter(line) {
            self.at_delimiter(level, closes);
        } else if in_header && matches!(line, b"\n" | b"\r\n") {
            self.end_header();
        }
        remembered.clear();
        self.line = remembered;
        self.start_line();
    }

    fn start_line(&mut self) {
        self.line_start = self.here;
        match self.reading {
            Reading::Header => {}
            Reading::LineStart | Reading::Candidate | Reading::Line => self.reading = Reading::LineStart,
        }
    }

    /// Whose delimiter the line is, innermost first, and whether it is the closing one.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--").filter(|_| self.delimited)?;
        let end = text.iter().rposition(|octet| !is_padding(*octet)).map_or(0, |at| at + 1);
        let text = text.get(..end)?;
        let closing = text.strip_suffix(b"--");
        self.open.iter().enumerate().rev().find_map(|(level, open)| {
            let boundary = open.boundary.as_deref()?;
            if text == boundary {
                Some((level, false))
            } else {
                (closing == Some(boundary)).then_some((level, true))
            }
        })
    }

    fn at_delimiter(&mut self, level: usize, closes: bool) {
        if !closes && self.parts.len() >= MAX_PARTS {
            self.truncated = true;
            self.open.iter_mut().for_each(|open| open.boundary = None);
            self.delimited = false;
            return;
        }
        if self.reading == Reading::Header {
            // The delimiter was taken for a line of the header.
            let line_length =
                usize::try_from(self.here.offset - self.line_start.offset).unwrap_or(usize::MAX);
            self.unkeep(line_length);
        }
        self.close_above(level + 1, self.line_start.before_line_end());
        let Some(open) = self.open.get_mut(level) else { return };
        if closes {
            open.boundary = None; // what follows is epilogue
            self.delimited = self.open.iter().any(|open| open.boundary.is_some());
            self.reading = Reading::LineStart;
        } else {
            let default = if open.digest { DefaultType::Message } else { DefaultType::Text };
            self.open_part(default);
        }
    }

    /// A part starts here, as a child of the innermost open one.
    fn open_part(&mut self, default: DefaultType) {
        let here = self.here.offset;
        self.open.push(Open {
            place: self.parts.len(),
            boundary: None,
            digest: false,
            newlines: self.here.newlines,
        });
        self.parts.push(Part {
            // The depth is checked before a part is opened, against `MAX_DEPTH`.
            depth: u8::try_from(self.open.len() - 1).unwrap_or(MAX_DEPTH),
            kind: Kind::Text,
            encoding: Encoding::SevenBit,
            header: here..here,
            body: here..here,
            lines: 0,
        });
        self.kept.push(Kept { headers: self.headers.len()..self.headers.len(), default });
        self.delimited = self.open.iter().any(|open| open.boundary.is_some());
        self.reading = Reading::Header;
    }

    /// The room that the caps leave to the header being read, whose first `kept` octets are kept.
    fn room(&self, kept: usize) -> usize {
        let cap = if self.parts.len() == 1 { MAX_HEADER } else { MAX_PART_HEADER };
        cap.saturating_sub(kept).min(MAX_HEADERS.saturating_sub(self.headers.len()))
    }

    fn keep(&mut self, piece: &[u8]) {
        let Some(start) = self.kept.last().map(|kept| kept.headers.start) else { return };
        let room = self.room(self.headers.len() - start);
        self.headers.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }

    /// Takes back the last line, of which less may have been kept.
    fn unkeep(&mut self, line_length: usize) {
        let (Some(part), Some(kept)) = (self.parts.last(), self.kept.last()) else { return };
        let read = usize::try_from(self.here.offset - part.header.start).unwrap_or(usize::MAX);
        let stays = kept.headers.start.saturating_add(read.saturating_sub(line_length));
        self.headers.truncate(stays);
    }

    /// The header of the innermost open part ended with a blank line; its body starts here.
    fn end_header(&mut self) {
        let description = self.end_kept(self.here.offset);
        let newlines = self.here.newlines;
        let full = self.parts.len() >= MAX_PARTS;
        let (Some(open), Some(part)) = (self.open.last_mut(), self.parts.last_mut()) else { return };
        part.header.end = self.here.offset;
        part.body = self.here.offset..self.here.offset;
        open.newlines = newlines;
        self.reading = Reading::LineStart;

        let nests = if description.media_type == b"multipart" {
            boundary_of(&description).map(Some)
        } else if description.is("message", "rfc822") && !is_encoded(part.encoding) {
            Some(None)
        } else {
            None
        };
        let Some(boundary) = nests else { return };
        if part.depth >= MAX_DEPTH || full {
            self.truncated = true;
            return;
        }
        if let Some(boundary) = boundary {
            part.kind = Kind::Multipart;
            open.digest = description.subtype == b"digest";
            open.boundary = Some(boundary);
            self.delimited = true;
        } else {
            part.kind = Kind::Message;
            self.open_part(DefaultType::Text);
        }
    }

    /// Notes what the header of the innermost open part says, which ends at `end`.
    fn end_kept(&mut self, end: u64) -> Description {
        let (Some(part), Some(kept)) = (self.parts.last_mut(), self.kept.last_mut()) else {
            return Description::parse(Headers::new(&[]));
        };
        kept.headers.end = self.headers.len();
        let length = u64::try_from(kept.headers.len()).unwrap_or(u64::MAX);
        if length < end - part.header.start {
            self.truncated = true;
            let block = self.headers.get(kept.headers.clone()).unwrap_or_default();
            let whole_lines = memchr::memrchr(b'\n', block).map_or(0, |at| at + 1);
            kept.headers.end = kept.headers.start + whole_lines;
        }
        let block = self.headers.get(kept.headers.clone()).unwrap_or_default();
        let description = Description::parse_as(Headers::new(block), kept.default);
        part.encoding = description.encoding;
        part.kind = match description.media_type.as_slice() {
            b"text" | b"message" => Kind::Text,
            _ => Kind::Other,
        };
        description
    }

    /// Ends all open parts from `level` on at `end`. Where the line end that belongs to the delimiter is also the one that
    /// ends a header or an inner delimiter, a part may begin behind `end`: the outermost such part is empty, and those
    /// inside it have no octets at all.
    fn close_above(&mut self, level: usize, end: Mark) {
        if self.reading == Reading::Header && level < self.open.len() {
            self.end_kept(self.line_start.offset);
            if let Some(part) = self.parts.last_mut() {
                part.header.end = end.offset.max(part.header.start);
                part.body = part.header.end..part.header.end;
            }
        }
        let mut limit = u64::MAX;
        for open in self.open.drain(level.min(self.open.len())..) {
            let Some(part) = self.parts.get_mut(open.place) else { continue };
            part.header.start = part.header.start.min(limit);
            part.header.end = part.header.end.min(limit);
            limit = limit.min(end.offset.max(part.header.end));
            part.body = part.header.end..limit;
            if !part.body.is_empty() {
                let [.., last] = end.last;
                part.lines = end.newlines.saturating_sub(open.newlines) + u64::from(last != b'\n');
            }
        }
    }
}

/// Transport padding, RFC 2046 §5.1.1, and the line end.
fn is_padding(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_encoded(encoding: Encoding) -> bool {
    match encoding {
        Encoding::Base64 | Encoding::QuotedPrintable => true,
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary | Encoding::Other => false,
    }
}

/// White space at its end is not part of a boundary (RFC 2046 §5.1.1).
fn boundary_of(description: &Description) -> Option<Box<[u8]>> {
    let boundary = description.parameter("boundary")?.trim_ascii_end();
    (1..=MAX_BOUNDARY).contains(&boundary.len()).then(|| boundary.into())
}

impl Indexed {
    /// The message's own header fields, for ENVELOPE, dates and threading.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        self.part_headers(0)
    }

    /// The header fields of the part at `place` in the table, as far as they were kept.
    #[must_use]
    pub fn part_headers(&self, place: usize) -> Headers<'_> {
        let kept = self.kept.get(place).and_then(|kept| self.headers.get(kept.headers.clone()));
        Headers::new(kept.unwrap_or_default())
    }

    /// How many header octets are kept in all.
    #[cfg(test)]
    pub(super) fn kept_octets(&self) -> usize {
        self.headers.len()
    }

    /// What the header fields of the part at `place` say about it.
    #[must_use]
    pub fn description(&self, place: usize) -> Description {
        let default = self.kept.get(place).map_or(DefaultType::Text, |kept| kept.default);
        Description::parse_as(self.part_headers(place), default)
    }
}
