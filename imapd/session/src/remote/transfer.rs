//! COPY and MOVE between this account and another: what is read on one side is appended on the other, all of it or nothing.

use std::num::NonZeroU32;

use imapd::response::{self, Status};
use imapd::{MessageSet, NumberSet, Numbering, Tag, parse_date_time};
use store_lib::{
    Columns, Copied, FlagChange, Flags, Keyword, MAX_APPENDED, MailboxId, NewMessage, Parse, Stager, Store,
    SystemFlag, Uid, UnixSeconds,
};

use super::answers::{Item, literal_size};
use super::owner_of;
use crate::append::no_such_target;
use crate::connection::Connection;
use crate::copy::copy_uid;
use crate::reply::{Reply, Stop};
use crate::selected::write_flags;
use crate::session::Session;

/// Octets of a FETCH response beside the message.
const LINE: usize = 64 << 10;
/// Octets of small messages that wait in memory; those beyond wait in files.
const IN_MEMORY: usize = 2 << 20;
/// All messages of one command together, in messages of the largest size.
const LARGEST_MESSAGES: u64 = 4;

fn too_many() -> Stop {
    Reply::no(format!("[LIMIT] at most {MAX_APPENDED} messages at once between accounts")).into()
}

/// What one message needs to be appended.
#[derive(Debug, Clone)]
struct Source {
    uid: Uid,
    flags: Flags,
    received: UnixSeconds,
}

impl Session {
    /// Into a mailbox of another account, or out of one. `Ok(None)`: both are this account's.
    pub(super) fn copy_elsewhere(
        &mut self,
        tag: &Tag,
        numbering: Numbering,
        set: &MessageSet,
        mailbox: &str,
        moves: bool,
    ) -> Result<Option<Reply>, Stop> {
        let from = self.remotes.selected.clone();
        match (from, owner_of(mailbox)) {
            (None, None) => Ok(None),
            (Some((from, _)), Some(name)) => {
                if self.remote(name)? != from {
                    let text = "[CANNOT] copy it to a mailbox of your own first";
                    return Err(Reply::no(text).into());
                }
                self.pass_on(from, tag).map(Some)
            }
            (None, Some(name)) => self.copy_out(numbering, set, name, mailbox, moves).map(Some),
            (Some((from, selected)), None) => {
                self.copy_in(numbering, from, &selected, mailbox, moves).map(Some)
            }
        }
    }

    /// From here into another account: one APPEND of all messages.
    fn copy_out(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        name: &str,
        mailbox: &str,
        moves: bool,
    ) -> Result<Reply, Stop> {
        if moves {
            self.check_writable_account()?;
            self.writable()?;
        }
        let uids = self.sources(numbering, set)?;
        let from = self.selected()?.mailbox;
        let owner = self.remote(name)?;
        if uids.is_empty() {
            return Ok(Reply::ok("COPY completed, no message has such a UID"));
        }
        if uids.len() > MAX_APPENDED {
            return Err(too_many());
        }
        let sources = self.described(from, &uids)?;
        let mut head = [super::OWN_TAG, b" APPEND "].concat();
        response::mailbox(&mut head, mailbox, self.names);
        self.write_to(owner, &head)?;
        for source in &sources {
            if let Err(stop) = self.append_one(owner, from, source) {
                // Half a command stands there.
                let Stop::Reply(reply) = stop else { return Err(stop) };
                return match self.lost(owner, "a COPY was given up") {
                    Stop::Reply(_) => Err(reply.into()),
                    end @ Stop::End(_) => Err(end),
                };
            }
        }
        let reply = self.ask(owner, b"\r\n", super::OWN_TAG, &mut |_, _| Ok(()))?;
        if reply.status != Status::Ok {
            return Err(reply.into());
        }
        let mut named = NumberSet::default();
        sources.iter().for_each(|source| named.push(source.uid.value()));
        let code = reply.text.strip_prefix("[APPENDUID ").and_then(|rest| rest.split_once(']'));
        let code = code.and_then(|(code, _)| code.split_once(' ')).map(|(validity, targets)| {
            let mut text = Vec::new();
            response::number_set(&mut text, &named);
            format!("[COPYUID {validity} {} {targets}] ", String::from_utf8_lossy(&text))
        });
        let code = code.unwrap_or_default();
        if !moves {
            return Ok(Reply::ok(format!("{code}COPY completed")));
        }
        response::untagged(&mut self.connection.out, Status::Ok, &format!("{code}messages copied"));
        let mark = FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
        self.store.change_flags(from, &uids, mark, self.origin)?;
        let removed = self.store.expunge(from, Some(&uids), self.origin)?;
        Ok(Reply::ok("MOVE completed").behind_expunged(!removed.is_empty()))
    }

