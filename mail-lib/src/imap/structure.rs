//! BODY and BODYSTRUCTURE.

use super::{
    envelope::envelope,
    string::{write_nstring, write_number, write_string},
};
use crate::{
    header::{Headers, Parameter},
    mime::{Description, Indexed, Kind, Part},
};

/// How many octets the envelopes of messages inside a message may take; the ones that go beyond show no field.
/// Addresses grow tenfold when they are rendered, and a message may hold thousands of messages.
pub const MAX_NESTED_ENVELOPES: usize = 256 * 1024;

/// What stands for a multipart's only part where it has none: the grammar asks for one.
const EMPTY_TEXT: &[u8] = b"(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)";

/// The extensible form, for `BODYSTRUCTURE`.
#[must_use]
pub fn bodystructure(message: &Indexed) -> Vec<u8> {
    render(message, Form::Extensible)
}

/// Without extension data, for `BODY`.
#[must_use]
pub fn body(message: &Indexed) -> Vec<u8> {
    render(message, Form::Basic)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Basic,
    Extensible,
}

fn render(message: &Indexed, form: Form) -> Vec<u8> {
    let mut renderer =
        Renderer { message, form, out: Vec::with_capacity(256), envelopes: MAX_NESTED_ENVELOPES };
    renderer.part(0);
    renderer.out
}

struct Renderer<'a> {
    message: &'a Indexed,
    form: Form,
    out: Vec<u8>,
    /// What is left of [`MAX_NESTED_ENVELOPES`].
    envelopes: usize,
}

impl Renderer<'_> {
    /// Recursive: parts nest at most [`crate::mime::MAX_DEPTH`] deep.
    fn part(&mut self, place: usize) {
        let Some(part) = self.message.index.parts().get(place) else { return };
        let description = self.message.description(place);
        self.out.push(b'(');
        if description.media_type == b"multipart" {
            self.multipart(place, part, &description);
        } else {
            self.single(place, part, &description);
        }
        self.out.push(b')');
    }

    fn multipart(&mut self, place: usize, part: &Part, description: &Description) {
        let start = self.out.len();
        // A multipart may also be a leaf, if it has no boundary or stands too deep.
        if part.kind == Kind::Multipart {
            for child in self.message.index.children(place) {
                self.part(child);
            }
        }
        if self.out.len() == start {
            self.out.extend_from_slice(EMPTY_TEXT);
        }
        self.out.push(b' ');
        write_string(&mut self.out, &description.subtype);
        if self.form == Form::Extensible {
            self.out.push(b' ');
            self.parameters(&description.parameters);
            self.extension(description);
        }
    }

    fn single(&mut self, place: usize, part: &Part, description: &Description) {
        write_string(&mut self.out, &description.media_type);
        self.out.push(b' ');
        write_string(&mut self.out, &description.subtype);
        self.out.push(b' ');
        self.parameters(&description.parameters);
        for text in [description.id.as_deref(), description.description.as_deref()] {
            self.out.push(b' ');
            write_nstring(&mut self.out, text);
        }
        self.out.push(b' ');
        write_string(&mut self.out, &description.encoding_name);
        self.number(part.body.end - part.body.start);
        if description.is("message", "rfc822") {
            self.out.push(b' ');
            if part.kind == Kind::Message {
                self.envelope(place + 1);
                self.out.push(b' ');
                self.part(place + 1);
            } else {
                // Encoded, or too deep to look into; the grammar asks for an envelope and a body all the same.
                self.out.extend_from_slice(&envelope(Headers::new(&[])));
                self.out.push(b' ');
                self.out.extend_from_slice(EMPTY_TEXT);
            }
            self.number(part.lines);
        } else if description.media_type == b"text" {
            self.number(part.lines);
        }
        if self.form == Form::Extensible {
            self.out.push(b' ');
            write_nstring(&mut self.out, description.md5.as_deref());
            self.extension(description);
        }
    }

    fn envelope(&mut self, place: usize) {
        let mut rendered = envelope(self.message.part_headers(place));
        if rendered.len() > self.envelopes {
            rendered = envelope(Headers::new(&[]));
        } else {
            self.envelopes -= rendered.len();
        }
        self.out.extend_from_slice(&rendered);
    }

    fn number(&mut self, number: u64) {
        self.out.push(b' ');
        write_number(&mut self.out, number);
    }

    fn parameters(&mut self, parameters: &[Parameter]) {
        if parameters.is_empty() {
            self.out.extend_from_slice(b"NIL");
            return;
        }
        let mut separator = b'(';
        for parameter in parameters {
            self.out.push(separator);
            separator = b' ';
            write_string(&mut self.out, &parameter.name);
            self.out.push(b' ');
            write_string(&mut self.out, &parameter.value);
        }
        self.out.push(b')');
    }

    /// Disposition, language, location.
    fn extension(&mut self, description: &Description) {
        match &description.disposition {
            Some(disposition) => {
                self.out.extend_from_slice(b" (");
                write_string(&mut self.out, &disposition.kind);
                self.out.push(b' ');
                self.parameters(&disposition.parameters);
                self.out.push(b')');
            }
            None => self.out.extend_from_slice(b" NIL"),
        }
        match description.languages.as_slice() {
            [] => self.out.extend_from_slice(b" NIL"),
            [language] => {
                self.out.push(b' ');
                write_string(&mut self.out, language);
            }
            languages => {
                let mut separator: &[u8] = b" (";
                for language in languages {
                    self.out.extend_from_slice(separator);
                    separator = b" ";
                    write_string(&mut self.out, language);
                }
                self.out.push(b')');
            }
        }
        self.out.push(b' ');
        write_nstring(&mut self.out, description.location.as_deref());
    }
}
