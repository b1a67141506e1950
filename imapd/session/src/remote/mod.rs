//! Mailboxes of other accounts: commands about them go to a session as a guest in their owner's process, and its answers
//! come back ([`answers`]).
//!
//! The client's octets are passed on as they came, after this session has read them as a command; so that one reads what
//! this one did. Names, tags and what the client has enabled are the same on both sides.

mod answers;
mod appending;
mod listing;
mod route;
mod transfer;

use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use imapd::response::{self, Status};
use imapd::{Event, Tag};
use nix::poll::{PollFd, PollFlags};
use store_lib::{SEPARATOR, StoreError};

use self::answers::{Answers, Expected, Item, Short, Violation, short};
pub(crate) use self::appending::AppendingElsewhere;
use crate::End;
use crate::connection::{self, Connection};
use crate::reply::{Reply, Stop};
use crate::session::Session;
use crate::sharing::OTHER_USERS;

/// Accounts whose processes one session speaks with at once.
const MOST: usize = 4;
/// That process says nothing for so long: it is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Octets read from it at once.
const PIECE: usize = 16 << 10;
/// The tag of what this session says on its own.
const OWN_TAG: &[u8] = b"moxd";

/// All that one session has of other accounts.
#[derive(Debug, Default)]
pub(crate) struct Remotes {
    open: Vec<Remote>,
    /// Whose mailbox is selected, and which.
    selected: Option<(NonZeroU32, String)>,
    /// The client's octets since the last command's end.
    raw: Vec<u8>,
}

impl Remotes {
    /// No other account's process has a session for this one.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// A session as a guest of one account.
#[derive(Debug)]
struct Remote {
    owner: NonZeroU32,
    prefix: String,
    stream: UnixStream,
    answers: Answers,
}

/// A name below `Other Users/`: the account's, and what is below it.
fn owner_of(mailbox: &str) -> Option<&str> {
    let below = mailbox.strip_prefix(OTHER_USERS)?.strip_prefix(SEPARATOR)?;
    Some(below.split(SEPARATOR).next().unwrap_or(below))
}

/// Whether a name is one of other accounts' mailboxes.
pub(crate) fn is_elsewhere(mailbox: &str) -> bool {
    mailbox == OTHER_USERS || owner_of(mailbox).is_some()
}

impl Remotes {
    /// Readable when the process of the selected mailbox has something to tell.
    pub(crate) fn selected_fd(&self) -> Option<BorrowedFd<'_>> {
        let (owner, _) = self.selected.as_ref()?;
        self.open.iter().find(|remote| remote.owner == *owner).map(|remote| remote.stream.as_fd())
    }

    pub(crate) fn command_ended(&mut self) {
        self.raw.clear();
        self.raw.shrink_to(PIECE);
    }

    fn close(&mut self, owner: NonZeroU32) {
        self.open.retain(|remote| remote.owner != owner);
    }
}

/// What is done with the answers.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&mut Connection, Item<'_>) -> Result<(), Stop>;

/// The client is told them.
fn show(connection: &mut Connection, item: Item<'_>) -> Result<(), Stop> {
    match item {
        Item::Line(line) => {
            connection.out.extend_from_slice(&line);
            connection.out.extend_from_slice(b"\r\n");
        }
        Item::Text(text) => connection.out.extend_from_slice(&text),
        Item::Literal(piece) => connection.out.extend_from_slice(piece),
    }
    Ok(connection.flush_if_full()?)
}

impl Session {
    /// Octets of the client that the parser has taken. `event`: what it made of them.
    pub(crate) fn note_octets(&mut self, octets: &[u8], event: Option<&Event<'_>>) {
        if self.facts.sharing.neighbours.is_none() || self.is_guest() || octets.is_empty() {
            return;
        }
        if let Some(elsewhere) = self.appending_elsewhere() {
            let owner = elsewhere.owner;
            // What fails is found out when the answer is read.
            if self.write_to(owner, octets).is_err() {
                self.remotes.close(owner);
            }
        } else if !matches!(event, Some(Event::MessageData(_))) {
            self.remotes.raw.extend_from_slice(octets);
        }
    }

    /// A session as a guest of the account of this name, new or as it was.
    fn remote(&mut self, name: &str) -> Result<NonZeroU32, Stop> {
        let prefix = format!("{OTHER_USERS}{SEPARATOR}{name}{SEPARATOR}");
        if let Some(found) = self.remotes.open.iter().find(|remote| remote.prefix == prefix) {
            return Ok(found.owner);
        }
        let owners = self.neighbours()?.owners()?;
        let owner = owners.into_iter().find(|owner| owner.name == name).ok_or(StoreError::NoSuchMailbox)?;
        if self.remotes.open.len() >= MOST {
            let selected = self.remotes.selected.as_ref().map(|(owner, _)| *owner);
            let spare = self.remotes.open.iter().position(|remote| Some(remote.owner) != selected);
            spare.map(|at| self.remotes.open.remove(at));
        }
        let stream = self.neighbours()?.open(owner.number)?;
        stream.set_nonblocking(true).map_err(End::Stream)?;
        let owner = owner.number;
        self.remotes.open.push(Remote { owner, prefix, stream, answers: Answers::new() });
        self.enable_at(owner)?;
        Ok(owner)
    }

