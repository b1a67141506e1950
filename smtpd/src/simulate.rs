//! Failures on demand, for test instances: a localpart that ends in `temperror`, `permerror`, `timeout` or a code from
//! 400 to 599 fails so. With `mailfrom` or `rcptto` before that it does at its command, else at the end of the data.

use mail_lib::address::Address;

use crate::reply::Reply;

/// Where a failure can be wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Mail,
    Rcpt,
    Data,
}

/// The failure that an address asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simulated {
    /// This code.
    Code(u16),
    /// Silence.
    Timeout,
}

impl Simulated {
    /// What `address` asks for at `stage`.
    pub(crate) fn asked_for(address: &Address, stage: Stage) -> Option<Self> {
        let localpart = address.localpart.as_str();
        let wanted = if localpart.starts_with("mailfrom") {
            Stage::Mail
        } else if localpart.starts_with("rcptto") {
            Stage::Rcpt
        } else {
            Stage::Data
        };
        if wanted != stage {
            return None;
        }
        if localpart.ends_with("temperror") {
            return Some(Self::Code(451));
        }
        if localpart.ends_with("permerror") {
            return Some(Self::Code(550));
        }
        if localpart.ends_with("timeout") {
            return Some(Self::Timeout);
        }
        let digits = localpart.len().checked_sub(3).and_then(|at| localpart.get(at..))?;
        let code =
            digits.bytes().all(|octet| octet.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
        (400..600).contains(&code).then_some(Self::Code(code))
    }
}

/// The reply with this code.
pub(crate) fn reply(code: u16) -> Reply {
    Reply::new(code, if code < 500 { "4.0.0" } else { "5.0.0" }, "simulated failure, as the address asks")
}

/// The code after a silence.
pub(crate) const SILENCE: u16 = 451;

/// The reply after a silence.
pub(crate) fn silence() -> Reply {
    reply(SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ask_for_failures_at_their_commands() {
        for (localpart, stage, expected) in [
            ("temperror", Stage::Data, Some(Simulated::Code(451))),
            ("anna-permerror", Stage::Data, Some(Simulated::Code(550))),
            ("x421", Stage::Data, Some(Simulated::Code(421))),
            ("599", Stage::Data, Some(Simulated::Code(599))),
            ("timeout", Stage::Data, Some(Simulated::Timeout)),
            ("mailfromtemperror", Stage::Mail, Some(Simulated::Code(451))),
            ("mailfrom+550", Stage::Mail, Some(Simulated::Code(550))),
            ("rcptto-timeout", Stage::Rcpt, Some(Simulated::Timeout)),
            ("anna", Stage::Data, None),
            ("temperror.anna", Stage::Data, None),
            ("x399", Stage::Data, None),
            ("x600", Stage::Data, None),
            ("+42", Stage::Data, None),
            ("x+42", Stage::Data, None),
            ("ü50", Stage::Data, None),
            ("mailfrom550", Stage::Data, None),
            ("mailfrom550", Stage::Rcpt, None),
            ("temperror", Stage::Mail, None),
        ] {
            let address = Address::parse(&format!("{localpart}@b.org")).unwrap();
            assert_eq!(Simulated::asked_for(&address, stage), expected, "{localpart} at {stage:?}");
        }
    }
}
