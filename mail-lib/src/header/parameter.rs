//! `value; name=value …` of Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2231).

/// How many parameters of one field are read, each segment of a continued one counted.
const MAX_PARAMETERS: usize = 200;

/// One parameter of a structured field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// In lower case. Ends in `*` where the value is `charset'language'percent-encoded` (RFC 2231 §4).
    pub name: Vec<u8>,
    /// Unquoted; continuations (RFC 2231 §3) are joined. Without CR, LF and NUL.
    pub value: Vec<u8>,
}

/// A field's value before the first `;`, and its parameters.
#[derive(Debug, Default)]
pub(crate) struct Structured {
    pub(crate) value: Vec<u8>,
    pub(crate) parameters: Vec<Parameter>,
}

impl Structured {
    pub(crate) fn parse(field: &[u8]) -> Self {
        let (value, mut rest) = parse_value(field);
        let mut found = Vec::new();
        while let Some(after) = next_parameter(rest) {
            if found.len() == MAX_PARAMETERS {
                break;
            }
            let (name, after) = split_name(after);
            let Some(after) = after.strip_prefix(b"=") else {
                rest = after;
                continue;
            };
            let (value, after) = parse_value(after);
            rest = after;
            if !name.is_empty() {
                found.push(Segment::new(&name, value));
            }
        }
        Self { value, parameters: join(found) }
    }
}

/// Skips to behind the next `;`. Whatever stands before it is ignored.
fn next_parameter(rest: &[u8]) -> Option<&[u8]> {
    let mut rest = skip_cfws(rest);
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b';' => return Some(skip_cfws(after)),
            b'"' => parse_quoted(after).1,
            _ => after,
        };
    }
    None
}

fn split_name(rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = rest
        .iter()
        .position(|octet| octet.is_ascii_whitespace() || matches!(octet, b'=' | b';' | b'(' | b'"' | 0))
        .unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    (name.to_ascii_lowercase(), skip_cfws(rest))
}

/// A quoted string, or all up to white space or `;`: many programs forget the quotes around `=`, `:` or `/`.
fn parse_value(rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let rest = skip_cfws(rest);
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        return parse_quoted(quoted);
    }
    let end =
        rest.iter().position(|octet| octet.is_ascii_whitespace() || *octet == b';').unwrap_or(rest.len());
    let (value, rest) = rest.split_at(end);
    (value.iter().copied().filter(|octet| *octet != 0).collect(), rest)
}

/// `quoted` starts behind the opening quote. An open string goes to the end.
pub(super) fn parse_quoted(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = quoted;
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'"' => break,
            b'\\' => {
                if let Some((escaped, after)) = after.split_first() {
                    rest = after;
                    if !super::is_dropped(*escaped) {
                        value.push(*escaped);
                    }
                }
            }
            octet if super::is_dropped(*octet) => {}
            octet => value.push(*octet),
        }
    }
    (value, rest)
}

/// Skips white space and comments, however deep (RFC 5322 §3.2.2). A comment that does not close goes to the end.
pub(crate) fn skip_cfws(octets: &[u8]) -> &[u8] {
    let mut rest = octets.trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"(") {
        rest = skip_comment(comment).1.trim_ascii_start();
    }
    rest
}

/// Splits behind the comment whose inside `rest` starts with.
pub(super) fn skip_comment(rest: &[u8]) -> (&[u8], &[u8]) {
    let mut depth = 1_usize;
    let mut octets = rest.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'(' => depth += 1,
            b')' if depth == 1 => {
                return (rest.get(..at).unwrap_or(rest), rest.get(at + 1..).unwrap_or_default());
            }
            b')' => depth -= 1,
            b'\\' => {
                octets.next();
            }
            _ => {}
        }
    }
    (rest, &[])
}

/// One parameter as it was written: `name`, `name*`, `name*3` or `name*3*`.
struct Segment {
    name: Vec<u8>,
    number: Option<u32>,
    extended: bool,
    value: Vec<u8>,
}

impl Segment {
    fn new(written: &[u8], value: Vec<u8>) -> Self {
        let (name, extended) = match written.strip_suffix(b"*") {
            Some(name) => (name, true),
            None => (written, false),
        };
        let numbered = name.iter().rposition(|octet| *octet == b'*').and_then(|star| {
            let digits = std::str::from_utf8(name.get(star + 1..)?).ok()?;
            Some((name.get(..star)?.to_vec(), digits.parse().ok()?))
        });
        match numbered {
            Some((name, number)) => Self { name, number: Some(number), extended, value },
            None => Self { name: name.to_vec(), number: None, extended, value },
        }
    }
}

