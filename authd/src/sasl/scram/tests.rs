use std::{num::NonZeroU32, sync::Arc};

use ipc_proto::Secret;
use proptest::prelude::*;

use super::*;
use crate::password::Password;

const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
const BOUND: Transport = Transport::Bound([7; 32]);
const FEW: u32 = 16;

fn keyring(password: &str, rounds: u32) -> Keyring {
    let password = Password::prepare(&Secret(password.as_bytes().to_vec())).unwrap();
    let salt = STANDARD.decode(SALT).unwrap();
    Keyring::of(Arc::new(Verifier::derive(password.octets(), salt, NonZeroU32::new(rounds).unwrap())))
}

fn signature(checked: Option<(Credential, Vec<u8>)>) -> Option<String> {
    checked.map(|(credential, last)| {
        assert_eq!(credential, Credential::Password);
        String::from_utf8(last).unwrap()
    })
}

/// The client's side, written from RFC 5802 §3 without the server's code: its final message and the signature that it
/// expects.
fn client(password: &str, first: &str, challenge: &[u8], header: &[u8]) -> (String, String) {
    use aws_lc_rs::pbkdf2;
    let challenge = std::str::from_utf8(challenge).unwrap();
    let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name)).unwrap();
    let rounds = NonZeroU32::new(field("i=").parse().unwrap()).unwrap();
    let mut salted = [0; 32];
    let salt = STANDARD.decode(field("s=")).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let bare = first.splitn(3, ',').nth(2).unwrap();
    let without_proof = format!("c={},r={}", STANDARD.encode(header), field("r="));
    let message = format!("{bare},{challenge},{without_proof}");
    let signature = mac(stored_key.as_ref(), message.as_bytes());
    let proof: Vec<u8> =
        client_key.as_ref().iter().zip(signature.as_ref()).map(|(left, right)| left ^ right).collect();
    let server = mac(mac(&salted, b"Server Key").as_ref(), message.as_bytes());
    (
        format!("{without_proof},p={}", STANDARD.encode(proof)),
        format!("v={}", STANDARD.encode(server.as_ref())),
    )
}

