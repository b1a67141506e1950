//! A search without regard to case, across the borders of pieces.

use memchr::memchr3;

/// Looks for a text without regard to case in text that comes in pieces. The empty text is found at once.
///
/// Knuth, Morris and Pratt's automaton over characters in lower case: its state is one number, so pieces may be cut
/// anywhere, and no text makes it slower than one look at each character or two.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// What is looked for, folded.
    needle: Vec<char>,
    /// For each length matched: the next shorter prefix of the needle that is also its end.
    shorter: Vec<usize>,
    /// The octets that a character may start with which folds to the first one, if that is ASCII: text up to one of
    /// them is passed over quickly.
    first: Option<[u8; 3]>,
    matched: usize,
    found: bool,
}

impl Matcher {
    /// Looks for `needle`.
    #[must_use]
    pub fn new(needle: &str) -> Self {
        let needle: Vec<char> = needle.chars().flat_map(folded).collect();
        let first = match needle.first().copied().map(u8::try_from) {
            Some(Ok(lower)) if lower.is_ascii() => {
                let other = match lower {
                    b'k' => 0xe2, // the Kelvin sign folds to k
                    b'i' => 0xc4, // a dotted capital I folds to i and a dot
                    lower => lower,
                };
                Some([lower, lower.to_ascii_uppercase(), other])
            }
            Some(_) | None => None,
        };
        let shorter = shorter_prefixes(&needle);
        Self { found: needle.is_empty(), needle, shorter, first, matched: 0 }
    }

    /// The next piece. True once the needle was seen, and from then on.
    pub fn push(&mut self, piece: &str) -> bool {
        let mut rest = piece;
        while !self.found {
            if self.matched == 0
                && let Some([lower, upper, other]) = self.first
            {
                let Some(at) = memchr3(lower, upper, other, rest.as_bytes()) else { break };
                rest = rest.get(at..).unwrap_or_default();
            }
            let mut chars = rest.chars();
            let Some(c) = chars.next() else { break };
            rest = chars.as_str();
            if c.is_ascii() {
                self.step(c.to_ascii_lowercase());
            } else {
                folded(c).for_each(|c| self.step(c));
            }
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

/// In lower case, character by character; the two small sigmas are one.
fn folded(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c })
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
        fn found_is_what_contains_says(needle in "[abAB]{0,4}", pieces in proptest::collection::vec("[abAB]{0,6}", 0..6)) {
            let mut matcher = Matcher::new(&needle);
            for piece in &pieces {
                matcher.push(piece);
            }
            let text = pieces.concat().to_lowercase();
            prop_assert_eq!(matcher.found(), text.contains(&needle.to_lowercase()));
        }
    }
}
