//! Commands, parsed once into types (RFC 5321 §4.1.1).

mod mail;

use ipc_proto::types::Secret;
use mail_lib::address::{Address, AddressError, Path, parse_path};

pub(crate) use self::mail::TooFarAhead;
pub use self::mail::{Hold, Mail};
use crate::{helo::HeloName, reply::Reply};

/// What a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mail from other servers.
    Incoming,
    /// Mail from those who log in.
    Submission,
}

/// One command line. A command that this server has, however it answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// EHLO.
    Ehlo(HeloName),
    /// HELO.
    Helo(HeloName),
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// VRFY or EXPN: this server tells neither.
    Verify,
    /// HELP.
    Help,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954) with what follows it, which may hold a password.
    Auth(Secret),
    /// BDAT (RFC 3030), not announced. Its chunk follows unasked and would be read as commands.
    Bdat,
}

/// RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// An address, or `None` for `<postmaster>` (RFC 5321 §4.5.1).
    pub to: Option<Address>,
    /// Written in ASCII alone, so that it needs no SMTPUTF8.
    pub ascii: bool,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error("unknown command")]
    Unknown,
    /// A control octet: bare CR, NUL or the like.
    #[error("a control character in a command")]
    ControlOctet,
    /// EHLO or HELO without a proper name.
    #[error("not a host name or address literal")]
    HeloName,
    /// An argument where none may be, or none where one must be.
    #[error("wrong arguments")]
    Arguments,
    /// MAIL FROM's address.
    #[error("bad sender address: {0}")]
    ReversePath(AddressError),
    /// RCPT TO's address.
    #[error("bad recipient address: {0}")]
    ForwardPath(AddressError),
    /// An address outside ASCII without SMTPUTF8.
    #[error("address needs SMTPUTF8")]
    NeedsUtf8,
    /// A parameter that was not announced (RFC 5321 §4.1.1.11).
    #[error("unknown parameter")]
    UnknownParameter,
    /// A parameter twice, or with a value that it cannot have.
    #[error("bad parameter value")]
    ParameterValue,
}

impl CommandError {
    /// What the client is told. Enhanced codes: RFC 3463.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Unknown => Reply::new(500, "5.5.1", "unknown command"),
            Self::ControlOctet => Reply::new(500, "5.5.2", "control character in command"),
            Self::HeloName => Reply::new(501, "5.5.4", "not a host name or address literal"),
            Self::Arguments => Reply::new(501, "5.5.4", "wrong arguments"),
            Self::ReversePath(error) => Reply::new(501, "5.1.7", format!("bad sender address: {error}")),
            Self::ForwardPath(error) => Reply::new(501, "5.1.3", format!("bad recipient address: {error}")),
            Self::NeedsUtf8 => Reply::new(553, "5.6.7", "address needs the SMTPUTF8 parameter of MAIL"),
            Self::UnknownParameter => Reply::new(555, "5.5.4", "unknown parameter"),
            Self::ParameterValue => Reply::new(501, "5.5.4", "bad parameter value"),
        }
    }
}

/// The command word of a line, and what follows its first space.
fn split_verb(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', line).and_then(|at| line.split_at_checked(at)) {
        Some((verb, rest)) => (verb, rest),
        None => (line, &[]),
    }
}

/// Whether a line is this command, well-formed or not.
pub(crate) fn is_verb(line: &[u8], verb: &[u8]) -> bool {
    split_verb(line).0.eq_ignore_ascii_case(verb)
}

impl Command {
    /// Parses a line without its CRLF. Spaces at its end are let pass.
    pub fn parse(line: &[u8], kind: Kind) -> Result<Self, CommandError> {
        if line.iter().any(u8::is_ascii_control) {
            return Err(CommandError::ControlOctet);
        }
        let (verb, rest) = split_verb(line);
        let rest = rest.trim_ascii();
        let mut word = [0; 8];
        let word = match word.get_mut(..verb.len()) {
            Some(word) => word,
            None => return Err(CommandError::Unknown),
        };
        word.copy_from_slice(verb);
        word.make_ascii_uppercase();
        match &*word {
            b"EHLO" => parse_name(rest, kind).map(Self::Ehlo),
            b"HELO" => parse_name(rest, kind).map(Self::Helo),
            b"MAIL" => mail::parse_mail(rest, kind).map(Self::Mail),
            b"RCPT" => parse_rcpt(rest).map(Self::Rcpt),
            b"DATA" => alone(rest, Self::Data),
            b"RSET" => alone(rest, Self::Rset),
            b"VRFY" | b"EXPN" => Ok(Self::Verify),
            b"HELP" => Ok(Self::Help),
            b"NOOP" => Ok(Self::Noop),
            b"QUIT" => alone(rest, Self::Quit),
            b"STARTTLS" => alone(rest, Self::StartTls),
            b"AUTH" => Ok(Self::Auth(Secret(rest.to_vec()))),
            b"BDAT" => Ok(Self::Bdat),
            _ => Err(CommandError::Unknown),
        }
    }
}

