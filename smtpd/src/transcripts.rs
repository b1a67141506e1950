//! Whole conversations, replayed from `tests/transcripts`.
//!
//! ```text
//! # what it shows, and where that comes from
//! # port: submission                    the server is port 587, not 25; 465 is `submissions`, and 587 where logins
//!                                       without TLS are allowed is `submission-on-loopback`
//! # simulates failures                  as test instances do
//! C: a line from the client, with CRLF      B: octets from the client as they are, with \r \n \0 \t \\
//! S: a line from the server                 C*100: a line so many times
//! TLS    the handshake                      CLOSED quit    the server closes, and why
//! MESSAGE sender -> recipient, recipient | octets          a message was taken
//! ```
//! Lines of the client that follow each other go in one piece; replies are compared when the next line of the client
//! comes, so a reply that is missing or too many shows where it happens.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use crate::{
    TlsOffer,
    check::{Port, Server, check_smtp},
};

const MESSAGE_SIZE: u64 = 100_000;

fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        octets.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(b'\\') => b'\\',
                other => panic!("escape {other:?}"),
            },
            byte => byte,
        });
    }
    octets
}

fn port(name: &str, transcript: &str) -> Port {
    match transcript.lines().find_map(|line| line.strip_prefix("# port: ")) {
        None => Port::Smtp(TlsOffer::StartTls),
        Some("submission") => Port::Submission,
        Some("submission-on-loopback") => Port::SubmissionOnLoopback,
        Some("submissions") => Port::Submissions,
        Some(other) => panic!("{name}: what is port {other}?"),
    }
}

/// Replays one transcript with the client's octets in pieces of at most `size`.
fn replay(name: &str, transcript: &str, size: usize) {
    let simulates = transcript.lines().any(|line| line == "# simulates failures");
    let mut server = Server::new(port(name, transcript), MESSAGE_SIZE, simulates);
    let (mut sent, mut expected) = (Vec::new(), String::new());
    let mut messages = 0;
    let settle = |server: &mut Server, sent: &mut Vec<u8>, expected: &mut String, line: usize| {
        if !expected.is_empty() || sent.is_empty() {
            let replies = std::mem::take(&mut server.outcome.replies);
            assert_eq!(String::from_utf8(replies).unwrap(), *expected, "{name}, before line {line}");
            expected.clear();
        }
    };
    for (number, line) in transcript.lines().enumerate() {
        let number = number + 1;
        let flush = |server: &mut Server, sent: &mut Vec<u8>| {
            for piece in std::mem::take(sent).chunks(size) {
                server.receive(piece);
            }
        };
        if line.is_empty() || line.starts_with('#') {
        } else if let Some(text) = line.strip_prefix("S: ") {
            flush(&mut server, &mut sent);
            expected.push_str(text);
            expected.push_str("\r\n");
        } else if let Some(text) = line.strip_prefix("C: ").or((line == "C:").then_some("")) {
            settle(&mut server, &mut sent, &mut expected, number);
            sent.extend_from_slice(text.as_bytes());
            sent.extend_from_slice(b"\r\n");
        } else if let Some((times, text)) = line.strip_prefix("C*").and_then(|rest| rest.split_once(": ")) {
            settle(&mut server, &mut sent, &mut expected, number);
            sent.extend(format!("{text}\r\n").repeat(times.parse().unwrap()).into_bytes());
        } else if let Some(text) = line.strip_prefix("B: ") {
            settle(&mut server, &mut sent, &mut expected, number);
            sent.extend(unescaped(text));
        } else if line == "TLS" {
            settle(&mut server, &mut sent, &mut expected, number);
            assert!(server.starts_tls, "{name}:{number}: no handshake was asked for");
            server.handshake();
        } else if let Some(message) = line.strip_prefix("MESSAGE ") {
            flush(&mut server, &mut sent);
            let (sender, recipients, octets) = server.outcome.messages.get(messages).unwrap();
            let shown = format!(
                "{} -> {} | {}",
                sender.as_deref().unwrap_or("<>"),
                recipients.join(", "),
                octets.escape_ascii()
            );
            assert_eq!(shown, message, "{name}:{number}");
            messages += 1;
        } else if let Some(why) = line.strip_prefix("CLOSED ") {
            flush(&mut server, &mut sent);
            settle(&mut server, &mut sent, &mut expected, number);
            let closed = server.outcome.closed.take().map(|close| close.to_string());
            assert_eq!(closed.as_deref(), Some(why), "{name}:{number}");
            assert_eq!(server.outcome.messages.len(), messages, "{name}: messages taken");
            return;
        } else {
            panic!("{name}:{number}: what is {line:?}?");
        }
    }
    panic!("{name}: a transcript ends in CLOSED");
}

/// Attack classes 1 to 4, 6, 16, 17 and 37: each transcript names what it shows.
#[test]
fn conversations_go_as_their_transcripts_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let transcript = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        replay(&name, &transcript, usize::MAX);
        // What follows STARTTLS in one piece is judged as soon as it is seen: those are not cut.
        if !transcript.contains("STARTTLS\nC:") {
            replay(&name, &transcript, 1);
            replay(&name, &transcript, 5);
        }
        count += 1;
    }
    assert!(count >= 15, "only {count} transcripts were found");
}

