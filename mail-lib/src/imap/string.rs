//! Strings of the IMAP grammar.

/// Appends `text` as a quoted string where that is possible, else as a literal. NULs, which neither may hold, are left
/// out.
pub(super) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0x80..)) {
        let length = text.iter().filter(|octet| **octet != 0).count();
        out.extend_from_slice(format!("{{{length}}}\r\n").as_bytes());
        out.extend(text.iter().filter(|octet| **octet != 0));
        return;
    }
    out.push(b'"');
    for octet in text {
        match octet {
            0 => {}
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *octet]),
            octet => out.push(*octet),
        }
    }
    out.push(b'"');
}

/// `NIL` for what is not there.
pub(super) fn write_nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => write_string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Whether `rendered` is one list of lists, strings, numbers and NIL, and nothing more. For tests and fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn balanced(rendered: &[u8]) -> bool {
    let mut rest = rendered;
    let mut depth = 0_usize;
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'(' => depth += 1,
            b')' => {
                let Some(less) = depth.checked_sub(1) else { return false };
                depth = less;
                if depth == 0 {
                    return rest.is_empty();
                }
            }
            b'"' => loop {
                match rest {
                    [b'\\', b'"' | b'\\', after @ ..] => rest = after,
                    [b'"', after @ ..] => {
                        rest = after;
                        break;
                    }
                    [0 | b'\r' | b'\n' | 0x80.. | b'\\', ..] | [] => return false,
                    [_, after @ ..] => rest = after,
                }
            },
            b'{' => {
                let Some(end) = rest.windows(3).position(|three| three == b"}\r\n") else { return false };
                let (digits, after) = rest.split_at(end);
                let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
                let Some(Some((text, after))) =
                    length.map(|length| after.get(3..).and_then(|after| after.split_at_checked(length)))
                else {
                    return false;
                };
                if text.contains(&0) {
                    return false;
                }
                rest = after;
            }
            b' ' | b'0'..=b'9' | b'N' | b'I' | b'L' if depth > 0 => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_where_they_can_be() {
        for (text, expected) in [
            (&b""[..], &b"\"\""[..]),
            (b"plain", b"\"plain\""),
            (b"a\"b\\c", b"\"a\\\"b\\\\c\""),
            (b"a\0b", b"\"ab\""),
            ("ü".as_bytes(), b"{2}\r\n\xc3\xbc"),
            (b"a\r\nb\0", b"{4}\r\na\r\nb"),
        ] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(out, expected);
        }
    }
}
