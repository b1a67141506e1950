//! The indexer against another parser, mail-parser: over messages of RFCs and of Dovecot's tests, and over trees that
//! are built at random. Where the two see the same structure, media types and offsets have to agree.
//!
//! Differences that are decisions, not mistakes:
//! - mail-parser looks for `--boundary` anywhere in a line and for the innermost boundary only; here a delimiter is a
//!   whole line, and an outer one ends what is inside;
//! - mail-parser looks into encoded messages and into message/global; here these are leaves (their octets are not
//!   those of the message, and the second is a leaf in IMAP4rev1);
//! - mail-parser gives no end to a multipart that never closes, and takes one without delimiter for text;
//! - mail-parser ends a message inside a part in various places around the line end; ends are compared for leaves only;
//! - mail-parser loses the way behind a message that is nothing but another message;
//! - mail-parser passes over white space before a header, and ends a header at the first line that is no field.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{fs, ops::Range, path::Path};

use mail_lib::mime::{Index, Indexed, Indexer};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

fn index(message: &[u8]) -> Indexed {
    let mut indexer = Indexer::new();
    message.chunks(13).for_each(|chunk| indexer.push(chunk));
    indexer.finish()
}

/// What both parsers say about one part.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    depth: usize,
    media_type: String,
    header: Range<usize>,
    /// Where it is a leaf.
    end: Option<usize>,
}

fn seen_here(message: &[u8]) -> Vec<Seen> {
    let indexed = index(message);
    assert_eq!(Index::from_bytes(&indexed.index.to_bytes()).as_ref(), Ok(&indexed.index));
    let parts = indexed.index.parts().iter().enumerate();
    parts
        .map(|(place, part)| {
            let description = indexed.description(place);
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            let offset = |at: u64| usize::try_from(at).unwrap();
            Seen {
                depth: usize::from(part.depth),
                media_type: text(&description.media_type) + "/" + &text(&description.subtype),
                header: offset(part.header.start)..offset(part.header.end),
                end: part.kind.is_leaf().then(|| offset(part.body.end)),
            }
        })
        .collect()
}

fn seen_there(message: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    if let Some(parsed) = MessageParser::default().parse(message) {
        walk(&parsed, 0, 0, "text/plain", &mut seen);
    }
    seen
}

fn walk(message: &mail_parser::Message<'_>, id: u32, depth: usize, default: &str, seen: &mut Vec<Seen>) {
    let part = message.part(id).unwrap();
    let media_type = part.content_type().map_or(default.to_owned(), |content_type| {
        let subtype = content_type.subtype().unwrap_or_default();
        format!("{}/{subtype}", content_type.ctype()).to_lowercase()
    });
    let offset = |at: u32| usize::try_from(at).unwrap();
    let leaf = !matches!(part.body, PartType::Multipart(_) | PartType::Message(_));
    seen.push(Seen {
        depth,
        media_type: media_type.clone(),
        header: offset(part.offset_header)..offset(part.offset_body),
        end: leaf.then_some(offset(part.offset_end)),
    });
    match &part.body {
        PartType::Multipart(children) => {
            let default = if media_type == "multipart/digest" { "message/rfc822" } else { "text/plain" };
            for child in children {
                walk(message, *child, depth + 1, default, seen);
            }
        }
        PartType::Message(inner) => walk(inner, 0, depth + 1, "text/plain", seen),
        PartType::Text(_) | PartType::Html(_) | PartType::Binary(_) | PartType::InlineBinary(_) => {}
    }
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut messages = Vec::new();
    for folder in ["rfc", "dovecot"] {
        for entry in fs::read_dir(testdata.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "eml") {
                let name = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
                messages.push((name, fs::read(path).unwrap()));
            }
        }
    }
    messages.sort();
    assert_eq!(messages.len(), 30);
    messages
}

#[test]
fn messages_of_others_have_the_structure_that_another_parser_sees() {
    const DIFFERENT: &[(&str, &str)] = &[
        ("dovecot/005.eml", "a delimiter in the middle of a line"),
        ("dovecot/015.eml", "an outer delimiter where an inner header has not ended"),
        ("rfc/008.eml", "a message in base64"),
    ];
    for (name, message) in corpus() {
        let (here, there) = (seen_here(&message), seen_there(&message));
        match DIFFERENT.iter().find(|(different, _)| *different == name) {
            None => assert_eq!(here, there, "{name}"),
            Some((_, reason)) => assert_ne!(here, there, "{name} is the same now: {reason}"),
        }
    }
}