fn parse_name(text: &[u8], kind: Kind) -> Result<HeloName, CommandError> {
    match kind {
        Kind::Incoming => HeloName::parse(text),
        Kind::Submission => Ok(HeloName::of_anything(text)),
    }
}

fn alone(rest: &[u8], command: Command) -> Result<Command, CommandError> {
    if rest.is_empty() { Ok(command) } else { Err(CommandError::Arguments) }
}

/// What stands behind `FROM:` or `TO:`. Spaces after the colon are against the grammar and common.
fn after_keyword<'a>(text: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], CommandError> {
    match text.split_at_checked(keyword.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(keyword) => Ok(rest.trim_ascii_start()),
        Some(_) | None => Err(CommandError::Arguments),
    }
}

/// A path, whether it is ASCII, and the parameters behind it.
fn split_path(text: &[u8]) -> Result<(Path, bool, &[u8]), AddressError> {
    let (path, used) = parse_path(text, true)?;
    let (written, parameters) = text.split_at_checked(used).ok_or(AddressError::Incomplete)?;
    match parameters {
        [] | [b' ', ..] => Ok((path, written.is_ascii(), parameters)),
        _ => Err(AddressError::Forbidden { at: used }),
    }
}

fn parse_rcpt(rest: &[u8]) -> Result<Rcpt, CommandError> {
    let text = after_keyword(rest, b"TO:")?;
    let (path, ascii, parameters) = split_path(text).map_err(CommandError::ForwardPath)?;
    let to = match path {
        Path::Address(address) => Some(address),
        Path::Postmaster => None,
        Path::Null => return Err(CommandError::ForwardPath(AddressError::Incomplete)),
    };
    match self::parameters(parameters).next() {
        None => Ok(Rcpt { to, ascii }),
        Some(_) => Err(CommandError::UnknownParameter),
    }
}

