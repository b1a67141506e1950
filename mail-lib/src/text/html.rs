//! HTML as the text that a reader sees, in chunks and in constant memory. For searching, not for showing.

use super::entity::Reference;

/// The longest name of an element or attribute that is told from others.
const MAX_NAME: usize = 12;

/// Elements whose content nobody sees.
const HIDDEN: [&str; 3] = ["script", "style", "template"];

/// Elements that nobody sees in a window that shows the body alone.
const BESIDE_BODY: [&str; 3] = ["head", "noscript", "title"];

/// Elements that go on within a line of text; all others stand apart from what is around them.
const INLINE: [&str; 33] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font",
    "i", "ins", "kbd", "label", "mark", "nobr", "o:p", "q", "s", "samp", "small", "span", "strike", "strong",
    "sub", "sup", "tt", "u", "wbr",
];

/// Turns HTML that comes in pieces into text.
///
/// Tags and comments are left out, and so is what `script`, `style` and `template` hold. Character references are what
/// they stand for. White space, also the one that does not break, and the border of a block are one space. What `alt`
/// says of an image stands in its place. Tolerant: what is no tag or reference is text. How the input is cut does not
/// change the text, only the pieces it comes in.
#[derive(Debug, Default)]
pub struct HtmlText {
    state: State,
    /// Of the element that is being read, in lower case.
    name: Name,
    attribute: Name,
    reference: Reference,
    /// Where a reference goes on to.
    in_value: bool,
    hidden: Option<&'static str>,
    body_only: bool,
    /// How much of the end of a comment was seen.
    dashes: u8,
    /// Something was written, and what comes next stands apart from it.
    space: bool,
    any: bool,
    text: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind `&`.
    Reference,
    /// Behind `<`.
    Open,
    /// Behind `</`.
    OpenEnd,
    /// In the name of an element; `end`: of `</p>`.
    Name {
        end: bool,
    },
    /// In a tag, between attributes.
    Tag,
    Attribute,
    /// Behind the attribute's name.
    AfterAttribute,
    /// Behind `=`.
    BeforeValue,
    /// In a value; `None`: without quotes.
    Value {
        quote: Option<char>,
    },
    /// Behind `<!`.
    Declaration,
    /// Behind `<!-`.
    CommentStart,
    Comment,
    /// Up to the next `>`.
    Bogus,
}

/// A short name in lower case; a longer one is none that is known here.
#[derive(Debug, Default, Clone, Copy)]
struct Name {
    octets: [u8; MAX_NAME],
    length: usize,
}

impl Name {
    fn push(&mut self, c: char) {
        let octet = u8::try_from(c).unwrap_or(b'?').to_ascii_lowercase();
        if let Some(place) = self.octets.get_mut(self.length) {
            *place = octet;
        }
        self.length = self.length.saturating_add(1);
    }

    fn as_str(&self) -> &str {
        // Too long: an empty name, which no element has.
        self.octets.get(..self.length).and_then(|octets| std::str::from_utf8(octets).ok()).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.length = 0;
    }
}

impl HtmlText {
    /// At the beginning of a document.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, of what the body shows only: without the title.
    #[must_use]
    pub fn of_body() -> Self {
        Self { body_only: true, ..Self::default() }
    }

    /// The next piece; `sink` gets the text of it.
    pub fn push(&mut self, piece: &str, sink: &mut impl FnMut(&str)) {
        for c in piece.chars() {
            self.take(c);
        }
        self.flush(sink);
    }

    /// The end: `sink` gets what was held back.
    pub fn finish(mut self, sink: &mut impl FnMut(&str)) {
        match self.state {
            State::Reference => self.end_reference(),
            State::Open => self.show('<'),
            State::OpenEnd => {
                self.show('<');
                self.show('/');
            }
            _ => (),
        }
        self.flush(sink);
    }

    fn flush(&mut self, sink: &mut impl FnMut(&str)) {
        if !self.text.is_empty() {
            sink(&self.text);
            self.text.clear();
        }
    }

