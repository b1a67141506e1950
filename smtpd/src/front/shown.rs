//! What clients wrote, for the log.

use std::fmt::{self, Display, Write};

/// The most of it that a log line shows, characters.
const CUT: usize = 200;

/// Shows a client's text: controls, quotes, backslashes and all outside ASCII escaped, so that no text can look like
/// another line, field or colour; cut where it is long.
pub(crate) struct Shown<T>(pub(crate) T);

struct Escaping<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            for shown in character.escape_default() {
                if self.left == 0 {
                    return Ok(());
                }
                self.left -= 1;
                self.to.write_char(shown)?;
            }
        }
        Ok(())
    }
}

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { to: f, left: CUT }, "{}", self.0)
    }
}

impl<T: Display> fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack class 33: nothing a client writes can break out of its place in the log.
    #[test]
    fn hostile_text_is_escaped_and_cut() {
        for (text, shown) in [
            ("a@b.org", "a@b.org"),
            ("a\r\nlevel=ERROR", r"a\r\nlevel=ERROR"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("\"},{\"x\":\"", r#"\"},{\"x\":\""#),
            ("ü\u{202e}", r"\u{fc}\u{202e}"),
            ("\u{2028}", r"\u{2028}"),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
        assert_eq!(Shown("x".repeat(1_000_000)).to_string().len(), CUT);
        assert_eq!(Shown("\u{1b}".repeat(1000)).to_string().len(), CUT);
    }
}