/// esmtp-param = esmtp-keyword ["=" esmtp-value], with spaces before each (RFC 5321 §4.1.2).
fn parameters(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    text.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(|word| {
        let mut parts = word.splitn(2, |octet| *octet == b'=');
        (parts.next().unwrap_or_default(), parts.next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HeloName {
        HeloName::parse(text.as_bytes()).unwrap()
    }

    fn address(text: &str) -> Option<Address> {
        Some(Address::parse(text).unwrap())
    }

    #[test]
    fn commands_are_read_into_types() {
        let plain = Mail { from: address("a@b.org"), ..Mail::default() };
        for (line, expected) in [
            ("EHLO client.example", Command::Ehlo(name("client.example"))),
            ("ehlo a_b.example ", Command::Ehlo(name("a_b.example"))),
            ("HELO [192.0.2.1]", Command::Helo(name("[192.0.2.1]"))),
            ("EHLO [IPv6:2001:db8::1]", Command::Ehlo(name("[IPv6:2001:db8::1]"))),
            ("MAIL FROM:<a@b.org>", Command::Mail(plain.clone())),
            ("mail from: <a@b.org> ", Command::Mail(plain.clone())),
            ("MAIL FROM:<>", Command::Mail(Mail::default())),
            ("MAIL FROM:<a@b.org> SIZE=1000", Command::Mail(Mail { size: Some(1000), ..plain.clone() })),
            (
                "MAIL FROM:<a@b.org> SIZE=99999999999999999999",
                Command::Mail(Mail { size: Some(u64::MAX), ..plain.clone() }),
            ),
            ("MAIL FROM:<a@b.org> body=7bit", Command::Mail(plain.clone())),
            (
                "MAIL FROM:<a@b.org> BODY=8BITMIME  SMTPUTF8",
                Command::Mail(Mail { eight_bit: true, utf8: true, ..plain.clone() }),
            ),
            (
                "MAIL FROM:<jürgen@b.org> SMTPUTF8",
                Command::Mail(Mail { from: address("jürgen@b.org"), utf8: true, ..Mail::default() }),
            ),
            ("RCPT TO:<a@b.org>", Command::Rcpt(Rcpt { to: address("a@b.org"), ascii: true })),
            ("RCPT TO: <a@[IPv6:::1]>", Command::Rcpt(Rcpt { to: address("a@[IPv6:::1]"), ascii: true })),
            ("RCPT TO:<PostMaster>", Command::Rcpt(Rcpt { to: None, ascii: true })),
            ("RCPT TO:<ü@b.org>", Command::Rcpt(Rcpt { to: address("ü@b.org"), ascii: false })),
            ("data", Command::Data),
            ("DATA ", Command::Data),
            ("RSET", Command::Rset),
            ("VRFY someone", Command::Verify),
            ("EXPN list", Command::Verify),
            ("HELP me", Command::Help),
            ("NOOP anything at all", Command::Noop),
            ("QUIT", Command::Quit),
            ("STARTTLS", Command::StartTls),
            ("AUTH PLAIN AAAA", Command::Auth(Secret(b"PLAIN AAAA".to_vec()))),
            ("BDAT 5 LAST", Command::Bdat),
        ] {
            assert_eq!(Command::parse(line.as_bytes(), Kind::Incoming), Ok(expected), "{line}");
        }
    }

    #[test]
    fn malformed_commands_are_refused_with_the_reason() {
        let long = format!("EHLO {}", "a".repeat(256));
        for (line, reason) in [
            ("", CommandError::Unknown),
            (" NOOP", CommandError::Unknown),
            ("GET / HTTP/1.1", CommandError::Unknown),
            ("WHATEVERNEXT", CommandError::Unknown),
            ("ÄHLO x", CommandError::Unknown),
            ("EHLO", CommandError::HeloName),
            ("EHLO []", CommandError::HeloName),
            ("EHLO a b", CommandError::HeloName),
            ("EHLO a:b", CommandError::HeloName),
            ("EHLO a)b", CommandError::HeloName),
            ("EHLO bücher.example", CommandError::HeloName),
            (long.as_str(), CommandError::HeloName),
            // Seen in another parser: `EHLO a<CR>b` was taken as "ab".
            ("EHLO a\rb", CommandError::ControlOctet),
            ("NOOP\0", CommandError::ControlOctet),
            ("NOOP \u{1b}[31m", CommandError::ControlOctet),
            ("MAIL", CommandError::Arguments),
            ("MAIL TO:<a@b.org>", CommandError::Arguments),
            ("MAIL FROM:", CommandError::ReversePath(AddressError::Incomplete)),
            ("MAIL FROM:a@b.org", CommandError::ReversePath(AddressError::Incomplete)),
            ("MAIL FROM:<postmaster>", CommandError::ReversePath(AddressError::Incomplete)),
            ("MAIL FROM:<a@b.org>SIZE=1", CommandError::ReversePath(AddressError::Forbidden { at: 9 })),
            ("MAIL FROM:<a@b.org> SIZE", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> SIZE=", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> SIZE=-1", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> SIZE=000000000000000000001", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> SIZE=1 SIZE=1", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> BODY=BINARYMIME", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> BODY=7BIT BODY=8BITMIME", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> SMTPUTF8=1", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> SMTPUTF8 SMTPUTF8", CommandError::ParameterValue),
            ("MAIL FROM:<a@b.org> AUTH=<>", CommandError::UnknownParameter),
            ("MAIL FROM:<a@b.org> RET=HDRS", CommandError::UnknownParameter),
            ("MAIL FROM:<ü@b.org>", CommandError::NeedsUtf8),
            ("RCPT TO:<>", CommandError::ForwardPath(AddressError::Incomplete)),
            ("RCPT TO:<a@b.org> NOTIFY=NEVER", CommandError::UnknownParameter),
            ("DATA now", CommandError::Arguments),
            ("QUIT now", CommandError::Arguments),
            ("STARTTLS now", CommandError::Arguments),
            ("RSET now", CommandError::Arguments),
        ] {
            assert_eq!(Command::parse(line.as_bytes(), Kind::Incoming), Err(reason), "{line:?}");
        }
    }

    /// Attack class 6: octets above 127 in addresses have to be UTF-8.
    #[test]
    fn addresses_that_are_not_utf8_are_refused() {
        assert!(matches!(
            Command::parse(b"RCPT TO:<\xff@b.org>", Kind::Incoming),
            Err(CommandError::ForwardPath(_))
        ));
        assert!(matches!(
            Command::parse(b"MAIL FROM:<\xff@b.org> SMTPUTF8", Kind::Incoming),
            Err(CommandError::ReversePath(_))
        ));
    }
}
