//! Mail as data: addresses, header fields, the table of MIME parts, and what IMAP shows of them.
//!
//! ```text
//!   SMTP path ──▶ address::parse_path ──▶ Path, Address
//!   message ────▶ mime::Indexer::push … finish ──▶ Indexed ─┬─▶ Index  (stored: offsets, kinds, lines)
//!                                                           ├─▶ imap::envelope, bodystructure, body
//!                                                           └─▶ Headers ──▶ OrderKeys: what SORT and THREAD go by
//!   BODY[2.1] ──▶ Index::locate ──▶ a range of the stored octets: one pread
//!   SEARCH ─────▶ text::Decoder ──▶ text::Matcher
//!   PREVIEW ────▶ preview::sources, text::Decoder ──▶ preview::Preview
//! ```
//!
//! No sockets, no files, no clock: every function takes octets and returns values. Always true:
//! (1) any octets are a message: nothing here fails on a malformed one, it gets a simpler structure;
//! (2) memory is bounded by the constants next to each parser, whatever comes in; (3) how input is cut into chunks
//! never changes a result. Start at [`mime::Indexer`]. Offsets count from the first octet fed in, so a caller that
//! stores a prefix of its own header fields feeds that first.

pub mod address;
pub mod header;
pub mod imap;
pub mod mime;
pub mod ordering;
pub mod preview;
pub mod text;

#[cfg(any(test, fuzzing))]
pub mod check;
