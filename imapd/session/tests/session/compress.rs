//! COMPRESS=DEFLATE with a client's own inflater and deflater.

use std::io::{Read, Write};
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use imapd_session::{End, SessionLimits};

use crate::harness::{Account, Client};

/// A client that has begun to compress.
struct Compressed {
    client: Client,
    deflate: Compress,
    inflate: Decompress,
    text: Vec<u8>,
}

impl Compressed {
    fn begin(mut client: Client) -> Self {
        assert_eq!(client.command("COMPRESS deflate"), ["t OK DEFLATE from here on"]);
        Self::of(client)
    }

    fn of(client: Client) -> Self {
        let deflate = Compress::new(Compression::best(), false);
        Self { client, deflate, inflate: Decompress::new(false), text: Vec::new() }
    }

    fn deflated(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::with_capacity(octets.len() + 1024);
        self.deflate.compress_vec(octets, &mut compressed, FlushCompress::Sync).unwrap();
        compressed
    }

    fn send(&mut self, text: &str) {
        let compressed = self.deflated(text.as_bytes());
        self.client.stream.write_all(&compressed).unwrap();
    }

    /// Inflates what was read, to the last octet that it stands for.
    fn take(&mut self, octets: &[u8]) {
        let mut rest = octets;
        loop {
            let before = (self.inflate.total_in(), self.text.len());
            self.text.reserve(65536);
            self.inflate.decompress_vec(rest, &mut self.text, FlushDecompress::None).unwrap();
            rest = &rest[usize::try_from(self.inflate.total_in() - before.0).unwrap()..];
            if rest.is_empty() && self.text.len() == before.1 {
                return;
            }
        }
    }

    /// What the session says, up to and with `end`.
    fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.text.windows(end.len()).position(|text| text == end.as_bytes());
            if let Some(at) = found {
                let text = self.text.drain(..at + end.len()).collect();
                return String::from_utf8(text).unwrap();
            }
            let mut piece = [0; 4096];
            let read = self.client.stream.read(&mut piece).expect("the session answers in time");
            assert!(read > 0, "the session closed, after {}", self.text.escape_ascii());
            self.take(&piece[..read]);
        }
    }
}

#[test]
fn a_compressed_session_is_the_same_session() {
    let account = Account::new();
    let message = [b"Subject: x\r\n\r\n".to_vec(), b"0123456789 abcdef\r\n".repeat(20_000)].concat();
    account.file("INBOX", &message);
    let mut client = Compressed::begin(account.log_in());
    client.send("a COMPRESS DEFLATE\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\n");
    let text = client.until("c OK FETCH completed\r\n");
    assert!(text.starts_with("a NO [COMPRESSIONACTIVE] "), "{}", &text[..100]);
    assert!(text.as_bytes().windows(message.len()).any(|octets| octets == message));
    let octets = client.inflate.total_in();
    assert!(octets < 20_000, "{octets} octets for {}", message.len());
    // A message that is larger than what is read at once, both ways.
    client.send(&format!(
        "d APPEND INBOX {{{}+}}\r\n{}\r\n",
        message.len(),
        String::from_utf8(message).unwrap()
    ));
    assert!(client.until("d OK ").ends_with("* 2 EXISTS\r\n* 2 RECENT\r\nd OK "));
    client.send("e UID FETCH 1:2 RFC822.SIZE\r\nf LOGOUT\r\n");
    let text = client.until("f OK LOGOUT completed\r\n");
    assert!(text.contains("* 2 FETCH (UID 2 RFC822.SIZE 380014)"), "{text}");
    assert!(matches!(client.client.end(), End::Logout));
}

/// What changes is told in IDLE without the client having to ask, also after the compressor was let go.
#[test]
fn changes_are_told_to_a_compressed_client_in_idle() {
    let account = Account::new();
    let mut client = Compressed::begin(account.log_in());
    client.send("a SELECT INBOX\r\nb IDLE\r\n");
    client.until("+ idling\r\n");
    account.file("INBOX", b"x");
    client.until("* 1 EXISTS\r\n* 1 RECENT\r\n");
    client.send("DONE\r\n");
    client.until("b OK IDLE completed\r\n");
}

/// Octets behind the command in the same packet are compressed: a client that did not wait for the answer could mean nothing
/// else by them.
#[test]
fn what_is_behind_the_command_is_compressed() {
    let account = Account::new();
    let mut client = Compressed::of(account.log_in());
    let behind = client.deflated(b"b NOOP\r\n");
    client.client.send([b"t COMPRESS DEFLATE\r\n".to_vec(), behind].concat());
    assert_eq!(client.client.line(), "t OK DEFLATE from here on");
    client.send("c NOOP\r\n");
    // The line above may have been read together with what came behind it.
    let behind = client.client.buffered();
    client.take(&behind);
    assert_eq!(client.until("c OK NOOP completed\r\n"), "b OK NOOP completed\r\nc OK NOOP completed\r\n");
}

/// Attack class 11: a few octets that stand for a hundred megabytes cost what the bounds of a command allow.
#[test]
fn a_bomb_is_cut_like_the_line_that_it_is() {
    let account = Account::new();
    let mut client = Compressed::begin(account.log_in());
    let bomb = client.deflated(&vec![b'a'; 100 << 20]);
    let _ = client.client.stream.write_all(&bomb);
    client.until("* BAD line too long\r\n* BYE closing the connection\r\n");
    assert!(matches!(client.client.end(), End::Protocol(_)));
}

#[test]
fn what_is_not_deflate_ends_the_session() {
    let account = Account::new();
    let mut client = Compressed::begin(account.log_in());
    client.client.send("a NOOP\r\n");
    client.until("* BYE not DEFLATE\r\n");
    assert!(matches!(client.client.end(), End::Compression));
}

/// Attack class 14: one compressed octet at a time is no progress of a command.
#[test]
fn a_command_that_drips_in_compressed_is_cut() {
    let account = Account::new();
    let limits = SessionLimits { command: Duration::from_millis(50), ..SessionLimits::default() };
    let mut client = Compressed::begin(account.log_in_with(limits, false));
    client.send("a NO");
    client.until("* BYE command not finished in time\r\n");
    assert!(matches!(client.client.end(), End::Stalled));
}
