//! Address lists of RFC 5322 §3.4 as a stream of entries, tolerant of what people's programs write.

use std::borrow::Cow;

use super::{
    is_dropped,
    parameter::{parse_quoted, skip_comment},
};

/// One step through an address list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `name:`
    GroupStart(Vec<u8>),
    /// `;`, or the end of the field inside a group.
    GroupEnd,
    /// One mailbox.
    Mailbox(Mailbox),
}

/// One mailbox, without quotes and comments; encoded words stay as they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mailbox {
    /// Display name, or the comment behind the address where there is none.
    pub(crate) name: Option<Vec<u8>>,
    /// `@a,@b` of an obsolete route.
    pub(crate) route: Option<Vec<u8>>,
    pub(crate) localpart: Vec<u8>,
    /// Empty where the address has none.
    pub(crate) domain: Vec<u8>,
}

/// The entries of one field's value.
pub(crate) struct Addresses<'a> {
    rest: &'a [u8],
    in_group: bool,
}

impl<'a> Addresses<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self { rest: value, in_group: false }
    }
}

/// Text in the making, which may turn out to be a name or an address.
#[derive(Default)]
struct Phrase {
    /// As a name: words with one space between them.
    text: Vec<u8>,
    /// As an address: dots and `@` bind, `a . b @ c` is one (RFC 5322 §4.4).
    bound: Vec<u8>,
    /// Where the last `@` stands in `bound`.
    at: Option<usize>,
    /// White space was seen since the last octet.
    spaced: bool,
    comment: Option<Vec<u8>>,
    any: bool,
}

impl Phrase {
    fn word(&mut self, octets: &[u8]) {
        if self.spaced && self.any {
            self.text.push(b' ');
            if !matches!(self.bound.last(), Some(b'.' | b'@')) && !matches!(octets, [b'.' | b'@', ..]) {
                self.bound.push(b' ');
            }
        }
        self.text.extend_from_slice(octets);
        self.bound.extend_from_slice(octets);
        self.spaced = false;
        self.any = true;
    }

    fn mailbox(self, route: Option<Vec<u8>>, name: Option<Vec<u8>>) -> Mailbox {
        let (localpart, domain) = match self.at {
            Some(at) => {
                let (localpart, domain) = self.bound.split_at(at);
                (localpart.to_vec(), domain.get(1..).unwrap_or_default().to_vec())
            }
            None => (self.bound, Vec::new()),
        };
        Mailbox { name: name.or(self.comment), route, localpart, domain }
    }
}

impl Iterator for Addresses<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let mut phrase = Phrase::default();
        loop {
            let Some((octet, after)) = self.rest.split_first() else {
                if phrase.any {
                    return Some(Entry::Mailbox(phrase.mailbox(None, None)));
                }
                return std::mem::take(&mut self.in_group).then_some(Entry::GroupEnd);
            };
            match octet {
                b',' => {
                    self.rest = after;
                    if phrase.any {
                        return Some(Entry::Mailbox(phrase.mailbox(None, None)));
                    }
                }
                b';' => {
                    if phrase.any {
                        return Some(Entry::Mailbox(phrase.mailbox(None, None))); // the `;` comes again
                    }
                    self.rest = after;
                    if std::mem::take(&mut self.in_group) {
                        return Some(Entry::GroupEnd);
                    }
                }
                b':' if !self.in_group && phrase.at.is_none() && phrase.any => {
                    self.rest = after;
                    self.in_group = true;
                    return Some(Entry::GroupStart(phrase.text));
                }
                b'<' => {
                    self.rest = after;
                    return Some(Entry::Mailbox(self.angle(phrase)));
                }
                _ => self.rest = step(self.rest, &mut phrase),
            }
        }
    }
}

impl Addresses<'_> {
    /// Behind `<`: an optional route, the address, `>`, and whatever else stands before the next separator.
    fn angle(&mut self, name: Phrase) -> Mailbox {
        let mut inner = Phrase::default();
        let mut route = None;
        while let Some((octet, after)) = self.rest.split_first() {
            match octet {
                b'>' => {
                    self.rest = after;
                    break;
                }
                b':' if route.is_none() && inner.bound.first() == Some(&b'@') => {
                    route = Some(std::mem::take(&mut inner).bound);
                    self.rest = after;
                }
                b',' if inner.bound.first() == Some(&b'@') => {
                    inner.word(b",");
                    self.rest = after;
                }
                // The bracket never closed: the next address must not be lost.
                b',' | b';' => break,
                _ => self.rest = step(self.rest, &mut inner),
            }
        }
        let mut tail = Phrase::default();
        while let Some(octet) = self.rest.first() {
            if matches!(octet, b',' | b';' | b'<') {
                break;
            }
            self.rest = step(self.rest, &mut tail);
        }
        let comment = name.comment.or(inner.comment.take()).or(tail.comment);
        let name = name.any.then_some(name.text).or(comment);
        inner.mailbox(route, name)
    }
}

