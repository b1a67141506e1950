//! MAIL FROM and its parameters.

use ipc_proto::{submission::MAX_HOLD, types::Timestamp};
use mail_lib::address::{Address, AddressError, Path};

use super::{CommandError, Kind, after_keyword, parameters, split_path};

/// MAIL FROM with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// The reverse-path; `None` is the null one.
    pub from: Option<Address>,
    /// SIZE (RFC 1870), octets. A figure beyond 64 bits is the largest one.
    pub size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152). Content is taken either way.
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// HOLDFOR or HOLDUNTIL (RFC 4865), at submission.
    pub hold: Option<Hold>,
}

/// How long a message is to be held back (RFC 4865 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// So many seconds.
    For(u32),
    /// Until then, seconds since 1970.
    Until(i64),
}

/// Longer than the server holds a message back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFarAhead;

impl Hold {
    /// When the message may go, counted from `now`; `None`: at once.
    pub(crate) fn until(self, now: Timestamp) -> Result<Option<Timestamp>, TooFarAhead> {
        let seconds = match self {
            Self::For(seconds) => now.seconds.saturating_add(i64::from(seconds)),
            Self::Until(seconds) => seconds,
        };
        if seconds > now.seconds.saturating_add(i64::from(MAX_HOLD)) {
            return Err(TooFarAhead);
        }
        Ok((seconds > now.seconds).then_some(Timestamp { seconds, nanoseconds: 0 }))
    }
}

pub(super) fn parse_mail(rest: &[u8], kind: Kind) -> Result<Mail, CommandError> {
    let text = after_keyword(rest, b"FROM:")?;
    let (path, ascii, written) = split_path(text).map_err(CommandError::ReversePath)?;
    let from = match path {
        Path::Null => None,
        Path::Address(address) => Some(address),
        Path::Postmaster => return Err(CommandError::ReversePath(AddressError::Incomplete)),
    };
    let mut mail = Mail { from, ..Mail::default() };
    let (mut body_given, mut auth_given) = (false, false);
    for (keyword, value) in parameters(written) {
        let submission = kind == Kind::Submission;
        if keyword.eq_ignore_ascii_case(b"SIZE") {
            let size = value.and_then(parse_size).ok_or(CommandError::ParameterValue)?;
            once(mail.size.replace(size).is_some())?;
        } else if keyword.eq_ignore_ascii_case(b"BODY") {
            mail.eight_bit = match value {
                Some(value) if value.eq_ignore_ascii_case(b"7BIT") => false,
                Some(value) if value.eq_ignore_ascii_case(b"8BITMIME") => true,
                Some(_) | None => return Err(CommandError::ParameterValue),
            };
            once(std::mem::replace(&mut body_given, true))?;
        } else if keyword.eq_ignore_ascii_case(b"SMTPUTF8") {
            if value.is_some() {
                return Err(CommandError::ParameterValue);
            }
            once(std::mem::replace(&mut mail.utf8, true))?;
        } else if submission && keyword.eq_ignore_ascii_case(b"AUTH") {
            // Who wrote the message first, says the client: taken note of by nobody (RFC 4954 §5).
            if !value.is_some_and(is_xtext) {
                return Err(CommandError::ParameterValue);
            }
            once(std::mem::replace(&mut auth_given, true))?;
        } else if submission && keyword.eq_ignore_ascii_case(b"HOLDFOR") {
            let hold = value.and_then(parse_interval).ok_or(CommandError::ParameterValue)?;
            once(mail.hold.replace(hold).is_some())?;
        } else if submission && keyword.eq_ignore_ascii_case(b"HOLDUNTIL") {
            let hold = value.and_then(parse_moment).ok_or(CommandError::ParameterValue)?;
            once(mail.hold.replace(hold).is_some())?;
        } else {
            return Err(CommandError::UnknownParameter);
        }
    }
    if ascii || mail.utf8 { Ok(mail) } else { Err(CommandError::NeedsUtf8) }
}

fn once(again: bool) -> Result<(), CommandError> {
    if again { Err(CommandError::ParameterValue) } else { Ok(()) }
}

/// A decimal figure in at most so many digits; one beyond 64 bits is the largest one.
fn parse_figure(digits: &[u8], most: usize) -> Option<u64> {
    if !(1..=most).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0_u64, |figure, digit| match digit {
        b'0'..=b'9' => Some(figure.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
        _ => None,
    })
}

/// 1 to 20 digits (RFC 1870 §5).
fn parse_size(digits: &[u8]) -> Option<u64> {
    parse_figure(digits, 20)
}

/// 1 to 9 digits (RFC 4865 §4).
fn parse_interval(digits: &[u8]) -> Option<Hold> {
    parse_figure(digits, 9).and_then(|seconds| u32::try_from(seconds).ok()).map(Hold::For)
}

