//! What moxctl prints: for people, or as JSON; never a control character that came from elsewhere.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::{failure::Failure, table::Table};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

/// The JSON of a command that has nothing to tell but that it is done.
#[derive(Serialize)]
struct Done {
    done: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `value`, or for people what `text` makes of it.
    pub(crate) fn show<T: Serialize, S: fmt::Display>(&self, value: &T, text: impl FnOnce(&T) -> S) {
        self.show_to(&mut io::stdout().lock(), value, text);
    }

    /// The same to another place than stdout.
    pub(crate) fn show_to<T: Serialize, S: fmt::Display>(
        &self,
        to: &mut dyn Write,
        value: &T,
        text: impl FnOnce(&T) -> S,
    ) {
        // Whoever closed our stdout does not want to read on; that is no failure of the command.
        let _ = if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(json) => writeln!(to, "{json}"),
                Err(error) => writeln!(to, "{error}"),
            }
        } else {
            write!(to, "{}", text(value))
        };
        let _ = to.flush();
    }

    /// Says what went wrong, on stderr: what a command found before stays alone on stdout.
    pub(crate) fn fail(&self, failure: &Failure) {
        let Some(line) = failure.line() else { return };
        if !self.json {
            return complain(&line);
        }
        let error = Wrong { code: failure.exit_code(), kind: failure.kind(), message: &line };
        if let Ok(json) = serde_json::to_string(&Failed { error }) {
            let _ = writeln!(io::stderr().lock(), "{json}");
        }
    }

    /// Prints that it is done.
    pub(crate) fn done(&self, line: &str) {
        self.show(&Done { done: true }, |_| format!("{}\n", printable(line)));
    }

    /// Prints a list: as a table, or as an array of objects.
    pub(crate) fn list<T: Serialize>(&self, entries: &[T], table: impl FnOnce(&[T]) -> Table) {
        self.show(&entries, |entries| table(entries));
    }
}

/// What went wrong, as JSON.
#[derive(Serialize)]
struct Failed<'a> {
    error: Wrong<'a>,
}

#[derive(Serialize)]
struct Wrong<'a> {
    code: u8,
    kind: &'static str,
    message: &'a str,
}

/// One line on stderr.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "moxctl: {}", printable(line));
}

/// Text of another process, safe for a terminal: control characters, and those that turn the direction of writing, are
/// shown as escapes.
pub(crate) fn printable(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if c.is_control() || turns(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack class 33: escapes of a terminal that a captured process put into a line.
    #[test]
    fn nothing_that_moves_the_cursor_is_printed() {
        for (text, shown) in [
            ("plain – jürgen@example.org", "plain – jürgen@example.org"),
            ("a\r\nb", "a\\r\\nb"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("fdp\u{202e}cod.exe", "fdp\\u{202e}cod.exe"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn json_is_an_array_of_objects_or_done() {
        #[derive(Serialize)]
        struct Entry {
            name: &'static str,
        }
        let mut text = Vec::new();
        Output::new(true).show_to(&mut text, &[Entry { name: "a" }], |_| String::new());
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value, serde_json::json!([{ "name": "a" }]));
    }
}