    fn described(&self, from: MailboxId, uids: &[Uid]) -> Result<Vec<Source>, Stop> {
        let mut sources = Vec::with_capacity(uids.len());
        let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok(sources) };
        self.read(|reader| {
            reader.fetch(from, *first..=*last, Columns::Flags, |message| {
                if uids.binary_search(&message.uid).is_ok() {
                    let (uid, received) = (message.uid, message.received);
                    sources.push(Source { uid, flags: message.flags, received });
                }
                std::ops::ControlFlow::Continue(())
            })
        })?;
        if sources.len() < uids.len() {
            return Err(crate::store::some_were_expunged().into());
        }
        Ok(sources)
    }

    fn append_one(&mut self, owner: NonZeroU32, from: MailboxId, source: &Source) -> Result<(), Stop> {
        let body = self.read(|reader| reader.body(from, source.uid))?;
        let body = body.ok_or_else(crate::store::some_were_expunged)?;
        let mut head = b" ".to_vec();
        write_flags(&mut head, &source.flags, false);
        head.push(b' ');
        response::date_time(&mut head, source.received.0);
        head.extend_from_slice(b" {");
        response::number(&mut head, body.size());
        head.extend_from_slice(b"+}\r\n");
        self.write_to(owner, &head)?;
        body.pieces(0..body.size(), |piece| {
            if self.connection.is_abandoned()? {
                return Err(crate::End::Disconnected.into());
            }
            self.write_to(owner, piece)?;
            Ok::<_, Stop>(true)
        })
    }

    /// From another account into this one.
    fn copy_in(
        &mut self,
        numbering: Numbering,
        owner: NonZeroU32,
        selected: &str,
        mailbox: &str,
        moves: bool,
    ) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let target = self.target(mailbox)?;
        if moves {
            self.check_may_move(owner, selected)?;
        }
        let raw = std::mem::take(&mut self.remotes.raw);
        let (place, verb) = match numbering {
            Numbering::Sequence => (2, "FETCH"),
            Numbering::Uid => (3, "UID FETCH"),
        };
        // As the client wrote it: it was read as a set before it came to this.
        let set = raw.split(|octet| *octet == b' ').nth(place).unwrap_or_default();
        let command = format!("{verb} {} (UID FLAGS INTERNALDATE BODY.PEEK[])", String::from_utf8_lossy(set));
        let store = self.store.clone();
        let mut collecting = Collecting::new(&store, self.limits.message);
        let reply = self.say(owner, command.as_bytes(), &mut |out, item| collecting.take(out, item))?;
        let (sources, whole) = collecting.finish()?;
        if reply.status != Status::Ok {
            return Err(reply.into());
        }
        if whole.is_empty() {
            return Ok(Reply::ok("COPY completed, no message has such a UID"));
        }
        let filed = self.store.append_all(target, whole, None, self.origin).map_err(|error| match error {
            store_lib::StoreError::NoSuchMailbox => no_such_target(),
            error => crate::reply::reply_for(&error),
        })?;
        let uidvalidity = filed.first().map(|filed| filed.uidvalidity);
        let pairs = sources.iter().copied().zip(filed.iter().map(|filed| filed.uid)).collect();
        let code =
            uidvalidity.map_or_else(String::new, |uidvalidity| copy_uid(&Copied { uidvalidity, pairs }));
        if !moves {
            return Ok(Reply::ok(format!("{code}COPY completed")));
        }
        response::untagged(&mut self.connection.out, Status::Ok, &format!("{code}messages copied"));
        self.remove_there(owner, &sources)
    }

    /// The rights that MOVE needs beside reading (RFC 6851 §4.4), asked for before anything is done.
    fn check_may_move(&mut self, owner: NonZeroU32, selected: &str) -> Result<(), Stop> {
        let mut command = b"MYRIGHTS ".to_vec();
        response::mailbox(&mut command, selected, self.names);
        let mut letters = String::new();
        let reply = self.say(owner, &command, &mut |_, item| {
            if let Item::Line(line) = item {
                let last = line.rsplit(|octet| *octet == b' ').next().unwrap_or_default();
                letters = String::from_utf8_lossy(last).into_owned();
            }
            Ok(())
        })?;
        if reply.status == Status::Ok && letters.contains('t') && letters.contains('e') {
            return Ok(());
        }
        Err(Reply::no("[NOPERM] you have no right to do that").into())
    }

    fn remove_there(&mut self, owner: NonZeroU32, sources: &[Uid]) -> Result<Reply, Stop> {
        let mut set = NumberSet::default();
        sources.iter().for_each(|uid| set.push(uid.value()));
        let mut text = Vec::new();
        response::number_set(&mut text, &set);
        let set = String::from_utf8_lossy(&text).into_owned();
        for command in [format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"), format!("UID EXPUNGE {set}")] {
            let reply = self.say(owner, command.as_bytes(), &mut super::show)?;
            if reply.status != Status::Ok {
                return Err(Reply::no("[SERVERBUG] copied, but the originals are still there").into());
            }
        }
        Ok(Reply::ok("MOVE completed"))
    }
}

