//! What a transaction's recipients are told, and who of them goes to the queue.

use ipc_proto::{
    AccountId,
    authd::Owner,
    delivery::{AccountRefusal, Outcome},
    queue::WaitReason,
};

use crate::{accounts::Answer, recipient};

/// Where one recipient stands after the direct attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// authd has nobody of this address.
    Nobody,
    /// It takes no mail now.
    Disabled,
    /// Its account was not asked: the message has too many recipients to be delivered while the client waits.
    Waiting,
    /// Its account was asked.
    Asked(Answer),
    /// It is an alias, and these were asked.
    Members(Vec<(AccountId, Answer)>),
}

impl Standing {
    /// Before any account is asked.
    pub(crate) fn of(owner: &Owner) -> Self {
        match owner {
            Owner::Account(_) | Owner::Members(_) => Self::Waiting,
            Owner::Nobody => Self::Nobody,
            Owner::Disabled => Self::Disabled,
        }
    }

    /// An account answered, one of those whose it is.
    pub(crate) fn note(&mut self, owner: &Owner, account: AccountId, answer: Answer) {
        match owner {
            Owner::Account(_) => *self = Self::Asked(answer),
            Owner::Members(accounts) => {
                if !matches!(self, Self::Members(_)) {
                    // Whose answer never comes has not got it.
                    let all = accounts.iter().map(|account| (*account, Answer::Unreachable));
                    *self = Self::Members(all.collect());
                }
                if let Self::Members(answers) = self
                    && let Some((_, known)) = answers.iter_mut().find(|(asked, _)| *asked == account)
                {
                    *known = answer;
                }
            }
            Owner::Nobody | Owner::Disabled => {}
        }
    }

    /// What each account said that was asked.
    fn answers(&self) -> impl Iterator<Item = Answer> {
        let (one, all) = match self {
            Self::Asked(answer) => (Some(*answer), &[][..]),
            Self::Members(answers) => (None, answers.as_slice()),
            Self::Nobody | Self::Disabled | Self::Waiting => (None, &[][..]),
        };
        one.into_iter().chain(all.iter().map(|(_, answer)| *answer))
    }

    /// The reply where nothing is stored. An alias has taken it as soon as one of its members has.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Nobody => Outcome::NoSuchRecipient,
            Self::Disabled => Outcome::Disabled,
            Self::Waiting => Outcome::TryLater { no_space: false },
            Self::Asked(_) | Self::Members(_) => {
                let answer = self.answers().find(|answer| *answer == Answer::Filed);
                match answer.or_else(|| self.answers().next()) {
                    Some(Answer::Filed) => Outcome::Filed,
                    Some(Answer::Refused(AccountRefusal::MailboxFull)) => Outcome::MailboxFull,
                    Some(Answer::Refused(AccountRefusal::NoSpace)) => Outcome::TryLater { no_space: true },
                    Some(Answer::Refused(AccountRefusal::Fault) | Answer::Unreachable) | None => {
                        Outcome::TryLater { no_space: false }
                    }
                }
            }
        }
    }

    /// Of an alias whose members were asked: those who have not got it.
    pub(crate) fn left(&self) -> Vec<AccountId> {
        match self {
            Self::Members(answers) => {
                let left = answers.iter().filter(|(_, answer)| *answer != Answer::Filed);
                left.map(|(account, _)| *account).collect()
            }
            Self::Nobody | Self::Disabled | Self::Waiting | Self::Asked(_) => Vec::new(),
        }
    }

    /// Why somebody has not got it; `None`: nobody was asked, or all have it.
    pub(crate) fn reason(&self) -> Option<WaitReason> {
        match self {
            Self::Nobody => Some(WaitReason::Gone),
            Self::Disabled => Some(WaitReason::Disabled),
            Self::Waiting => None,
            Self::Asked(_) | Self::Members(_) => self.answers().find_map(recipient::reason_of),
        }
    }

    /// Whether everybody who was asked has it.
    pub(crate) fn is_filed(&self) -> bool {
        match self {
            Self::Nobody | Self::Disabled | Self::Waiting => false,
            Self::Asked(_) | Self::Members(_) => self.answers().all(|answer| answer == Answer::Filed),
        }
    }

    /// Whether it alone is a reason to acknowledge the message: somebody has it, or will get it in turn.
    fn takes(&self) -> bool {
        match self {
            Self::Waiting => true,
            Self::Nobody | Self::Disabled => false,
            Self::Asked(_) | Self::Members(_) => {
                self.answers().any(|answer| matches!(answer, Answer::Filed | Answer::Unreachable))
            }
        }
    }

    /// Whether a later attempt can succeed.
    fn can_wait(&self) -> bool {
        match self {
            Self::Disabled | Self::Waiting => true,
            Self::Nobody => false,
            Self::Asked(_) | Self::Members(_) => self.answers().any(|answer| answer != Answer::Filed),
        }
    }
}

/// Who is stored. SMTP has one reply for all recipients of a message: once one of them is taken, those that can be
/// served later are stored, so that the client does not send again what some have. While nobody took it, a refusal is
/// the client's to repeat, and nothing is stored: on a full disk above all.
pub(crate) fn to_store(standings: &[Standing]) -> Vec<usize> {
    if !standings.iter().any(Standing::takes) {
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

    #[test]
    fn an_alias_has_taken_a_message_as_soon_as_one_of_its_members_has() {
        let id = |number| AccountId::new(number).unwrap();
        let members = |answers: &[Answer]| {
            Standing::Members((1..).map(id).zip(answers.iter().copied()).collect::<Vec<_>>())
        };
        let full = Answer::Refused(AccountRefusal::MailboxFull);
        for (answers, outcome, stored, left, reason) in [
            (&[Answer::Filed, Answer::Filed][..], Outcome::Filed, false, &[][..], "all have it"),
            (&[Answer::Filed, full], Outcome::Filed, true, &[2], "one later"),
            (&[full, Answer::Filed], Outcome::Filed, true, &[1], "whichever"),
            (&[full, full], Outcome::MailboxFull, false, &[1, 2], "the client tries again"),
            (&[full, Answer::Unreachable], Outcome::MailboxFull, true, &[1, 2], "stored for the second"),
        ] {
            let standing = members(answers);
            assert_eq!(standing.outcome(), outcome, "{reason}");
            assert_eq!(!to_store(std::slice::from_ref(&standing)).is_empty(), stored, "{reason}");
            assert_eq!(standing.left(), left.iter().copied().map(id).collect::<Vec<_>>(), "{reason}");
        }
    }
}
