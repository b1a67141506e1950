//! Who says of a front that it broke the rules. One word costs it the channel; that of both who guard secrets ends it.
//!
//! keyd and authd hold more than any front, so only theirs counts, and only if they agree: whoever has captured one of them,
//! or any other process, cannot have a neighbour killed by accusing it.

use std::time::{Duration, Instant};

use ipc_proto::control::Role;

/// How far apart their words may be.
const TOGETHER: Duration = Duration::from_secs(60);

/// What was said of one life of a front.
#[derive(Debug, Default)]
pub struct Accusations {
    keyd: Option<Instant>,
    authd: Option<Instant>,
}

impl Accusations {
    /// Whether both have now said so within a minute.
    pub fn add(&mut self, by: Role, now: Instant) -> bool {
        match by {
            Role::Keyd => self.keyd = Some(now),
            Role::Authd => self.authd = Some(now),
            Role::Smtpd | Role::Submitd | Role::Imapd | Role::Webd | Role::Queued | Role::Accountd => {
                return false;
            }
        }
        let (Some(one), Some(other)) = (self.keyd, self.authd) else { return false };
        one.max(other).duration_since(one.min(other)) <= TOGETHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keyd_and_authd_count_and_only_together() {
        use Role::{Accountd, Authd, Imapd, Keyd, Queued, Smtpd, Submitd, Webd};
        let start = Instant::now();
        for (said, ends, reason) in [
            (&[(Keyd, 0), (Authd, 60)][..], true, "both within a minute"),
            (&[(Authd, 5), (Keyd, 5)], true, "in either order"),
            (&[(Keyd, 0), (Authd, 61)], false, "too far apart"),
            (&[(Keyd, 0), (Authd, 61), (Keyd, 121)], true, "the last word counts"),
            (&[(Keyd, 0), (Keyd, 1), (Keyd, 2)], false, "one alone, however often"),
            (&[(Authd, 0), (Authd, 1)], false, "one alone"),
            (
                &[(Keyd, 0), (Smtpd, 1), (Submitd, 1), (Imapd, 1), (Webd, 1), (Queued, 1), (Accountd, 1)],
                false,
                "others",
            ),
        ] {
            let mut accusations = Accusations::default();
            let ended = said
                .iter()
                .fold(false, |_, (by, second)| accusations.add(*by, start + Duration::from_secs(*second)));
            assert_eq!(ended, ends, "{reason}");
        }
    }
}
