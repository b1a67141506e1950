//! What the client is told.

use std::borrow::Cow;

/// One reply: a code (RFC 5321 §4.2), an enhanced code (RFC 2034, RFC 3463) and a text of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: &'static str,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply. `enhanced` is empty for the few replies that have none. Nothing of the client's goes into `text`.
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced, text: text.into() }
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether it says yes: 2xx or 3xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// Puts it behind what `out` holds.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_line(' ', out);
    }

    /// As a line of a reply that goes on.
    pub(crate) fn write_line(&self, separator: char, out: &mut Vec<u8>) {
        use std::io::Write;

        let space = if self.enhanced.is_empty() { "" } else { " " };
        // A Vec takes whatever is written.
        let _ = write!(out, "{:03}{separator}{}{space}{}\r\n", self.code, self.enhanced, self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line() {
        let mut out = Vec::new();
        Reply::new(550, "5.1.1", "no such mailbox").write_to(&mut out);
        Reply::new(354, "", "go on").write_to(&mut out);
        assert_eq!(out, b"550 5.1.1 no such mailbox\r\n354 go on\r\n");
    }
}
