//! Mail as it lies in mailboxes: of many people, in conversations, over years, short and long, some in HTML too.

use std::fmt::Write as _;

const WORDS: [&str; 32] = [
    "figures", "meeting", "tomorrow", "invoice", "contract", "garden", "window", "holiday", "server",
    "release", "budget", "project", "letter", "summer", "winter", "travel", "ticket", "number", "answer",
    "question", "weather", "family", "market", "office", "paper", "river", "school", "station", "street",
    "theatre", "village", "yellow",
];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const PEOPLE: usize = 200;
/// Messages of one conversation.
const CONVERSATION: usize = 5;

/// Numbers without a pattern that a server could have use of, and the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // An LCG with Knuth's numbers; its high bits are good enough for prose.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides.max(1)
    }

    fn word(&mut self) -> &'static str {
        WORDS.get(self.roll(WORDS.len())).copied().unwrap_or_default()
    }
}

/// Number `number`, ready for DATA but for its final dot: no line begins with one.
pub(crate) fn letter(number: usize) -> String {
    let mut dice = Dice(number as u64 ^ 0x5eed);
    let (conversation, place) = (number / CONVERSATION, number % CONVERSATION);
    let mut topic = Dice(conversation as u64 ^ 0x70b1c);
    let subject = format!("{} and {} of the {}", topic.word(), topic.word(), topic.word());
    let person = dice.roll(PEOPLE);
    let (year, day) = (2020 + number % 6, 1 + dice.roll(28));
    let month = MONTHS.get(dice.roll(MONTHS.len())).copied().unwrap_or_default();
    let mut text = format!(
        "Return-Path: <person{person}@example.org>\r\nFrom: Person {person} <person{person}@example.org>\r\n\
         To: mox@localhost\r\nSubject: {}{subject}\r\nMessage-ID: <{number}.letter@example.org>\r\n\
         Date: {day} {month} {year} {:02}:{:02}:00 +0100\r\n",
        if place == 0 { "" } else { "Re: " },
        dice.roll(24),
        dice.roll(60),
    );
    if place > 0 {
        let before: Vec<_> =
            (number - place..number).map(|number| format!("<{number}.letter@example.org>")).collect();
        let _ = write!(
            text,
            "In-Reply-To: <{}.letter@example.org>\r\nReferences: {}\r\n",
            number - 1,
            before.join("\r\n ")
        );
    }
    text.push_str("MIME-Version: 1.0\r\n");
    let prose = prose(&mut dice);
    if number.is_multiple_of(3) {
        let _ = write!(
            text,
            "Content-Type: multipart/alternative; boundary=\"half\"\r\n\r\n--half\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{prose}\r\n--half\r\n\
             Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>{}</p></body></html>\r\n--half--\r\n",
            prose.replace("\r\n\r\n", "</p>\r\n<p>")
        );
    } else {
        let _ = write!(text, "Content-Type: text/plain; charset=utf-8\r\n\r\n{prose}");
    }
    text
}

/// Of 60 messages in 100 about 1 KB, of 25 about 4 KB, of 12 about 15 KB, of 3 about 50 KB.
fn prose(dice: &mut Dice) -> String {
    let size = match dice.roll(100) {
        0..60 => 500 + dice.roll(1000),
        60..85 => 2000 + dice.roll(4000),
        85..97 => 8000 + dice.roll(14_000),
        _ => 30_000 + dice.roll(40_000),
    };
    let mut text = String::with_capacity(size + 100);
    let mut line = 0;
    while text.len() < size {
        let word = dice.word();
        if line + word.len() > 72 {
            text.push_str(if dice.roll(8) == 0 { ".\r\n\r\n" } else { "\r\n" });
            line = 0;
        } else if line > 0 {
            text.push(' ');
        }
        text.push_str(word);
        line += word.len() + 1;
    }
    text.push_str(".\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_of_conversations_and_of_many_sizes() {
        let letters: Vec<_> = (0..1000).map(letter).collect();
        assert_eq!(letters, (0..1000).map(letter).collect::<Vec<_>>());
        for text in &letters {
            assert!(text.ends_with("\r\n") && text.split("\r\n").all(|line| !line.starts_with('.')));
            assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
        }
        let answers = letters.iter().filter(|text| text.contains("\r\nIn-Reply-To: ")).count();
        assert_eq!(answers, 800);
        let average = letters.iter().map(String::len).sum::<usize>() / letters.len();
        assert!((4000..9000).contains(&average), "{average}");
    }
}
