//! Encoded words (RFC 2047) as text.

use std::borrow::Cow;

use memchr::memchr;

use super::unfold;
use crate::text::{Base64, charset_for};

/// The longest charset name that is looked at; longer is no encoded word.
const MAX_CHARSET: usize = 60;

/// An unstructured value as text: unfolded, encoded words decoded, everything else as UTF-8 (lossy). One pass: the text
/// is at most three times as long as the value, whatever it holds.
#[must_use]
pub fn decode(value: &[u8]) -> String {
    let value = unfold(value);
    let mut text = String::with_capacity(value.len());
    let mut pending = Pending::default();
    let mut rest: &[u8] = &value;
    while let Some(start) = find_start(rest) {
        let (before, from) = rest.split_at(start);
        // White space between two encoded words belongs to neither (§6.2).
        if pending.is_empty() || !before.iter().all(u8::is_ascii_whitespace) {
            pending.flush(&mut text);
            text.push_str(&String::from_utf8_lossy(before));
        }
        match parse_word(from) {
            Some((word, after)) => {
                pending.add(&word, &mut text);
                rest = after;
            }
            None => {
                pending.flush(&mut text);
                text.push_str("=?");
                rest = from.get(2..).unwrap_or_default();
            }
        }
    }
    pending.flush(&mut text);
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

fn find_start(octets: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr(b'=', octets.get(from..)?) {
        if octets.get(from + at + 1) == Some(&b'?') {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Words of one charset side by side are decoded together: many programs cut in the middle of a character.
#[derive(Default)]
struct Pending {
    charset: Vec<u8>,
    octets: Vec<u8>,
    any: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        !self.any
    }

    fn add(&mut self, word: &Word<'_>, text: &mut String) {
        if self.any && !self.charset.eq_ignore_ascii_case(word.charset) {
            self.flush(text);
        }
        if !self.any {
            self.charset = word.charset.to_vec();
            self.any = true;
        }
        word.decode_into(&mut self.octets);
    }

    fn flush(&mut self, text: &mut String) {
        if !self.any {
            return;
        }
        let label = std::str::from_utf8(&self.charset).ok();
        let (decoded, _): (Cow<'_, str>, bool) = charset_for(label).decode_without_bom_handling(&self.octets);
        text.extend(decoded.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')));
        self.octets.clear();
        self.any = false;
    }
}

struct Word<'a> {
    charset: &'a [u8],
    base64: bool,
    encoded: &'a [u8],
}

impl Word<'_> {
    fn decode_into(&self, octets: &mut Vec<u8>) {
        if self.base64 {
            Base64::default().decode(self.encoded, octets);
            return;
        }
        let mut rest = self.encoded;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match (first, after) {
                (b'_', _) => octets.push(b' '),
                (b'=', [high, low, tail @ ..]) if let Some(octet) = crate::text::hex(*high, *low) => {
                    octets.push(octet);
                    rest = tail;
                }
                (octet, _) => octets.push(*octet),
            }
        }
    }
}

/// `=?charset[*language]?B-or-Q?text?=`; what follows it comes back too. The text has no `?`, so that a storm of
/// beginnings without an end costs one look at each octet.
fn parse_word(from: &[u8]) -> Option<(Word<'_>, &[u8])> {
    let rest = from.strip_prefix(b"=?")?;
    let end = memchr(b'?', rest.get(..MAX_CHARSET.min(rest.len()))?)?;
    let (charset, rest) = rest.split_at(end);
    let charset = charset.split(|octet| *octet == b'*').next().unwrap_or_default(); // language: RFC 2231 §5
    let (base64, rest) = match rest {
        [b'?', b'B' | b'b', b'?', rest @ ..] => (true, rest),
        [b'?', b'Q' | b'q', b'?', rest @ ..] => (false, rest),
        _ => return None,
    };
    let (encoded, rest) = rest.split_at(memchr(b'?', rest)?);
    Some((Word { charset, base64, encoded }, rest.strip_prefix(b"?=")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encoded_words_become_text() {
        for (value, expected) in [
            // RFC 2047 §8.
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo"),
            ("=?US-ASCII*EN?Q?Keith_Moore?= <m@x>", "Keith Moore <m@x>"),
            ("=?utf-8?q?gr=C3=BC=C3=9Fe?=", "grüße"),
            // A character cut in two.
            ("=?utf-8?q?gr=C3?= =?UTF-8?b?vMOfZQ==?=", "grüße"),
            ("=?iso-2022-jp?B?GyRCJDMkcxsoQg==?=", "こん"),
            // Not encoded words.
            ("=?utf-8?q?open", "=?utf-8?q?open"),
            ("=?utf-8?x?a?= b", "=?utf-8?x?a?= b"),
            ("a =? b", "a =? b"),
            ("grüße", "grüße"),
            ("=?no-such-charset?q?a=C3=BC?=", "aü"),
            ("=?utf-8?q?a=0D=0AB:=00?=", "aB:"),
        ] {
            assert_eq!(decode(value.as_bytes()), expected, "{value}");
        }
    }

    /// Attack class 10: encoded-word storms.
    #[test]
    fn encoded_word_storms_stay_within_three_times_their_size() {
        for storm in
            ["=?", "=?a?q?", "=?utf-8?q??=", "=?utf-8?b?//8=?=", "=?x?q?=ff?= =?y?q?=ff?= ", "=?a?b?=?="]
        {
            let value = storm.repeat(200_000);
            assert!(decode(value.as_bytes()).len() <= 3 * value.len(), "{storm}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_decode(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(decode(&value).len() <= 3 * value.len());
        }
    }
}