/// A message to be: its parts, and how they are written.
#[derive(Debug, Clone)]
enum Tree {
    Leaf { media_type: &'static str, base64: bool, body: String },
    Multipart { digest: bool, preamble: bool, epilogue: bool, children: Vec<Tree> },
    Message(Box<Tree>),
}

fn trees() -> impl Strategy<Value = Tree> {
    let media_types =
        prop_oneof![Just("text/plain"), Just("text/html"), Just("application/pdf"), Just("image/png")];
    let leaf = (media_types, any::<bool>(), "([a-z ]{0,9}\r\n){0,3}[a-z]{1,9}").prop_map(
        |(media_type, base64, body)| {
            use base64::Engine as _;
            let body = if base64 { base64::engine::general_purpose::STANDARD.encode(body) } else { body };
            Tree::Leaf { media_type, base64, body }
        },
    );
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            (any::<bool>(), any::<bool>(), any::<bool>(), proptest::collection::vec(inner.clone(), 1..5))
                .prop_map(|(digest, preamble, epilogue, children)| Tree::Multipart {
                    digest,
                    preamble,
                    epilogue,
                    children
                }),
            inner.prop_map(|inner| Tree::Message(Box::new(inner))),
        ]
    })
}

/// Whether a message is nothing but another message.
fn holds_bare_message(tree: &Tree) -> bool {
    match tree {
        Tree::Leaf { .. } => false,
        Tree::Multipart { children, .. } => children.iter().any(holds_bare_message),
        Tree::Message(inner) => matches!(**inner, Tree::Message(_)) || holds_bare_message(inner),
    }
}

/// Writes the tree, with CRLF or LF, and notes what a parser should see.
struct Writer {
    out: String,
    line_end: &'static str,
    boundaries: usize,
    seen: Vec<Seen>,
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.out += line;
        self.out += self.line_end;
    }

    fn part(&mut self, tree: &Tree, depth: usize) {
        let start = self.out.len();
        self.boundaries += 1;
        let boundary = format!("=_{:04}_", self.boundaries);
        let media_type = match tree {
            Tree::Leaf { media_type, .. } => (*media_type).to_owned(),
            Tree::Multipart { digest: true, .. } => "multipart/digest".to_owned(),
            Tree::Multipart { digest: false, .. } => "multipart/mixed".to_owned(),
            Tree::Message(_) => "message/rfc822".to_owned(),
        };
        self.line("X-Note: folded");
        self.line("\tfield");
        match tree {
            Tree::Multipart { .. } => {
                self.line(&format!("Content-Type: {media_type}; boundary=\"{boundary}\""))
            }
            Tree::Leaf { .. } | Tree::Message(_) => self.line(&format!("Content-Type: {media_type}")),
        }
        if let Tree::Leaf { base64: true, .. } = tree {
            self.line("Content-Transfer-Encoding: base64");
        }
        self.line("");
        let place = self.seen.len();
        self.seen.push(Seen { depth, media_type, header: start..self.out.len(), end: None });
        match tree {
            Tree::Leaf { body, .. } => {
                self.out += &body.replace("\r\n", self.line_end);
                self.seen[place].end = Some(self.out.len());
            }
            Tree::Multipart { preamble, epilogue, children, .. } => {
                if *preamble {
                    self.line("a preamble");
                }
                for (nth, child) in children.iter().enumerate() {
                    if nth > 0 {
                        self.line("");
                    }
                    self.line(&format!("--{boundary}"));
                    self.part(child, depth + 1);
                }
                self.line("");
                self.out += &format!("--{boundary}--");
                if *epilogue {
                    self.line("");
                    self.out += "an epilogue";
                }
            }
            Tree::Message(inner) => self.part(inner, depth + 1),
        }
    }
}

proptest! {
    #[test]
    fn messages_built_at_random_have_the_structure_they_were_built_with(tree in trees(), crlf: bool) {
        let line_end = if crlf { "\r\n" } else { "\n" };
        let mut writer = Writer { out: String::new(), line_end, boundaries: 0, seen: Vec::new() };
        writer.part(&tree, 0);
        let message = writer.out.as_bytes();
        prop_assert_eq!(&seen_here(message), &writer.seen);
        if !holds_bare_message(&tree) {
            prop_assert_eq!(&seen_there(message), &writer.seen);
        }
    }
}
