//! What must hold for any octets of an IMAP server. Run by the fuzz target and by the unit tests.

use super::{Event, Responses, Token, Wrong, fetched, number_in, status};

/// What a stream says, in words, pushed in pieces of that size. Pieces of a message are joined.
pub(crate) fn said(stream: &[u8], at_once: usize) -> Result<Vec<String>, Wrong> {
    let mut responses = Responses::default();
    let (mut said, mut message) = (Vec::new(), Vec::new());
    for octets in stream.chunks(at_once.max(1)) {
        responses.push(octets);
        loop {
            match responses.next_event()? {
                None => break,
                Some(Event::Continue(text)) => said.push(format!("+ {}", String::from_utf8_lossy(&text))),
                Some(Event::State { tag, state, code, text }) => {
                    if let Some(code) = &code {
                        let _ = number_in(code, "UIDVALIDITY");
                    }
                    let code =
                        code.map(|code| format!("[{}] ", String::from_utf8_lossy(&code))).unwrap_or_default();
                    let (tag, text) = (String::from_utf8_lossy(&tag), String::from_utf8_lossy(&text));
                    said.push(format!("{tag} {state:?} {code}{text}"));
                }
                Some(Event::Data(tokens)) => {
                    let _ = (fetched(&tokens), status(&tokens));
                    said.push(words(&tokens));
                }
                Some(Event::Message { before, size }) => {
                    let _ = fetched(before);
                    said.push(format!("message {size} after {}", words(before)));
                }
                Some(Event::Octets(octets)) => message.extend_from_slice(octets),
                Some(Event::MessageEnd) => {
                    said.push(String::from_utf8_lossy(&std::mem::take(&mut message)).into_owned());
                }
            }
        }
        assert!(responses.held() <= 600 * 1024 + octets.len());
    }
    Ok(said)
}

fn words(tokens: &[Token]) -> String {
    let word = |token: &Token| match token {
        Token::Open => "(".to_owned(),
        Token::Close => ")".to_owned(),
        Token::Atom(octets) => String::from_utf8_lossy(octets).into_owned(),
        Token::String(octets) => format!("'{}'", String::from_utf8_lossy(octets)),
    };
    tokens.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Nothing panics or is held without a bound, and how a stream is cut changes nothing of what was said before it went
/// wrong.
pub(crate) fn check_responses(stream: &[u8]) {
    assert_eq!(said(stream, stream.len()).is_ok(), said(stream, 1).is_ok());
    if let Ok(whole) = said(stream, stream.len()) {
        assert_eq!(said(stream, 1), Ok(whole.clone()));
        assert_eq!(said(stream, 7), Ok(whole));
    }
}
