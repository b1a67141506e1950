//! What a fuzzer checks, and the unit tests over the same inputs.

use crate::mailbox_name::NameForm;
use crate::parser::{Event, Limits, Parser};
use crate::url::MessageUrl;
use crate::urlauth::AuthorisedUrl;

/// An event without its borrowed data, so that runs can be compared: pieces of one message are joined.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event(Event<'static>),
    Message(Vec<u8>),
}

/// Run by a fuzz target and by ordinary tests: no input panics, no bound is passed, and the events do not depend
/// on how the bytes are split.
pub fn check_imap(input: &[u8]) {
    let _ = MessageUrl::parse(input);
    let _ = AuthorisedUrl::parse(input);
    crate::state::check_state(input);
    for limits in [Limits::BEFORE_LOGIN, Limits::SESSION] {
        let whole = events(limits, input.chunks(input.len().max(1)));
        for size in [1, 7] {
            assert_eq!(events(limits, input.chunks(size)), whole, "in pieces of {size}");
        }
        for cut in (0..input.len()).step_by(1 + input.len() / 64) {
            let pieces = input.split_at_checked(cut).map(|(head, tail)| [head, tail]);
            assert_eq!(events(limits, pieces.into_iter().flatten()), whole, "cut at {cut}");
        }
    }
}

fn events<'i>(limits: Limits, pieces: impl Iterator<Item = &'i [u8]>) -> Vec<Seen> {
    let mut parser = Parser::new(limits);
    let mut seen = Vec::new();
    for mut piece in pieces {
        while let Some(event) = parser.next(&mut piece) {
            assert!(parser.held() <= limits.command, "more is held than one command may cost");
            if let Event::MessageData(data) = event {
                match seen.last_mut() {
                    Some(Seen::Message(message)) => message.extend_from_slice(data),
                    Some(Seen::Event(_)) | None => seen.push(Seen::Message(data.to_vec())),
                }
                continue;
            }
            react(&mut parser, &event);
            seen.push(Seen::Event(owned(event)));
        }
        assert!(piece.is_empty(), "bytes were left although no event came");
    }
    seen
}

/// Does what a server would: lines behind IDLE and AUTHENTICATE, names in UTF-8 behind ENABLE, some messages refused.
fn react(parser: &mut Parser, event: &Event<'_>) {
    use crate::command::Command;
    match event {
        Event::Command(tagged) => {
            if let Command::UrlFetch(urls) = &tagged.command {
                urls.iter().for_each(|fetch| drop(AuthorisedUrl::parse(&fetch.url)));
            }
            if let Command::Search { key, .. } = &tagged.command {
                // Each filter is the search that it stands in: whatever it holds, that ends.
                let value = format!("{}FILTER x", "NOT ".repeat(tagged.tag.as_bytes().len()));
                let _ = key.clone().resolve_filters(&mut |_| Ok::<_, ()>(Some(value.clone().into_bytes())));
            }
            if let Command::Enable(_) = tagged.command {
                parser.expect_names(NameForm::Utf8);
            }
            if matches!(tagged.command, Command::Idle | Command::Authenticate { initial: None, .. }) {
                parser.expect_line();
            }
        }
        Event::AppendUrl(url) => {
            let _ = MessageUrl::parse(url);
        }
        Event::AppendText(text) if text.synchronising && text.size % 2 == 1 => parser.refuse_message(),
        Event::Append(_)
        | Event::AppendMessage(_)
        | Event::AppendText(_)
        | Event::Continue
        | Event::MessageData(_)
        | Event::AppendEnd
        | Event::Line(_)
        | Event::Bad(_)
        | Event::Fatal(_) => (),
    }
}

fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::MessageData(_) => Event::MessageData(&[]),
        Event::Continue => Event::Continue,
        Event::Command(tagged) => Event::Command(tagged),
        Event::Append(append) => Event::Append(append),
        Event::AppendMessage(message) => Event::AppendMessage(message),
        Event::AppendText(text) => Event::AppendText(text),
        Event::AppendUrl(url) => Event::AppendUrl(url),
        Event::AppendEnd => Event::AppendEnd,
        Event::Line(line) => Event::Line(line),
        Event::Bad(bad) => Event::Bad(bad),
        Event::Fatal(fatal) => Event::Fatal(fatal),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_fuzzers_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/imap");
        let inputs: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 35, "{} inputs in {}", inputs.len(), corpus.display());
        for input in inputs {
            super::check_imap(&fs::read(&input).unwrap());
        }
    }
}
