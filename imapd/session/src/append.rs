//! APPEND (RFC 3501 §6.3.11; RFC 4315 §3): the message goes to the store piece by piece as it comes.

use imapd::{Append, AppendMessage, AppendText, Bound, NumberSet, Numbering, Tag, response};
use store_lib::{Flags, MAX_APPENDED, MailboxId, NewMessage, Parse, Stager, StoreError, Uid, UnixSeconds};

use crate::End;
use crate::reply::{Reply, Stop, reply_for};
use crate::session::Session;
use crate::store::flags_of;

/// An APPEND whose message is coming.
#[derive(Debug)]
pub(crate) struct Appending {
    append: Append,
    /// Or why it is refused; then the message is passed over.
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
}

impl Appending {
    /// Refuses what can be refused before the message has come.
    pub(crate) fn begin(session: &Session, append: Append) -> Result<Self, End> {
        let filing = match Filing::begin(session, &append) {
            Ok(filing) => Ok(filing),
            Err(Stop::Reply(reply)) => Err(reply),
            Err(Stop::End(end)) => return Err(end),
        };
        Ok(Self { append, filing })
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.append.tag
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.filing.is_err()
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        let Ok(filing) = &mut self.filing else { return };
        // A literal has no NUL (RFC 3501 §9), and FETCH would have to send it as one. Who may send them is told by
        // another code to send the message encoded (RFC 3516 §4.4).
        if piece.contains(&0) {
            let code = if self.append.binary { "UNKNOWN-CTE" } else { "CANNOT" };
            self.filing = Err(Reply::no(format!("[{code}] a message has no NUL")));
        } else if let Err(error) = filing.stager.push(piece) {
            self.filing = Err(reply_for(&error));
        }
    }

    /// The message is whole, or was refused.
    pub(crate) fn finish(self, session: &Session) -> Reply {
        let filed = match self.filing {
            Err(reply) => return reply,
            Ok(Filing { mailbox, flags, stager }) => stager.finish().and_then(|staged| {
                let date = self.append.internal_date.map_or_else(UnixSeconds::now, UnixSeconds);
                session.store.append(mailbox, staged, flags, date, session.origin)
            }),
        };
        match filed {
            Ok(filed) => {
                let (validity, uid) = (filed.uidvalidity.value(), filed.uid.value());
                Reply::ok(format!("[APPENDUID {validity} {uid}] APPEND completed"))
            }
            Err(StoreError::NoSuchMailbox) => no_such_target(),
            Err(error) => reply_for(&error),
        }
    }
}

impl Filing {
    fn begin(session: &Session, append: &Append) -> Result<Self, Stop> {
        session.check_writable_account()?;
        let mailbox = session.target(&append.mailbox)?;
        let flags = flags_of(&append.flags)?;
        let stager = session.store.stager(&[], Parse::Yes, session.limits.message);
        Ok(Self { mailbox, flags, stager })
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
}

/// Tells the client that CREATE would help (RFC 3501 §6.3.11, §6.4.7).
pub(crate) fn no_such_target() -> Reply {
    Reply::no("[TRYCREATE] no such mailbox")
}

    /// The message that REPLACE is about.
    fn replaced(&self, numbering: Numbering, message: Bound) -> Result<(MailboxId, Uid), Reply> {
        let Some(selected) = &self.selected else { return Err(Reply::bad("no mailbox is selected")) };
        if selected.read_only {
            return Err(Reply::no("[READ-ONLY] the mailbox is read-only"));
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