    /// What the client has enabled is so on the other side too.
    fn enable_at(&mut self, owner: NonZeroU32) -> Result<(), Stop> {
        let words = [
            (self.aware.condstore, "CONDSTORE"),
            (self.aware.qresync, "QRESYNC"),
            (self.aware.uid_only, "UIDONLY"),
            (self.rev2, "IMAP4rev2"),
            (self.utf8, "UTF8=ACCEPT"),
        ];
        let words: Vec<&str> =
            words.into_iter().filter(|(enabled, _)| *enabled).map(|(_, word)| word).collect();
        if words.is_empty() {
            return Ok(());
        }
        let command = format!("ENABLE {}", words.join(" "));
        self.say(owner, command.as_bytes(), &mut |_, _| Ok(())).map(|_| ())
    }

    /// After the client enabled something.
    pub(crate) fn enable_elsewhere(&mut self) -> Result<(), End> {
        let owners: Vec<NonZeroU32> = self.remotes.open.iter().map(|remote| remote.owner).collect();
        for owner in owners {
            if let Err(Stop::End(end)) = self.enable_at(owner) {
                return Err(end);
            }
        }
        Ok(())
    }

    /// Passes the client's command on; its answers go to the client.
    fn pass_on(&mut self, owner: NonZeroU32, tag: &Tag) -> Result<Reply, Stop> {
        let raw = std::mem::take(&mut self.remotes.raw);
        self.ask(owner, &raw, tag.as_bytes(), &mut show)
    }

    /// A command of this session's own.
    fn say(&mut self, owner: NonZeroU32, command: &[u8], each: Each<'_>) -> Result<Reply, Stop> {
        let octets = [OWN_TAG, b" ", command, b"\r\n"].concat();
        self.ask(owner, &octets, OWN_TAG, each)
    }

