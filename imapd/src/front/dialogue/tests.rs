use ipc_proto::{
    client_key::ClientKey,
    key_proof::{KeyProof, ProofScheme, Signature, TranscriptHash},
};

use super::*;

/// What authd was asked.
type Asks = Vec<Ask>;

const TLS: Privacy = Privacy::Private(Transport::Bound([7; 32]));
const OLD_TLS: Privacy = Privacy::Private(Transport::Tls);
const LOOPBACK: Privacy = Privacy::Private(Transport::Loopback);

/// TLS 1.3 whose client has shown a key; what it proves is authd's to judge.
fn keyed() -> Privacy {
    let info = [&[48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0][..], &[9; 32]].concat();
    let proof = KeyProof {
        key: ClientKey::parse(&info).unwrap(),
        scheme: ProofScheme::Ed25519,
        transcript: TranscriptHash::Sha256([1; 32]),
        signature: Signature::new(&[2; 64]).unwrap(),
    };
    Privacy::Private(Transport::Keyed([7; 32], proof))
}

/// All of `input` through one dialogue, with an authd that challenges twice and refuses every login. The answers, what
/// authd was asked, and how it ended.
fn talk(privacy: Privacy, input: &[u8], piece: usize) -> (String, Asks, Option<Step>) {
    let mut dialogue = Dialogue::new(privacy);
    let (mut out, mut asks, mut pending) = (Vec::new(), Vec::new(), Vec::new());
    let mut challenges = 0;
    for chunk in input.chunks(piece) {
        pending.extend_from_slice(chunk);
        loop {
            let mut rest = pending.as_slice();
            let mut step = dialogue.take(&mut rest, &mut out);
            pending = rest.to_vec();
            if let Step::Login(Attempt { tag, ask }) = step {
                let begins = matches!(ask, Ask::Sasl(SaslStep::Start { initial: None, .. }));
                challenges = if begins { 2 } else { challenges };
                asks.push(ask);
                step = if challenges > 0 {
                    challenges -= 1;
                    dialogue.challenge(tag, b"more", &mut out)
                } else {
                    dialogue.denied(&tag, &mut out)
                };
            }
            match step {
                Step::Read if pending.is_empty() => break,
                Step::Read | Step::Next | Step::Cancel => {}
                Step::StartTls | Step::Close(_) | Step::Login(_) => {
                    return (String::from_utf8(out).unwrap(), asks, Some(step));
                }
            }
        }
    }
    (String::from_utf8(out).unwrap(), asks, None)
}

fn secret(text: &str) -> Secret {
    Secret(text.as_bytes().to_vec())
}

#[test]
fn each_entrance_announces_what_it_allows() {
    const BASE: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE";
    const ALWAYS: &str = "AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN";
    for (privacy, words) in [
        (Privacy::Clear, "STARTTLS LOGINDISABLED".to_owned()),
        (LOOPBACK, format!("STARTTLS {ALWAYS}")),
        (OLD_TLS, ALWAYS.to_owned()),
        (TLS, format!("AUTH=SCRAM-SHA-256-PLUS {ALWAYS}")),
        (keyed(), format!("AUTH=EXTERNAL AUTH=SCRAM-SHA-256-PLUS {ALWAYS}")),
    ] {
        let mut greeting = Vec::new();
        Dialogue::new(privacy.clone()).greet("imap.example", &mut greeting);
        let greeting = String::from_utf8(greeting).unwrap();
        assert_eq!(greeting, format!("* OK [CAPABILITY {BASE} {words}] imap.example ready\r\n"));
        let (answer, _, _) = talk(privacy, b"a CAPABILITY\r\n", 100);
        assert_eq!(answer, format!("* CAPABILITY {BASE} {words}\r\na OK done\r\n"));
    }
}

