//! What a part's Content- fields say about it.

use super::Encoding;
use crate::header::{Headers, Parameter, Structured, skip_cfws, unfold};

/// The longest part of a media type or encoding name that is shown.
const MAX_NAME: usize = 127;
/// How many languages of one part are shown.
const MAX_LANGUAGES: usize = 100;

/// What a part's Content- fields say about it. Of two fields of one name the first counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// In lower case.
    pub media_type: Vec<u8>,
    /// In lower case.
    pub subtype: Vec<u8>,
    /// Content-Type's parameters.
    pub parameters: Vec<Parameter>,
    /// Content-ID with its angle brackets.
    pub id: Option<Vec<u8>>,
    /// Content-Description, encoded words as they are.
    pub description: Option<Vec<u8>>,
    /// Content-Transfer-Encoding.
    pub encoding: Encoding,
    /// Its name in lower case, as it was written.
    pub encoding_name: Vec<u8>,
    /// Content-MD5 (RFC 1864).
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition (RFC 2183).
    pub disposition: Option<Disposition>,
    /// Content-Language (RFC 3282).
    pub languages: Vec<Vec<u8>>,
    /// Content-Location (RFC 2557).
    pub location: Option<Vec<u8>>,
}

/// Content-Disposition (RFC 2183).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition {
    /// `inline`, `attachment` or another word, in lower case.
    pub kind: Vec<u8>,
    /// `filename` and the like.
    pub parameters: Vec<Parameter>,
}

/// What a part without (readable) Content-Type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DefaultType {
    /// text/plain in us-ascii (RFC 2045 §5.2).
    Text,
    /// message/rfc822, in multipart/digest (RFC 2046 §5.1.5).
    Message,
}

impl Description {
    /// Reads the Content- fields of `headers`.
    #[must_use]
    pub fn parse(headers: Headers<'_>) -> Self {
        Self::parse_as(headers, DefaultType::Text)
    }

    pub(crate) fn parse_as(headers: Headers<'_>, default: DefaultType) -> Self {
        let mut content_type = None;
        let mut encoding = None;
        let mut description = Self::of_type(default);
        for field in headers.fields() {
            // Most fields of a message are other ones: one comparison each.
            let Some((prefix, name)) = field.name.split_at_checked(8) else { continue };
            if !prefix.eq_ignore_ascii_case(b"content-") {
                continue;
            }
            let text = || Some(unfold(field.value).into_owned()).filter(|text| !text.is_empty());
            match name.to_ascii_lowercase().as_slice() {
                b"type" => content_type = content_type.or(Some(field.value)),
                b"transfer-encoding" => encoding = encoding.or(Some(field.value)),
                b"id" => description.id = description.id.or_else(text),
                b"description" => description.description = description.description.or_else(text),
                b"md5" => description.md5 = description.md5.or_else(text),
                b"location" => description.location = description.location.or_else(text),
                b"disposition" if description.disposition.is_none() => {
                    description.disposition = parse_disposition(field.value);
                }
                b"language" if description.languages.is_empty() => {
                    description.languages = parse_languages(field.value);
                }
                _ => {}
            }
        }
        if let Some(value) = content_type {
            description.set_type(value);
        }
        if let Some(name) = encoding.map(|value| split_token(value).0).filter(|name| !name.is_empty()) {
            description.encoding = Encoding::from_name(&name);
            description.encoding_name = name;
        }
        description
    }

    fn of_type(default: DefaultType) -> Self {
        let (media_type, subtype, parameters) = match default {
            DefaultType::Text => {
                let charset = Parameter { name: b"charset".to_vec(), value: b"us-ascii".to_vec() };
                (b"text".to_vec(), b"plain".to_vec(), vec![charset])
            }
            DefaultType::Message => (b"message".to_vec(), b"rfc822".to_vec(), Vec::new()),
        };
        Self {
            media_type,
            subtype,
            parameters,
            id: None,
            description: None,
            encoding: Encoding::SevenBit,
            encoding_name: b"7bit".to_vec(),
            md5: None,
            disposition: None,
            languages: Vec::new(),
            location: None,
        }
    }

    /// Leaves the default in place if the value is no media type (RFC 2045 §5.2).
    fn set_type(&mut self, value: &[u8]) {
        let (media_type, rest) = split_token(value);
        let Some(rest) = skip_cfws(rest).strip_prefix(b"/") else { return };
        let (subtype, _) = split_token(rest);
        if !media_type.is_empty() && !subtype.is_empty() {
            self.media_type = media_type;
            self.subtype = subtype;
            self.parameters = Structured::parse(value).parameters;
        }
    }

