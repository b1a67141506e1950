//! What a part is called when it is saved: `filename` of Content-Disposition (RFC 2183 §2.3), `name` of Content-Type.

use super::Description;
use crate::header::{self, Parameter};
use crate::text::{charset_for, hex};

impl Description {
    /// All names that the part's header has for it, as text: programs do not always give the same one twice.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let disposition = self.disposition.iter().flat_map(|disposition| &disposition.parameters);
        let disposition = disposition.filter_map(|parameter| named(parameter, "filename"));
        for name in disposition.chain(self.parameters.iter().filter_map(|parameter| named(parameter, "name")))
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

fn named(parameter: &Parameter, name: &str) -> Option<String> {
    let rest = parameter.name.strip_prefix(name.as_bytes())?;
    match rest {
        // Encoded words have no place here (RFC 2047 §5), and most programs write them.
        b"" => Some(header::decode(&parameter.value)),
        b"*" => Some(extended(&parameter.value)),
        _ => None,
    }
}

/// `charset'language'percent-encoded` (RFC 2231 §4). Without the two quotes the value stands for itself.
fn extended(value: &[u8]) -> String {
    let mut parts = value.splitn(3, |octet| *octet == b'\'');
    let (Some(charset), Some(_), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return String::from_utf8_lossy(value).into_owned();
    };
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        match (octet, after) {
            (b'%', [high, low, tail @ ..]) if let Some(octet) = hex(*high, *low) => {
                octets.push(octet);
                rest = tail;
            }
            (octet, _) => octets.push(*octet),
        }
    }
    charset_for(std::str::from_utf8(charset).ok()).decode_without_bom_handling(&octets).0.into_owned()
}

#[cfg(test)]
mod tests {
    use crate::header::Headers;
    use crate::mime::Description;

    #[test]
    fn names_are_read_however_they_were_written() {
        for (header, names) in [
            ("Content-Type: text/plain", &[][..]),
            ("Content-Disposition: attachment; filename=plan.pdf", &["plan.pdf"]),
            ("Content-Type: a/b; name=\"plan 2.pdf\"", &["plan 2.pdf"]),
            ("Content-Disposition: attachment; filename=\"=?utf-8?B?w7xiZXI=?=.txt\"", &["über.txt"]),
            ("Content-Disposition: attachment; filename*=UTF-8''%e2%82%ac%20rates", &["€ rates"]),
            ("Content-Disposition: attachment; filename*0*=latin1''%fc; filename*1=ber", &["über"]),
            ("Content-Disposition: attachment; filename*=no-quotes", &["no-quotes"]),
            ("Content-Disposition: attachment; filename*=x'y'%zz%4", &["%zz%4"]),
            ("Content-Type: a/b; name=x\r\nContent-Disposition: inline; filename=x", &["x"]),
            ("Content-Type: a/b; name=x\r\nContent-Disposition: inline; filename=y", &["y", "x"]),
            ("Content-Type: a/b; names=x; filename=z", &[]),
        ] {
            assert_eq!(Description::parse(Headers::new(header.as_bytes())).file_names(), names, "{header}");
        }
    }
}
