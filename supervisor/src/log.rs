//! The instance's log: one writer, the supervisor. Workers' lines come as datagrams and are escaped here: a captured
//! worker can lie in its own lines, not forge another's or drive the terminal.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
};

use ipc_proto::{
    AccountId,
    control::{LOG_SEPARATOR, MAX_LOG_LINE},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::LogFormat;

/// Writes to stderr.
#[derive(Debug)]
pub struct Log {
    format: LogFormat,
    /// Lines for the next [`Self::flush`].
    pending: Vec<u8>,
    /// While moxd starts: lines that matter only if it does.
    held: Option<Vec<u8>>,
}

/// Octets of lines that are held back.
const MAX_HELD: usize = 64 * 1024;

/// Octets of lines that wait for the rest of what came with them.
const MAX_PENDING: usize = 32 * 1024;

/// Whose line it is.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The process's name.
    pub name: &'a str,
    /// Its id.
    pub pid: u32,
    /// Whose, for an account's process.
    pub account: Option<AccountId>,
}

impl Log {
    /// In this format, or in the one that suits where stderr goes.
    #[must_use]
    pub fn new(format: Option<LogFormat>) -> Self {
        let fitting = if io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
        Self { format: format.unwrap_or(fitting), pending: Vec::new(), held: None }
    }

    /// From now on with this format.
    pub fn set_format(&mut self, format: Option<LogFormat>) {
        self.format = Self::new(format).format;
    }

    /// Keeps what is no warning until [`Self::release`]: a start that fails is one line, the error.
    pub fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Writes what was kept, and from now on everything at once.
    pub fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.write(&held);
        }
    }

    /// A line of the supervisor's own.
    pub fn own(&mut self, level: &str, text: &str) {
        let source = Source { name: "moxd", pid: std::process::id(), account: None };
        self.line(source, &format!("{level:>5} {text}"));
    }

    /// A worker's line, as it came: its level, its message and fields with [`LOG_SEPARATOR`] between them. It is split and
    /// escaped, never believed.
    pub fn line(&mut self, source: Source<'_>, line: &str) {
        let mut parts = line.trim().split(LOG_SEPARATOR);
        let first = parts.next().unwrap_or_default();
        let (level, message) = first.split_once(' ').unwrap_or(("INFO", first));
        let line = Line { source, level, message };
        let mut out = String::with_capacity(512);
        match self.format {
            LogFormat::Text => line.write_text(parts, &mut out),
            LogFormat::Json => line.write_json(parts, &mut out),
        }
        let matters = matches!(level, "ERROR" | "WARN");
        match &mut self.held {
            Some(held) if !matters && held.len() < MAX_HELD => held.extend_from_slice(out.as_bytes()),
            Some(_) => {
                self.release();
                self.write(out.as_bytes());
            }
            None => self.write(out.as_bytes()),
        }
    }

    fn write(&mut self, lines: &[u8]) {
        self.pending.extend_from_slice(lines);
        if self.pending.len() > MAX_PENDING {
            self.flush();
        }
    }

    /// Writes what came since the last time. Never waits: a terminal that was stopped must not stop the mail.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let stderr = io::stderr();
        for piece in pieces(&self.pending) {
            let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
            let room = matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1));
            if !room || stderr.lock().write_all(piece).is_err() {
                break;
            }
        }
        self.pending.clear();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Whole lines, as many at once as a pipe with room takes without waiting; a longer line is a piece of its own.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = |octet: &u8| *octet == b'\n';
        let fits = lines.get(..libc::PIPE_BUF).unwrap_or(lines).iter().rposition(end);
        let length = fits.or_else(|| lines.iter().position(end)).map_or(lines.len(), |last| last + 1);
        let (piece, rest) = lines.split_at_checked(length)?;
        lines = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A line that is being written.
struct Line<'a> {
    source: Source<'a>,
    level: &'a str,
    message: &'a str,
}

