//! mbox: one file of messages, each behind a `From ` line. Reads what many programs write, and writes what this reads
//! back octet for octet.
//!
//! A message ends before an empty line and a `From ` line with a date, or at the end of the file. A Content-Length, which
//! anybody can put into a message, is believed only where it leads to exactly such a place; so is moxd's own field.

pub(crate) mod fields;
mod from_line;
mod lines;
mod write;

use std::{collections::HashMap, io, ops::Range};

use ipc_proto::{
    reader::Quoting,
    transfer::{ImportKey, MailFlags, MailHead},
};

use crate::window::{ReadAt, Window};
use fields::{Found, Ours};
use lines::{Form, Lines};

pub use write::{Layout, Writer};

/// The longest line of a header that is looked into; of a longer one only the name counts.
const MAX_FIELD: usize = 8 * 1024;
/// Fields that a message can lose.
const MAX_CUT: usize = 32;
/// What the c-client library puts first into its files.
const INTERNAL: &[u8] = b"DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA";

/// An mbox being read, message by message.
#[derive(Debug)]
pub struct Mbox<S> {
    window: Window<S>,
    quoting: Quoting,
    next: u64,
    /// How often the same octets came.
    seen: HashMap<[u8; 16], u32>,
}

/// A message that was found, and not yet read.
#[derive(Debug)]
pub struct Message {
    /// All but the octets.
    pub head: MailHead,
    octets: Range<u64>,
    /// Fields that are not the message's, at their places in the file.
    cut: Vec<Range<u64>>,
    form: Form,
}

/// The lines before a message's octets.
#[derive(Debug, Default)]
struct Header {
    found: Found,
    cut: Vec<Range<u64>>,
    internal_subject: bool,
    /// Where the text begins.
    text: u64,
    /// Behind our own field.
    ours_from: u64,
}

impl<S: ReadAt> Mbox<S> {
    /// Of a file with so many octets. `Err`: it does not begin like one.
    pub fn open(source: S, size: u64, quoting: Quoting) -> io::Result<Option<Self>> {
        Self::with(Window::new(source, size), quoting)
    }

    fn with(window: Window<S>, quoting: Quoting) -> io::Result<Option<Self>> {
        let mut mbox = Self { window, quoting, next: 0, seen: HashMap::new() };
        while let Some(line) = mbox.line(mbox.next, 0)?.filter(|line| line.is_empty()) {
            mbox.next = line.next;
        }
        let begins = mbox.next >= mbox.window.end() || mbox.beginning(mbox.next)?.is_some();
        Ok(begins.then_some(mbox))
    }

    /// Octets of the file so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next message. Its octets were looked at once, and are read by [`Self::read`].
    pub fn next_message(&mut self) -> io::Result<Option<Message>> {
        loop {
            let Some((date, from)) = self.beginning(self.next)? else {
                self.next = self.window.end();
                return Ok(None);
            };
            let header = self.header(from)?;
            let internal = header.found.internal && header.internal_subject;
            let message = self.message(date.unwrap_or_default(), from, header)?;
            if !internal {
                return Ok(Some(message));
            }
        }
    }

    /// Gives `each` the message's octets as they are outside of an mbox.
    pub fn read(&mut self, message: &Message, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut lines = Lines::new(message.form, self.quoting);
        let mut from = message.octets.start;
        let ends = message.cut.iter().map(|cut| (cut.start, cut.end));
        for (end, next) in ends.chain([(message.octets.end, message.octets.end)]) {
            while from < end {
                let octets = self.window.look(from, 1)?;
                let length = usize::try_from(end - from).unwrap_or(usize::MAX).min(octets.len());
                let octets = octets.get(..length).unwrap_or_default();
                if octets.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                lines.push(octets, &mut each);
                from += octets.len() as u64;
            }
            from = next;
        }
        lines.finish(&mut each);
        Ok(())
    }

    fn message(&mut self, date: i64, from: u64, header: Header) -> io::Result<Message> {
        let Header { found, mut cut, text, ours_from, .. } = header;
        let (octets, form, next) = match self.as_we_wrote_it(found.ours, ours_from)? {
            Some((octets, form, next)) => {
                cut.clear();
                (octets, form, next)
            }
            None => {
                let (end, next) = match self.believed(text, found.content_length)? {
                    Some(found) => found,
                    None => self.find_end(text)?,
                };
                (from..end, Form::Foreign, next)
            }
        };
        cut.retain(|cut| cut.end <= octets.end);
        let MailFlags { system, keywords } = found.flags;
        let mut message = Message {
            head: MailHead {
                key: ImportKey([0; 16]),
                uid: None,
                flags: MailFlags { system, keywords },
                received: date,
            },
            octets,
            cut,
            form,
        };
        let mut hasher = blake3::Hasher::new();
        self.read(&message, |octets| {
            hasher.update(octets);
        })?;
        message.head.key = self.key(hasher.finalize().as_bytes());
        self.next = next;
        Ok(message)
    }

    /// The same octets a second time are another message.
    fn key(&mut self, hash: &[u8]) -> ImportKey {
        let key: [u8; 16] = hash.first_chunk().copied().unwrap_or_default();
        let times = self.seen.entry(key).or_default();
        *times += 1;
        if *times == 1 {
            return ImportKey(key);
        }
        let again = blake3::hash(&[&key[..], &times.to_le_bytes()].concat());
        ImportKey(again.as_bytes().first_chunk().copied().unwrap_or_default())
    }

    /// If there is a `From ` line here: its date, and where the next line is.
    fn beginning(&mut self, at: u64) -> io::Result<Option<(Option<i64>, u64)>> {
        let Some(line) = self.line(at, from_line::MAX)? else { return Ok(None) };
        Ok(from_line::parse(line.text).map(|date| (date, line.next)))
    }

