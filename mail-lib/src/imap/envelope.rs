//! ENVELOPE: `("date" "subject" from sender reply-to to cc bcc "in-reply-to" "message-id")`.

use super::string::{write_nstring, write_string};
use crate::header::{Addresses, Entry, Headers, Mailbox, unfold};

/// How many addresses (and group names) of one field are rendered; the rest is dropped.
pub const MAX_ADDRESSES: usize = 1_000;

/// The fields that an envelope shows. Of two fields of one name the first counts, but the destinations of all are
/// joined (RFC 5322 §4.5.3).
#[derive(Default)]
struct Fields<'a> {
    date: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    sender: Option<&'a [u8]>,
    reply_to: Option<&'a [u8]>,
    to: Vec<&'a [u8]>,
    cc: Vec<&'a [u8]>,
    bcc: Vec<&'a [u8]>,
    in_reply_to: Option<&'a [u8]>,
    message_id: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn find(headers: Headers<'a>) -> Self {
        let mut found = Self::default();
        for field in headers.fields() {
            let value = field.value;
            let single = match field.name.to_ascii_lowercase().as_slice() {
                b"date" => &mut found.date,
                b"subject" => &mut found.subject,
                b"from" => &mut found.from,
                b"sender" => &mut found.sender,
                b"reply-to" => &mut found.reply_to,
                b"in-reply-to" => &mut found.in_reply_to,
                b"message-id" => &mut found.message_id,
                b"to" => {
                    found.to.push(value);
                    continue;
                }
                b"cc" => {
                    found.cc.push(value);
                    continue;
                }
                b"bcc" => {
                    found.bcc.push(value);
                    continue;
                }
                _ => continue,
            };
            single.get_or_insert(value);
        }
        found
    }
}

/// `("date" "subject" ((from)) … "message-id")`. Strings are quoted where possible, else literals; never a NUL.
#[must_use]
pub fn envelope(headers: Headers<'_>) -> Vec<u8> {
    let fields = Fields::find(headers);
    let mut out = Vec::with_capacity(512);
    out.push(b'(');
    write_text(&mut out, fields.date);
    out.push(b' ');
    write_text(&mut out, fields.subject);
    let from = addresses(fields.from.as_slice()).unwrap_or_else(|| b"NIL".to_vec());
    for list in [
        None,
        // Where they are missing or empty they are those of From (RFC 3501 §7.4.2).
        addresses(fields.sender.as_slice()),
        addresses(fields.reply_to.as_slice()),
    ] {
        out.push(b' ');
        out.extend_from_slice(list.as_deref().unwrap_or(&from));
    }
    for values in [&fields.to, &fields.cc, &fields.bcc] {
        out.push(b' ');
        out.extend_from_slice(addresses(values).as_deref().unwrap_or(b"NIL"));
    }
    out.push(b' ');
    write_text(&mut out, fields.in_reply_to);
    out.push(b' ');
    write_text(&mut out, fields.message_id);
    out.push(b')');
    out
}

fn write_text(out: &mut Vec<u8>, value: Option<&[u8]>) {
    write_nstring(out, value.map(unfold).as_deref());
}

/// `(address …)`, groups marked as RFC 3501 §7.4.2 has them. `None`: no address at all.
fn addresses(values: &[&[u8]]) -> Option<Vec<u8>> {
    let mut out = vec![b'('];
    let mut open_group = false;
    let entries = values.iter().flat_map(|value| Addresses::new(value));
    // An end of group beyond the cap would be missed: it is written below.
    for entry in entries.take(MAX_ADDRESSES) {
        match entry {
            Entry::GroupStart(name) => {
                open_group = true;
                write_address(&mut out, None, None, Some(&name), None);
            }
            Entry::GroupEnd => {
                open_group = false;
                write_address(&mut out, None, None, None, None);
            }
            Entry::Mailbox(mailbox) => write_mailbox(&mut out, &mailbox),
        }
    }
    if open_group {
        write_address(&mut out, None, None, None, None);
    }
    out.push(b')');
    (out.len() > 2).then_some(out)
}

fn write_mailbox(out: &mut Vec<u8>, mailbox: &Mailbox) {
    let name = mailbox.name.as_deref().filter(|name| !name.is_empty());
    // An address without domain keeps an empty one: NIL would make it a group.
    write_address(out, name, mailbox.route.as_deref(), Some(&mailbox.localpart), Some(&mailbox.domain));
}