    fn take(&mut self, c: char) {
        self.state = match self.state {
            State::Text => self.text(c),
            State::Reference => return self.reference(c),
            State::Open => self.open(c),
            State::OpenEnd if c.is_ascii_alphabetic() => self.begin_name(c, true),
            // `</>` is nothing, `</3` a comment up to the next `>`.
            State::OpenEnd if self.hidden.is_some() => self.text(c),
            State::OpenEnd if c == '>' => State::Text,
            State::OpenEnd => State::Bogus,
            State::Name { end } => self.in_name(c, end),
            State::Tag | State::AfterAttribute => self.between(c),
            State::Attribute => self.attribute(c),
            State::BeforeValue => match c {
                '"' | '\'' => State::Value { quote: Some(c) },
                '>' => State::Text,
                c if c.is_ascii_whitespace() => State::BeforeValue,
                c => self.value(c, None),
            },
            State::Value { quote } => self.value(c, quote),
            State::Declaration if c == '-' => State::CommentStart,
            State::CommentStart if c == '-' => {
                // `<!-->` ends at once.
                self.dashes = 2;
                State::Comment
            }
            State::Declaration | State::CommentStart | State::Bogus if c == '>' => State::Text,
            State::Declaration | State::CommentStart | State::Bogus => State::Bogus,
            State::Comment => match c {
                '>' if self.dashes >= 2 => State::Text,
                '-' => {
                    self.dashes = self.dashes.saturating_add(1);
                    State::Comment
                }
                _ => {
                    self.dashes = 0;
                    State::Comment
                }
            },
        };
    }

    fn text(&mut self, c: char) -> State {
        match c {
            '<' => State::Open,
            '&' if self.hidden.is_none() => {
                self.in_value = false;
                self.reference = Reference::default();
                State::Reference
            }
            c => {
                self.show(c);
                State::Text
            }
        }
    }

    fn reference(&mut self, c: char) {
        self.state = State::Reference;
        if self.reference.push(c) {
            return;
        }
        self.end_reference();
        // `;` belongs to a reference that is one; everything else is looked at anew.
        if c != ';' || !self.reference.is_known() {
            self.take(c);
        }
    }

    fn end_reference(&mut self) {
        self.state = if self.in_value { State::Value { quote: self.reference.quote } } else { State::Text };
        match self.reference.character() {
            Some(c) => self.show(c),
            None => {
                self.show('&');
                let reference = self.reference;
                reference.as_written().chars().for_each(|c| self.show(c));
            }
        }
    }

    fn open(&mut self, c: char) -> State {
        match c {
            c if c.is_ascii_alphabetic() && self.hidden.is_none() => self.begin_name(c, false),
            '/' => State::OpenEnd,
            '!' if self.hidden.is_none() => State::Declaration,
            '?' if self.hidden.is_none() => State::Bogus,
            c => {
                self.show('<');
                self.text(c)
            }
        }
    }

    fn begin_name(&mut self, c: char, end: bool) -> State {
        self.name.clear();
        self.name.push(c);
        State::Name { end }
    }

    fn in_name(&mut self, c: char, end: bool) -> State {
        if c == '<' && self.hidden.is_some() {
            return State::Open;
        }
        if !(c == '>' || c == '/' || c.is_ascii_whitespace()) {
            self.name.push(c);
            return State::Name { end };
        }
        let name = self.name;
        let name = name.as_str();
        match self.hidden {
            Some(hidden) if hidden == name => self.hidden = None,
            // Only its own end is looked for in there.
            Some(_) => return self.text(c),
            None if !end => {
                let beside: &[_] = if self.body_only { &BESIDE_BODY } else { &[] };
                self.hidden = HIDDEN.iter().chain(beside).find(|hidden| **hidden == name).copied();
            }
            None => (),
        }
        self.space |= INLINE.binary_search(&name).is_err();
        if c == '>' { State::Text } else { State::Tag }
    }

    fn between(&mut self, c: char) -> State {
        match c {
            '>' => State::Text,
            '=' if self.state == State::AfterAttribute => State::BeforeValue,
            c if c == '/' || c.is_ascii_whitespace() => self.state,
            c => {
                self.attribute.clear();
                self.attribute.push(c);
                State::Attribute
            }
        }
    }

    fn attribute(&mut self, c: char) -> State {
        match c {
            '=' => State::BeforeValue,
            '>' => State::Text,
            c if c == '/' || c.is_ascii_whitespace() => State::AfterAttribute,
            c => {
                self.attribute.push(c);
                State::Attribute
            }
        }
    }