impl Line<'_> {
    fn write_text<'a>(&'a self, fields: impl Iterator<Item = &'a str>, out: &mut String) {
        let _ = write!(out, "{} {}", timestamp(), self.source.name);
        if let Some(account) = self.source.account {
            let _ = write!(out, "/{account}");
        }
        let _ = write!(out, "[{}]", self.source.pid);
        for part in [self.level, self.message].into_iter().chain(fields) {
            out.push(' ');
            escape_text(part, out);
        }
        out.push('\n');
    }

    fn write_json<'a>(&self, fields: impl Iterator<Item = &'a str>, out: &mut String) {
        let Source { name, pid, account } = self.source;
        let _ = write!(out, r#"{{"time":"{}","process":"{name}","pid":{pid}"#, timestamp());
        if let Some(account) = account {
            let _ = write!(out, r#","account":{account}"#);
        }
        for (key, value) in [("level", self.level), ("text", self.message)] {
            let _ = write!(out, r#","{key}":"#);
            json_string(value, out);
        }
        let mut opening = r#","fields":{"#;
        for field in fields {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            out.push_str(opening);
            json_string(key, out);
            out.push(':');
            json_string(value, out);
            opening = ",";
        }
        out.push_str(if opening == "," { "}}\n" } else { "}\n" });
    }
}

/// UTC, RFC 3339, milliseconds.
fn timestamp() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let days = now.as_secs() / 86_400;
    let (hour, minute, second) = (now.as_secs() / 3600 % 24, now.as_secs() / 60 % 60, now.as_secs() % 60);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", now.subsec_millis())
}

/// Days since 1970-01-01 as a date of the Gregorian calendar, counted in eras of 400 years that start in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// What a worker said, as one line for people.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::new();
    escape_text(text.trim(), &mut out);
    out
}

/// Controls and bidirectional overrides become escapes.
fn escape_text(text: &str, out: &mut String) {
    for c in text.chars().take(MAX_LOG_LINE) {
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
}

fn json_string(text: &str, out: &mut String) {
    out.push('"');
    escape_json(text, out);
    out.push('"');
}

fn escape_json(text: &str, out: &mut String) {
    for c in text.chars().take(MAX_LOG_LINE) {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in
            [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_780, (2026, 11, 23))]
        {
            assert_eq!(civil(days), date);
        }
    }

    /// Attack class 33: line breaks, terminal escapes and JSON syntax in what a worker logs.
    #[test]
    fn lines_cannot_break_out() {
        let mut text = String::new();
        escape_text("a\r\nb\x1b[31m\u{202e}c", &mut text);
        assert_eq!(text, "a\\u{d}\\u{a}b\\u{1b}[31m\\u{202e}c");
        let mut json = String::new();
        escape_json("a\"},\\\n\u{7f}", &mut json);
        assert_eq!(json, "a\\\"},\\\\\\u000a\\u007f");
    }

    #[test]
    fn no_piece_is_more_than_a_pipe_with_room_takes_but_for_a_longer_line() {
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        for (lines, expected) in [
            (vec![], vec![]),
            (vec![10, 20], vec![30]),
            (vec![libc::PIPE_BUF, 10], vec![libc::PIPE_BUF, 10]),
            (vec![4000, 90, 7, 4096], vec![4090, 7, 4096]),
            (vec![10, 9000, 10], vec![10, 9000, 10]),
        ] {
            let all: Vec<u8> = lines.iter().copied().flat_map(line).collect();
            assert_eq!(pieces(&all).map(<[u8]>::len).collect::<Vec<_>>(), expected, "{lines:?}");
            assert_eq!(pieces(&all).collect::<Vec<_>>().concat(), all, "{lines:?}");
        }
    }

    /// Attack class 33: a worker's fields stay in its fields, whatever they are called.
    #[test]
    fn fields_are_members_of_one_object() {
        let line = Line {
            source: Source { name: "mox-smtpd", pid: 7, account: None },
            level: "INFO",
            message: "message accepted",
        };
        let mut out = String::new();
        line.write_json(["mail=0f", "process=moxd", "helo=a=\"b\"\n", "odd"].into_iter(), &mut out);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["process"], "mox-smtpd");
        assert_eq!(value["text"], "message accepted");
        assert_eq!(
            value["fields"],
            serde_json::json!({"mail": "0f", "process": "moxd", "helo": "a=\"b\"\n", "odd": ""})
        );
        assert_eq!(out.matches('\n').count(), 1);

        let mut out = String::new();
        line.write_text(["mail=0f"].into_iter(), &mut out);
        assert!(out.ends_with(" mox-smtpd[7] INFO message accepted mail=0f\n"), "{out}");
    }
}