fn write_address(
    out: &mut Vec<u8>,
    name: Option<&[u8]>,
    route: Option<&[u8]>,
    mailbox: Option<&[u8]>,
    host: Option<&[u8]>,
) {
    out.push(b'(');
    write_nstring(out, name);
    out.push(b' ');
    write_nstring(out, route);
    out.push(b' ');
    match mailbox {
        Some(mailbox) => write_string(out, mailbox),
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    write_nstring(out, host);
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::balanced;

    fn shown(header: &str) -> String {
        let rendered = envelope(Headers::new(header.as_bytes()));
        assert!(balanced(&rendered), "{}", rendered.escape_ascii());
        String::from_utf8(rendered).unwrap()
    }

    #[test]
    fn envelopes_are_those_of_the_standard() {
        // RFC 3501 §8, the message of the sample session.
        let header = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
            From: Terry Gray <gray@cac.washington.edu>\r\n\
            Subject: IMAP4rev1 WG mtg summary and minutes\r\n\
            To: imap@cac.washington.edu\r\n\
            cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n\
            Message-Id: <B27397-0100000@cac.washington.edu>\r\n\
            MIME-Version: 1.0\r\n\r\n";
        let gray = "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\"))";
        assert_eq!(
            shown(header),
            format!(
                "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 WG mtg summary and minutes\" {gray} {gray} \
                 {gray} ((NIL NIL \"imap\" \"cac.washington.edu\")) ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")\
                 (\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \"<B27397-0100000@cac.washington.edu>\")"
            )
        );
    }

    #[test]
    fn envelopes_show_what_is_missing_strange_or_not_ascii() {
        for (header, expected) in [
            ("", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
            ("Subject:\r\n", "(NIL \"\" NIL NIL NIL NIL NIL NIL NIL NIL)"),
            (
                "Subject: a\r\n \"b\"\r\nSubject: second\r\n",
                "(NIL \"a \\\"b\\\"\" NIL NIL NIL NIL NIL NIL NIL NIL)",
            ),
            ("Subject: gr\u{fc}n\r\n", "(NIL {5}\r\ngr\u{fc}n NIL NIL NIL NIL NIL NIL NIL NIL)"),
            (
                "From: a@b.c\r\nSender: \r\nReply-To: d@e.f\r\n",
                "(NIL NIL ((NIL NIL \"a\" \"b.c\")) ((NIL NIL \"a\" \"b.c\")) ((NIL NIL \"d\" \"e.f\")) NIL NIL NIL NIL NIL)",
            ),
            (
                "To: A Group: Ed <c@a.test>, joe@where.test;\r\nTo: x\r\n",
                "(NIL NIL NIL NIL NIL ((NIL NIL \"A Group\" NIL)(\"Ed\" NIL \"c\" \"a.test\")(NIL NIL \"joe\" \"where.test\")\
                 (NIL NIL NIL NIL)(NIL NIL \"x\" \"\")) NIL NIL NIL NIL)",
            ),
            (
                "Cc: <@node.test:mary@example.net>\r\n",
                "(NIL NIL NIL NIL NIL NIL ((NIL \"@node.test\" \"mary\" \"example.net\")) NIL NIL NIL)",
            ),
        ] {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    /// Attack class 10: 500,000 addresses.
    #[test]
    fn half_a_million_addresses_become_a_thousand() {
        let list = "a,".repeat(500_000);
        let rendered = shown(&format!("From: {list}\r\nTo: g:{list}\r\nTo: {list}\r\n"));
        assert_eq!(rendered.matches("(NIL NIL \"a\" \"\")").count(), 4 * MAX_ADDRESSES - 1);
        assert!(rendered.ends_with("(NIL NIL NIL NIL)) NIL NIL NIL NIL)"), "the cut group is closed");
    }

    /// Attack class 10: a million header fields.
    #[test]
    fn a_million_fields_make_one_envelope() {
        let rendered = shown(&"Subject: x\r\nTo: a@b\r\nDate: y\r\n".repeat(350_000));
        assert!(rendered.len() < 32 * MAX_ADDRESSES, "{}", rendered.len());
    }
}
