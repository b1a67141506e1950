//! What a transaction's recipients are told, and who of them goes to the queue.

use ipc_proto::{
    authd::Owner,
    delivery::{AccountRefusal, Outcome},
};

use crate::accounts::Answer;

/// Where one recipient stands after the direct attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// authd has nobody of this address.
    Nobody,
    /// It takes no mail now.
    Disabled,
    /// Its account was not asked: the message has too many recipients to be delivered while the client waits.
    Waiting,
    /// Its account was asked.
    Asked(Answer),
}

impl Standing {
    /// Before any account is asked.
    pub(crate) fn of(owner: Owner) -> Self {
        match owner {
            Owner::Account(_) => Self::Waiting,
            Owner::Nobody => Self::Nobody,
            Owner::Disabled => Self::Disabled,
        }
    }

    /// The reply where nothing is stored.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Nobody => Outcome::NoSuchRecipient,
            Self::Disabled => Outcome::Disabled,
            Self::Asked(Answer::Filed) => Outcome::Filed,
            Self::Asked(Answer::Refused(AccountRefusal::MailboxFull)) => Outcome::MailboxFull,
            Self::Asked(Answer::Refused(AccountRefusal::NoSpace)) => Outcome::TryLater { no_space: true },
            Self::Waiting | Self::Asked(Answer::Refused(AccountRefusal::Fault) | Answer::Unreachable) => {
                Outcome::TryLater { no_space: false }
            }
        }
    }

    /// Whether it alone is a reason to acknowledge the message: somebody has it, or will get it in turn.
    fn takes(self) -> bool {
        match self {
            Self::Waiting | Self::Asked(Answer::Filed | Answer::Unreachable) => true,
            Self::Nobody | Self::Disabled | Self::Asked(Answer::Refused(_)) => false,
        }
    }

    /// Whether a later attempt can succeed.
    fn can_wait(self) -> bool {
        match self {
            Self::Disabled | Self::Waiting | Self::Asked(Answer::Refused(_) | Answer::Unreachable) => true,
            Self::Nobody | Self::Asked(Answer::Filed) => false,
        }
    }
}

/// Who is stored. SMTP has one reply for all recipients of a message: once one of them is taken, those that can be
/// served later are stored, so that the client does not send again what some have. While nobody took it, a refusal is
/// the client's to repeat, and nothing is stored: on a full disk above all.
pub(crate) fn to_store(standings: &[Standing]) -> Vec<usize> {
    if !standings.iter().any(|standing| standing.takes()) {
        return Vec::new();
    }
    standings.iter().enumerate().filter(|(_, standing)| standing.can_wait()).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_stored_once_somebody_took_the_message() {
        const FILED: Standing = Standing::Asked(Answer::Filed);
        const GONE: Standing = Standing::Asked(Answer::Unreachable);
        const FULL: Standing = Standing::Asked(Answer::Refused(AccountRefusal::NoSpace));
        const FAULT: Standing = Standing::Asked(Answer::Refused(AccountRefusal::Fault));
        const QUOTA: Standing = Standing::Asked(Answer::Refused(AccountRefusal::MailboxFull));
        for (standings, stored, reason) in [
            (&[FILED][..], &[][..], "nothing is left to do"),
            (&[FILED, FAULT, FULL, QUOTA, Standing::Disabled], &[1, 2, 3, 4], "one took it, four may later"),
            (&[FILED, Standing::Nobody], &[], "nobody to try again for"),
            (&[FULL, FULL], &[], "a full disk takes no copy for the queue either"),
            (&[FAULT, Standing::Disabled, Standing::Nobody], &[], "all refused: the client tries again"),
            (&[GONE], &[0], "no process to be had: in turn"),
            (&[GONE, FAULT], &[0, 1], "stored for the first, so for both"),
            (&[Standing::Waiting, Standing::Waiting], &[0, 1], "too many to wait for"),
        ] {
            assert_eq!(to_store(standings), stored, "{reason}");
        }
    }
}
