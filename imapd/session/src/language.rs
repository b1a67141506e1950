//! LANGUAGE (RFC 5255 §3): in which language the texts of answers are. There is one.

use crate::reply::Reply;
use crate::session::Session;

/// English, under its name and under that of the default (RFC 2277 §4.5).
const LANGUAGES: [&str; 2] = ["EN", "I-DEFAULT"];

/// The first of the languages asked for that there is: the language itself, or the one that it is a kind of (RFC 4647
/// §3.4).
fn choose(ranges: &[String]) -> Option<&'static str> {
    ranges.iter().find_map(|range| {
        if range.eq_ignore_ascii_case("default") || range == "*" {
            return Some("I-DEFAULT");
        }
        let mut range = range.as_str();
        loop {
            if let Some(found) = LANGUAGES.into_iter().find(|known| known.eq_ignore_ascii_case(range)) {
                return Some(found);
            }
            (range, _) = range.rsplit_once('-')?;
        }
    })
}

impl Session {
    pub(crate) fn language(&mut self, ranges: &[String]) -> Reply {
        let told = match choose(ranges) {
            Some(language) => language.to_owned(),
            None if ranges.is_empty() => LANGUAGES.join(" "),
            None => return Reply::no("none of these languages is known"),
        };
        self.connection.out.extend_from_slice(format!("* LANGUAGE ({told})\r\n").as_bytes());
        Reply::ok("LANGUAGE completed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_that_is_known_is_chosen() {
        for (ranges, expected) in [
            (&["en"][..], Some("EN")),
            (&["de", "En-GB-x-y"], Some("EN")),
            (&["default"], Some("I-DEFAULT")),
            (&["*"], Some("I-DEFAULT")),
            (&["i-default", "en"], Some("I-DEFAULT")),
            (&["de", "fr-CH"], None),
            (&["eng"], None),
            (&["-"], None),
            (&[], None),
        ] {
            let ranges: Vec<_> = ranges.iter().map(|range| (*range).to_owned()).collect();
            assert_eq!(choose(&ranges), expected, "{ranges:?}");
        }
    }
}
