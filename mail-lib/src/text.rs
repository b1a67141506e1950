//! A text part's octets as UTF-8, and a search in them, both in chunks and in constant memory.

mod casemap;
mod entity;
mod html;
mod matcher;
mod transfer;

use encoding_rs::{CoderResult, Encoding as Charset, UTF_8};

pub(crate) use self::transfer::{Base64, hex};
pub use self::{
    casemap::{casemap, map_char as folded},
    html::HtmlText,
    matcher::Matcher,
    transfer::Transfer,
};
use crate::mime::Encoding;

/// Input is worked on in slices of this size, so that a caller's large chunk does not become a large buffer.
const SLICE: usize = 8 * 1024;

/// Undoes transfer encoding and charset of a part that comes in chunks. Tolerant: what is malformed is passed over or
/// replaced by U+FFFD. How the input is cut does not change the text, only the pieces it comes in.
pub struct Decoder {
    transfer: Transfer,
    charset: encoding_rs::Decoder,
    text: String,
}

impl Decoder {
    /// For a part with that encoding and charset (`None`, unknown and us-ascii: UTF-8).
    #[must_use]
    pub fn new(encoding: Encoding, charset: Option<&str>) -> Self {
        Self {
            transfer: Transfer::new(encoding),
            charset: charset_for(charset).new_decoder_with_bom_removal(),
            text: String::with_capacity(SLICE),
        }
    }

    /// Decodes the next octets; `sink` gets the text in pieces.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(&str)) {
        for slice in chunk.chunks(SLICE) {
            to_text(&mut self.charset, self.transfer.decode(slice), false, &mut self.text, sink);
        }
    }

    /// The end: `sink` gets what was held back.
    pub fn finish(mut self, sink: &mut impl FnMut(&str)) {
        to_text(&mut self.charset, self.transfer.finish(), true, &mut self.text, sink);
    }
}

fn to_text(
    charset: &mut encoding_rs::Decoder,
    mut octets: &[u8],
    last: bool,
    text: &mut String,
    sink: &mut impl FnMut(&str),
) {
    loop {
        text.clear();
        let (result, read, _) = charset.decode_to_string(octets, text, last);
        if !text.is_empty() {
            sink(text);
        }
        octets = octets.get(read..).unwrap_or_default();
        match result {
            CoderResult::InputEmpty => return,
            CoderResult::OutputFull => {}
        }
    }
}

/// The charset of that name. ASCII that is not, is UTF-8 more often than the windows-1252 of the web's standard.
pub(crate) fn charset_for(label: Option<&str>) -> &'static Charset {
    match label.map(str::trim) {
        None => UTF_8,
        Some(label) if label.eq_ignore_ascii_case("us-ascii") || label.eq_ignore_ascii_case("ascii") => UTF_8,
        Some(label) => Charset::for_label(label.as_bytes()).unwrap_or(UTF_8),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(encoding: Encoding, charset: Option<&str>, input: &[u8], cuts: usize) -> String {
        let mut decoder = Decoder::new(encoding, charset);
        let mut text = String::new();
        for chunk in input.chunks(cuts.max(1)) {
            decoder.push(chunk, &mut |piece| text.push_str(piece));
        }
        decoder.finish(&mut |piece| text.push_str(piece));
        text
    }

    #[test]
    fn bodies_become_text_whatever_their_encoding_and_charset() {
        for (encoding, charset, input, expected) in [
            (Encoding::SevenBit, None, &b"plain\r\n"[..], "plain\r\n"),
            (Encoding::EightBit, None, "gr\u{fc}n".as_bytes(), "grün"),
            (Encoding::EightBit, Some("iso-8859-1"), b"gr\xfcn", "grün"),
            (Encoding::EightBit, Some("us-ascii"), "grün".as_bytes(), "grün"),
            (Encoding::EightBit, Some("no-such"), b"gr\xfcn", "gr\u{fffd}n"),
            (Encoding::Binary, Some("utf-16le"), b"a\0b\0", "ab"),
            (Encoding::EightBit, Some("iso-2022-jp"), b"\x1b$B$3$s\x1b(B", "こん"),
            (Encoding::Base64, None, b"Z3LDvG4=\r\n", "grün"),
            (Encoding::Base64, None, b"Z3 LD\r\nvG\n4", "grün"),
            (Encoding::Base64, None, b"YQ==YQ==", "aa"),
            (Encoding::Base64, None, b"!!!", ""),
            (Encoding::QuotedPrintable, None, b"gr=C3=BCn =\r\nist", "grün ist"),
            (Encoding::QuotedPrintable, Some("latin1"), b"gr=fcn=  \nx", "grünx"),
            (Encoding::QuotedPrintable, None, b"a \t\r\n b=20 \n c ", "a\r\n b \n c"),
            (Encoding::QuotedPrintable, None, b"a=3", "a=3"),
            (Encoding::QuotedPrintable, None, b"a=ZZ=", "a=ZZ"),
            (Encoding::QuotedPrintable, None, b"a= b==3D", "a=b=="),
            (Encoding::Other, None, b"a=3D", "a=3D"),
        ] {
            for cuts in 1..=input.len() {
                assert_eq!(decode(encoding, charset, input, cuts), expected, "{}", input.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_text(
            input in proptest::collection::vec(prop_oneof![Just(b'='), Just(b'\r'), Just(b'\n'), Just(b' '), Just(b'A'), any::<u8>()], 0..100),
            cuts in 1_usize..20,
            encoding in prop_oneof![Just(Encoding::SevenBit), Just(Encoding::Base64), Just(Encoding::QuotedPrintable)],
            charset in prop_oneof![Just(None), Just(Some("gb18030")), Just(Some("utf-16be")), Just(Some("iso-2022-jp"))],
        ) {
            let whole = decode(encoding, charset, &input, input.len());
            prop_assert_eq!(decode(encoding, charset, &input, cuts), whole);
        }

        #[test]
        fn base64_is_undone(input in "[ -~ü€]{0,200}") {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(&input);
            prop_assert_eq!(decode(Encoding::Base64, Some("utf-8"), encoded.as_bytes(), 7), input);
        }
    }

    #[test]
    fn a_large_chunk_comes_out_in_small_pieces() {
        let input = "ü".repeat(1 << 20);
        let (mut largest, mut total) = (0, 0);
        let mut decoder = Decoder::new(Encoding::EightBit, None);
        decoder.push(input.as_bytes(), &mut |piece| {
            largest = largest.max(piece.len());
            total += piece.len();
        });
        assert_eq!(total, input.len());
        assert!(largest <= 4 * SLICE);
    }
}