/// date-time of RFC 3339 §5.6 (RFC 4865 §4 as corrected).
fn parse_moment(text: &[u8]) -> Option<Hold> {
    let text = std::str::from_utf8(text).ok()?;
    // What follows the offset in other notations is none of RFC 3339's; nor is a blank for the T.
    if !text.is_ascii() || text.contains(['[', ' ', ',']) {
        return None;
    }
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(Hold::Until(moment.as_second()))
}

/// xtext (RFC 3461 §4), which no NUL may be written in.
fn is_xtext(text: &[u8]) -> bool {
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        let fits = match octet {
            b'+' => match (octets.next(), octets.next()) {
                (Some(b'0'), Some(b'0')) => false,
                (Some(high), Some(low)) => {
                    [high, low].iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
                }
                (Some(_) | None, _) => false,
            },
            b'=' => false,
            octet => octet.is_ascii_graphic(),
        };
        if !fits {
            return false;
        }
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(parameters: &str) -> Result<Mail, CommandError> {
        parse_mail(format!("FROM:<a@b.org> {parameters}").as_bytes(), Kind::Submission)
    }

    #[test]
    fn a_time_to_hold_is_an_interval_or_a_moment() {
        for (text, hold) in [
            ("HOLDFOR=0", Hold::For(0)),
            ("holdfor=999999999", Hold::For(999_999_999)),
            ("HOLDUNTIL=1970-01-01T00:01:00Z", Hold::Until(60)),
            ("HOLDUNTIL=1970-01-01T01:01:00+01:00", Hold::Until(60)),
            ("HOLDUNTIL=1970-01-01T00:01:00.9Z", Hold::Until(60)),
        ] {
            assert_eq!(mail(text).unwrap().hold, Some(hold), "{text}");
        }
        for bad in [
            "HOLDFOR",
            "HOLDFOR=",
            "HOLDFOR=-1",
            "HOLDFOR=1000000000",
            "HOLDFOR=1 HOLDFOR=1",
            "HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z",
            "HOLDUNTIL=",
            "HOLDUNTIL=tomorrow",
            "HOLDUNTIL=2030-01-01",
            "HOLDUNTIL=2030-01-01T00:00:00",
            "HOLDUNTIL=2030-13-01T00:00:00Z",
            "HOLDUNTIL=2030-01-01T00:00:00Z[UTC]",
        ] {
            assert_eq!(mail(bad), Err(CommandError::ParameterValue), "{bad}");
        }
    }

    #[test]
    fn a_message_is_held_from_now_on_and_not_for_ever() {
        let now = Timestamp { seconds: 1000, nanoseconds: 5 };
        let at = |seconds| Timestamp { seconds, nanoseconds: 0 };
        let most = i64::from(MAX_HOLD);
        for (hold, until) in [
            (Hold::For(0), Ok(None)),
            (Hold::For(1), Ok(Some(at(1001)))),
            (Hold::For(MAX_HOLD), Ok(Some(at(1000 + most)))),
            (Hold::For(MAX_HOLD + 1), Err(TooFarAhead)),
            (Hold::Until(-5), Ok(None)),
            (Hold::Until(1000), Ok(None)),
            (Hold::Until(1000 + most), Ok(Some(at(1000 + most)))),
            (Hold::Until(1001 + most), Err(TooFarAhead)),
            (Hold::Until(i64::MAX), Err(TooFarAhead)),
        ] {
            assert_eq!(hold.until(now), until, "{hold:?}");
        }
    }

    /// Attack class 6: xtext with an encoded NUL, and xtext that is none.
    #[test]
    fn the_auth_parameter_is_xtext_or_refused() {
        for good in ["AUTH=<>", "AUTH=a@b.org", "AUTH=e+3Dmc2@example.com", "auth=+2B"] {
            assert_eq!(mail(good), mail(""), "{good}");
        }
        for bad in [
            "AUTH",
            "AUTH=",
            "AUTH=a=b",
            "AUTH=+00",
            "AUTH=+",
            "AUTH=+4",
            "AUTH=+4g",
            "AUTH=+3d",
            "AUTH=ü",
            "AUTH=<> AUTH=<>",
        ] {
            assert_eq!(mail(bad), Err(CommandError::ParameterValue), "{bad}");
        }
    }

    #[test]
    fn who_does_not_log_in_has_none_of_these() {
        for parameter in ["AUTH=<>", "HOLDFOR=1", "HOLDUNTIL=2030-01-01T00:00:00Z"] {
            let text = format!("FROM:<a@b.org> {parameter}");
            assert_eq!(parse_mail(text.as_bytes(), Kind::Incoming), Err(CommandError::UnknownParameter));
        }
    }
}
