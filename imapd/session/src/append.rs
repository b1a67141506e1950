//! APPEND and REPLACE (RFC 3501 §6.3.11; RFC 4315 §3; RFC 3502; RFC 4469; RFC 8508): messages go to the store piece by piece
//! as they come, and are filed together when all are there.

use imapd::{Append, AppendMessage, AppendText, Bound, NumberSet, Numbering, Tag, response};
use store_lib::{Flags, MAX_APPENDED, MailboxId, NewMessage, Parse, Stager, StoreError, Uid, UnixSeconds};

use crate::End;
use crate::catenate;
use crate::reply::{Reply, Stop, reply_for};
use crate::session::Session;
use crate::store::flags_of;
use crate::sync::uid_required;

/// Octets of small messages that wait in memory; those beyond wait in files.
const IN_MEMORY: usize = 2 << 20;
/// All messages of one command together, in messages of the largest size.
const LARGEST_MESSAGES: u64 = 4;

/// An APPEND or REPLACE whose messages are coming.
#[derive(Debug)]
pub(crate) struct Appending {
    append: Append,
    /// Or why it is refused; then the messages are passed over.
    filing: Result<Filing, Reply>,
}

#[derive(Debug)]
struct Filing {
    mailbox: MailboxId,
    replaces: Option<(MailboxId, Uid)>,
    whole: Vec<NewMessage>,
    current: Option<Current>,
    /// Of the whole ones.
    in_memory: usize,
    /// Of all, as far as they have come.
    octets: u64,
}

/// The message that is coming.
#[derive(Debug)]
struct Current {
    stager: Stager,
    flags: Flags,
    received: UnixSeconds,
    /// A text of it is a literal8.
    binary: bool,
}

impl Appending {
    /// Refuses what can be refused before a message has come.
    pub(crate) fn begin(session: &Session, append: Append) -> Result<Self, End> {
        let filing = match Filing::begin(session, &append) {
            Ok(filing) => Ok(filing),
            Err(Stop::Reply(reply)) => Err(reply),
            Err(Stop::End(end)) => return Err(end),
        };
        Ok(Self { append, filing })
    }

    /// One of which nothing is taken.
    pub(crate) fn refused(append: Append, reply: Reply) -> Self {
        Self { append, filing: Err(reply) }
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.append.tag
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.filing.is_err()
    }

    /// A message begins; the one before is whole.
    pub(crate) fn message(&mut self, session: &Session, message: &AppendMessage) {
        self.attempt(|filing| filing.message(session, message));
    }

    /// A text of the message begins.
    pub(crate) fn text(&mut self, session: &Session, text: &AppendText) {
        self.attempt(|filing| {
            // What takes the place of another message may fit where that one was.
            if filing.replaces.is_none() {
                let together = filing.octets.saturating_add(text.size);
                session.check_room(together).map_err(|error| reply_for(&error))?;
            }
            if let Some(current) = &mut filing.current {
                current.binary |= text.binary;
                let size = current.stager.received().saturating_add(text.size);
                if size > session.limits.message {
                    return Err(reply_for(&StoreError::TooLarge { limit: session.limits.message }));
                }
            }
            Ok(())
        });
    }

    pub(crate) fn push(&mut self, session: &Session, piece: &[u8]) {
        self.attempt(|filing| filing.push(session, piece));
    }

    /// A part of the message is one that another message has.
    pub(crate) fn url(&mut self, session: &Session, url: &[u8]) -> Result<(), End> {
        let Ok(filing) = &mut self.filing else { return Ok(()) };
        if session.facts.without.contains("CATENATE") {
            self.filing = Err(unknown());
            return Ok(());
        }
        match catenate::part(session, url, &mut |piece| filing.push(session, piece)) {
            Ok(()) => Ok(()),
            Err(Stop::Reply(reply)) => {
                self.filing = Err(reply);
                Ok(())
            }
            Err(Stop::End(end)) => Err(end),
        }
    }

    fn attempt(&mut self, step: impl FnOnce(&mut Filing) -> Result<(), Reply>) {
        if let Ok(filing) = &mut self.filing
            && let Err(reply) = step(filing)
        {
            self.filing = Err(reply);
        }
    }

    /// The messages are whole, or were refused. With a REPLACE that was done: what is to be told before the answer.
    pub(crate) fn finish(self, session: &Session) -> (Option<String>, Reply) {
        let filed = self.filing.and_then(|mut filing| {
            filing.end_message()?;
            let Filing { mailbox, replaces, whole, .. } = filing;
            session.store.append_all(mailbox, whole, replaces, session.origin).map_err(|error| match error {
                StoreError::NoSuchMailbox => no_such_target(),
                error => reply_for(&error),
            })
        });
        let filed = match filed {
            Ok(filed) => filed,
            Err(reply) => return (None, reply),
        };
        let mut uids = NumberSet::default();
        filed.iter().for_each(|filed| uids.push(filed.uid.value()));
        let mut set = Vec::new();
        response::number_set(&mut set, &uids);
        let validity = filed.first().map_or(0, |filed| filed.uidvalidity.value());
        let code = format!("[APPENDUID {validity} {}]", String::from_utf8_lossy(&set));
        match self.append.replaces {
            None => (None, Reply::ok(format!("{code} APPEND completed"))),
            // Before EXPUNGE, so that the client knows both at once (RFC 8508 §4.3).
            Some(_) => (Some(format!("{code} the new message")), Reply::ok("REPLACE completed")),
        }
    }
}

