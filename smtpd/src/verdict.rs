//! What others decided, and how the client is told.

use ipc_proto::{
    DeliveryId,
    authd::Recipient,
    delivery::Outcome,
    submission::{MAX_HOLD, Sender, SubmissionRefusal, Ungranted},
};
use mail_lib::address::Address;

use crate::{command::Kind, reply::Reply};

/// What authd, or at submission queued, says of one RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// Mail for it can be accepted. For `<postmaster>`: the address that stands for it.
    Local(Address),
    /// The domain is ours, the localpart is nobody.
    Unknown,
    /// The domain is not ours.
    NotLocal,
    /// The domain or the account takes no mail now.
    Disabled,
    /// Only members may post to it, and the sender is none.
    MembersOnly,
    /// Its account was over its quota a moment ago.
    Full,
    /// The connection may not submit.
    Ungranted(Ungranted),
    /// There was no answer.
    Failed,
}

impl From<Recipient> for RecipientVerdict {
    fn from(recipient: Recipient) -> Self {
        match recipient {
            Recipient::Local(address) => Self::Local(address),
            Recipient::Unknown => Self::Unknown,
            Recipient::NotLocal => Self::NotLocal,
            Recipient::Disabled => Self::Disabled,
            Recipient::MembersOnly => Self::MembersOnly,
            Recipient::Full => Self::Full,
        }
    }
}

impl RecipientVerdict {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self, kind: Kind) -> Reply {
        match self {
            Self::Local(_) => Reply::new(250, "2.1.5", "recipient ok"),
            Self::Unknown => Reply::new(550, "5.1.1", "no such recipient"),
            Self::NotLocal => match kind {
                Kind::Incoming => {
                    Reply::new(550, "5.7.1", "not a domain of this server, and it does not relay")
                }
                Kind::Submission => not_local(),
            },
            Self::Disabled => Reply::new(450, "4.2.1", "recipient takes no mail now, try later"),
            Self::MembersOnly => Reply::new(550, "5.7.1", "only members may send to this address"),
            Self::Full => mailbox_full(),
            Self::Ungranted(why) => ungranted(*why),
            Self::Failed => failed(),
        }
    }
}

fn mailbox_full() -> Reply {
    Reply::new(452, "4.2.2", "mailbox full, try later")
}

fn failed() -> Reply {
    Reply::new(451, "4.3.0", "local error, try later")
}

fn not_local() -> Reply {
    Reply::new(
        550,
        "5.7.1",
        "a recipient is not of this server, and mail leaves it not yet; write to its own domains",
    )
}

fn not_yours() -> Reply {
    Reply::new(550, "5.7.1", "the sender (MAIL FROM) is not an address of your account; use one that is")
}

fn ungranted(why: Ungranted) -> Reply {
    match why {
        Ungranted::NotLoggedIn => Reply::new(530, "5.7.0", "log in again"),
        Ungranted::TryLater => failed(),
    }
}

/// What queued says of MAIL FROM at submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderVerdict {
    /// What it says.
    Judged(Sender),
    /// There was no answer.
    Failed,
}

impl SenderVerdict {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::Judged(Sender::Ok) => Reply::new(250, "2.1.0", "sender ok"),
            Self::Judged(Sender::NotYours) => not_yours(),
            Self::Judged(Sender::Ungranted(why)) => ungranted(why),
            Self::Failed => failed(),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageVerdict {
    /// On disk, for one recipient at least.
    Kept(DeliveryId),
    /// Nothing of it was kept.
    Refused(Refusal),
    /// Likewise: it is not taken from whoever logged in.
    NotSubmitted(SubmissionRefusal),
}

/// Why nothing of a message was kept. The worst for the message comes last: of several the first tells the client most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The disk is full.
    NoSpace,
    /// A mailbox is over its quota.
    MailboxFull,
    /// A recipient takes no mail now.
    Disabled,
    /// A fault of ours.
    Fault,
    /// No recipient exists any more.
    NoSuchRecipient,
}

