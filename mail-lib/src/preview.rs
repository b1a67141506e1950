//! The first words of a message, for a list of messages (RFC 8970 §3.2).

use crate::header::Headers;
use crate::mime::{Description, Index, Kind, Part};
use crate::text::HtmlText;

/// Characters of a preview; RFC 8970 §3.1 allows 256.
const MAX_CHARACTERS: usize = 200;
/// Parts looked at in search of one with text.
const MAX_PARTS: usize = 20;

/// A part that the preview may be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it stands, and how it is encoded.
    pub part: Part,
    /// Its charset.
    pub charset: Option<String>,
    html: bool,
}

/// The parts to try, the best first, until one has words: plain text before HTML, neither of them an attachment or from a
/// message within the message. `header` gives the header fields of a part.
pub fn sources<E>(
    index: &Index,
    mut header: impl FnMut(&Part) -> Result<Vec<u8>, E>,
) -> Result<Vec<Source>, E> {
    let mut sources = Vec::new();
    let mut inside = None;
    let mut looked_at = 0;
    for part in index.parts() {
        if inside.is_some_and(|depth| part.depth > depth) {
            continue;
        }
        inside = (part.kind == Kind::Message).then_some(part.depth);
        if part.kind != Kind::Text {
            continue;
        }
        looked_at += 1;
        if looked_at > MAX_PARTS {
            break;
        }
        let block = header(part)?;
        let description = Description::parse(Headers::new(&block));
        let attached = description.disposition.as_ref().is_some_and(|shown| shown.kind == b"attachment");
        if attached || description.media_type != b"text" {
            continue;
        }
        let charset = crate::mime::charset(Headers::new(&block));
        sources.push(Source { part: part.clone(), charset, html: description.subtype == b"html" });
    }
    sources.sort_by_key(|source| source.html);
    Ok(sources)
}

/// A preview in the making.
#[derive(Debug, Default)]
pub struct Preview {
    html: Option<HtmlText>,
    words: Words,
}

#[derive(Debug, Default)]
struct Words {
    text: String,
    characters: usize,
    /// White space came behind what is there.
    space: bool,
    /// In a line that quotes another message; of plain text.
    line: Line,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Start,
    Quoted,
    Own,
}

impl Preview {
    /// From text of that source.
    #[must_use]
    pub fn of(source: &Source) -> Self {
        Self { html: source.html.then(HtmlText::of_body), words: Words::default() }
    }

    /// The next text.
    pub fn push(&mut self, text: &str) {
        let Self { html, words } = self;
        match html {
            Some(html) => {
                html.push(text, &mut |shown| shown.chars().for_each(|character| words.push(character)))
            }
            None => text.chars().for_each(|character| words.push_plain(character)),
        }
    }

    /// Whether nothing more is needed.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.words.characters >= MAX_CHARACTERS
    }

    /// The preview; empty if there was nothing to read.
    #[must_use]
    pub fn finish(self) -> String {
        let Self { html, mut words } = self;
        if let Some(html) = html {
            html.finish(&mut |shown| shown.chars().for_each(|character| words.push(character)));
        }
        words.text
    }
}

impl Words {
    fn push_plain(&mut self, character: char) {
        self.line = match (self.line, character) {
            (_, '\n') => Line::Start,
            (Line::Start, '>') => Line::Quoted,
            (Line::Start, ' ') => Line::Start,
            (Line::Start, _) => Line::Own,
            (line, _) => line,
        };
        if self.line != Line::Quoted {
            self.push(character);
        }
    }

    fn push(&mut self, character: char) {
        if character.is_whitespace() || character.is_control() {
            self.space = true;
            return;
        }
        // Fillers that newsletters put behind the text that they want to be seen.
        let invisible = matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        );
        let room = MAX_CHARACTERS.saturating_sub(self.characters);
        let space = std::mem::take(&mut self.space) && !self.text.is_empty();
        if invisible || room == 0 {
            self.space |= space;
            return;
        }
        if space {
            self.characters += 1;
            if room == 1 {
                return;
            }
            self.text.push(' ');
        }
        self.characters += 1;
        self.text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::index;
    use crate::text::Decoder;
    use proptest::prelude::*;

    fn preview(message: &str) -> String {
        let message = message.replace('\n', "\r\n");
        let octets = |range: &std::ops::Range<u64>| {
            let at = |place: u64| usize::try_from(place).unwrap();
            message.as_bytes()[at(range.start)..at(range.end)].to_vec()
        };
        let indexed = index(message.as_bytes(), 7);
        let sources = sources(&indexed.index, |part| Ok::<_, ()>(octets(&part.header))).unwrap();
        let made = sources.iter().map(|source| {
            let mut preview = Preview::of(source);
            let mut decoder = Decoder::new(source.part.encoding, source.charset.as_deref());
            decoder.push(&octets(&source.part.body), &mut |text| preview.push(text));
            decoder.finish(&mut |text| preview.push(text));
            preview.finish()
        });
        made.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    }

    #[test]
    fn the_first_words_are_found_wherever_they_are() {
        for (message, expected) in [
            ("Subject: x\n\nHello,\n\n  world!\n", "Hello, world!"),
            ("\n> quoted\n>> twice\nmine > yours\n", "mine > yours"),
            ("Content-Type: text/html\n\n<p>Hi&nbsp;<b>you</b></p>\u{34f}\u{200c} \u{34f}", "Hi you"),
            (
                "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ngr=FCn=\n!",
                "grün!",
            ),
            (
                "Content-Type: multipart/alternative; boundary=x\n\n--x\n\n \n--x\nContent-Type: text/html\n\n<i>html</i>\n--x--\n",
                "html",
            ),
            (
                "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/html\n\nhtml\n--x\n\nplain\n--x--\n",
                "plain",
            ),
            (
                "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Disposition: attachment\n\nattached\n\
                 --x\nContent-Type: message/rfc822\n\nSubject: y\n\ninside\n--x\nContent-Type: text/html\n\nlast\n--x--\n",
                "last",
            ),
            ("Content-Type: application/pdf\n\nJVBERi0=", ""),
            ("", ""),
        ] {
            assert_eq!(preview(message), expected, "{message}");
        }
    }

    #[test]
    fn a_preview_has_at_most_200_characters() {
        assert_eq!(preview(&format!("\n{}", "ü".repeat(300))).chars().count(), 200);
        assert_eq!(preview(&format!("\n{} b", "a".repeat(199))), "a".repeat(199));
        assert_eq!(preview(&format!("\n{} b", "a".repeat(198))), format!("{} b", "a".repeat(198)));
    }

    proptest! {
        #[test]
        fn words_are_one_line_without_controls(text in "(\\PC|[ \t\r\n\u{0}>]){0,400}", html: bool) {
            let mut preview = Preview { html: html.then(HtmlText::of_body), ..Preview::default() };
            preview.push(&text);
            let text = preview.finish();
            prop_assert!(text.chars().count() <= MAX_CHARACTERS);
            prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            prop_assert_eq!(text.trim(), &text);
        }
    }
}