/// Joins continuations, in the order of their numbers, up to the first gap. Of two of one name the first counts.
fn join(mut segments: Vec<Segment>) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = Vec::new();
    while !segments.is_empty() {
        let name = segments.first().map(|segment| segment.name.clone()).unwrap_or_default();
        let (mut same, others): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|segment| segment.name == name);
        segments = others;
        // RFC 2231 §3: the numbers decide, not the order; a value in one piece, if there is one, stands for itself.
        same.sort_by_key(|segment| segment.number);
        let whole: Vec<_> = same.iter().filter(|segment| segment.number.is_none()).collect();
        for segment in &whole {
            add(&mut parameters, &name, segment.extended, segment.value.clone());
        }
        let mut wanted = 0;
        let mut joined = Vec::new();
        let extended =
            same.iter().find(|segment| segment.number == Some(0)).is_some_and(|first| first.extended);
        for segment in same.iter().filter(|segment| segment.number.is_some()) {
            if segment.number != Some(wanted) {
                continue;
            }
            wanted += 1;
            if extended && !segment.extended {
                escape_into(&segment.value, &mut joined);
            } else {
                joined.extend_from_slice(&segment.value);
            }
        }
        if wanted > 0 {
            add(&mut parameters, &name, extended, joined);
        }
    }
    parameters
}

fn add(parameters: &mut Vec<Parameter>, name: &[u8], extended: bool, value: Vec<u8>) {
    let mut name = name.to_vec();
    if extended {
        name.push(b'*');
    }
    if !parameters.iter().any(|parameter| parameter.name == name) {
        parameters.push(Parameter { name, value });
    }
}

/// A plain segment inside an extended value has to be percent-encoded when the two are joined.
fn escape_into(value: &[u8], joined: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for octet in value {
        if octet.is_ascii_alphanumeric() || b"-._~!#$&+^`|{}".contains(octet) {
            joined.push(*octet);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            joined.extend_from_slice(&[b'%', digit(octet >> 4), digit(octet & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(field: &str) -> String {
        let parsed = Structured::parse(field.as_bytes());
        let mut text = String::from_utf8_lossy(&parsed.value).into_owned();
        for parameter in parsed.parameters {
            text += &format!(
                "|{}={}",
                String::from_utf8_lossy(&parameter.name),
                String::from_utf8_lossy(&parameter.value)
            );
        }
        text
    }

    #[test]
    fn parameters_are_read_as_written_by_the_careful_and_the_careless() {
        for (field, expected) in [
            (" text/plain", "text/plain"),
            ("text/plain; charset=us-ascii (Plain text)", "text/plain|charset=us-ascii"),
            ("text/plain; charset=\"us-ascii\"", "text/plain|charset=us-ascii"),
            ("(c) text/plain (d(e)) ; (f) CharSet (g) = (h) \"a b\\\"c\"", "text/plain|charset=a b\"c"),
            ("multipart/mixed; boundary=----=_Part(1)/2", "multipart/mixed|boundary=----=_Part(1)/2"),
            ("multipart/mixed;\r\n\tboundary=\"a\r\n b\"", "multipart/mixed|boundary=a b"),
            ("a/b;;; x=1;y;z=3", "a/b|x=1|z=3"),
            ("a/b; x=1; X=2", "a/b|x=1"),
            ("a/b junk \"; q=1\"; x=1", "a/b|x=1"),
            ("a/b; x=\"open", "a/b|x=open"),
            ("a/b; x=(open", "a/b|x="),
            ("", ""),
            // RFC 2231 §3, §4, §4.1.
            (
                "message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/moore.tar\"",
                "message/external-body|access-type=URL|url=ftp://cs.utk.edu/moore.tar",
            ),
            (
                "application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
                "application/x-stuff|title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
            ),
            (
                "application/x-stuff; title*2=\"isn't it!\"; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20",
                "application/x-stuff|title*=us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!",
            ),
            ("a/b; n*0=a; n*2=c", "a/b|n=a"),
            ("a/b; n*1=b", "a/b"),
            ("a/b; n*0=a; n*0=b; n*1=c", "a/b|n=ac"),
            ("a/b; n=plain; n*0*=x''y", "a/b|n=plain|n*=x''y"),
        ] {
            assert_eq!(shown(field), expected, "{field}");
        }
    }

    /// Attack class 10: 100,000 continuations of one parameter.
    #[test]
    fn a_hundred_thousand_continuations_are_capped() {
        let mut field = String::from("a/b");
        for number in 0..100_000 {
            field += &format!("; n*{number}=x");
        }
        let parsed = Structured::parse(field.as_bytes());
        assert_eq!(parsed.parameters.len(), 1);
        assert_eq!(parsed.parameters[0].value.len(), MAX_PARAMETERS);
        let many: String = (0..100_000).map(|number| format!("; n{number}=x")).collect();
        assert_eq!(Structured::parse(many.as_bytes()).parameters.len(), MAX_PARAMETERS);
    }

    /// Attack class 10: comments that nest a million deep.
    #[test]
    fn nested_comments_need_no_stack() {
        let field = "(".repeat(1_000_000) + &")".repeat(1_000_000) + "a/b";
        assert_eq!(shown(&field), "a/b");
    }

    proptest! {
        #[test]
        fn any_octets_have_bounded_parameters(field in proptest::collection::vec(
            prop_oneof![Just(b';'), Just(b'='), Just(b'*'), Just(b'"'), Just(b'\\'), Just(b'('), Just(b'0'), any::<u8>()], 0..200)
        ) {
            let parsed = Structured::parse(&field);
            let octets: usize = parsed.parameters.iter().map(|p| p.name.len() + p.value.len()).sum();
            prop_assert!(parsed.value.len() + octets <= 3 * field.len());
        }
    }
}