impl Filing {
    fn begin(session: &Session, append: &Append) -> Result<Self, Stop> {
        if append.replaces.is_some() && session.facts.without.contains("REPLACE") {
            return Err(unknown().into());
        }
        session.check_writable_account()?;
        let replaces = match append.replaces {
            Some((numbering, message)) => Some(session.replaced(numbering, message)?),
            None => None,
        };
        let mailbox = session.target(&append.mailbox)?;
        Ok(Self { mailbox, replaces, whole: Vec::new(), current: None, in_memory: 0, octets: 0 })
    }

    fn message(&mut self, session: &Session, message: &AppendMessage) -> Result<(), Reply> {
        self.end_message()?;
        if !self.whole.is_empty() && session.facts.without.contains("MULTIAPPEND") {
            return Err(unknown());
        }
        if self.whole.len() >= MAX_APPENDED {
            return Err(Reply::no(format!("[LIMIT] at most {MAX_APPENDED} messages in one APPEND")));
        }
        if message.utf8 && !session.utf8 {
            return Err(Reply::bad("UTF8 needs ENABLE UTF8=ACCEPT"));
        }
        let mut flags = message.flags.clone();
        session.allowed_flags(self.mailbox, &mut flags).map_err(|error| reply_for(&error))?;
        let flags = flags_of(&flags)?;
        let received = message.internal_date.map_or_else(UnixSeconds::now, UnixSeconds);
        let mut stager = session.store.stager(&[], Parse::Yes, session.limits.message);
        if self.in_memory >= IN_MEMORY {
            stager = stager.into_file();
        }
        self.current = Some(Current { stager, flags, received, binary: false });
        Ok(())
    }

    fn push(&mut self, session: &Session, piece: &[u8]) -> Result<(), Reply> {
        self.octets = self.octets.saturating_add(piece.len() as u64);
        if self.octets > session.limits.message.saturating_mul(LARGEST_MESSAGES) {
            return Err(Reply::no("[LIMIT] too much for one APPEND"));
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        // A literal has no NUL (RFC 3501 §9), and FETCH would have to send it as one. Who may send them is told by
        // another code to send the message encoded (RFC 3516 §4.4).
        if piece.contains(&0) {
            let code = if current.binary { "UNKNOWN-CTE" } else { "CANNOT" };
            return Err(Reply::no(format!("[{code}] a message has no NUL")));
        }
        current.stager.push(piece).map_err(|error| reply_for(&error))
    }

    fn end_message(&mut self) -> Result<(), Reply> {
        if let Some(Current { stager, flags, received, .. }) = self.current.take() {
            let staged = stager.finish().map_err(|error| reply_for(&error))?;
            self.in_memory += staged.in_memory();
            self.whole.push(NewMessage { staged, flags, received });
        }
        Ok(())
    }
}

impl Session {
    /// Where APPEND, COPY and MOVE go to.
    pub(crate) fn target(&self, mailbox: &str) -> Result<MailboxId, Stop> {
        match self.find(mailbox)? {
            Some(mailbox) => Ok(mailbox.id),
            None => Err(no_such_target().into()),
        }
    }

    /// The message that REPLACE is about.
    fn replaced(&self, numbering: Numbering, message: Bound) -> Result<(MailboxId, Uid), Reply> {
        let Some(selected) = &self.selected else { return Err(Reply::bad("no mailbox is selected")) };
        if selected.read_only {
            return Err(Reply::no("[READ-ONLY] the mailbox is read-only"));
        }
        if self.aware.uid_only && numbering == Numbering::Sequence {
            return Err(uid_required());
        }
        let told = selected.told();
        let uid = match (message, numbering) {
            (Bound::Largest, _) => told.last().copied(),
            (Bound::Number(number), Numbering::Sequence) => {
                usize::try_from(number.get() - 1).ok().and_then(|place| told.get(place)).copied()
            }
            (Bound::Number(number), Numbering::Uid) => {
                Uid::new(number.get()).filter(|uid| selected.place(*uid).is_some())
            }
        };
        match (uid, numbering) {
            (Some(uid), _) => Ok((selected.mailbox, uid)),
            (None, Numbering::Sequence) => Err(Reply::bad("no message has that number")),
            (None, Numbering::Uid) => Err(Reply::no("[EXPUNGEISSUED] no message has that UID")),
        }
    }
}

/// To what is switched off for the account.
fn unknown() -> Reply {
    Reply::bad("unknown command")
}

/// Tells the client that CREATE would help (RFC 3501 §6.3.11, §6.4.7).
pub(crate) fn no_such_target() -> Reply {
    Reply::no("[TRYCREATE] no such mailbox")
}
