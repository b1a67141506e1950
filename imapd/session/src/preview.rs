//! PREVIEW: the first words of a message (RFC 8970). Made when asked for, out of the beginning of its text: that costs less
//! than to store them with every message that is delivered.

use mail_lib::preview::{Preview, sources};
use mail_lib::text::Decoder;
use store_lib::StoreError;

use crate::section::Content;

/// Octets of one part that are read in search of words.
const LOOKED_AT: u64 = 64 << 10;
/// Parts that are read.
const PARTS: usize = 4;

/// Empty, where there are no words, and of a message that was filed without being looked into.
pub(crate) fn preview(content: &mut Content<'_>) -> Result<String, StoreError> {
    let Some(index) = content.index().cloned() else { return Ok(String::new()) };
    for source in sources(&index, |part| content.header(part.header.clone()))?.iter().take(PARTS) {
        let mut preview = Preview::of(source);
        let mut decoder = Decoder::new(source.part.encoding, source.charset.as_deref());
        let body = &source.part.body;
        let range = body.start..body.end.min(body.start.saturating_add(LOOKED_AT));
        content.pieces(range, |piece| {
            decoder.push(piece, &mut |text| preview.push(text));
            Ok::<_, StoreError>(!preview.is_full())
        })?;
        decoder.finish(&mut |text| preview.push(text));
        let text = preview.finish();
        if !text.is_empty() {
            return Ok(text);
        }
    }
    Ok(String::new())
}
