//! ENVELOPE, BODY and BODYSTRUCTURE as they go over the wire (RFC 3501 §7.4.2), rendered once at delivery.
//!
//! Everything rendered is stored with the message, so it has bounds: addresses per field ([`MAX_ADDRESSES`]), parameters
//! per field, and octets for the envelopes of messages inside the message ([`MAX_NESTED_ENVELOPES`]). What goes beyond is
//! left out; the fields themselves are always there to be fetched.

mod envelope;
mod string;
mod structure;

pub use self::{
    envelope::{MAX_ADDRESSES, envelope},
    structure::{MAX_NESTED_ENVELOPES, body, bodystructure},
};

#[cfg(any(test, fuzzing))]
pub(crate) use self::string::balanced;

#[cfg(test)]
mod tests;
