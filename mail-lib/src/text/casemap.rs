//! The comparator `i;unicode-casemap` (RFC 5051): two texts are equal when they are the same once mapped, one is in
//! another when its mapped text is, and their order is that of the mapped octets.
//!
//! Each character is mapped by itself: to title case, then decomposed. So a text can be mapped in pieces cut anywhere.
//! Of Hangul syllables, whose parts Unicode computes and does not list, nothing is taken apart.

use icu_normalizer::DecomposingNormalizerBorrowed;

/// A text as `i;unicode-casemap` compares it.
#[must_use]
pub fn casemap(text: &str) -> String {
    let mut mapped = String::with_capacity(text.len());
    for c in text.chars() {
        map_char(c, |c| mapped.push(c));
    }
    mapped
}

/// Gives `each` what one character is mapped to.
pub fn map_char(c: char, mut each: impl FnMut(char)) {
    if c.is_ascii() {
        return each(c.to_ascii_uppercase());
    }
    let c = title(c);
    if !decomposes(c) {
        return each(c);
    }
    DecomposingNormalizerBorrowed::new_nfkd().normalize_iter(std::iter::once(c)).for_each(each);
}

/// Whether it may: most text beyond ASCII is in one of these blocks without decompositions.
fn decomposes(c: char) -> bool {
    !matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{3041}'..='\u{304a}')
}

/// The simple mapping to title case.
fn title(c: char) -> char {
    match c {
        // Digraphs, which have a title case of their own.
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        // Georgian has capitals, but no title case.
        '\u{10d0}'..='\u{10ff}' => c,
        // With an iota below; in upper case that becomes a letter.
        '\u{1fb3}' => '\u{1fbc}',
        '\u{1fc3}' => '\u{1fcc}',
        '\u{1ff3}' => '\u{1ffc}',
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(c) + 8).unwrap_or(c)
        }
        c => {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(upper), None) => upper,
                // What becomes several letters has no simple mapping.
                _ => c,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_equal_without_case_and_composition() {
        for (one, other) in [
            ("lunch", "LUNCH"),
            ("grün", "GRU\u{308}N"),
            ("Ünïcödé", "u\u{308}ni\u{308}co\u{308}de\u{301}"),
            ("\u{1c6}", "\u{1c4}"),
            ("Οδυσσευς", "ΟΔΥΣΣΕΥΣ"),
            ("ᾳ", "ᾼ"),
            ("ｆｕｌｌ", "full"),
            ("привет", "ПРИВЕТ"),
            ("\u{212a}elvin", "kelvin"),
            ("①", "1"),
        ] {
            assert_eq!(casemap(one), casemap(other), "{one} {other}");
        }
        for (one, other) in [("ß", "ss"), ("a", "á"), ("가", "각"), ("ა", "Ა")] {
            assert_ne!(casemap(one), casemap(other), "{one} {other}");
        }
    }

    /// RFC 5051 §2: U+01C4 has the title case U+01C5, whose decompositions end in these three.
    #[test]
    fn the_example_of_the_rfc_is_mapped_as_it_says() {
        assert_eq!(casemap("\u{1c4}"), "Dz\u{30c}");
    }

    proptest! {
        #[test]
        fn mapping_twice_changes_nothing_but_small_letters_of_compositions(text in "\\PC{0,20}") {
            // A ligature decomposes to small letters, which a second mapping would raise: everything else is stable.
            let once = casemap(&text);
            prop_assert_eq!(casemap(&casemap(&once)), casemap(&once));
        }

        #[test]
        fn pieces_are_mapped_alike(one in "\\PC{0,10}", other in "\\PC{0,10}") {
            prop_assert_eq!(casemap(&format!("{one}{other}")), casemap(&one) + &casemap(&other));
        }
    }
}