    fn header(&mut self, from: u64) -> io::Result<Header> {
        let mut header = Header { text: from, ours_from: from, ..Header::default() };
        let mut at = from;
        let (mut cuts, mut top) = (false, true);
        while let Some(line) = self.line(at, MAX_FIELD)? {
            let (text, next) = (line.text, line.next);
            if text.is_empty() {
                at = next;
                break;
            }
            let folded = matches!(text.first(), Some(b' ' | b'\t'));
            if !folded {
                // Without a colon it is no field; some programs leave the empty line out before such a text.
                let name = text
                    .iter()
                    .position(|octet| *octet == b':')
                    .and_then(|colon| text.split_at_checked(colon));
                cuts = name.is_some_and(|(name, value)| {
                    let value = value.get(1..).unwrap_or_default();
                    header.internal_subject |=
                        name.eq_ignore_ascii_case(b"Subject") && value.trim_ascii() == INTERNAL;
                    header.found.take(name.trim_ascii_end(), value)
                });
            }
            // Ours stands behind nothing but fields of this kind. Anywhere else somebody sent it.
            if header.found.ours.is_some() && !top {
                header.found.ours = None;
                cuts = false;
            }
            top &= cuts;
            if cuts && header.cut.len() < MAX_CUT {
                header.cut.push(at..next);
            }
            at = next;
            if header.found.ours.is_some() {
                header.ours_from = at;
                break;
            }
        }
        header.text = at;
        Ok(header)
    }

    /// Octets of the message, their form, and where the next one begins, if our own field is true. It stands at the top,
    /// behind fields that we wrote.
    fn as_we_wrote_it(
        &mut self,
        ours: Option<Ours>,
        from: u64,
    ) -> io::Result<Option<(Range<u64>, Form, u64)>> {
        let Some(Ours { lines_end_in_lf, octets }) = ours else { return Ok(None) };
        let end = from.saturating_add(octets);
        let form = if lines_end_in_lf { Form::Lf } else { Form::AsIs };
        let next = self.behind_message(end, 2)?;
        Ok(next.map(|next| (from..end, form, next)))
    }

    /// Where the text ends and the next message begins, if Content-Length leads there.
    fn believed(&mut self, text: u64, length: Option<u64>) -> io::Result<Option<(u64, u64)>> {
        let Some(end) = length.and_then(|length| text.checked_add(length)) else { return Ok(None) };
        Ok(self.behind_message(end, 2)?.map(|next| (end, next)))
    }

    /// `end` is followed by at most so many line ends, and then by a message or nothing: where that is.
    fn behind_message(&mut self, end: u64, most: usize) -> io::Result<Option<u64>> {
        if end > self.window.end() {
            return Ok(None);
        }
        let mut at = end;
        for _ in 0..most {
            match self.line(at, 2)? {
                Some(line) if line.text.is_empty() && line.ends => at = line.next,
                Some(_) | None => break,
            }
        }
        let there = at == self.window.end() || self.beginning(at)?.is_some();
        Ok(there.then_some(at))
    }

    /// Line by line: where the message ends and the next begins. The empty line between them belongs to neither.
    fn find_end(&mut self, text: u64) -> io::Result<(u64, u64)> {
        let mut at = text;
        // Of the empty line before, if there is one: a message may have no text at all.
        let mut empty = Some(text);
        loop {
            let Some(line) = self.line(at, from_line::MAX)? else {
                return Ok((empty.filter(|empty| *empty > text).unwrap_or(at), at));
            };
            let (begins, is_empty, next) = (line.text.starts_with(b"From "), line.text.is_empty(), line.next);
            if begins
                && let Some(end) = empty
                && self.is_beginning(at)?
            {
                return Ok((end.max(text), at));
            }
            empty = is_empty.then_some(at);
            at = next;
        }
    }

    /// A `From ` line behind an empty one; one without a date only before what looks like a field.
    fn is_beginning(&mut self, at: u64) -> io::Result<bool> {
        let Some((date, next)) = self.beginning(at)? else { return Ok(false) };
        if date.is_some() {
            return Ok(true);
        }
        let Some(line) = self.line(next, 100)? else { return Ok(false) };
        let colon = line.text.iter().position(|octet| *octet == b':');
        let name = colon.and_then(|colon| line.text.get(..colon)).unwrap_or_default();
        Ok(!name.is_empty() && name.iter().all(u8::is_ascii_graphic))
    }

    /// The line at a place: of its text at least `look` octets. `None`: the file ends here.
    fn line(&mut self, at: u64, look: usize) -> io::Result<Option<Line<'_>>> {
        if at >= self.window.end() {
            return Ok(None);
        }
        let mut next = at;
        let ends = loop {
            let octets = self.window.look(next, 1)?;
            if octets.is_empty() {
                break false;
            }
            match octets.iter().position(|octet| *octet == b'\n') {
                Some(end) => {
                    next += end as u64 + 1;
                    break true;
                }
                None => next += octets.len() as u64,
            }
        };
        let length = usize::try_from(next - at).unwrap_or(usize::MAX);
        let octets = self.window.look(at, look.saturating_add(2).min(length))?;
        let mut text = octets.get(..length.min(octets.len())).unwrap_or_default();
        if ends && text.len() == length {
            text = text.strip_suffix(b"\n").unwrap_or(text);
            text = text.strip_suffix(b"\r").unwrap_or(text);
        }
        Ok(Some(Line { text, next, ends }))
    }
}

/// The beginning of a line, without its end if that is within.
struct Line<'a> {
    text: &'a [u8],
    next: u64,
    ends: bool,
}

impl Line<'_> {
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod check;
#[cfg(test)]
mod tests;
