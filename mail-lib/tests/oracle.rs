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
//! - mail-parser passes over white space before a header, and ends a header at the first line that is no field.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{fs, ops::Range, path::Path};

use mail_lib::mime::{Index, Indexed, Indexer, Kind};
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
    const DIFFERENT: &[(&str, &str)] = &[];
    for (name, message) in corpus() {
        let (here, there) = (seen_here(&message), seen_there(&message));
        match DIFFERENT.iter().find(|(different, _)| *different == name) {
            None => assert_eq!(here, there, "{name}"),
            Some((_, reason)) => assert_ne!(here, there, "{name} is the same now: {reason}"),
        }
    }
}