impl MessageVerdict {
    /// One reply for all recipients (RFC 5321 §6.1: who says 250 takes the message for all of them). While one of them
    /// could still get it and it is on disk nowhere, the client keeps it and tries again, though others then get it
    /// twice: a copy too many is better than none.
    #[must_use]
    pub fn of(id: DeliveryId, outcomes: &[Outcome]) -> Self {
        let mut refusal = None;
        let mut kept = false;
        for outcome in outcomes {
            let this = match outcome {
                Outcome::Filed | Outcome::Stored => {
                    kept = true;
                    continue;
                }
                Outcome::NoSuchRecipient => Refusal::NoSuchRecipient,
                Outcome::Disabled => Refusal::Disabled,
                Outcome::MailboxFull => Refusal::MailboxFull,
                Outcome::TryLater { no_space: true } => Refusal::NoSpace,
                Outcome::TryLater { no_space: false } => Refusal::Fault,
            };
            refusal = Some(refusal.map_or(this, |earlier: Refusal| earlier.min(this)));
        }
        match refusal {
            None | Some(Refusal::NoSuchRecipient) if kept => Self::Kept(id),
            Some(refusal) => Self::Refused(refusal),
            None => Self::Refused(Refusal::Fault),
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Kept(id) => Reply::new(250, "2.0.0", format!("kept as {id}")),
            Self::Refused(refusal) => refusal.reply(),
            Self::NotSubmitted(refusal) => not_submitted(*refusal),
        }
    }
}

fn not_submitted(refusal: SubmissionRefusal) -> Reply {
    match refusal {
        SubmissionRefusal::Ungranted(why) => ungranted(why),
        SubmissionRefusal::SenderNotYours => not_yours(),
        SubmissionRefusal::From => Reply::new(
            550,
            "5.6.0",
            "a message has one From field with one address (RFC 5322); write just one",
        ),
        SubmissionRefusal::FromNotYours => {
            Reply::new(550, "5.7.1", "the address in From is not of your account; use one that is")
        }
        SubmissionRefusal::Header => {
            Reply::new(550, "5.6.0", "the header does not end, or is too large; send less of it")
        }
        SubmissionRefusal::NotLocal => not_local(),
        SubmissionRefusal::Hold => held_too_long(),
        SubmissionRefusal::TooManyMessages { limit } => Reply::new(
            451,
            "4.7.1",
            format!(
                "{limit} messages in 24 hours is the most; wait, or have limits.submission_messages = {limit} \
                 in moxd.toml raised"
            ),
        ),
        SubmissionRefusal::TooManyNewRecipients { limit } => Reply::new(
            451,
            "4.7.1",
            format!(
                "{limit} new recipients in 24 hours is the most; wait, or have \
                 limits.submission_new_recipients = {limit} in moxd.toml raised"
            ),
        ),
    }
}

/// Longer than a message may be held back (RFC 4865).
pub(crate) fn held_too_long() -> Reply {
    Reply::new(501, "5.5.4", format!("a message is held at most {MAX_HOLD} seconds; ask for less"))
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::NoSpace => Reply::new(452, "4.3.1", "no space for this message now, try later"),
            Self::MailboxFull => mailbox_full(),
            Self::Disabled => Reply::new(450, "4.2.1", "recipient takes no mail now, try later"),
            Self::Fault => Reply::new(451, "4.3.0", "local error, try later"),
            Self::NoSuchRecipient => Reply::new(550, "5.1.1", "no such recipient"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_asked_for_again_while_a_recipient_could_still_get_it() {
        let id = DeliveryId([1; 16]);
        let later = Outcome::TryLater { no_space: false };
        let no_space = Outcome::TryLater { no_space: true };
        for (outcomes, expected) in [
            (&[Outcome::Filed][..], MessageVerdict::Kept(id)),
            (&[Outcome::Stored], MessageVerdict::Kept(id)),
            (&[Outcome::NoSuchRecipient, Outcome::Stored], MessageVerdict::Kept(id)),
            // Whom it is on disk for nowhere would lose it.
            (&[Outcome::Filed, later, Outcome::Stored], MessageVerdict::Refused(Refusal::Fault)),
            (&[Outcome::Filed, no_space], MessageVerdict::Refused(Refusal::NoSpace)),
            (&[Outcome::NoSuchRecipient], MessageVerdict::Refused(Refusal::NoSuchRecipient)),
            // One that can be tried again makes the whole message worth trying again.
            (&[Outcome::NoSuchRecipient, later], MessageVerdict::Refused(Refusal::Fault)),
            (&[Outcome::NoSuchRecipient, Outcome::Disabled], MessageVerdict::Refused(Refusal::Disabled)),
            (&[later, Outcome::MailboxFull], MessageVerdict::Refused(Refusal::MailboxFull)),
            (&[Outcome::MailboxFull, no_space], MessageVerdict::Refused(Refusal::NoSpace)),
            (&[], MessageVerdict::Refused(Refusal::Fault)),
        ] {
            assert_eq!(MessageVerdict::of(id, outcomes), expected, "{outcomes:?}");
        }
    }
}
