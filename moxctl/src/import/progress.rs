//! How far an import is, on one line of a terminal: never where nobody looks.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::output::{Output, printable};

/// Between two looks at the line.
const EVERY: Duration = Duration::from_millis(250);

/// The longest name that is shown, characters.
const NAME: usize = 30;

/// The line.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    since: Instant,
    last: Option<Instant>,
    mailbox: String,
    messages: u64,
    octets: u64,
    expected_messages: u64,
    expected_octets: u64,
}

impl Progress {
    pub(super) fn new(output: &Output) -> Self {
        Self {
            shown: !output.is_json() && io::stderr().is_terminal(),
            since: Instant::now(),
            last: None,
            mailbox: String::new(),
            messages: 0,
            octets: 0,
            expected_messages: 0,
            expected_octets: 0,
        }
    }

    /// More will come: messages, or octets where messages are not known.
    pub(super) fn expect(&mut self, messages: u64, octets: u64) {
        self.expected_messages = self.expected_messages.saturating_add(messages);
        self.expected_octets = self.expected_octets.saturating_add(octets);
    }

    /// What is expected is told anew, on top of what came.
    pub(super) fn start_over(&mut self) {
        (self.expected_messages, self.expected_octets) = (self.messages, self.octets);
    }

    pub(super) fn mailbox(&mut self, name: &str) {
        self.mailbox = printable(name).chars().take(NAME).collect();
    }

    pub(super) fn messages(&mut self, more: u64) {
        self.messages = self.messages.saturating_add(more);
        self.show();
    }

    pub(super) fn octets(&mut self, more: usize) {
        self.octets = self.octets.saturating_add(more as u64);
    }

    fn show(&mut self) {
        let due = self.last.is_none_or(|last| last.elapsed() >= EVERY);
        if self.shown && due {
            self.last = Some(Instant::now());
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K{}", self.line(self.since.elapsed()));
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let rate = self.messages as f64 / seconds;
        let done = if self.expected_messages > 0 {
            self.messages as f64 / self.expected_messages as f64
        } else if self.expected_octets > 0 {
            self.octets as f64 / self.expected_octets as f64
        } else {
            0.0
        }
        .min(1.0);
        let bar: String =
            (0..20).map(|place| if f64::from(place) < done * 20.0 { '#' } else { '.' }).collect();
        let left = if done > 0.0 { clock(seconds / done - seconds) } else { "?".to_owned() };
        format!(
            "[{bar}] {:3.0} % {}: {} messages, {rate:.0} a second, {left} left",
            done * 100.0,
            self.mailbox,
            self.messages
        )
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        if self.shown && self.last.is_some() {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}

/// Minutes and seconds, or hours before them.
fn clock(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |left| left.as_secs());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rate_and_time_left() {
        let mut progress = Progress::new(&Output::new(true));
        progress.expect(200_000, 0);
        progress.mailbox("Lists/rust");
        progress.messages(50_000);
        assert_eq!(
            progress.line(Duration::from_secs(10)),
            "[#####...............]  25 % Lists/rust: 50000 messages, 5000 a second, 0:30 left"
        );
        let mut of_octets = Progress::new(&Output::new(true));
        assert!(of_octets.line(Duration::ZERO).ends_with("? left"));
        of_octets.expect(0, 1000);
        of_octets.octets(1);
        assert!(of_octets.line(Duration::from_secs(8)).ends_with("2:13:12 left"));
    }
}
