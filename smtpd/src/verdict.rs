//! What others decided, and how the client is told.

use ipc_proto::{DeliveryId, authd::Recipient, delivery::Outcome};
use mail_lib::address::Address;

use crate::reply::Reply;

/// What authd says of one RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// Mail for it can be accepted. For `<postmaster>`: the address that stands for it.
    Local(Address),
    /// The domain is ours, the localpart is nobody.
    Unknown,
    /// The domain is not ours: this server does not relay.
    NotLocal,
    /// The domain or the account takes no mail now.
    Disabled,
    /// authd did not answer.
    Failed,
}

impl From<Recipient> for RecipientVerdict {
    fn from(recipient: Recipient) -> Self {
        match recipient {
            Recipient::Local(address) => Self::Local(address),
            Recipient::Unknown => Self::Unknown,
            Recipient::NotLocal => Self::NotLocal,
            Recipient::Disabled => Self::Disabled,
        }
    }
}

impl RecipientVerdict {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Local(_) => Reply::new(250, "2.1.5", "recipient ok"),
            Self::Unknown => Reply::new(550, "5.1.1", "no such recipient"),
            Self::NotLocal => Reply::new(550, "5.7.1", "not a domain of this server, and it does not relay"),
            Self::Disabled => Reply::new(450, "4.2.1", "recipient takes no mail now, try later"),
            Self::Failed => Reply::new(451, "4.3.0", "local error, try later"),
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
        }
    }
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::NoSpace => Reply::new(452, "4.3.1", "no space for this message now, try later"),
            Self::MailboxFull => Reply::new(452, "4.2.2", "mailbox full, try later"),
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