    fn value(&mut self, c: char, quote: Option<char>) -> State {
        let ended = match quote {
            Some(quote) => c == quote,
            None => c == '>' || c.is_ascii_whitespace(),
        };
        let shown = self.name.as_str() == "img" && self.attribute.as_str() == "alt";
        if ended {
            self.space |= shown;
            return if quote.is_none() && c == '>' { State::Text } else { State::Tag };
        }
        if shown {
            if c == '&' {
                self.in_value = true;
                self.reference = Reference::new_in(quote);
                return State::Reference;
            }
            self.show(c);
        }
        State::Value { quote }
    }

    fn show(&mut self, c: char) {
        if self.hidden.is_some() {
            return;
        }
        if c.is_ascii_whitespace() || c == '\u{a0}' {
            self.space = true;
            return;
        }
        if std::mem::take(&mut self.space) && self.any {
            self.text.push(' ');
        }
        self.any = true;
        self.text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(html: &str, cut: usize) -> String {
        let mut text = String::new();
        let mut converter = HtmlText::new();
        let pieces: Vec<char> = html.chars().collect();
        for piece in pieces.chunks(cut.max(1)) {
            converter.push(&piece.iter().collect::<String>(), &mut |shown| text.push_str(shown));
        }
        converter.finish(&mut |shown| text.push_str(shown));
        text
    }

    #[test]
    fn what_a_reader_sees_is_left() {
        for (html, expected) in [
            ("plain", "plain"),
            ("<p>Dear <b>A</b>da,</p>\r\n<p>lunch</p>", "Dear Ada, lunch"),
            ("a<br>b<BR/>c", "a b c"),
            ("<td>Total</td><td>7</td>", "Total 7"),
            ("half<span class='x>y'>way</span>", "halfway"),
            ("a &lt;b&gt; &amp;amp; c&nbsp;d", "a <b> &amp; c d"),
            ("&uuml;&Uuml;&euro;&#8364;&#x20AC;&#150;&rsquo;", "üÜ€€€–’"),
            (
                "&unknown; &; & &copy 2026 &#xffffffff; &#0; &#x110000;",
                "&unknown; &; & © 2026 \u{fffd} \u{fffd} \u{fffd}",
            ),
            ("AT&T &lt", "AT&T <"),
            ("1 < 2 <3 </> x<", "1 < 2 <3 x<"),
            ("a<!-- <b>hidden</b> -- > -->b<!-->c<!doctype html><?xml x?>d", "abcd"),
            ("a<style>p { color: red }</style>b<script>if (a</b) '</p>' </script >c", "a b c"),
            ("<script>a</3 </scr</script>b", "b"),
            ("<title>T</title>x", "T x"),
            (
                "<img src=a alt=\"Our &quot;logo&quot;\">x<img alt=one><img alt='two'/>",
                "Our \"logo\" x one two",
            ),
            ("<a href=\"https://example.org/\">click <i>here</i></a> to go", "click here to go"),
            ("  a \n\t b\u{a0}\u{a0}", "a b"),
            ("<p", ""),
            ("x&amp", "x&"),
            ("<a title='>'>x</a>", "x"),
            ("", ""),
        ] {
            for cut in 1..=html.len().max(1) {
                assert_eq!(text(html, cut), expected, "{html} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn the_lists_are_in_order() {
        assert!(INLINE.is_sorted());
        assert!(HIDDEN.iter().chain(&BESIDE_BODY).chain(&INLINE).all(|name| name.len() <= MAX_NAME));
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_text(
            parts in proptest::collection::vec(prop_oneof![
                Just("<".to_owned()), Just(">".to_owned()), Just("</".to_owned()), Just("<!--".to_owned()),
                Just("-->".to_owned()), Just("<script>".to_owned()), Just("</script".to_owned()), Just("&".to_owned()),
                Just("&amp".to_owned()), Just(";".to_owned()), Just("<img alt=".to_owned()), Just("\"".to_owned()),
                Just("'".to_owned()), Just(" ".to_owned()), "[a-z=ü]{0,3}",
            ], 0..30),
            cut in 1_usize..8,
        ) {
            let html = parts.concat();
            let whole = text(&html, html.len());
            prop_assert_eq!(text(&html, cut), whole.clone());
            // A reference is no shorter than what it stands for, and a space may stand where there was a tag.
            prop_assert!(whole.len() <= html.len());
        }
    }
}
