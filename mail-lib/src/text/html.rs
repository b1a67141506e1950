//! HTML as the text that a reader sees, in chunks and in constant memory. No tree is built: tags are passed over, and what
//! is in elements that are never shown. Tolerant: whatever is malformed is text or nothing.

/// The longest name of an element or a character reference that matters.
const MAX_NAME: usize = 12;

/// Elements whose content is not shown.
const HIDDEN: [&str; 6] = ["head", "noscript", "script", "style", "template", "title"];

/// Elements that words do not go across.
const INLINE: [&str; 16] = [
    "a", "abbr", "b", "big", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub", "sup", "u",
    "wbr",
];

/// Character references by name, but those for what is not to be seen: they stand for nothing.
const NAMED: [(&str, &str); 44] = [
    ("AElig", "Æ"),
    ("Aring", "Å"),
    ("Auml", "Ä"),
    ("Ccedil", "Ç"),
    ("Eacute", "É"),
    ("Oslash", "Ø"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("aacute", "á"),
    ("acirc", "â"),
    ("aelig", "æ"),
    ("agrave", "à"),
    ("amp", "&"),
    ("apos", "'"),
    ("aring", "å"),
    ("atilde", "ã"),
    ("auml", "ä"),
    ("bull", "•"),
    ("ccedil", "ç"),
    ("copy", "©"),
    ("eacute", "é"),
    ("ecirc", "ê"),
    ("egrave", "è"),
    ("euro", "€"),
    ("gt", ">"),
    ("hellip", "…"),
    ("iacute", "í"),
    ("laquo", "«"),
    ("ldquo", "“"),
    ("lsquo", "‘"),
    ("lt", "<"),
    ("mdash", "—"),
    ("middot", "·"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("ntilde", "ñ"),
    ("oacute", "ó"),
    ("oslash", "ø"),
    ("ouml", "ö"),
    ("quot", "\""),
    ("raquo", "»"),
    ("rsquo", "’"),
    ("szlig", "ß"),
    ("uuml", "ü"),
];

/// Takes the tags out of HTML that comes in pieces.
#[derive(Debug, Default)]
pub struct Html {
    state: State,
    /// Of the element or reference that is being read; cut at [`MAX_NAME`].
    name: String,
    /// The element whose content is passed over.
    hidden: Option<&'static str>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind `&`.
    Reference,
    /// Behind `<`: a name.
    Name,
    /// In a tag, behind its name; in an attribute's quotes.
    Tag(Option<char>),
    /// In `<!--`, behind so many dashes.
    Comment(u8),
}

impl Html {
    /// The next characters; `sink` gets those of the text. What words do not go across is a space.
    pub fn push(&mut self, html: &str, sink: &mut impl FnMut(char)) {
        for character in html.chars() {
            self.take(character, sink);
        }
    }

    fn take(&mut self, character: char, sink: &mut impl FnMut(char)) {
        self.state = match (self.state, character) {
            (State::Text, '<') => self.named(State::Name),
            (State::Text, '&') if self.hidden.is_none() => self.named(State::Reference),
            (State::Text, character) => {
                self.show(character, sink);
                State::Text
            }
            (State::Reference, ';') => {
                self.reference(sink);
                State::Text
            }
            (State::Reference, '#' | '0'..='9' | 'a'..='z' | 'A'..='Z') if self.name.len() < MAX_NAME => {
                self.name.push(character);
                State::Reference
            }
            (State::Reference, character) => {
                // It was no reference after all.
                sink('&');
                std::mem::take(&mut self.name).chars().for_each(&mut *sink);
                self.state = State::Text;
                return self.take(character, sink);
            }
            (State::Name, '>') => self.tag_ends(sink),
            (State::Name, '!' | '/' | '-' | '0'..='9' | 'a'..='z' | 'A'..='Z') => {
                if self.name.len() < MAX_NAME {
                    self.name.push(character.to_ascii_lowercase());
                }
                if self.name == "!--" { State::Comment(0) } else { State::Name }
            }
            (State::Name, character) if self.name.is_empty() => {
                self.show('<', sink);
                self.show(character, sink);
                State::Text
            }
            (State::Name, _) => State::Tag(None),
            (State::Tag(None), '>') => self.tag_ends(sink),
            (State::Tag(None), quote @ ('"' | '\'')) => State::Tag(Some(quote)),
            (State::Tag(Some(quote)), character) if quote == character => State::Tag(None),
            (State::Tag(quote), _) => State::Tag(quote),
            (State::Comment(dashes), '-') => State::Comment((dashes + 1).min(2)),
            (State::Comment(2), '>') => State::Text,
            (State::Comment(_), _) => State::Comment(0),
        };
    }

    fn named(&mut self, state: State) -> State {
        self.name.clear();
        state
    }

    fn show(&self, character: char, sink: &mut impl FnMut(char)) {
        if self.hidden.is_none() {
            sink(character);
        }
    }

    fn tag_ends(&mut self, sink: &mut impl FnMut(char)) -> State {
        let (name, closes) = match self.name.strip_prefix('/') {
            Some(name) => (name, true),
            None => (self.name.as_str(), false),
        };
        match self.hidden {
            Some(hidden) if closes && hidden == name => self.hidden = None,
            Some(_) => (),
            None if !closes => self.hidden = HIDDEN.into_iter().find(|hidden| *hidden == name),
            None => (),
        }
        if !INLINE.contains(&name) {
            self.show(' ', sink);
        }
        State::Text
    }

    fn reference(&self, sink: &mut impl FnMut(char)) {
        let number = self.name.strip_prefix('#').map(|number| match number.strip_prefix(['x', 'X']) {
            Some(number) => u32::from_str_radix(number, 16),
            None => number.parse(),
        });
        match number {
            Some(number) => number.ok().and_then(char::from_u32).into_iter().for_each(sink),
            None => {
                let named = NAMED.iter().find(|(name, _)| *name == self.name);
                named.map_or("", |(_, text)| text).chars().for_each(sink);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(html: &str, cut: usize) -> String {
        let (mut reader, mut text) = (Html::default(), String::new());
        let mut rest = html;
        while !rest.is_empty() {
            let at =
                (1..=rest.len()).find(|at| *at >= cut && rest.is_char_boundary(*at)).unwrap_or(rest.len());
            reader.push(&rest[..at], &mut |character| text.push(character));
            rest = &rest[at..];
        }
        text
    }

    #[test]
    fn what_is_not_shown_is_left_out() {
        for (html, expected) in [
            ("<p>Hello, <b>wor</b>ld</p>", " Hello, world "),
            ("<head><title>no</title></head><body>yes", "  yes"),
            ("a<style>p > b { x: '</p>' }</style>b", "a b"),
            ("a<!-- <p> -- > - -->b<!---->c", "abc"),
            ("<!DOCTYPE html>x", " x"),
            ("<img alt=\"a > b\" src='>'>x", " x"),
            ("1 < 2 && 3 > 2", "1 < 2 && 3 > 2"),
            ("a&amp;b &lt;c&gt; &#228;&#xE4; &auml; &nosuch;&zwnj;|", "a&b <c> ää ä |"),
            ("&#0;&#xd800;&#99999999999;&;&x y", "\0&x y"),
            ("AT&T &amp", "AT&T "),
            ("a<br>b<br/>c<td>d", "a b c d"),
        ] {
            assert_eq!(text(html, usize::MAX), expected, "{html}");
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_text(
            html in "(<|>|!|--|&|;|#|a|b|style|/|\"|'| |ü|=){0,40}",
            cut in 1_usize..6,
        ) {
            prop_assert_eq!(text(&html, cut), text(&html, usize::MAX));
        }

        #[test]
        fn any_text_does_no_harm(html in "\\PC{0,200}") {
            prop_assert!(text(&html, 3).len() <= 2 * html.len());
        }
    }
}