/// FETCH responses that become messages of this account.
struct Collecting<'s> {
    store: &'s Store,
    limit: u64,
    line: Vec<u8>,
    current: Option<(Uid, Flags, UnixSeconds, Stager)>,
    sources: Vec<Uid>,
    whole: Vec<NewMessage>,
    in_memory: usize,
    octets: u64,
    /// Why nothing comes of it: the rest of the answers is passed over.
    failed: Option<Reply>,
}

impl<'s> Collecting<'s> {
    fn new(store: &'s Store, limit: u64) -> Self {
        Self {
            store,
            limit,
            line: Vec::new(),
            current: None,
            sources: Vec::new(),
            whole: Vec::new(),
            in_memory: 0,
            octets: 0,
            failed: None,
        }
    }

    fn take(&mut self, connection: &mut Connection, item: Item<'_>) -> Result<(), Stop> {
        if self.failed.is_some() {
            return Ok(());
        }
        match self.take_item(connection, item) {
            Err(Stop::Reply(reply)) => {
                self.failed = Some(reply);
                Ok(())
            }
            other => other,
        }
    }

    fn take_item(&mut self, connection: &mut Connection, item: Item<'_>) -> Result<(), Stop> {
        match item {
            // What else changed.
            line @ Item::Line(_) => super::show(connection, line),
            Item::Literal(piece) => self.piece(piece),
            Item::Text(text) => {
                if self.line.len() + text.len() > LINE {
                    return Err(Reply::no("[LIMIT] a response too long").into());
                }
                self.line.extend_from_slice(&text);
                let Some(line) = self.line.strip_suffix(b"\r\n") else { return Ok(()) };
                if literal_size(line).is_some() {
                    return self.begin();
                }
                if self.current.is_some() {
                    self.line.clear();
                    return self.end();
                }
                // New flags, which the client is told.
                let line = Item::Text(std::mem::take(&mut self.line).into());
                super::show(connection, line)
            }
        }
    }

    fn begin(&mut self) -> Result<(), Stop> {
        if self.whole.len() >= MAX_APPENDED {
            return Err(too_many());
        }
        let line = std::mem::take(&mut self.line);
        let bad = || Stop::from(Reply::no("[SERVERBUG] the other account's answer was not understood"));
        let uid = field(&line, b"UID ", |octet| !octet.is_ascii_digit());
        let uid = uid.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).and_then(Uid::new);
        let flags = field(&line, b"FLAGS (", |octet| octet == b')').and_then(flags);
        let date = field(&line, b"INTERNALDATE \"", |octet| octet == b'"');
        let date = date.and_then(|text| parse_date_time(&[b"\"", text, b"\""].concat()));
        let (Some(uid), Some(flags), Some(date)) = (uid, flags, date) else { return Err(bad()) };
        if self.current.is_some() || self.sources.last().is_some_and(|last| *last >= uid) {
            return Err(bad());
        }
        let mut stager = self.store.stager(&[], Parse::Yes, self.limit);
        if self.in_memory >= IN_MEMORY {
            stager = stager.into_file();
        }
        self.current = Some((uid, flags, UnixSeconds(date), stager));
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) -> Result<(), Stop> {
        self.octets = self.octets.saturating_add(piece.len() as u64);
        if self.octets > self.limit.saturating_mul(LARGEST_MESSAGES) {
            return Err(Reply::no("[LIMIT] too much for one COPY between accounts").into());
        }
        if piece.contains(&0) {
            return Err(Reply::no("[CANNOT] a message has no NUL").into());
        }
        let Some((_, _, _, stager)) = &mut self.current else { return Ok(()) };
        Ok(stager.push(piece)?)
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some((uid, flags, received, stager)) = self.current.take() else { return Ok(()) };
        let staged = stager.finish()?;
        self.in_memory += staged.in_memory();
        self.sources.push(uid);
        self.whole.push(NewMessage { staged, flags, received });
        Ok(())
    }

    fn finish(self) -> Result<(Vec<Uid>, Vec<NewMessage>), Stop> {
        self.failed.map_or(Ok((self.sources, self.whole)), |reply| Err(reply.into()))
    }
}

/// What stands behind a word of a FETCH response, up to its end.
fn field<'l>(line: &'l [u8], word: &[u8], ends: impl Fn(u8) -> bool) -> Option<&'l [u8]> {
    let at = line.windows(word.len()).position(|octets| octets == word)?;
    let rest = line.get(at + word.len()..)?;
    rest.get(..rest.iter().position(|octet| ends(*octet))?)
}

fn flags(text: &[u8]) -> Option<Flags> {
    let mut found = Flags::NONE;
    for word in std::str::from_utf8(text).ok()?.split_ascii_whitespace() {
        match (SystemFlag::from_name(word), word.strip_prefix('\\')) {
            (Some(flag), _) => found = found.with(flag),
            (None, Some(_)) => {}
            (None, None) => found.add_keyword(Keyword::parse(word).ok()?).ok()?,
        }
    }
    Some(found)
}