/// Takes one word, quoted string, comment, literal or other octet from the front of `rest`.
fn step<'a>(rest: &'a [u8], phrase: &mut Phrase) -> &'a [u8] {
    let Some((octet, after)) = rest.split_first() else { return rest };
    match octet {
        b'(' => {
            let (comment, after) = skip_comment(after);
            let comment: Vec<u8> = comment.iter().copied().filter(|octet| !is_dropped(*octet)).collect();
            phrase.comment = Some(comment.trim_ascii().to_vec());
            phrase.spaced = true;
            after
        }
        b'"' => {
            let (text, after) = parse_quoted(after);
            phrase.word(&text);
            after
        }
        b'[' => {
            let end = rest.iter().position(|octet| *octet == b']').map_or(rest.len(), |at| at + 1);
            let (literal, after) = rest.split_at(end);
            phrase.word(&super::unfold(literal));
            after
        }
        b'@' => {
            phrase.word(b"@");
            phrase.at = Some(phrase.bound.len().saturating_sub(1));
            after
        }
        octet if octet.is_ascii_whitespace() => {
            phrase.spaced = true;
            after
        }
        _ => {
            let is_end = |octet: &u8| octet.is_ascii_whitespace() || b"()<>[]:;@,\"".contains(octet);
            let end = after.iter().position(is_end).map_or(rest.len(), |at| at + 1);
            let (word, after) = rest.split_at(end);
            let word: Cow<'_, [u8]> = super::unfold(word);
            phrase.word(&word);
            after
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str) -> String {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let entries = Addresses::new(value.as_bytes()).map(|entry| match entry {
            Entry::GroupStart(name) => format!("{{{}", text(&name)),
            Entry::GroupEnd => "}".to_owned(),
            Entry::Mailbox(mailbox) => format!(
                "{}<{}{}@{}>",
                mailbox.name.as_deref().map(text).unwrap_or_default(),
                mailbox.route.as_deref().map(|route| text(route) + ":").unwrap_or_default(),
                text(&mailbox.localpart),
                text(&mailbox.domain)
            ),
        });
        entries.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn address_lists_are_read_with_groups_comments_routes_and_mistakes() {
        for (value, expected) in [
            // RFC 5322 appendix A.1.
            ("John Doe <jdoe@machine.example>", "John Doe<jdoe@machine.example>"),
            (
                "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
                "Mary Smith<mary@x.test> <jdoe@example.org> Who?<one@y.test>",
            ),
            (
                "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
                "<boss@nil.test> Giant; \"Big\" Box<sysservices@example.net>",
            ),
            (
                "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
                "{A Group Ed Jones<c@a.test> <joe@where.test> John<jdoe@one.test> }",
            ),
            ("Undisclosed recipients:;", "{Undisclosed recipients }"),
            ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "Pete<pete@silly.test>"),
            ("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", "{Hidden recipients }"),
            (
                "Mary Smith <@node.test,@b.test:mary@example.net>, , jdoe@test  . example",
                "Mary Smith<@node.test,@b.test:mary@example.net> <jdoe@test.example>",
            ),
            ("Joe Q. Public <john.q.public@example.com>", "Joe Q. Public<john.q.public@example.com>"),
            // What the standard does not have.
            ("a@b.org (Alice B)", "Alice B<a@b.org>"),
            ("a@b.org <a@b.org>", "a@b.org<a@b.org>"),
            ("a@b.org c@d.org", "<a@b.org c@d.org>"),
            ("alice", "<alice@>"),
            ("<a@b.org, c@d.org", "<a@b.org> <c@d.org>"),
            ("a@b.org; c@d.org", "<a@b.org> <c@d.org>"),
            ("\"a@b\" <c@[192.0.2.1]>", "a@b<c@[192.0.2.1]>"),
            ("\"a b\"@c.org", "<a b@c.org>"),
            ("=?utf-8?q?J=C3=BCrgen?= <j@x.org>", "=?utf-8?q?J=C3=BCrgen?=<j@x.org>"),
            ("group: a@b.org", "{group <a@b.org> }"),
            ("<>", "<@>"),
            (",,;;", ""),
            ("", ""),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_finite_list(value in proptest::collection::vec(
            prop_oneof![Just(b'<'), Just(b'>'), Just(b':'), Just(b';'), Just(b'('), Just(b'@'), Just(b'"'), Just(b','), any::<u8>()], 0..200)
        ) {
            let entries: Vec<_> = Addresses::new(&value).collect();
            prop_assert!(entries.len() <= value.len() + 1);
            let groups = entries.iter().filter(|entry| matches!(entry, Entry::GroupStart(_))).count();
            let ends = entries.iter().filter(|entry| matches!(entry, Entry::GroupEnd)).count();
            prop_assert_eq!(groups, ends);
        }
    }
}
