//! Golden structures, after the examples of RFC 3501 and RFC 9051, and for what those have no example of.

use super::*;
use crate::check::{check_mime, index};

fn shown(message: &str) -> (String, String) {
    check_mime(message.as_bytes());
    let indexed = index(message.as_bytes(), 9);
    (String::from_utf8(body(&indexed)).unwrap(), String::from_utf8(bodystructure(&indexed)).unwrap())
}

/// RFC 3501 §7.4.2: a text of 48 lines, and a text with a diff attached.
#[test]
fn structures_are_those_of_the_standard() {
    let lines = |count: usize, octets: usize| {
        let mut text = "x\r\n".repeat(count - 1);
        text += &"y".repeat(octets - text.len() - 2);
        text + "\r\n"
    };
    let text = format!("Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n{}", lines(48, 2279));
    assert_eq!(shown(&text).0, "(\"text\" \"plain\" (\"charset\" \"US-ASCII\") NIL NIL \"7bit\" 2279 48)");

    let mixed = format!(
        "Content-Type: MULTIPART/MIXED; BOUNDARY=b\r\n\r\n--b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n{}\r\n\
         --b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=\"cc.diff\"\r\n\
         Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n\
         Content-Transfer-Encoding: BASE64\r\n\r\n{}\r\n--b--\r\n",
        lines(23, 1152),
        lines(73, 4554),
    );
    assert_eq!(
        shown(&mixed).0,
        "((\"text\" \"plain\" (\"charset\" \"US-ASCII\") NIL NIL \"7bit\" 1152 23)\
         (\"text\" \"plain\" (\"charset\" \"US-ASCII\" \"name\" \"cc.diff\") \
         \"<960723163407.20117h@cac.washington.edu>\" \"Compiler diff\" \"base64\" 4554 73) \"mixed\")"
    );
}

#[test]
fn structures_show_what_the_fields_say() {
    let none = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
    for (message, basic, extended, reason) in [
        (
            "\r\nhi".to_owned(),
            "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 2 1)".to_owned(),
            "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 2 1 NIL NIL NIL NIL)".to_owned(),
            "RFC 2045 §5.2: the default",
        ),
        (
            "Content-Type: image/PNG; name=\"a \\\"b\\\"\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: ATTACHMENT; filename*0*=utf-8''a%20; filename*1=b; size=4\r\n\
             Content-MD5: Q2hlY2s=\r\nContent-Language: de, en (US)\r\nContent-Location: x.png\r\n\r\nAAAA"
                .to_owned(),
            "(\"image\" \"png\" (\"name\" \"a \\\"b\\\"\") NIL NIL \"base64\" 4)".to_owned(),
            "(\"image\" \"png\" (\"name\" \"a \\\"b\\\"\") NIL NIL \"base64\" 4 \"Q2hlY2s=\" \
             (\"attachment\" (\"filename*\" \"utf-8''a%20b\" \"size\" \"4\")) (\"de\" \"en\") \"x.png\")"
                .to_owned(),
            "all extension data; RFC 2231 continuations joined",
        ),
        (
            "Content-Type: text/html; charset=utf-8; x=\u{fc}\r\nContent-Language: de\r\n\r\n".to_owned(),
            "(\"text\" \"html\" (\"charset\" \"utf-8\" \"x\" {2}\r\n\u{fc}) NIL NIL \"7bit\" 0 0)".to_owned(),
            "(\"text\" \"html\" (\"charset\" \"utf-8\" \"x\" {2}\r\n\u{fc}) NIL NIL \"7bit\" 0 0 NIL NIL \"de\" NIL)".to_owned(),
            "octets above 127 are a literal",
        ),
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing".to_owned(),
            "((\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) \"mixed\")".to_owned(),
            "((\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)".to_owned(),
            "the grammar asks for a part",
        ),
        (
            "Content-Type: message/rfc822\r\n\r\nSubject: in\r\nFrom: a@b\r\n\r\nhi\r\n".to_owned(),
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 30 (NIL \"in\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) \
             ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1) 4)"
                .to_owned(),
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 30 (NIL \"in\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) \
             ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)"
                .to_owned(),
            "a message inside, with its envelope and lines",
        ),
        (
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA".to_owned(),
            format!(
                "(\"message\" \"rfc822\" NIL NIL NIL \"base64\" 4 {none} (\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) 1)"
            ),
            format!(
                "(\"message\" \"rfc822\" NIL NIL NIL \"base64\" 4 {none} (\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) 1 \
                 NIL NIL NIL NIL)"
            ),
            "an encoded message keeps its type, and the grammar its envelope",
        ),
    ] {
        assert_eq!(shown(&message), (basic, extended), "{reason}");
    }
}

#[test]
fn parts_of_a_digest_are_messages() {
    let (basic, _) =
        shown("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\nhi\r\n--b--");
    assert!(basic.starts_with("((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 16 (NIL \"x\" "), "{basic}");
}
