//! Messages, and what the server puts before them.

/// A message of just about `size` octets that is like no other: `token` is in its subject and all over its text.
#[must_use]
pub fn message(token: &str, size: usize) -> Vec<u8> {
    let mut message = format!(
        "From: Sender <sender@example.org>\r\nTo: mox@localhost\r\nSubject: {token}\r\n\
         Message-ID: <{token}@example.org>\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n\r\n"
    )
    .into_bytes();
    let mut number = 0_u64;
    while message.len() < size {
        // A line in eight begins with a dot: these are doubled on the way and must come back single.
        let dot = if number.is_multiple_of(8) { "." } else { "" };
        message.extend_from_slice(
            format!("{dot}{token} line {number:012} {:016x}\r\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .as_bytes(),
        );
        number += 1;
    }
    message
}

/// What the client sent: all behind the fields that the server put before it, the last of which is its `Received:`.
#[must_use]
pub fn behind_prefix(stored: &[u8]) -> &[u8] {
    let mut rest = stored;
    let mut seen = false;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a field ends in CRLF") + 2;
        let folded = rest.starts_with(b" ") || rest.starts_with(b"\t");
        if seen && !folded {
            return rest;
        }
        assert!(end > 2, "no Received field before the empty line");
        seen = seen || rest.starts_with(b"Received: ");
        rest = &rest[end..];
    }
}

/// The fields that the server put before it.
#[must_use]
pub fn prefix(stored: &[u8]) -> &[u8] {
    &stored[..stored.len() - behind_prefix(stored).len()]
}

/// Asserts that both are the same without printing megabytes when they are not.
pub fn assert_same(found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    let around = |text: &[u8]| {
        let from = at.saturating_sub(60).min(text.len());
        text[from..text.len().min(at + 60)].escape_ascii().to_string()
    };
    panic!(
        "{} octets, expected {}; they differ at {at}:\n  found    {}\n  expected {}",
        found.len(),
        expected.len(),
        around(found),
        around(expected)
    );
}