#[test]
fn conversations_before_login() {
    for (privacy, input, answers) in [
        (Privacy::Clear, &b"a noop\r\n"[..], "a OK done\r\n"),
        (Privacy::Clear, b"a ID NIL\r\n", "* ID (\"name\" \"moxd\")\r\na OK done\r\n"),
        (Privacy::Clear, b"a logout\r\n", "* BYE goodbye\r\na OK done\r\n"),
        (Privacy::Clear, b"a SELECT inbox\r\n", "a BAD log in first\r\n"),
        (Privacy::Clear, b"a starttls\r\n", "a OK begin TLS now\r\n"),
        (TLS, b"a starttls\r\n", "a BAD this is TLS already\r\n"),
        (TLS, b"a authenticate gssapi\r\n", "a NO no such mechanism\r\n"),
        (TLS, b"a authenticate plain\r\n*\r\n", "+ bW9yZQ==\r\na BAD cancelled\r\n"),
        (TLS, b"a authenticate plain\r\n!!\r\n", "+ bW9yZQ==\r\na BAD not base64\r\n"),
        (TLS, b"a authenticate cram-md5\r\n", "a NO no such mechanism\r\n"),
        (TLS, b"a authenticate scram-sha-1\r\n", "a NO no such mechanism\r\n"),
        (TLS, b"a authenticate external =\r\n", "a NO no such mechanism\r\n"),
        (OLD_TLS, b"a authenticate external\r\n", "a NO no such mechanism\r\n"),
        (Privacy::Clear, b"a authenticate external\r\n", "a NO [PRIVACYREQUIRED] use STARTTLS first\r\n"),
        (keyed(), b"a authenticate external =\r\n", "a NO [AUTHENTICATIONFAILED]"),
        (LOOPBACK, b"a authenticate scram-sha-256-plus\r\n", "a NO no such mechanism\r\n"),
        (OLD_TLS, b"a authenticate scram-sha-256-plus\r\n", "a NO no such mechanism\r\n"),
        (TLS, b"a login {1}\r\nu {1}\r\np\r\n", "+ OK\r\n+ OK\r\na NO [AUTHENTICATIONFAILED]"),
    ] {
        for piece in [1, 3, 1000] {
            let (out, _, _) = talk(privacy.clone(), input, piece);
            assert!(out.starts_with(answers), "{}: {out}", input.escape_ascii());
        }
    }
}

#[test]
fn every_form_of_login_command_is_the_same_login() {
    for input in [
        &b"a LOGIN mox@localhost secret\r\n"[..],
        b"a login \"mox@localhost\" \"secret\"\r\n",
        b"a login {13+}\r\nmox@localhost {6+}\r\nsecret\r\n",
    ] {
        for piece in [1, 1000] {
            let (_, asks, _) = talk(TLS, input, piece);
            let login = Ask::Password { user: "mox@localhost".to_owned(), password: secret("secret") };
            assert_eq!(asks, [login], "{}", input.escape_ascii());
        }
    }
}

#[test]
fn an_exchange_is_carried_step_by_step_with_or_without_an_initial_response() {
    let transport = Transport::Bound([7; 32]);
    let start = |mechanism, initial: Option<&str>| {
        Ask::Sasl(SaslStep::Start { mechanism, transport: transport.clone(), initial: initial.map(secret) })
    };
    let answer = |text| Ask::Sasl(SaslStep::Answer(secret(text)));
    for (input, expected) in [
        (&b"a authenticate PLAIN AGEAYg==\r\n"[..], vec![start(Mechanism::Plain, Some("\0a\0b"))]),
        (b"a authenticate scram-sha-256-plus =\r\n", vec![start(Mechanism::ScramSha256Plus, Some(""))]),
        (
            b"a authenticate login\r\nYWxpY2U=\r\nc2VjcmV0\r\n",
            vec![start(Mechanism::Login, None), answer("alice"), answer("secret")],
        ),
        (
            b"a authenticate scram-sha-256\r\nbiws\r\n\r\n",
            vec![start(Mechanism::ScramSha256, None), answer("n,,"), answer("")],
        ),
    ] {
        for piece in [1, 3, 1000] {
            let (out, asks, _) = talk(TLS, input, piece);
            assert_eq!(asks, expected, "{}", input.escape_ascii());
            assert!(out.ends_with("wrong user name or password\r\n"), "{out}");
        }
    }
}

/// Attack class 17: what follows a cancelled exchange is a command again, and no exchange is longer than its bound.
#[test]
fn a_cancelled_exchange_is_over() {
    for (given_up, text) in [("*", "cancelled"), ("!!", "not base64"), ("AGEAYh==", "not base64")] {
        let input = format!("a authenticate plain\r\n{given_up}\r\nAGEAYg==\r\nb noop\r\n");
        let (out, asks, _) = talk(TLS, input.as_bytes(), 1000);
        assert_eq!(asks.len(), 1, "{given_up}: what came behind was taken for an answer");
        assert!(out.contains(&format!("a BAD {text}\r\n")) && out.ends_with("b OK done\r\n"), "{out}");
    }
    let mut dialogue = Dialogue::new(TLS);
    let mut out = Vec::new();
    let mut input = &b"a authenticate plain\r\n*\r\n"[..];
    let Step::Login(attempt) = dialogue.take(&mut input, &mut out) else { panic!() };
    assert_eq!(dialogue.challenge(attempt.tag, b"", &mut out), Step::Read);
    assert_eq!(dialogue.take(&mut input, &mut out), Step::Cancel, "authd is told");
    let long = [b"a authenticate plain ".as_slice(), &b"AAAA".repeat(900), b"\r\n"].concat();
    let (out, asks, _) = talk(TLS, &long, 1000);
    assert!(asks.is_empty() && out.starts_with("a NO [AUTHENTICATIONFAILED]"), "{out}");
}

