//! The files of keyd: what is made, what is kept, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use ipc_proto::{
    control::KeydSettings,
    tls::{Chain, TlsReply, TlsRequest},
};
use keyd::{
    answer::{Desk, OpenError},
    certificate::{Certificate, CertificateError},
    group::Front,
    key::{Key, KeyError},
};
use x509_parser::prelude::GeneralName;

fn settings(names: &[&str]) -> KeydSettings {
    KeydSettings { names: names.iter().map(|name| (*name).to_owned()).collect(), signatures_per_second: 10 }
}

fn open(directory: &Path, names: &[&str]) -> Result<Chain, OpenError> {
    let mut desk = Desk::open(Front::Smtpd, directory, &settings(names))?;
    match desk.answer(&TlsRequest::Chains, std::time::Instant::now()) {
        TlsReply::Chains(mut chains) => Ok(chains.remove(0)),
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_key_is_readable_by_keyd_alone_and_nothing_else_is_left() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), &["mx.example"]).unwrap();
    assert_eq!(mode(&directory.path().join("mx.key")), 0o600);
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["mx.crt", "mx.key"]);
}

#[test]
fn the_second_start_keeps_key_and_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), &["mx.example", "192.0.2.1"]).unwrap();
    let key = fs::read(directory.path().join("mx.key")).unwrap();
    assert_eq!(open(directory.path(), &["mx.example", "192.0.2.1"]).unwrap(), first);
    assert_eq!(fs::read(directory.path().join("mx.key")).unwrap(), key);
}

#[test]
fn the_certificate_carries_every_name_and_lasts_ten_years() {
    let directory = tempfile::tempdir().unwrap();
    let chain = open(directory.path(), &["MX.example", "192.0.2.1", "2001:db8::1"]).unwrap();
    assert_eq!(chain.names, ["mx.example"], "names to choose by, in lower case");
    let (rest, parsed) = x509_parser::parse_x509_certificate(&chain.certificates[0]).unwrap();
    assert!(rest.is_empty());
    let names: Vec<String> = parsed
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(host) => (*host).to_owned(),
            GeneralName::IPAddress(octets) => format!("{octets:?}"),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names[0], "mx.example");
    assert_eq!(names[1], "[192, 0, 2, 1]");
    assert_eq!(names.len(), 3);
    let lasts = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(lasts, 3651 * 24 * 60 * 60);
    assert!(!parsed.is_ca());
}

#[test]
fn other_names_get_another_certificate_for_the_same_key() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), &["mx.example"]).unwrap();
    let second = open(directory.path(), &["mx.example", "mx2.example"]).unwrap();
    assert_ne!(first.certificates, second.certificates);
    let spki = |chain: &Chain| {
        x509_parser::parse_x509_certificate(&chain.certificates[0]).unwrap().1.public_key().raw.to_vec()
    };
    assert_eq!(spki(&first), spki(&second));
}

#[test]
fn a_certificate_is_made_anew_before_it_expires_and_when_it_is_damaged_or_anothers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mx.crt");
    let key = Key::load_or_make(&directory.path().join("mx.key")).unwrap();
    let names = ["mx.example".to_owned()];
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 60 * 60);
    let load = |key: &Key, at| Certificate::load_or_make(&path, key, &names, at).unwrap();
    let first = load(&key, now);
    assert_eq!(load(&key, now + 3600 * day), first, "fifty days before its end it still serves");
    let second = load(&key, now + 3640 * day);
    assert_ne!(second, first, "ten days before its end it is replaced");
    for damage in ["", "-----BEGIN CERTIFICATE-----", "\u{fffd}"] {
        fs::write(&path, damage).unwrap();
        let now_served = load(&key, now);
        assert_eq!(load(&key, now), now_served, "what was damaged as {damage:?} is whole again");
    }
    let before = load(&key, now);
    let other = Key::load_or_make(&directory.path().join("other.key")).unwrap();
    assert_ne!(load(&other, now), before, "a certificate of another key is not served");
}

#[test]
fn a_key_that_others_may_read_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), &["mx.example"]).unwrap();
    let path = directory.path().join("mx.key");
    for exposed in [0o604, 0o640, 0o660, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        let error = open(directory.path(), &["mx.example"]).unwrap_err();
        assert!(
            matches!(&error, OpenError::Key(KeyError::Exposed { mode, .. }) if *mode == exposed),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains("chmod 0600") && text.contains("mx.key") && !text.contains('\n'), "{text}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    open(directory.path(), &["mx.example"]).unwrap();
}

/// Attack class 40: no damage makes keyd write over a key that might still be saved.
#[test]
fn a_truncated_or_strange_key_file_is_an_error_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), &["mx.example"]).unwrap();
    let path = directory.path().join("mx.key");
    let whole = fs::read(&path).unwrap();
    for (octets, reason) in [
        (&whole[..whole.len() / 2], "cut in half"),
        (&whole[..whole.len() - 1], "one octet short"),
        (&[][..], "empty"),
        (&[0; 138][..], "zeros, as after a power cut without fsync"),
        (&[0; 5000][..], "too large"),
    ] {
        fs::write(&path, octets).unwrap();
        let error = open(directory.path(), &["mx.example"]).unwrap_err();
        assert!(matches!(error, OpenError::Key(KeyError::Damaged(_))), "{reason}: {error}");
        assert!(error.to_string().contains("restore it from a backup"), "{reason}");
        assert_eq!(fs::read(&path).unwrap(), octets, "{reason}");
    }
    fs::write(&path, &whole).unwrap();
    open(directory.path(), &["mx.example"]).unwrap();
}

/// Attack class 25: nobody leads keyd to another file.
#[test]
fn links_and_pipes_in_a_keys_place_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    open(elsewhere.path(), &["mx.example"]).unwrap();
    let path = directory.path().join("mx.key");
    symlink(elsewhere.path().join("mx.key"), &path).unwrap();
    assert!(matches!(open(directory.path(), &["a"]), Err(OpenError::Key(KeyError::NotAFile(_)))));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(directory.path(), &["a"]), Err(OpenError::Key(KeyError::NotAFile(_)))));
}

/// Attack class 40: a crash between writing and renaming leaves a file that the next start replaces.
#[test]
fn what_a_crash_left_behind_does_not_stop_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mx.key.new"), b"half a k").unwrap();
    fs::write(directory.path().join("mx.crt.new"), b"half a c").unwrap();
    open(directory.path(), &["mx.example"]).unwrap();
    assert!(!directory.path().join("mx.key.new").exists());
    assert!(!directory.path().join("mx.crt.new").exists());
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_named() {
    for bad in ["", "m\u{fc}nchen.example", "a b", "a\nb"] {
        let directory = tempfile::tempdir().unwrap();
        let error = open(directory.path(), &[bad]).unwrap_err();
        assert!(
            matches!(&error, OpenError::Certificate(CertificateError::Name(name)) if name == bad),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'));
    }
    let directory = tempfile::tempdir().unwrap();
    let error = open(directory.path(), &[]).unwrap_err();
    assert!(matches!(error, OpenError::Certificate(CertificateError::NoNames)));
}
