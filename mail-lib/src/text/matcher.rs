//! A search by `i;unicode-casemap` (RFC 5051), across the borders of pieces.

use memchr::memchr2;

use super::casemap::map_char;

/// Looks for a text without regard to case in text that comes in pieces. The empty text is found at once. Accents are
/// characters of their own then, as [`super::casemap()`] has them: `cafe` is in `café`.
///
/// Knuth, Morris and Pratt's automaton over mapped characters: its state is one number, so pieces may be cut
/// anywhere, and no text makes it slower than one look at each character or two.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// What is looked for, mapped.
    needle: Vec<char>,
    /// For each length matched: the next shorter prefix of the needle that is also its end.
    shorter: Vec<usize>,
    /// The ASCII characters that are mapped to the first one: ASCII text up to one of them is passed over quickly.
    first: Option<[u8; 2]>,
    matched: usize,
    found: bool,
}

impl Matcher {
    /// Looks for `needle`.
    #[must_use]
    pub fn new(needle: &str) -> Self {
        let mut mapped = Vec::with_capacity(needle.len());
        for c in needle.chars() {
            map_char(c, |c| mapped.push(c));
        }
        let needle = mapped;
        let first = needle.first().copied().map(|first| match u8::try_from(first) {
            Ok(upper) if upper.is_ascii() => [upper, upper.to_ascii_lowercase()],
            // Nothing in ASCII is mapped to it.
            _ => [b'\0', b'\0'],
        });
        let shorter = shorter_prefixes(&needle);
        Self { found: needle.is_empty(), needle, shorter, first, matched: 0 }
    }

    /// The next piece. True once the needle was seen, and from then on.
    pub fn push(&mut self, piece: &str) -> bool {
        let mut rest = piece;
        // How much of what is left is known to be ASCII.
        let mut ascii = 0;
        while !self.found {
            if self.matched == 0
                && let Some([upper, lower]) = self.first
            {
                if ascii == 0 {
                    ascii = rest.bytes().position(|octet| !octet.is_ascii()).unwrap_or(rest.len());
                }
                let run = rest.get(..ascii).unwrap_or_default();
                let at = memchr2(upper, lower, run.as_bytes()).unwrap_or(run.len());
                rest = rest.get(at..).unwrap_or_default();
                ascii -= at;
            }
            let mut chars = rest.chars();
            let Some(c) = chars.next() else { break };
            rest = chars.as_str();
            ascii = ascii.saturating_sub(1);
            map_char(c, |c| self.step(c));
        }
        self.found
    }

    fn step(&mut self, c: char) {
        loop {
            if self.needle.get(self.matched) == Some(&c) {
                self.matched += 1;
                break;
            }
            if self.matched == 0 {
                break;
            }
            self.matched =
                self.matched.checked_sub(1).and_then(|at| self.shorter.get(at)).copied().unwrap_or(0);
        }
        if self.matched == self.needle.len() {
            self.found = true;
            self.matched = 0;
        }
    }

    /// Whether the needle was seen.
    #[must_use]
    pub fn found(&self) -> bool {
        self.found
    }

    /// Forgets the text seen and whether anything was found, not what is looked for: a match may not span two fields
    /// or parts, and one matcher serves many messages.
    pub fn restart(&mut self) {
        self.matched = 0;
        self.found = self.needle.is_empty();
    }
}

fn shorter_prefixes(needle: &[char]) -> Vec<usize> {
    let mut shorter: Vec<usize> = Vec::with_capacity(needle.len());
    let mut length = 0;
    for (at, c) in needle.iter().enumerate() {
        if at > 0 {
            while length > 0 && needle.get(length) != Some(c) {
                length = shorter.get(length - 1).copied().unwrap_or(0);
            }
            if needle.get(length) == Some(c) {
                length += 1;
            }
        }
        shorter.push(length);
    }
    shorter
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::casemap;

    #[test]
    fn text_is_found_without_regard_to_case_at_every_cut() {
        for (needle, text, expected) in [
            ("", "", true),
            ("lunch", "No LUNCH today", true),
            ("lunch", "lun ch", false),
            ("aab", "aaab", true),
            ("abcabd", "abcabcabd", true),
            ("GRÜN", "die grüne", true),
            ("straße", "STRAßE", true),
            ("Οδυσσευς", "ΟΔΥΣΣΕΥΣ", true),
            ("kelvin", "a \u{212a}elvin", true),
            ("i\u{307}x", "a \u{130}X", true),
            ("ü", "aÜ", true),
            ("ü", "aU\u{308}", true),
            ("cafe", "ein Café", true),
            ("café", "ein Cafe", false),
            ("tel", "℡ 1", true),
            ("文字", "全文字列", true),
            ("x", "", false),
        ] {
            for (cut, _) in text.char_indices().chain([(text.len(), ' ')]) {
                let mut matcher = Matcher::new(needle);
                matcher.push(&text[..cut]);
                assert_eq!(matcher.push(&text[cut..]), expected, "{needle} in {text} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_match_does_not_span_a_restart() {
        let mut matcher = Matcher::new("ab");
        assert!(!matcher.push("a"));
        matcher.restart();
        assert!(!matcher.push("b"));
        assert!(matcher.push("ab") && matcher.push("x"));
        matcher.restart();
        assert!(!matcher.found());
    }

    proptest! {
        #[test]
        fn found_is_what_contains_says(
            needle in "[abABéÉ文]{0,4}", pieces in proptest::collection::vec("[abABéÉ文ﬁ ]{0,6}", 0..6)
        ) {
            let mut matcher = Matcher::new(&needle);
            for piece in &pieces {
                matcher.push(piece);
            }
            let text = casemap(&pieces.concat());
            prop_assert_eq!(matcher.found(), text.contains(&casemap(&needle)));
        }
    }
}
