//! The structure of a message: where each MIME part stands (RFC 2045, RFC 2046).
//!
//! [`Indexer`] takes the message in chunks and looks at each octet about once; [`Indexed`] is what it found: the
//! [`Index`] of offsets, which the store keeps, and the parts' header fields, from which ENVELOPE and BODYSTRUCTURE are
//! rendered. Any octets are a message; what breaks a rule or a limit gets a simpler structure:
//!
//! - a header that does not end goes to the next delimiter or the end; a part may have an empty one;
//! - a delimiter is a whole line: `--`, the boundary, `--` if it closes, white space. One of an outer multipart ends
//!   all inner ones; of two multiparts with the same boundary it belongs to the inner one;
//! - a multipart that never closes ends with its parent, one without (usable) boundary is a leaf, and so is
//!   message/rfc822 in an encoding, and everything that nests deeper than [`MAX_DEPTH`];
//! - part number [`MAX_PARTS`] is the last one: it goes on to the end of the message;
//! - lines end in LF, with or without CR.

mod description;
mod file_name;
mod index;
mod indexer;
mod stored;

pub(crate) use self::description::DefaultType;
pub use self::{
    description::{Description, Disposition, charset},
    index::{Encoding, Index, Kind, Part, Section},
    indexer::{Indexed, Indexer},
    stored::IndexError,
};

/// How deep parts may nest; what is deeper is one leaf. Each part and each message inside a part is one level.
pub const MAX_DEPTH: u8 = 100;
/// How many parts a message may have; what follows belongs to the last one.
pub const MAX_PARTS: usize = 10_000;
/// How much of the message's own header is kept for rendering; fields behind it are not seen.
pub const MAX_HEADER: usize = 256 * 1024;
/// How much of each other part's header is kept.
pub const MAX_PART_HEADER: usize = 64 * 1024;
/// How much of all headers together is kept.
pub const MAX_HEADERS: usize = 1024 * 1024;
/// The longest usable boundary; RFC 2046 §5.1.1 says 70.
pub const MAX_BOUNDARY: usize = 250;

#[cfg(test)]
mod tests;
