//! Which messages a mailbox has already: by Message-Id and the digest of the text behind the header, since servers that
//! a message passed put their own fields into its header; without a Message-Id by the digest of all octets.

use std::collections::BTreeSet;

use crate::stage::Octets;
use crate::{Budget, MailboxId, Staged, Store, StoreError, Uid};

/// Messages that are looked at in one read.
const PAGE: u32 = 2000;
/// Of a file, read at once.
const PIECE: usize = 64 * 1024;

/// What a mailbox held when it was made, and what was added since. Holds 12 octets for each message, and what a tree
/// needs around them.
#[derive(Debug)]
pub struct Duplicates {
    mailbox: MailboxId,
    /// What a message is looked up by, and its UID.
    seen: BTreeSet<(u64, u32)>,
}

impl Duplicates {
    /// Looks at every message of the mailbox.
    pub fn of(store: &Store, mailbox: MailboxId) -> Result<Self, StoreError> {
        let mut seen = BTreeSet::new();
        let mut after = 0;
        loop {
            let page = page(store, mailbox, after)?;
            let Some((_, last)) = page.last() else { return Ok(Self { mailbox, seen }) };
            after = *last;
            seen.extend(page);
        }
    }

    /// Whether the mailbox has this message.
    pub fn has(&self, store: &Store, staged: &Staged) -> Result<bool, StoreError> {
        let (mark, has_id) = mark(envelope(staged), staged.hash.as_bytes());
        let candidates = self.seen.range((mark, 0)..=(mark, u32::MAX));
        let mut text = None;
        for uid in candidates.filter_map(|(_, uid)| Uid::new(*uid)) {
            let Some(hash) = hash(store, self.mailbox, uid)? else { continue };
            if hash == *staged.hash.as_bytes() {
                return Ok(true);
            }
            if !has_id {
                continue;
            }
            let own = match text {
                Some(own) => own,
                None => *text.insert(text_of_staged(store, staged)?),
            };
            if text_of_stored(store, self.mailbox, uid)? == Some(own) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What to give [`Self::add`] when the message has its UID.
    #[must_use]
    pub fn mark(staged: &Staged) -> u64 {
        mark(envelope(staged), staged.hash.as_bytes()).0
    }

    /// The mailbox has one more.
    pub fn add(&mut self, mark: u64, uid: Uid) {
        self.seen.insert((mark, uid.value()));
    }
}

fn page(store: &Store, mailbox: MailboxId, after: u32) -> Result<Vec<(u64, u32)>, StoreError> {
    store.read(&Budget::default(), |reader| {
        let sql = "SELECT uid, envelope, hash FROM message CROSS JOIN body ON body.id = message.body
                   WHERE mailbox = ?1 AND uid > ?2 ORDER BY uid LIMIT ?3";
        let mut statement = reader.connection.prepare_cached(sql)?;
        let mut rows = statement.query((mailbox.0, after, PAGE))?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            let bad = |_| StoreError::damaged("a column is not octets");
            let envelope = row.get_ref(1)?.as_blob_or_null().map_err(bad)?;
            let hash = row.get_ref(2)?.as_blob().map_err(bad)?;
            page.push((mark(envelope, hash).0, row.get(0)?));
        }
        Ok(page)
    })
}

fn hash(store: &Store, mailbox: MailboxId, uid: Uid) -> Result<Option<[u8; 32]>, StoreError> {
    store.read(&Budget::default(), |reader| {
        let sql = "SELECT hash FROM message CROSS JOIN body ON body.id = message.body
                   WHERE mailbox = ?1 AND uid = ?2";
        let mut statement = reader.connection.prepare_cached(sql)?;
        let mut rows = statement.query((mailbox.0, uid.value()))?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    })
}

fn envelope(staged: &Staged) -> Option<&[u8]> {
    staged.summary.as_ref().map(|summary| &*summary.envelope)
}

/// What a message is looked up by, and whether that is its Message-Id.
fn mark(envelope: Option<&[u8]>, hash: &[u8]) -> (u64, bool) {
    let number = |octets: &[u8]| octets.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    match envelope.and_then(message_id) {
        Some(id) => (number(blake3::hash(id).as_bytes()), true),
        None => (number(hash), false),
    }
}

/// The last string of an ENVELOPE (RFC 9051 §7.5.2) as it is stored, in its quotes; `None` where there is NIL.
fn message_id(envelope: &[u8]) -> Option<&[u8]> {
    let mut rest = envelope;
    let mut last = None;
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b'"' => {
                let length = quoted(after)?;
                last = after.get(..length);
                after.get(length + 1..)?
            }
            b'{' => {
                let end = after.iter().position(|octet| *octet == b'}')?;
                let length = std::str::from_utf8(after.get(..end)?).ok()?.parse::<usize>().ok()?;
                let (literal, behind) = after.get(end + 3..)?.split_at_checked(length)?;
                last = Some(literal);
                behind
            }
            b'N' => {
                last = None;
                after.get(2..)?
            }
            _ => after,
        };
    }
    last.filter(|id| !id.is_empty())
}

