//! Writing an mbox (mboxrd), so that every octet and flag comes back.

use std::io;

use ipc_proto::transfer::MailFlags;
use mail_lib::header::format_date;

use super::fields::{self, Ours};

/// What has to be known of a message before it is written: it is looked at once before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    octets: u64,
    quotes: u64,
    line_ends: u64,
    /// Every CR comes before an LF, every LF behind a CR, and the last line has an end.
    canonical: bool,
    last: u8,
    line: Quotes,
}

/// Where in a line that may have to be quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// At its start, behind nothing but `>`.
    Start,
    /// So many octets of `From ` were there.
    Of(usize),
    /// It is none.
    No,
}

impl Default for Layout {
    fn default() -> Self {
        Self { octets: 0, quotes: 0, line_ends: 0, canonical: true, last: b'\n', line: Quotes::Start }
    }
}

impl Layout {
    /// The next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        for octet in octets {
            self.octets += 1;
            let after_cr = self.last == b'\r';
            self.canonical &= after_cr == (*octet == b'\n');
            self.line_ends += u64::from(after_cr && *octet == b'\n');
            self.line = next_quotes(self.line, *octet);
            self.quotes += u64::from(self.line == Quotes::Of(5));
            self.last = *octet;
        }
    }

    fn ours(&self) -> Ours {
        let canonical = self.canonical && self.last == b'\n' && self.octets > 0;
        let saved = if canonical { self.line_ends } else { 0 };
        Ours { lines_end_in_lf: canonical, octets: self.octets + self.quotes - saved }
    }
}

fn next_quotes(line: Quotes, octet: u8) -> Quotes {
    match (line, octet) {
        (_, b'\n') => Quotes::Start,
        (Quotes::Start, b'>') => Quotes::Start,
        (Quotes::Start, b'F') => Quotes::Of(1),
        (Quotes::Of(so_far), octet) if b"From ".get(so_far) == Some(&octet) => Quotes::Of(so_far + 1),
        (Quotes::Start | Quotes::Of(_) | Quotes::No, _) => Quotes::No,
    }
}

/// Writes one message after the other.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    lines_end_in_lf: bool,
    out: Vec<u8>,
    /// The beginning of a line, which may have to be quoted.
    held: Vec<u8>,
    line: Quotes,
    last: u8,
}

impl<W: io::Write> Writer<W> {
    /// To the end of what is there.
    pub fn new(to: W) -> Self {
        let (out, held) = (Vec::new(), Vec::new());
        Self { to, lines_end_in_lf: false, out, held, line: Quotes::Start, last: b'\n' }
    }

    /// A message that was looked at begins.
    pub fn begin(&mut self, flags: &MailFlags, received: i64, layout: &Layout) -> io::Result<()> {
        let ours = layout.ours();
        let mut lines = format!("From MAILER-DAEMON {}\n", asctime(received)).into_bytes();
        fields::write(flags, ours, &mut lines);
        self.lines_end_in_lf = ours.lines_end_in_lf;
        (self.line, self.last) = (Quotes::Start, b'\n');
        self.to.write_all(&lines)
    }

    /// Its octets, the same as before.
    pub fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        for octet in octets {
            self.line = next_quotes(self.line, *octet);
            match self.line {
                Quotes::Of(5) => {
                    self.out.push(b'>');
                    self.out.append(&mut self.held);
                    self.out.push(*octet);
                    self.line = Quotes::No;
                }
                Quotes::Start | Quotes::Of(_) if *octet != b'\n' => self.held.push(*octet),
                Quotes::Start | Quotes::Of(_) | Quotes::No => {
                    self.out.append(&mut self.held);
                    if *octet != b'\r' || !self.lines_end_in_lf {
                        self.out.push(*octet);
                    }
                }
            }
            self.last = *octet;
        }
        let written = self.to.write_all(&self.out);
        self.out.clear();
        written
    }

    /// It is whole.
    pub fn end(&mut self) -> io::Result<()> {
        self.out.append(&mut self.held);
        if self.last != b'\n' {
            self.out.push(b'\n');
        }
        self.out.push(b'\n');
        let written = self.to.write_all(&self.out);
        self.out.clear();
        written
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.to
    }
}

/// As C's asctime writes it, in UTC.
fn asctime(unix_seconds: i64) -> String {
    let date = format_date(unix_seconds);
    let mut words = date.split_ascii_whitespace();
    let mut word = || words.next().unwrap_or_default();
    let (name, day, month, year, time) = (word(), word(), word(), word(), word());
    format!("{} {month} {day:>2} {time} {year}", name.trim_end_matches(','))
}