#[test]
fn logins_that_can_be_nobodys_are_denied_like_wrong_ones() {
    let long_user = [b"a login ", "u".repeat(321).as_bytes(), b" p\r\n"].concat();
    for (input, reason) in [
        (&long_user[..], "a user name over 320 octets"),
        (b"a login \"\" p\r\n", "no user"),
        (b"a login {2+}\r\n\xff\xfe p\r\n", "not UTF-8"),
        (b"a login \"a\x1bb\" p\r\n", "a control in the user name"),
    ] {
        let (out, asks, _) = talk(TLS, input, 1000);
        assert!(out.starts_with("a NO [AUTHENTICATIONFAILED]"), "{reason}: {out}");
        assert_eq!(asks, [], "{reason}");
    }
}

/// Attack class 2: no password is taken in the clear, in whatever form it comes.
#[test]
fn passwords_in_the_clear_are_refused_unjudged() {
    for input in
        [&b"a LOGIN u p\r\n"[..], b"a AUTHENTICATE PLAIN AHUAcA==\r\n", b"a AUTHENTICATE SCRAM-SHA-256\r\n"]
    {
        let (out, logins, _) = talk(Privacy::Clear, input, 1000);
        assert_eq!(out, "a NO [PRIVACYREQUIRED] use STARTTLS first\r\n", "{}", input.escape_ascii());
        assert_eq!(logins, []);
    }
}

/// Attack class 1: a command in the packet that starts TLS ends the connection and is never run.
#[test]
fn plaintext_behind_starttls_ends_the_connection() {
    let (out, logins, step) = talk(LOOPBACK, b"a STARTTLS\r\nb LOGIN u p\r\n", 1000);
    assert_eq!(step, Some(Step::Close(Reason::Injection)));
    assert!(out.starts_with("a BAD nothing may follow STARTTLS"), "{out}");
    assert_eq!(logins, []);
    let (_, _, step) = talk(LOOPBACK, b"a STARTTLS\r\n", 1000);
    assert_eq!(step, Some(Step::StartTls));
}

/// Attack class 16: three wrong passwords end the connection.
#[test]
fn the_third_refused_login_ends_the_connection() {
    let (out, logins, step) = talk(TLS, &b"a LOGIN u p\r\n".repeat(5), 1000);
    assert_eq!(step, Some(Step::Close(Reason::Errors)));
    assert_eq!(logins.len(), 3);
    assert!(out.ends_with("* BYE too many failed logins\r\n"), "{out}");
}

#[test]
fn the_tenth_error_ends_the_connection() {
    let (out, _, step) = talk(Privacy::Clear, &b"GET / HTTP/1.1\r\n".repeat(20), 7);
    assert_eq!(step, Some(Step::Close(Reason::Errors)));
    assert_eq!(out.matches(" BAD ").count(), 10, "{out}");
}

/// Attack class 7: what is over a stranger's bounds ends the connection at once.
#[test]
fn literal_and_line_floods_end_the_connection() {
    let long_line = [&b"a LOGIN "[..], &[b'x'; 5000]].concat();
    let many = b"a LOGIN {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx\r\n".to_vec();
    for (input, reason) in [
        (long_line, "a line without end"),
        (b"a LOGIN {1025+}\r\n".to_vec(), "a literal over the bound, on its way"),
        (b"a LOGIN {4294967295+}\r\n".to_vec(), "a huge literal, on its way"),
        (many, "many literals"),
        (b"{10+}\r\naaaaaaaaaa a\r\n".to_vec(), "a literal for a tag"),
        (b"a noop\nb noop\r\n".to_vec(), "a bare line feed"),
    ] {
        let (out, _, step) = talk(TLS, &input, 1000);
        assert_eq!(step, Some(Step::Close(Reason::Bounds)), "{reason}: {out}");
        assert!(out.contains("* BYE"), "{reason}: {out}");
    }
    let (out, _, step) = talk(TLS, b"a LOGIN {4294967295}\r\n", 1000);
    assert_eq!(step, None, "a client that waits is told no, and nothing is lost: {out}");
    let (out, _, _) = talk(TLS, b"a APPEND inbox {100}\r\nb noop\r\n", 1000);
    assert!(!out.contains("a OK") && out.ends_with("b OK done\r\n"), "{out}");
}
