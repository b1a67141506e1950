//! Mail of the kinds and sizes that people have: a few words again and again, many words rarely, now and then an
//! attachment. The same number gives the same message, everywhere.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Words there are, as a power of two.
const WORDS: u64 = 15;

/// One message in so many has a word of its own kind, to be looked for.
pub(crate) const RARE: usize = 500;

/// What those have in their text, and in the subject.
pub(crate) const RARE_WORD: &str = "quittungsblock";
pub(crate) const RARE_SUBJECT: &str = "umzugskarton";

const SYLLABLES: [&str; 40] = [
    "an", "be", "ca", "de", "er", "fo", "ga", "he", "in", "ja", "ko", "la", "mi", "no", "or", "pe", "qua",
    "re", "sta", "tion", "un", "ver", "wo", "xi", "yo", "za", "ing", "ment", "al", "ly", "ou", "th", "st",
    "ent", "pro", "com", "tra", "es", "um", "ck",
];

/// Small, fast and always the same (Vigna's splitmix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Low numbers often, high ones rarely: about as words in texts.
    fn rank(&mut self) -> u64 {
        let scale = self.below(WORDS + 1);
        self.below(1 << scale)
    }
}

fn word(rank: u64, text: &mut String) {
    let mut random = Random(rank);
    let longer = u64::from(rank.checked_ilog10().unwrap_or(0) / 2);
    for _ in 0..1 + longer + random.below(3) {
        let at = usize::try_from(random.below(SYLLABLES.len() as u64)).unwrap_or(0);
        text.push_str(SYLLABLES.get(at).copied().unwrap_or_default());
    }
}

fn words(random: &mut Random, size: usize) -> String {
    let (mut text, mut line) = (String::with_capacity(size + 80), 0);
    while text.len() < size {
        word(random.rank(), &mut text);
        if text.len() - line > 70 {
            text.push_str("\r\n");
            line = text.len();
        } else {
            text.push(' ');
        }
    }
    text
}

/// Message number `number`, ready for DATA but for its final dot: no line begins with one.
pub(crate) fn message(number: usize) -> String {
    let mut random = Random(number as u64 ^ 0x6d6f_7864);
    let sender = random.below(300);
    let mut subject = words(&mut random, 20 + number % 30).replace("\r\n", " ");
    if number % RARE == 7 {
        subject.push_str(RARE_SUBJECT);
    }
    // From a line to some pages, most of them short.
    let size = 300 << random.below(5);
    let mut text = words(&mut random, usize::try_from(size).unwrap_or(300));
    if number % RARE == 11 {
        let _ = write!(text, "\r\n{RARE_WORD}\r\n");
    }
    let mut mail = format!(
        "From: Sender {sender} <sender{sender}@example.org>\r\nTo: mox@localhost\r\nSubject: {subject}\r\n\
         Message-ID: <{number}.mail@example.org>\r\nDate: Mon, {:02} Mar 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n",
        1 + number % 28
    );
    let plain = "Content-Type: text/plain; charset=utf-8\r\n\r\n";
    match number % 10 {
        // A page of HTML beside the text.
        0..=3 => {
            let lines: String =
                text.lines().map(|line| format!("<p class=\"text\">{line}</p>\r\n")).collect();
            let _ = write!(
                mail,
                "Content-Type: multipart/alternative; boundary=alt\r\n\r\n--alt\r\n{plain}{text}\r\n--alt\r\n\
                 Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n{lines}</body></html>\r\n--alt--\r\n"
            );
        }
        4 => {
            let octets: Vec<u8> =
                (0..2_000 + 500 * random.below(10)).flat_map(|_| random.next().to_le_bytes()).collect();
            let _ = write!(
                mail,
                "Content-Type: multipart/mixed; boundary=mix\r\n\r\n--mix\r\n{plain}{text}\r\n--mix\r\n\
                 Content-Type: application/pdf; name=\"figures-{number}.pdf\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n"
            );
            for line in STANDARD.encode(octets).as_bytes().chunks(76) {
                mail.push_str(std::str::from_utf8(line).unwrap_or_default());
                mail.push_str("\r\n");
            }
            mail.push_str("--mix--\r\n");
        }
        _ => {
            mail.push_str(plain);
            mail.push_str(&text);
            mail.push_str("\r\n");
        }
    }
    mail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_always_the_same_and_needs_no_dots_stuffed() {
        for number in 0..50 {
            let mail = message(number);
            assert_eq!(mail, message(number));
            assert!(mail.ends_with("\r\n") && mail.split("\r\n").all(|line| !line.starts_with('.')));
            assert_eq!(mail.contains(RARE_WORD), number % RARE == 11);
            assert_eq!(mail.contains(RARE_SUBJECT), number % RARE == 7);
        }
    }
}
