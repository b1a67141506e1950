//! Text as troff's man macros have it.

/// The day of the release that the pages belong to.
const DATE: &str = "2026-11-28";

/// Columns of a line of source.
const WIDTH: usize = 78;

/// A page that is being written.
#[derive(Debug)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(name: &str, section: u8, what: &str) -> Self {
        let mut page =
            Self(String::from(".\\\" Written by `cargo xtask man`; change what it is written from.\n"));
        let version = env!("CARGO_PKG_VERSION");
        let title = quoted(&name.to_uppercase());
        let title = format!(".TH {title} {section} {DATE} \"moxd {version}\" \"moxd\"\n");
        page.0.push_str(&title);
        page.section("NAME");
        page.0.push_str(&format!("{} \\- {}\n", escaped(name), escaped(what)));
        page
    }

    pub(super) fn section(&mut self, name: &str) {
        self.0.push_str(&format!(".SH {}\n", quoted(name)));
    }

    pub(super) fn subsection(&mut self, name: &str) {
        self.0.push_str(&format!(".SS {}\n", quoted(name)));
    }

    /// A paragraph; words between backticks are bold.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.begin();
        self.text(text);
    }

    /// A paragraph's beginning; the one behind a heading needs none.
    fn begin(&mut self) {
        let last = self.0.lines().next_back().unwrap_or_default();
        if !last.starts_with(".SH") && !last.starts_with(".SS") {
            self.0.push_str(".PP\n");
        }
    }

    /// Lines as they are typed.
    pub(super) fn literal(&mut self, text: &str) {
        self.begin();
        self.0.push_str(".in +4n\n.nf\n");
        for line in text.lines() {
            self.0.push_str(&format!("{}\n", line_of(line)));
        }
        self.0.push_str(".fi\n.in\n");
    }

    /// A term in bold, and what it is.
    pub(super) fn item(&mut self, term: &str, text: &str) {
        self.0.push_str(&format!(".TP\n\\fB{}\\fR\n", escaped(term)));
        self.text(text);
    }

    /// One of a list.
    pub(super) fn bullet(&mut self, text: &str) {
        self.0.push_str(".IP \\(bu 2\n");
        self.text(text);
    }

    /// What follows belongs to the item before.
    pub(super) fn inset(&mut self, write: impl FnOnce(&mut Self)) {
        self.0.push_str(".RS\n");
        write(self);
        self.0.push_str(".RE\n");
    }

    fn text(&mut self, text: &str) {
        let mut bold = false;
        let mut line = String::new();
        for part in text.split('`') {
            if bold {
                line.push_str(&format!("\\fB{}\\fR", escaped(part)));
            } else {
                line.push_str(&escaped(part));
            }
            bold = !bold;
        }
        let mut width = 0;
        let mut lines = String::new();
        for word in line.split_whitespace() {
            if width > 0 && width + word.len() >= WIDTH {
                lines.push('\n');
                width = 0;
            }
            if width > 0 {
                lines.push(' ');
            }
            // Also where the line is broken a word is no request.
            let word = if width == 0 { guarded(word) } else { word.to_owned() };
            width += word.len() + 1;
            lines.push_str(&word);
        }
        self.0.push_str(&lines);
        self.0.push('\n');
    }

    /// The body of a page of the documentation: headings, paragraphs, lists and blocks. The first heading is the page's
    /// title, which is dropped.
    pub(super) fn markdown(&mut self, text: &str) {
        let mut literal = false;
        for block in text.split("```") {
            if literal {
                let (_, lines) = block.split_once('\n').unwrap_or_default();
                self.literal(lines);
            } else {
                block.split("\n\n").for_each(|block| self.markdown_block(block.trim()));
            }
            literal = !literal;
        }
    }

    fn markdown_block(&mut self, block: &str) {
        if let Some(heading) = block.strip_prefix("### ") {
            self.subsection(heading);
        } else if let Some(heading) = block.strip_prefix("## ") {
            self.section(&heading.to_uppercase());
        } else if let Some(first) = block.strip_prefix("- ") {
            first.split("\n- ").for_each(|item| self.bullet(&joined(item)));
        } else if !block.is_empty() && !block.starts_with("# ") {
            self.paragraph(&joined(block));
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Lines of a paragraph as one.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn line_of(line: &str) -> String {
    guarded(&escaped(line))
}

/// A line that begins like a request is none.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text).replace('"', "\\(dq"))
}

/// Octets beyond ASCII by their numbers, so that the page is the same in every locale.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '~' => escaped.push_str("\\(ti"),
            '^' => escaped.push_str("\\(ha"),
            '\'' => escaped.push_str("\\(aq"),
            letter if letter.is_ascii() => escaped.push(letter),
            letter => escaped.push_str(&format!("\\[u{:04X}]", u32::from(letter))),
        }
    }
    escaped
}

#[test]
fn text_cannot_become_a_request_of_troff() {
    let mut page = Page::new("x", 1, "y");
    page.paragraph(".so /etc/passwd and `a-b\\c`");
    page.literal("'br\n\u{fc}");
    let text = page.finish();
    assert!(text.ends_with(
        ".PP\n\\&.so /etc/passwd and \\fBa\\-b\\ec\\fR\n.PP\n.in +4n\n.nf\n\\(aqbr\n\\[u00FC]\n.fi\n.in\n"
    ));
}
