//! The wildcards of LIST and LSUB (RFC 3501 §6.3.8).

use store_lib::SEPARATOR;

/// A pattern longer than any mailbox name, wildcards apart, matches none.
const LITERAL_LIMIT: usize = 255;

/// Reference and pattern together.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// `%`: anything within one level.
    Level,
    /// `*`: anything.
    Any,
}

impl Pattern {
    pub(crate) fn new(reference: &str, pattern: &str) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        for character in reference.chars().chain(pattern.chars()) {
            let piece = match character {
                '*' => Piece::Any,
                '%' => Piece::Level,
                character => Piece::Char(character),
            };
            // A run of wildcards is the widest of them: so a pattern is at most twice as long as a name.
            match (pieces.last_mut(), piece) {
                (Some(Piece::Any), Piece::Any | Piece::Level) | (Some(Piece::Level), Piece::Level) => (),
                (Some(last @ Piece::Level), Piece::Any) => *last = Piece::Any,
                (Some(_) | None, piece) => pieces.push(piece),
            }
            if pieces.len() > 2 * LITERAL_LIMIT + 1 {
                // More characters than a name can have.
                return Self(vec![Piece::Char('\0')]);
            }
        }
        Self(pieces)
    }

    /// Whether `name` matches; its first level INBOX in any case (RFC 3501 §5.1).
    pub(crate) fn matches(&self, name: &str) -> bool {
        let folded = match name.split(SEPARATOR).next() {
            Some("INBOX") => "INBOX".len(),
            Some(_) | None => 0,
        };
        // `reached[i]`: the characters so far match the first i pieces. Work is bounded by their product.
        let mut reached = vec![false; self.0.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        self.skip_wildcards(&mut reached);
        for (index, character) in name.chars().enumerate() {
            let mut next = vec![false; self.0.len() + 1];
            for (at, piece) in self.0.iter().enumerate() {
                if !reached.get(at).copied().unwrap_or(false) {
                    continue;
                }
                let (stays, moves) = match piece {
                    Piece::Any => (true, false),
                    Piece::Level => (character != SEPARATOR, false),
                    Piece::Char(wanted) if index < folded => (false, wanted.eq_ignore_ascii_case(&character)),
                    Piece::Char(wanted) => (false, *wanted == character),
                };
                for (place, holds) in [(at, stays), (at + 1, moves)] {
                    if let Some(slot) = next.get_mut(place) {
                        *slot |= holds;
                    }
                }
            }
            self.skip_wildcards(&mut next);
            reached = next;
        }
        reached.last().copied().unwrap_or(false)
    }

    /// A wildcard also matches nothing.
    fn skip_wildcards(&self, reached: &mut [bool]) {
        for (at, piece) in self.0.iter().enumerate() {
            let here = reached.get(at).copied().unwrap_or(false);
            if let (true, Piece::Any | Piece::Level, Some(next)) = (here, piece, reached.get_mut(at + 1)) {
                *next = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_the_rfc_says() {
        for (reference, pattern, name, matches) in [
            ("", "*", "a/b/c", true),
            ("", "%", "a", true),
            ("", "%", "a/b", false),
            ("", "a/%", "a/b", true),
            ("", "a/%", "a/b/c", false),
            ("", "%/%", "a/b", true),
            ("", "a*c", "a/b/c", true),
            ("", "a%c", "abc", true),
            ("", "a%c", "a/c", false),
            ("a/", "b", "a/b", true),
            ("", "inbox", "INBOX", true),
            ("", "InBox/x", "INBOX/x", true),
            ("", "InBox/X", "INBOX/x", false),
            ("", "iNB*", "INBOX", true),
            ("", "sent", "Sent", false),
            ("", "inbox", "INBOXES", false),
            ("", "日%", "日本", true),
            ("", "", "a", false),
            ("", "%*", "a/b", true),
            ("", "*%", "a/b", true),
        ] {
            assert_eq!(
                Pattern::new(reference, pattern).matches(name),
                matches,
                "{reference}{pattern} {name}"
            );
        }
    }

    /// Attack class 8: a pattern made to backtrack costs a bounded number of steps.
    #[test]
    fn hostile_patterns_are_linear() {
        let name = "a/".repeat(127) + "b";
        let hostile = Pattern::new("", &("%*a".repeat(255) + "c"));
        assert!(!hostile.matches(&name));
        assert!(Pattern::new("", &"*%".repeat(8000)).matches(&name));
        assert!(!Pattern::new("", &"a".repeat(16_000)).matches(&name));
    }
}