/// RFC 7677 §3, word for word.
#[test]
fn the_exchange_of_rfc_7677() {
    let first = First::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", false, &Transport::Tls).unwrap();
    assert_eq!(first.user(), "user");
    let keyring = keyring("pencil", 4096);
    let (challenge, second) = first.challenge(&keyring, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(
        String::from_utf8(challenge).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let proof = second
        .answer(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
    let expected = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    assert_eq!(signature(proof.check(&keyring)).as_deref(), Some(expected));
}

/// RFC 5802's grammar: what a client may say first, and what it may not.
#[test]
fn first_messages_are_read_by_the_grammar() {
    for (message, user) in [
        ("n,,n=user,r=abc", "user"),
        ("n,a=user,n=user,r=abc", "user"),
        ("n,a=,n=user,r=abc", "user"),
        ("n,,n=a=2Cb=3Dc,r=abc", "a,b=c"),
        ("n,,n=jürgen@bücher.example,r=abc", "jürgen@bücher.example"),
        ("n,,n=user,r=abc,x=ignored,y=", "user"),
    ] {
        assert_eq!(
            First::parse(message.as_bytes(), false, &Transport::Tls).unwrap().user(),
            user,
            "{message}"
        );
    }
    let long = format!("n,,n=user,r={}", "a".repeat(MAX_NONCE + 1));
    let longer = format!("n,,n=user,r=a,x={}", "a".repeat(MAX_MESSAGE));
    for (message, error, why) in [
        ("", Unfit::Form, "nothing"),
        ("n,,", Unfit::Form, "no name"),
        ("n,n=user,r=abc", Unfit::Form, "half a GS2 header"),
        ("x,,n=user,r=abc", Unfit::Form, "no such flag"),
        ("n,,m=ext,n=user,r=abc", Unfit::Form, "a mandatory extension"),
        ("n,,n=user,r=abc,m=ext", Unfit::Form, "the same, later"),
        ("n,,n=,r=abc", Unfit::Form, "nobody"),
        ("n,,n=a=2cb,r=abc", Unfit::Form, "not how a comma is written"),
        ("n,,n=a=,r=abc", Unfit::Form, "a bare ="),
        ("n,,n=a\0b,r=abc", Unfit::Form, "a NUL"),
        ("n,,n=user,r=", Unfit::Form, "no nonce"),
        ("n,,n=user,r=a b", Unfit::Form, "a blank in the nonce"),
        ("n,,n=user,r=ä", Unfit::Form, "not ASCII in the nonce"),
        ("n,,r=abc,n=user", Unfit::Form, "out of order"),
        ("n,,n=user,r=abc,oops", Unfit::Form, "not an extension"),
        ("n,b=user,n=user,r=abc", Unfit::Form, "no such field of the header"),
        ("n,a=other,n=user,r=abc", Unfit::Proxy, "for somebody else"),
        (&long, Unfit::Form, "a nonce without end"),
        (&longer, Unfit::Form, "a message without end"),
    ] {
        assert_eq!(First::parse(message.as_bytes(), false, &Transport::Tls), Err(error), "{why}");
    }
    assert_eq!(First::parse(b"n,,n=\xff,r=abc", false, &Transport::Tls), Err(Unfit::Form));
}

/// Attack class 17: nobody in between can talk a client out of -PLUS, and no binding passes where there is none.
#[test]
fn downgrades_and_foreign_bindings_are_refused() {
    for (flag, plus, transport, refused, why) in [
        ("n", false, BOUND, None, "a client without channel binding"),
        ("y", false, Transport::Tls, None, "not offered under TLS 1.2: the client is right"),
        ("y", false, Transport::Loopback, None, "nor without TLS"),
        ("p=tls-exporter", true, BOUND, None, "bound"),
        ("y", false, BOUND, Some(Unfit::Downgrade), "the offer was taken out"),
        ("y", true, BOUND, Some(Unfit::Binding), "-PLUS without binding"),
        ("n", true, BOUND, Some(Unfit::Binding), "the same"),
        ("p=tls-exporter", false, BOUND, Some(Unfit::Binding), "a binding without -PLUS"),
        ("p=tls-unique", true, BOUND, Some(Unfit::Binding), "another binding"),
        ("p=tls-server-end-point", true, BOUND, Some(Unfit::Binding), "another binding"),
        ("p=tls-exporter", true, Transport::Tls, Some(Unfit::Binding), "nothing to bind to"),
        ("p=tls-exporter", true, Transport::Loopback, Some(Unfit::Binding), "nothing to bind to"),
    ] {
        let message = format!("{flag},,n=user,r=abc");
        assert_eq!(First::parse(message.as_bytes(), plus, &transport).err(), refused, "{flag}: {why}");
    }
}

/// Attack class 17: a man in the middle has two channels, and each end proves its own.
#[test]
fn the_proof_is_bound_to_the_channel_and_to_the_exchange() {
    let keyring = keyring("moxmoxmox", FEW);
    let first = "p=tls-exporter,,n=mox,r=abc";
    let begin = || First::parse(first.as_bytes(), true, &BOUND).unwrap().challenge(&keyring, "server");
    let header = |value: [u8; 32]| [&b"p=tls-exporter,,"[..], &value].concat();
    let (challenge, second) = begin();
    let (last, expected) = client("moxmoxmox", first, &challenge, &header([7; 32]));
    let checked = second.answer(last.as_bytes()).unwrap().check(&keyring);
    assert_eq!(signature(checked), Some(expected));

    let (elsewhere, _) = client("moxmoxmox", first, &challenge, &header([8; 32]));
    let (stripped, _) = client("moxmoxmox", first, &challenge, b"n,,");
    let (unbound, _) = client("moxmoxmox", first, &challenge, b"p=tls-exporter,,");
    for (message, why) in
        [(elsewhere, "another channel"), (stripped, "another header"), (unbound, "no channel")]
    {
        assert_eq!(begin().1.answer(message.as_bytes()), Err(Unfit::Binding), "{why}");
    }

    // The same client nonce again, another of ours: what was seen once is of no use.
    let (_, again) = First::parse(first.as_bytes(), true, &BOUND).unwrap().challenge(&keyring, "another");
    assert_eq!(again.answer(last.as_bytes()), Err(Unfit::Nonce), "replayed");
    let swapped = last.replace("r=abcserver", "r=abcanother");
    let (_, again) = First::parse(first.as_bytes(), true, &BOUND).unwrap().challenge(&keyring, "another");
    let replayed = again.answer(swapped.as_bytes()).unwrap();
    assert_eq!(replayed.check(&keyring), None, "replayed under the new nonce");
}

#[test]
fn final_messages_are_read_by_the_grammar() {
    let keyring = keyring("moxmoxmox", FEW);
    let proof = STANDARD.encode([0; 32]);
    let second =
        || First::parse(b"n,,n=mox,r=abc", false, &Transport::Tls).unwrap().challenge(&keyring, "server").1;
    let good = format!("c=biws,r=abcserver,x=ignored,p={proof}");
    assert_eq!(second().answer(good.as_bytes()).unwrap().check(&keyring), None, "a wrong proof");
    for (message, error, why) in [
        (String::new(), Unfit::Form, "nothing"),
        (format!("c=biws,r=abcserver,q={proof}"), Unfit::Form, "no proof"),
        ("c=biws,r=abcserver,p=".to_owned(), Unfit::Form, "an empty proof"),
        ("c=biws,r=abcserver,p=AAAA".to_owned(), Unfit::Form, "a short proof"),
        (format!("c=biws,r=abcserver,p={}", STANDARD.encode([0; 33])), Unfit::Form, "a long proof"),
        (format!("c=biws,r=abcserver,p={}", proof.trim_end_matches('=')), Unfit::Form, "not padded"),
        (format!("c=!!!,r=abcserver,p={proof}"), Unfit::Form, "not base64"),
        (format!("r=abcserver,c=biws,p={proof}"), Unfit::Form, "out of order"),
        (format!("c=biws,r=abcserver,oops,p={proof}"), Unfit::Form, "not an extension"),
        (format!("c=eSws,r=abcserver,p={proof}"), Unfit::Binding, "another header than at first"),
        (format!("c=biws,r=abc,p={proof}"), Unfit::Nonce, "the client's nonce alone"),
        (format!("c=biws,r=abcserverx,p={proof}"), Unfit::Nonce, "a longer nonce"),
        (format!("c=biws,r=server,p={proof}"), Unfit::Nonce, "ours alone"),
    ] {
        assert_eq!(second().answer(message.as_bytes()), Err(error), "{why}");
    }
}

#[test]
fn nonces_are_never_used_twice() {
    let nonces: std::collections::HashSet<_> = (0..1000).map(|_| nonce().unwrap()).collect();
    assert_eq!(nonces.len(), 1000);
    assert!(nonces.iter().all(|nonce| nonce.len() == 24 && !nonce.contains(',')));
}

proptest! {
    #[test]
    fn only_the_password_passes(right in "[ -~]{1,20}", typed in "[ -~]{1,20}", ours in "[!-+--~]{1,30}") {
        let keyring = keyring(&right, FEW);
        let first = "n,,n=mox,r=abc";
        let (challenge, second) =
            First::parse(first.as_bytes(), false, &Transport::Loopback).unwrap().challenge(&keyring, &ours);
        let (last, expected) = client(&typed, first, &challenge, b"n,,");
        let checked = second.answer(last.as_bytes()).unwrap().check(&keyring);
        prop_assert_eq!(signature(checked), (right == typed).then_some(expected));
    }

    #[test]
    fn names_come_back_as_they_were_written(name in "[^\\p{Cc}]{1,40}") {
        let written = name.replace('=', "=3D").replace(',', "=2C");
        prop_assert_eq!(sasl_name(&written), Some(name));
    }

    /// Attack class 17: whatever a client sends, it is read or refused.
    #[test]
    fn nothing_panics(message in prop::collection::vec(any::<u8>(), 0..200), text in "[npy],[a=x]*,[nrcp=,a-z]{0,40}") {
        let _ = First::parse(&message, true, &BOUND);
        let _ = First::parse(text.as_bytes(), false, &Transport::Tls);
        let keyring = keyring("moxmoxmox", 1);
        let first = First::parse(b"n,,n=mox,r=abc", false, &Transport::Tls).unwrap();
        let _ = first.challenge(&keyring, "server").1.answer(&message);
    }
}
