//! Three characters in a row, as a number: what the index knows of a text.
//!
//! Characters are compared as SEARCH compares them ([`folded`]), one by one, so that wherever a text is found all its
//! trigrams are. Two trigrams may have one number: then the index narrows a little less.

use mail_lib::text::folded;

/// Numbers are below this one.
pub(super) const END: u32 = 1 << 22;

/// So many trigrams of a text that is looked for are looked up.
const MOST_OF_A_NEEDLE: usize = 12;

/// Where a text stands. Trigrams of the two are kept apart: those of From and Subject are in every body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The message's own header.
    Header,
    /// All else.
    Body,
}

/// The trigrams of one text after the other.
#[derive(Debug)]
pub(super) struct Trigrams {
    scope: u32,
    /// The two characters before, the last one in the lower 21 bits.
    before: u64,
    /// How many characters of the text were seen, up to two.
    seen: u8,
}

impl Trigrams {
    pub(super) fn new(scope: Scope) -> Self {
        let scope = match scope {
            Scope::Header => 0,
            Scope::Body => END / 2,
        };
        Self { scope, before: 0, seen: 0 }
    }

    /// Another text begins.
    pub(super) fn restart(&mut self) {
        self.seen = 0;
    }

    /// The text goes on; `each` gets the number of each trigram that ends in this piece.
    pub(super) fn push(&mut self, text: &str, each: &mut impl FnMut(u32)) {
        for c in text.chars() {
            folded(c, |c| self.step(c, each));
        }
    }

    fn step(&mut self, c: char, each: &mut impl FnMut(u32)) {
        let three = (self.before << 21) | u64::from(u32::from(c));
        self.before = three & ((1 << 42) - 1);
        if self.seen < 2 {
            self.seen += 1;
        } else {
            each(self.scope | number(three));
        }
    }
}

/// 21 bits of three characters of 21 bits: themselves for ASCII, which so lie close together, a hash otherwise.
fn number(three: u64) -> u32 {
    const OTHER: u64 = 0x1f_ff80 << 42 | 0x1f_ff80 << 21 | 0x1f_ff80;
    let short = if three & OTHER == 0 {
        (three >> 28 | three >> 14 | three) & 0x1f_ffff
    } else {
        three.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 43
    };
    u32::try_from(short).unwrap_or_default()
}

/// Numbers that every text has that holds `needle`; none where that is too short. Spread over it where it is long.
pub(super) fn of_needle(scope: Scope, needle: &str) -> Vec<u32> {
    let mut all = Vec::new();
    Trigrams::new(scope).push(needle, &mut |number| all.push(number));
    let step = all.len().div_ceil(MOST_OF_A_NEEDLE).max(1);
    let mut some: Vec<u32> = all.iter().step_by(step).chain(all.last()).copied().collect();
    some.sort_unstable();
    some.dedup();
    some
}

#[cfg(test)]
mod tests {
    use mail_lib::text::Matcher;
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<u32> {
        let mut numbers = Vec::new();
        Trigrams::new(Scope::Body).push(text, &mut |number| numbers.push(number));
        numbers
    }

    #[test]
    fn ascii_trigrams_are_themselves() {
        let number = |text: &str| all(text)[0] - END / 2;
        assert_eq!(number("\0\0\u{1}"), 1);
        assert_eq!(number("\0\u{1}\0"), 1 << 7);
        assert_eq!(number("\u{1}\0\0"), 1 << 14);
        assert_eq!(number("AbC"), number("aBc"));
        assert!(all("ab").is_empty() && all("abcd").len() == 2);
        assert!(all("grün\u{10ffff}日本語").iter().all(|number| (END / 2..END).contains(number)));
    }

    proptest! {
        /// The promise that everything rests on.
        #[test]
        fn where_a_text_is_found_its_trigrams_are(
            text in "[aKkıİiſsςσΣßẞÅ\u{212a}\u{307}\u{0}ǅ ]{0,30}",
            needle in "[aKkıİiſsςσΣßẞÅ\u{212a}\u{307}\u{0}ǅ ]{0,6}",
            cut in any::<prop::sample::Index>(),
        ) {
            let mut matcher = Matcher::new(&needle);
            if matcher.push(&text) {
                let mut numbers = Vec::new();
                let mut trigrams = Trigrams::new(Scope::Body);
                let chars: Vec<char> = text.chars().collect();
                let (left, right) = chars.split_at(cut.index(chars.len() + 1));
                for piece in [left, right] {
                    trigrams.push(&piece.iter().collect::<String>(), &mut |number| numbers.push(number));
                }
                prop_assert!(of_needle(Scope::Body, &needle).iter().all(|number| numbers.contains(number)));
            }
        }

        #[test]
        fn of_long_texts_a_few_are_looked_up(needle in "[a-z]{0,200}") {
            let (some, all) = (of_needle(Scope::Body, &needle), all(&needle));
            prop_assert!(some.len() <= MOST_OF_A_NEEDLE + 1 && some.iter().all(|number| all.contains(number)));
            prop_assert_eq!(some.is_empty(), needle.len() < 3);
        }
    }
}
