//! Messages as people send them: a header, lines of text, no two alike.

use std::fmt::Write as _;

/// A size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) usize);

impl std::fmt::Display for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{} KB", self.0 / 1024))
    }
}

/// Message number `number`, ready for DATA but for its final dot: no line begins with one.
pub(crate) fn text(number: usize, size: Octets) -> String {
    let mut text = String::with_capacity(size.0 + 128);
    let _ = write!(
        text,
        "From: Ada Example <ada@example.org>\r\nTo: mox@localhost\r\nSubject: Figures, part {number}\r\n\
         Message-ID: <{number}.bench@example.org>\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    );
    let mut line = 0_usize;
    while text.len() < size.0 {
        let left = size.0 - text.len();
        let words =
            format!("Line {line} of {number}: the quick brown fox jumps over the lazy dog, and on it goes.");
        // The last line fills up what is left, its end included.
        text.push_str(words.get(..left.saturating_sub(2)).unwrap_or(&words));
        text.push_str("\r\n");
        line += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_size_that_is_asked_for_and_need_no_dots_stuffed() {
        for size in [1024, 2048, 50 * 1024] {
            let text = text(7, Octets(size));
            assert!(text.len().abs_diff(size) <= 2, "{} for {size}", text.len());
            assert!(text.ends_with("\r\n") && text.split("\r\n").all(|line| !line.starts_with('.')));
        }
    }
}