    /// The value of one of Content-Type's parameters.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found = self.parameters.iter().find(|parameter| parameter.name == name.as_bytes());
        found.map(|parameter| parameter.value.as_slice())
    }

    /// Whether the media type is that one.
    #[must_use]
    pub fn is(&self, media_type: &str, subtype: &str) -> bool {
        self.media_type == media_type.as_bytes() && self.subtype == subtype.as_bytes()
    }
}

/// A token (RFC 2045 §5.1) in lower case, cut at [`MAX_NAME`], and what follows it.
fn split_token(value: &[u8]) -> (Vec<u8>, &[u8]) {
    let value = skip_cfws(value);
    let is_token = |octet: &u8| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(octet);
    let end = value.iter().position(|octet| !is_token(octet)).unwrap_or(value.len());
    let (token, rest) = value.split_at(end);
    (token.get(..MAX_NAME).unwrap_or(token).to_ascii_lowercase(), rest)
}

fn parse_disposition(value: &[u8]) -> Option<Disposition> {
    let structured = Structured::parse(value);
    let kind = structured.value.to_ascii_lowercase();
    (!kind.is_empty()).then_some(Disposition { kind, parameters: structured.parameters })
}

fn parse_languages(value: &[u8]) -> Vec<Vec<u8>> {
    let value = unfold(value);
    let tags = value.split(|octet| *octet == b',').map(|tag| {
        let tag = skip_cfws(tag);
        let end = tag.iter().position(|octet| octet.is_ascii_whitespace() || *octet == b'(');
        tag.get(..end.unwrap_or(tag.len())).unwrap_or_default()
    });
    tags.filter(|tag| !tag.is_empty()).take(MAX_LANGUAGES).map(<[u8]>::to_vec).collect()
}

/// The charset that a text part's header names (Content-Type's parameter), for [`crate::text::Decoder::new`].
#[must_use]
pub fn charset(headers: Headers<'_>) -> Option<String> {
    let structured = Structured::parse(headers.first("content-type")?);
    let named = structured.parameters.iter().find(|parameter| parameter.name == b"charset")?;
    String::from_utf8(named.value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> String {
        let description = Description::parse(Headers::new(header.as_bytes()));
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let parameters: String = description
            .parameters
            .iter()
            .map(|parameter| format!("; {}={}", text(&parameter.name), text(&parameter.value)))
            .collect();
        format!(
            "{}/{}{parameters} ({})",
            text(&description.media_type),
            text(&description.subtype),
            text(&description.encoding_name)
        )
    }

    #[test]
    fn media_types_and_encodings_are_read_with_the_mistakes_of_real_mail() {
        let default = "text/plain; charset=us-ascii (7bit)";
        for (header, expected) in [
            ("", default),
            ("Content-Type: text/html", "text/html (7bit)"),
            ("CONTENT-TYPE:TEXT/HTML;Charset=x", "text/html; charset=x (7bit)"),
            ("Content-Type: (c) text (c) / (c) html ; a=b", "text/html; a=b (7bit)"),
            ("Content-Type: text/plain, charset=x", "text/plain (7bit)"),
            ("Content-Type: text/plain charset=x; a=b", "text/plain; a=b (7bit)"),
            ("Content-Type: text", default),
            ("Content-Type: /plain; a=b", default),
            ("Content-Type: \"text/html\"", default),
            ("Content-Type: a/b\r\nContent-Type: c/d", "a/b (7bit)"),
            ("Content-Transfer-Encoding: BASE64 (x)", "text/plain; charset=us-ascii (base64)"),
            ("Content-Transfer-Encoding: ;", default),
            ("Content-Transfer-Encoding: x-uuencode", "text/plain; charset=us-ascii (x-uuencode)"),
            ("Content-Typed: a/b\r\nContent-: c/d\r\nContent: e/f", default),
        ] {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    #[test]
    fn the_charset_of_a_text_is_what_its_header_names() {
        let of = |header: &str| charset(Headers::new(header.as_bytes()));
        assert_eq!(of("Content-Type: text/plain; charset=\"ISO-8859-1\"").as_deref(), Some("ISO-8859-1"));
        assert_eq!(of("Content-Type: text/plain"), None);
        assert_eq!(of(""), None);
    }
}
