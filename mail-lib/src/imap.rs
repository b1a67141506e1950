//! ENVELOPE, BODY and BODYSTRUCTURE as they go over the wire (RFC 3501 §7.4.2), rendered once at delivery.

use crate::{header::Headers, mime::Indexed};

/// `("date" "subject" ((from)) … "message-id")`. Strings are quoted where possible, else literals; never a NUL.
#[must_use]
pub fn envelope(headers: Headers<'_>) -> Vec<u8> {
    let _ = headers;
    Vec::new()
}

/// The extensible form, for `BODYSTRUCTURE`.
#[must_use]
pub fn bodystructure(message: &Indexed) -> Vec<u8> {
    let _ = message;
    Vec::new()
}

/// Without extension data, for `BODY`.
#[must_use]
pub fn body(message: &Indexed) -> Vec<u8> {
    let _ = message;
    Vec::new()
}