/// Attack classes 6 and 17: an answer within AUTH has a bound of its own, and so has what it says.
#[test]
fn an_answer_within_auth_is_bounded() {
    for (octets, reply) in [
        (2048, "535 5.7.8 "),
        (2049, "501 5.5.2 too long"),
        (9_000, "501 5.5.2 too long"),
        (10_000, "500 5.5.2 line too long"),
    ] {
        let mut server = Server::new(Port::Submissions, MESSAGE_SIZE, false);
        server.receive(b"EHLO c.example\r\nAUTH PLAIN\r\n");
        server.outcome.replies.clear();
        server.receive(format!("{}\r\n", STANDARD.encode(vec![b'x'; octets])).as_bytes());
        let replies = String::from_utf8(std::mem::take(&mut server.outcome.replies)).unwrap();
        assert!(replies.starts_with(reply), "{octets}: {replies}");
    }
}

/// Attack class 6: neither the input nor the replies to it are ever held in full.
#[test]
fn a_line_without_end_ends_the_session() {
    let mut server = Server::new(Port::Smtp(TlsOffer::None), MESSAGE_SIZE, false);
    let piece = [b'a'; 64 * 1024];
    server.receive(&piece);
    assert_eq!(server.outcome.closed, Some(crate::Close::LineTooLong));
    assert!(server.outcome.replies.ends_with(b"500 5.5.2 line too long\r\n"));
}

#[test]
fn a_thousand_recipients_are_taken_and_one_more_is_not() {
    for size in [usize::MAX, 17] {
        let mut server = Server::new(Port::Smtp(TlsOffer::None), MESSAGE_SIZE, false);
        let mut input = "EHLO c.example\r\nMAIL FROM:<a@b.org>\r\n".to_owned();
        for number in 0..1001 {
            input.push_str(&format!("RCPT TO:<a{number}@b.org>\r\nRCPT TO:<x{number}@b.org>\r\n"));
        }
        input.push_str("DATA\r\n.\r\n");
        for piece in input.as_bytes().chunks(size.min(input.len())) {
            server.receive(piece);
        }
        let replies = String::from_utf8(server.outcome.replies).unwrap();
        assert_eq!(replies.matches("250 2.1.5").count(), 1000);
        // The unknown one between counts for nothing, but then nobody is asked any more.
        assert_eq!(replies.matches("452 4.5.3").count(), 3);
        assert_eq!(server.outcome.messages.first().unwrap().1.len(), 1000);
    }
}

fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "EHLO c.example\r\n",
        "HELO c.example\r\n",
        "MAIL FROM:<a@b.org>\r\n",
        "MAIL FROM:<> SIZE=10\r\n",
        "MAIL FROM:<a@b.org> SMTPUTF8 BODY=8BITMIME\r\n",
        "MAIL FROM:<a@b.org> SIZE=99999\r\n",
        "RCPT TO:<a@b.org>\r\n",
        "RCPT TO:<x@b.org>\r\n",
        "RCPT TO:<postmaster>\r\n",
        "rcpt to:<ü@b.org>\r\n",
        "RCPT TO:<a@elsewhere.example>\r\n",
        "DATA\r\n",
        "Subject: a\r\n\r\n..b\r\n.\r\n",
        "refuse\r\n.\r\n",
        ".\r\n",
        "a\n.\r\n",
        "\r",
        "\n",
        "\0",
        "RSET\r\n",
        "NOOP\r\n",
        "BDAT 3 LAST\r\n",
        "STARTTLS\r\n",
        "QUIT\r\n",
        "HELP \r\n",
        "AUTH PLAIN cmlnaHQ=\r\n",
        "AUTH PLAIN d3Jvbmc=\r\n",
        "AUTH LOGIN\r\n",
        "bW9yZQ==\r\n",
        "cmlnaHQ=\r\n",
        "*\r\n",
        "MAIL FROM:<a@b.org> HOLDFOR=5\r\n",
        "MAIL FROM:<gone@b.org>\r\n",
        "RCPT TO:<gone@b.org>\r\n",
        "RCPT TO:<rcptto-timeout@b.org>\r\n",
    ]);
    let start = "EHLO c.example\r\nAUTH PLAIN cmlnaHQ=\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<a@b.org>\r\n";
    (any::<bool>(), prop::collection::vec(line, 0..30)).prop_map(move |(started, lines)| {
        format!("{}{}", if started { start } else { "" }, lines.concat()).into_bytes()
    })
}

proptest! {
    /// Attack classes 3, 4, 6 and 17: commands in any order, cut anywhere.
    #[test]
    fn cuts_do_not_change_a_conversation(input in dialogue()) {
        check_smtp(&input);
    }

    #[test]
    fn noise_does_not_break_a_session(input in prop::collection::vec(any::<u8>(), 0..400)) {
        check_smtp(&input);
        check_smtp(&[b"EHLO c.example\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<a@b.org>\r\nDATA\r\n", &*input].concat());
    }
}
