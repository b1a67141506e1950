//! GETMETADATA and SETMETADATA (RFC 5464), LIST's METADATA (RFC 9590), and `/private/specialuse` (RFC 6154 §4).

use imapd::{Depth, GetMetadata, NameForm, SetMetadata, response};
use store_lib::{
    Annotated, EntryName, MAX_METADATA_VALUE, Mailbox, MetadataChange, Reader, SpecialUse, StoreError,
};

use crate::filters::is_filter_entry;
use crate::reply::{Reply, Stop};
use crate::session::Session;

/// The admin's to say (RFC 5464 §6.2.2), and nobody has said it.
const ADMIN: &str = "/shared/admin";

/// What a METADATA response stands for: the mailbox's name as it is shown, empty for the server, and whose entries.
#[derive(Debug, Clone)]
struct Subject {
    name: String,
    of: Annotated,
    special_use: Option<SpecialUse>,
}

/// The proofs that names from the client are names of entries; each once, in their order.
pub(crate) fn entry_names(asked: &[Vec<u8>]) -> Result<Vec<EntryName>, Reply> {
    let mut names = Vec::with_capacity(asked.len());
    for text in asked {
        let name = entry_name(text)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn entry_name(text: &[u8]) -> Result<EntryName, Reply> {
    EntryName::parse(text).map_err(|error| Reply::bad(error.to_string()))
}

impl Subject {
    fn of_mailbox(mailbox: &Mailbox) -> Self {
        Self {
            name: mailbox.name.to_string(),
            of: Annotated::Mailbox(mailbox.id),
            special_use: mailbox.special_use,
        }
    }

    /// Whether this entry is kept with the mailbox itself.
    fn is_special_use(&self, entry: &EntryName) -> bool {
        self.of != Annotated::Server && entry.as_str() == EntryName::SPECIAL_USE
    }

    fn entries(&self, reader: &Reader<'_>) -> Result<Vec<EntryName>, StoreError> {
        let mut names = reader.metadata_entries(self.of)?;
        if self.special_use.is_some() {
            names.extend(EntryName::parse(EntryName::SPECIAL_USE.as_bytes()));
            names.sort();
        }
        Ok(names)
    }

    fn value(&self, reader: &Reader<'_>, entry: &EntryName) -> Result<Option<Vec<u8>>, StoreError> {
        if self.is_special_use(entry) {
            return Ok(self.special_use.map(|special_use| special_use.attribute().into()));
        }
        reader.metadata_value(self.of, entry)
    }
}

impl Session {
    pub(crate) fn get_metadata(&mut self, get: &GetMetadata) -> Result<Reply, Stop> {
        let asked = entry_names(&get.entries)?;
        let subject = self.subject(&get.mailbox)?;
        let entries = match get.depth {
            Depth::Entry => asked,
            // Those there are, and no NIL for others (RFC 5464 §4.2.2).
            Depth::Children => self.entries_below(&subject, &asked, 1)?,
            Depth::All => self.entries_below(&subject, &asked, usize::MAX)?,
        };
        let longest = self.write_metadata(&subject, &entries, get.max_size)?;
        Ok(match longest {
            0 => Reply::ok("GETMETADATA completed"),
            longest => Reply::ok(format!("[METADATA LONGENTRIES {longest}] GETMETADATA completed")),
        })
    }

    pub(crate) fn set_metadata(&mut self, set: SetMetadata) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let subject = self.subject(&set.mailbox)?;
        let changes: Result<Vec<_>, Reply> =
            set.entries.into_iter().map(|(name, value)| change(&subject, &name, value)).collect();
        match self.store.set_metadata(subject.of, changes?, self.origin) {
            Ok(()) => Ok(Reply::ok("SETMETADATA completed")),
            Err(StoreError::TooLarge { .. }) => {
                let text = format!("[METADATA MAXSIZE {MAX_METADATA_VALUE}] a value is too large");
                Err(Reply::no(text).into())
            }
            Err(StoreError::TooMany(_)) => Err(Reply::no("[METADATA TOOMANY] too many entries").into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Behind a LIST response (RFC 9590 §4): an entry without a value is NIL.
    pub(crate) fn write_listed_metadata(
        &mut self,
        mailbox: &Mailbox,
        entries: &[EntryName],
    ) -> Result<(), Stop> {
        self.write_metadata(&Subject::of_mailbox(mailbox), entries, None).map(|_| ())
    }

    /// Entries that another session changed, by name only (RFC 5464 §4.4.2).
    pub(crate) fn tell_metadata(&mut self) -> Result<(), crate::End> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let changed = std::mem::take(&mut selected.metadata);
        if changed.is_empty() || !self.enabled_metadata {
            return Ok(());
        }
        let mailbox = selected.mailbox;
        let name = self.read(|reader| reader.mailbox(mailbox))?.map(|found| found.name.to_string());
        for (of, name) in [(Annotated::Server, Some(String::new())), (Annotated::Mailbox(mailbox), name)] {
            let entries: Vec<_> =
                changed.iter().filter(|(whose, _)| *whose == of).map(|(_, entry)| entry).collect();
            let (Some(name), false) = (name, entries.is_empty()) else { continue };
            begin_response(&mut self.connection.out, &name, self.names);
            for entry in entries {
                self.connection.out.push(b' ');
                response::astring(&mut self.connection.out, entry.as_str().as_bytes());
            }
            self.connection.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn subject(&self, mailbox: &str) -> Result<Subject, Stop> {
        if mailbox.is_empty() {
            return Ok(Subject { name: String::new(), of: Annotated::Server, special_use: None });
        }
        let found = self.find(mailbox)?.ok_or(StoreError::NoSuchMailbox)?;
        Ok(Subject::of_mailbox(&found))
    }

    fn entries_below(
        &self,
        subject: &Subject,
        asked: &[EntryName],
        depth: usize,
    ) -> Result<Vec<EntryName>, StoreError> {
        let mut entries = self.read(|reader| subject.entries(reader))?;
        entries.retain(|entry| {
            asked.iter().any(|above| entry.depth_below(above).is_some_and(|levels| levels <= depth))
        });
        Ok(entries)
    }

    /// One METADATA response, or none where there is nothing to tell. Octets of the largest value that was left out.
    fn write_metadata(
        &mut self,
        subject: &Subject,
        entries: &[EntryName],
        max_size: Option<u64>,
    ) -> Result<usize, Stop> {
        let (mut longest, mut told) = (0, false);
        for entry in entries {
            // One at a time: all of them together may be large.
            let value = self.read(|reader| subject.value(reader, entry))?;
            let length = value.as_ref().map_or(0, Vec::len);
            if max_size.is_some_and(|max_size| length as u64 > max_size) {
                longest = longest.max(length);
                continue;
            }
            let out = &mut self.connection.out;
            if told {
                out.push(b' ');
            } else {
                begin_response(out, &subject.name, self.names);
                out.extend_from_slice(b" (");
                told = true;
            }
            response::astring(out, entry.as_str().as_bytes());
            out.push(b' ');
            write_value(out, value.as_deref());
            self.connection.flush_if_full()?;
        }
        if told {
            self.connection.out.extend_from_slice(b")\r\n");
        }
        Ok(longest)
    }
}

fn change(subject: &Subject, name: &[u8], value: Option<Vec<u8>>) -> Result<MetadataChange, Reply> {
    let name = entry_name(name)?;
    if subject.of == Annotated::Server && name.as_str() == ADMIN {
        return Err(Reply::no("[NOPERM] that entry is the server's own"));
    }
    let is_filter = subject.of == Annotated::Server && is_filter_entry(&name);
    if let (true, Some(value)) = (is_filter, &value)
        && !imapd::is_filter(value)
    {
        return Err(Reply::no("[CANNOT] what stands for a filter is a search"));
    }
    if !subject.is_special_use(&name) {
        return Ok(MetadataChange::Entry(name, value));
    }
    let special_use = match value.as_deref() {
        None | Some(b"") => None,
        Some(value) => {
            let known = std::str::from_utf8(value).ok().and_then(SpecialUse::from_attribute);
            Some(known.ok_or(Reply::no("[USEATTR] a mailbox has one of the uses that LIST shows"))?)
        }
    };
    Ok(MetadataChange::SpecialUse(special_use))
}

/// `* METADATA mailbox`
pub(crate) fn begin_response(out: &mut Vec<u8>, mailbox: &str, names: NameForm) {
    out.extend_from_slice(b"* METADATA ");
    response::mailbox(out, mailbox, names);
}

fn write_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(b"NIL"),
        Some(value) if value.contains(&0) => {
            response::literal8_size(out, value.len() as u64);
            out.extend_from_slice(value);
        }
        Some(value) => response::string(out, value),
    }
}
