//! The one place that knows bincode. Fixed-size integers, little endian, exact: no octet may be left over.

use bincode::{Decode, Encode, config};

use crate::channel::Violation;

/// What may be claimed in one message before decoding stops; a frame's own bound is smaller or equal.
const CLAIM_LIMIT: usize = 1024 * 1024;

type Config = config::Configuration<config::LittleEndian, config::Fixint, config::Limit<CLAIM_LIMIT>>;

const CONFIG: Config =
    config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<CLAIM_LIMIT>();

/// Appends the encoding to `to`; `None`: larger than any frame.
pub(crate) fn encode_to(message: &impl Encode, to: &mut Vec<u8>) -> Option<()> {
    bincode::encode_into_std_write(message, to, CONFIG).ok().map(|_| ())
}

/// Encodes what is known to fit: fixed-size types only.
pub(crate) fn encode_into(message: &impl Encode, to: &mut [u8]) -> usize {
    bincode::encode_into_slice(message, to, CONFIG).unwrap_or(0)
}

/// Decodes all of `body`.
pub(crate) fn decode<T: Decode<()>>(body: &[u8]) -> Result<T, Violation> {
    match decode_prefix(body) {
        Some((message, used)) if used == body.len() => Ok(message),
        Some(_) | None => Err(Violation::Malformed),
    }
}

/// Decodes from the front of `body`, with the octets used.
pub(crate) fn decode_prefix<T: Decode<()>>(body: &[u8]) -> Option<(T, usize)> {
    bincode::decode_from_slice(body, CONFIG).ok()
}
