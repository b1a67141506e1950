//! What must hold for any message. Run by the fuzz target over its corpus and by the unit tests over theirs.

use crate::{
    header::{self, Headers},
    imap,
    mime::{Description, Index, Indexed, Indexer, Kind, MAX_DEPTH, MAX_HEADERS, MAX_PARTS, Section},
    ordering::{MAX_KEY, MAX_REFERENCES, OrderKeys},
    preview,
    text::{Decoder, HtmlText},
};

/// Indexes `input` whole, octet by octet and in odd chunks, renders it, and panics where a promise is broken.
pub fn check_mime(input: &[u8]) {
    let indexed = index(input, input.len().max(1));
    for chunk in [1, 2, 3, 7, 64] {
        assert!(index(input, chunk) == indexed, "chunks of {chunk} change the result");
    }
    check_tree(&indexed.index, input);
    check_sections(&indexed.index);
    let bytes = indexed.index.to_bytes();
    assert!(Index::from_bytes(&bytes).as_ref() == Ok(&indexed.index), "the stored form differs");
    let _ = Index::from_bytes(input);

    // Escaping doubles, an address grows tenfold and From is shown three times.
    let parts = indexed.index.parts().len();
    let bound = 4 * MAX_HEADERS + imap::MAX_NESTED_ENVELOPES + 2_000 * parts;
    for rendered in [imap::body(&indexed), imap::bodystructure(&indexed), imap::envelope(indexed.headers())] {
        assert!(imap::balanced(&rendered), "unbalanced: {}", rendered.escape_ascii());
        assert!(rendered.len() <= bound.min(60 * input.len() + 2_000), "{} octets", rendered.len());
    }
    check_header(input);
    check_preview(&indexed.index, input);
    check_html(&String::from_utf8_lossy(input));
}

/// Every source of a preview is text of the message, and what is made of it is short.
fn check_preview(index: &Index, input: &[u8]) {
    let octets = |range: &std::ops::Range<u64>| {
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        input.get(at(range.start)..at(range.end)).unwrap_or_default()
    };
    let sources = preview::sources(index, |part| Ok::<_, ()>(octets(&part.header).to_vec()));
    for source in sources.unwrap_or_default() {
        let mut made = preview::Preview::of(&source);
        let mut decoder = Decoder::new(source.part.encoding, source.charset.as_deref());
        decoder.push(octets(&source.part.body), &mut |text| made.push(text));
        decoder.finish(&mut |text| made.push(text));
        let text = made.finish();
        assert!(text.chars().count() <= 200 && !text.contains(char::is_control), "{text:?}");
    }
}

/// The text of HTML, fed in pieces of so many characters.
fn html_text(html: &str, most: usize) -> String {
    let mut text = String::new();
    let mut converter = HtmlText::new();
    let mut rest = html;
    while !rest.is_empty() {
        let cut = rest.char_indices().nth(most).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(cut);
        converter.push(piece, &mut |shown| text.push_str(shown));
        rest = after;
    }
    converter.finish(&mut |shown| text.push_str(shown));
    text
}

fn check_html(html: &str) {
    let text = html_text(html, usize::MAX);
    assert!(text.len() <= html.len(), "{} octets of text of {}", text.len(), html.len());
    for chunk in [1, 7] {
        assert!(html_text(html, chunk) == text, "pieces of {chunk} change the text");
    }
}

/// The index of `input`, fed in chunks.
#[must_use]
pub fn index(input: &[u8], chunk: usize) -> Indexed {
    let mut indexer = Indexer::new();
    input.chunks(chunk.max(1)).for_each(|chunk| indexer.push(chunk));
    indexer.finish()
}

fn check_tree(index: &Index, input: &[u8]) {
    let parts = index.parts();
    assert!((1..=MAX_PARTS).contains(&parts.len()));
    assert!(usize::try_from(index.size()) == Ok(input.len()));
    let mut total = 0;
    for (place, part) in parts.iter().enumerate() {
        assert!(part.depth <= MAX_DEPTH);
        assert!(part.header.start <= part.header.end && part.body.start <= part.body.end);
        assert!(part.header.end == part.body.start);
        let octets = |range: &std::ops::Range<u64>| {
            let range = usize::try_from(range.start).ok()..usize::try_from(range.end).ok();
            input.get(range.start.unwrap_or(usize::MAX)..range.end.unwrap_or(usize::MAX)).unwrap_or_default()
        };
        let body = octets(&part.body);
        let ends = body.iter().filter(|octet| **octet == b'\n').count();
        let lines = ends + usize::from(!body.is_empty() && !body.ends_with(b"\n"));
        assert!(usize::try_from(part.lines) == Ok(lines), "part {place}: {} lines, not {lines}", part.lines);

        let children: Vec<_> = index.children(place).collect();
        assert!(children.is_empty() || !part.kind.is_leaf());
        assert!((children.len() == 1) || part.kind != Kind::Message);
        let mut from = part.body.start;
        for child in children {
            total += 1;
            let Some(child) = parts.get(child) else { panic!("no part {child}") };
            assert!(child.depth == part.depth + 1);
            assert!(child.header.start >= from && child.body.end <= part.body.end, "part {place} leaks");
            assert!(part.kind != Kind::Message || (child.header.start..child.body.end) == part.body);
            from = child.body.end;
        }
    }
    assert!(total + 1 == parts.len(), "every part is a child");
}

/// Whatever a client asks for stands inside the message.
fn check_sections(index: &Index) {
    for number in [&[][..], &[1], &[2], &[1, 1], &[1, 2, 1], &[0], &[1, 1, 1, 1, 1, 1], &[u32::MAX]] {
        for section in [Section::Content, Section::Header, Section::Text, Section::Mime] {
            if let Some(range) = index.locate(number, section) {
                assert!(range.start <= range.end && range.end <= index.size());
            }
        }
    }
    assert!(index.locate(&[], Section::Content) == Some(0..index.size()));
}

fn check_header(input: &[u8]) {
    for field in Headers::new(input).fields().take(100) {
        let _ = header::parse_date(field.value);
        let ids = header::message_ids(field.value);
        assert!(ids.len() <= header::MAX_MESSAGE_IDS);
        let text = header::decode(field.value);
        assert!(text.len() <= 3 * field.value.len());
        assert!(header::base_subject(&text).text.len() <= text.len());
    }
    let keys = OrderKeys::find(Headers::new(input));
    let texts = [keys.subject_key(), &keys.cc, &keys.from, &keys.to, &keys.display_from, &keys.display_to];
    assert!(texts.iter().all(|text| text.len() <= MAX_KEY) && keys.references.len() <= MAX_REFERENCES);
    let names = Description::parse(Headers::new(input)).file_names();
    assert!(names.iter().map(String::len).sum::<usize>() <= 3 * input.len());
    let section = input.get(..header::section_end(input).unwrap_or(input.len())).unwrap_or_default();
    if let Ok(origin) = header::origin(section) {
        let mut all = Headers::new(input).all("from");
        assert!(all.next().and_then(header::sole_mailbox) == Some(origin.from), "another From");
        assert!(all.next().is_none(), "a second From");
    }
    let selected = header::select(input, header::Selection::FieldsNot, &["subject"]);
    assert!(selected.len() <= input.len() + 4 && selected.ends_with(b"\r\n"));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_fuzzers_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/mime");
        let inputs: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 20, "{} inputs in {}", inputs.len(), corpus.display());
        for input in inputs {
            super::check_mime(&fs::read(&input).unwrap());
        }
    }
}
