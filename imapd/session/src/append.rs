//! APPEND (RFC 3501 §6.3.11; RFC 4315 §3): the message goes to the store piece by piece as it comes.

use imapd::{Append, Tag};
use store_lib::{MailboxId, Parse, Stager, StoreError, UnixSeconds};

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
    flags: store_lib::Flags,
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