    fn ask(&mut self, owner: NonZeroU32, octets: &[u8], tag: &[u8], each: Each<'_>) -> Result<Reply, Stop> {
        let asked = self.write_to(owner, octets).and_then(|()| self.read_answer(owner, tag, each));
        match asked {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.lost(owner, "it went away")),
            Err(Stop::Reply(reply)) => Err(reply.into()),
            Err(Stop::End(end)) => Err(end.into()),
        }
    }

    fn write_to(&mut self, owner: NonZeroU32, octets: &[u8]) -> Result<(), Stop> {
        let timeout = self.limits.write;
        let Some(remote) = self.remotes.open.iter_mut().find(|remote| remote.owner == owner) else {
            return Err(self.lost(owner, "it is gone"));
        };
        match connection::write(&mut remote.stream, octets, timeout) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(owner, &error.to_string())),
        }
    }

    /// That process is not there any more, or broke the rules. The client is told; where it had a mailbox of that account
    /// selected, and may have been sent half a line of it, only the end of its session puts it right.
    fn lost(&mut self, owner: NonZeroU32, why: &str) -> Stop {
        tracing::warn!(%owner, "the shared mailboxes of another account are lost to this session: {why}");
        self.remotes.close(owner);
        let selected = self.remotes.selected.as_ref().is_some_and(|(selected, _)| *selected == owner);
        if selected {
            return End::Elsewhere.into();
        }
        Reply::no("[UNAVAILABLE] that account's mailboxes cannot be reached now").into()
    }

    /// Reads up to the tagged answer. `None`: the other side closed the stream.
    fn read_answer(&mut self, owner: NonZeroU32, tag: &[u8], each: Each<'_>) -> Result<Option<Reply>, Stop> {
        let mut buffer = vec![0; PIECE];
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(remote) = self.remotes.open.iter_mut().find(|remote| remote.owner == owner) else {
                return Ok(None);
            };
            let mut fds = [PollFd::new(remote.stream.as_fd(), PollFlags::POLLIN)];
            if connection::wait_for(&mut fds, left)? == 0 {
                return Err(self.lost(owner, "no answer in time"));
            }
            let read = match connection::read(&mut remote.stream, &mut buffer) {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(_) => return Ok(None),
            };
            deadline = Instant::now() + PATIENCE;
            let mut input = buffer.get(..read).unwrap_or_default();
            if let Some(reply) = self.take_answers(owner, tag, &mut input, each)? {
                if !input.is_empty() {
                    return Err(self.lost(owner, "an answer to nothing"));
                }
                return Ok(Some(reply));
            }
        }
    }

    /// Looks at what came; the tagged answer, if it was among it.
    fn take_answers(
        &mut self,
        owner: NonZeroU32,
        tag: &[u8],
        input: &mut &[u8],
        each: Each<'_>,
    ) -> Result<Option<Reply>, Stop> {
        match self.looked_at(owner, tag, input, each) {
            Ok(reply) => reply,
            Err(Violation(what)) => Err(self.lost(owner, what)),
        }
    }

    #[allow(clippy::type_complexity)]
    fn looked_at(
        &mut self,
        owner: NonZeroU32,
        tag: &[u8],
        input: &mut &[u8],
        each: Each<'_>,
    ) -> Result<Result<Option<Reply>, Stop>, Violation> {
        let Self { remotes, connection, names, .. } = self;
        let Remotes { open, selected, .. } = remotes;
        let Some(remote) = open.iter_mut().find(|remote| remote.owner == owner) else { return Ok(Ok(None)) };
        let selected = selected.as_ref().is_some_and(|(selected, _)| *selected == owner);
        let expected = Expected { tag, prefix: &remote.prefix, form: *names, selected };
        while let Some(item) = remote.answers.next(input)? {
            let item = match item {
                Item::Line(line) => match short(&line, expected)? {
                    Short::Shown(line) => Item::Line(line),
                    Short::Dropped => continue,
                    Short::Tagged(tagged) => {
                        let reply =
                            Reply { status: tagged.status, text: tagged.text.into(), expunged: false };
                        return Ok(Ok(Some(reply)));
                    }
                },
                Item::Text(_) | Item::Literal(_) if !selected => {
                    return Err(Violation("messages of a mailbox that is not selected"));
                }
                item @ (Item::Text(_) | Item::Literal(_)) => item,
            };
            if let Err(stop) = each(connection, item) {
                return Ok(Err(stop));
            }
        }
        Ok(Ok(None))
    }

    /// In IDLE: what the other process has to tell now.
    pub(crate) fn tell_elsewhere(&mut self) -> Result<(), End> {
        let Some((owner, _)) = self.remotes.selected.clone() else { return Ok(()) };
        let mut buffer = vec![0; PIECE];
        let Some(remote) = self.remotes.open.iter_mut().find(|remote| remote.owner == owner) else {
            return Err(End::Elsewhere);
        };
        let read = match connection::read(&mut remote.stream, &mut buffer) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(()),
            Err(_) => return Err(End::Elsewhere),
        };
        let mut input = buffer.get(..read).unwrap_or_default();
        match self.take_answers(owner, b"", &mut input, &mut show) {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(Stop::Reply(_)) => Err(End::Elsewhere),
            Err(Stop::End(end)) => Err(end),
        }
    }

    /// IDLE begins: with another account's mailbox selected there too. Processes of accounts of which none is selected are not
    /// kept from leaving.
    pub(crate) fn idle_elsewhere(&mut self, tag: &Tag) -> Result<(), End> {
        let selected = self.remotes.selected.as_ref().map(|(owner, _)| *owner);
        self.remotes.open.retain(|remote| Some(remote.owner) == selected);
        let Some((owner, _)) = self.remotes.selected.clone() else { return Ok(()) };
        let octets = [tag.as_bytes(), b" IDLE\r\n"].concat();
        self.write_to(owner, &octets).map_err(|_| End::Elsewhere)
    }

    /// The client said DONE, or something else: as it came it ends IDLE there.
    pub(crate) fn end_idle_elsewhere(&mut self, tag: &Tag) -> Result<(), End> {
        let Some((owner, _)) = self.remotes.selected.clone() else { return Ok(()) };
        match self.ask(owner, b"DONE\r\n", tag.as_bytes(), &mut show) {
            Ok(_) => Ok(()),
            Err(_) => Err(End::Elsewhere),
        }
    }

    /// The mailbox of another account is not selected any more.
    fn leave_elsewhere(&mut self) -> Result<(), End> {
        let Some((owner, _)) = self.remotes.selected.clone() else { return Ok(()) };
        let left = self.say(owner, b"UNSELECT", &mut |_, _| Ok(()));
        self.remotes.selected = None;
        match left {
            Ok(reply) if reply.status == Status::Ok => {}
            // Then a new one is as good.
            Ok(_) | Err(_) => self.remotes.close(owner),
        }
        response::untagged(&mut self.connection.out, Status::Ok, "[CLOSED] the previous mailbox is closed");
        Ok(())
    }
}
