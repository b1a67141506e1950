//! One part's place in a BODYSTRUCTURE, which is kept as it goes over the wire (RFC 3501 §7.4.2).

use std::num::NonZeroU32;

/// The body structure of the part with this number; `None`: there is no such part.
pub(crate) fn part<'a>(structure: &'a [u8], number: &[NonZeroU32]) -> Option<&'a [u8]> {
    let (first, rest) = number.split_first()?;
    let first = of_message(structure, first.get())?;
    rest.iter().try_fold(first, |part, number| match embedded(part) {
        Some(message) => of_message(message, number.get()),
        None => child(part, number.get()),
    })
}

/// A part of a message: one of its multipart's, or the only one.
fn of_message(body: &[u8], number: u32) -> Option<&[u8]> {
    if is_multipart(body) { child(body, number) } else { (number == 1).then_some(body) }
}

fn is_multipart(body: &[u8]) -> bool {
    body.starts_with(b"((")
}

fn child(body: &[u8], number: u32) -> Option<&[u8]> {
    let mut rest = body.strip_prefix(b"(").filter(|_| is_multipart(body))?;
    for _ in 1..number {
        rest = rest.get(value(rest)?.len()..)?;
    }
    value(rest).filter(|child| child.starts_with(b"("))
}

/// The body of the message within a part that is one.
fn embedded(part: &[u8]) -> Option<&[u8]> {
    let mut rest = part.strip_prefix(b"(").filter(|_| !is_multipart(part))?;
    let mut fields = std::iter::from_fn(|| {
        let field = value(rest)?;
        let behind = rest.get(field.len()..)?;
        rest = behind.strip_prefix(b" ").unwrap_or(behind);
        Some(field)
    });
    let is = |field: Option<&[u8]>, word: &str| {
        field.is_some_and(|field| field.eq_ignore_ascii_case(format!("\"{word}\"").as_bytes()))
    };
    if !is(fields.next(), "message") || !is(fields.next(), "rfc822") {
        return None;
    }
    // Parameters, id, description, encoding, octets and the envelope stand between.
    fields.nth(6)
}

/// The string, list, number or NIL at the beginning.
fn value(text: &[u8]) -> Option<&[u8]> {
    let (mut at, mut depth) = (0, 0usize);
    loop {
        match text.get(at)? {
            b'(' => (at, depth) = (at + 1, depth + 1),
            b')' => (at, depth) = (at + 1, depth.checked_sub(1)?),
            b'"' => at += quoted(text.get(at..)?)?,
            b'{' => at += literal(text.get(at..)?)?,
            b' ' if depth > 0 => at += 1,
            b' ' => return None,
            _ => {
                let end = |octet: &u8| matches!(octet, b' ' | b'(' | b')');
                at += text.get(at..)?.iter().position(end).unwrap_or(text.len() - at);
            }
        }
        if depth == 0 {
            return text.get(..at);
        }
    }
}

fn quoted(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|octet| {
        let ends = *octet == b'"' && !escaped;
        escaped = *octet == b'\\' && !escaped;
        ends
    })?;
    Some(end + 2)
}

fn literal(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|octet| *octet == b'\n')?;
    let size = std::str::from_utf8(text.get(1..end)?.strip_suffix(b"}\r")?).ok()?;
    let whole = end.checked_add(1)?.checked_add(size.parse().ok()?)?;
    (whole <= text.len()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use mail_lib::imap::bodystructure;
    use mail_lib::mime::Indexer;
    use proptest::prelude::*;

    use super::*;

    fn found<'a>(structure: &'a str, number: &[u32]) -> Option<&'a str> {
        let number: Vec<_> = number.iter().filter_map(|number| NonZeroU32::new(*number)).collect();
        part(structure.as_bytes(), &number).map(|part| std::str::from_utf8(part).unwrap())
    }

    #[test]
    fn parts_are_found_by_their_numbers() {
        let text = r#"("text" "plain" ("charset" "a \") b") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#;
        let odd = "(\"text\" \"html\" (\"name\" {4}\r\na(\"b) NIL NIL \"7bit\" 3 1)";
        let inner = format!(r#"({odd}{text} "alternative" NIL NIL NIL NIL)"#);
        let envelope = r#"(NIL "s" ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL NIL NIL)"#;
        let message =
            format!(r#"("message" "rfc822" NIL NIL NIL "7bit" 99 {envelope} {inner} 9 NIL NIL NIL NIL)"#);
        let whole = format!(r#"({text}{message} "mixed" ("boundary" "x") NIL NIL NIL)"#);
        for (number, expected) in [
            (&[1][..], Some(text)),
            (&[2], Some(message.as_str())),
            (&[2, 1], Some(odd)),
            (&[2, 2], Some(text)),
            (&[2, 3], None),
            (&[3], None),
            (&[1, 1], None),
            (&[2, 1, 1], None),
        ] {
            assert_eq!(found(&whole, number), expected, "{number:?}");
        }
        assert_eq!(found(text, &[1]), Some(text));
        assert_eq!(found(text, &[2]), None);
        // A message that is nothing but another one.
        let alone = format!(r#"("message" "rfc822" NIL NIL NIL "7bit" 9 {envelope} {text} 9)"#);
        assert_eq!(found(&alone, &[1]), Some(alone.as_str()));
        assert_eq!(found(&alone, &[1, 1]), Some(text));
        for damaged in ["", "(", "((", "(\"text", "({5}\r\nab", "({x}\r\n", "((1 2"] {
            assert_eq!(found(damaged, &[1, 1]), None, "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn what_is_rendered_has_the_parts_that_are_there(message in "(Content-Type: (multipart/mixed; boundary=x|message/rfc822|text/plain)\r\n|\r\n|--x(--)?\r\n|a){0,20}") {
            let mut indexer = Indexer::new();
            indexer.push(message.as_bytes());
            let indexed = indexer.finish();
            let structure = bodystructure(&indexed);
            for number in [&[1][..], &[2], &[1, 1], &[1, 2], &[1, 1, 1]] {
                let numbers: Vec<_> = number.iter().filter_map(|number| NonZeroU32::new(*number)).collect();
                // The grammar asks for a part in a multipart without any.
                if indexed.index.section(number).is_some() {
                    prop_assert!(part(&structure, &numbers).is_some(), "{:?} {}", number, structure.escape_ascii());
                }
            }
        }
    }
}