/// How long the quoted string is.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|octet| {
        let ends = *octet == b'"' && !escaped;
        escaped = *octet == b'\\' && !escaped;
        ends
    })
}

type Digest = [u8; 32];

/// Hashes what comes behind the first empty line.
struct Text {
    hasher: Box<blake3::Hasher>,
    in_text: bool,
    /// The line so far has no octet but a CR.
    empty: bool,
}

impl Text {
    fn new() -> Self {
        Self { hasher: Box::default(), in_text: false, empty: true }
    }

    fn push(&mut self, piece: &[u8]) {
        if self.in_text {
            self.hasher.update(piece);
            return;
        }
        for (place, octet) in piece.iter().enumerate() {
            match octet {
                b'\n' if self.empty => {
                    self.in_text = true;
                    self.hasher.update(piece.get(place + 1..).unwrap_or_default());
                    return;
                }
                b'\n' => self.empty = true,
                b'\r' => {}
                _ => self.empty = false,
            }
        }
    }

    fn digest(&self) -> Digest {
        *self.hasher.finalize().as_bytes()
    }
}

fn text_of_staged(store: &Store, staged: &Staged) -> Result<Digest, StoreError> {
    let mut text = Text::new();
    match &staged.octets {
        Octets::Memory(octets) => text.push(octets),
        Octets::File(kept) => {
            let file = store.files().open_body(&kept.name)?;
            let mut file = file.ok_or_else(|| StoreError::Fault("a staged file is gone".to_owned()))?;
            let mut buffer = vec![0; PIECE];
            loop {
                match std::io::Read::read(&mut file, &mut buffer) {
                    Ok(0) => break,
                    Ok(read) => text.push(buffer.get(..read).unwrap_or_default()),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(StoreError::file(&error)),
                }
            }
        }
    }
    Ok(text.digest())
}

/// `None`: it is gone.
fn text_of_stored(store: &Store, mailbox: MailboxId, uid: Uid) -> Result<Option<Digest>, StoreError> {
    let Some(body) = store.read(&Budget::default(), |reader| reader.body(mailbox, uid))? else {
        return Ok(None);
    };
    let mut text = Text::new();
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let read = body.read_at(offset, &mut buffer)?;
        if read == 0 {
            return Ok(Some(text.digest()));
        }
        text.push(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_id_is_the_last_string_of_an_envelope() {
        for (envelope, id) in [
            (&br#"("Mon" "s" NIL NIL NIL NIL NIL NIL NIL "<a@b>")"#[..], Some(&b"<a@b>"[..])),
            (br#"("Mon" "s" (("a" NIL "b" "c")) NIL NIL NIL NIL NIL "<x@y>" NIL)"#, None),
            (b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL {4}\r\n<\xe4>\")", Some(b"<\xe4>\"")),
            (br#"(NIL "a \" (" NIL NIL NIL NIL NIL NIL NIL "<\\\"a>")"#, Some(br#"<\\\"a>"#)),
            (br#"(NIL NIL NIL NIL NIL NIL NIL NIL NIL "")"#, None),
            (b"(\"", None),
            (b"{9}\r\nshort", None),
            (b"", None),
        ] {
            assert_eq!(message_id(envelope), id, "{}", envelope.escape_ascii());
        }
    }

    #[test]
    fn the_text_begins_behind_the_first_empty_line_however_it_is_cut() {
        let digest = |octets: &[u8], cut: usize| {
            let mut text = Text::new();
            text.push(&octets[..cut]);
            text.push(&octets[cut..]);
            text.digest()
        };
        for (message, text) in [
            (&b"A: b\r\nC: d\r\n\r\ntext\r\n\r\nmore"[..], &b"text\r\n\r\nmore"[..]),
            (b"A: b\n\ntext", b"text"),
            (b"\r\ntext", b"text"),
            (b"\ntext", b"text"),
            (b"A: b\r\n", b""),
            (b"", b""),
        ] {
            for cut in 0..=message.len() {
                assert_eq!(digest(message, cut), *blake3::hash(text).as_bytes(), "{message:?} at {cut}");
            }
        }
    }
}
