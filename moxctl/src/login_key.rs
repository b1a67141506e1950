//! `moxctl loginkey`.

use std::{fs::File, io::Read, path::Path};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipc_proto::{
    authd::AdminToAuthd,
    client_key::{ClientKey, NotAKey},
    logins::{Fingerprint, LoginKeyInfo},
};
use serde::Serialize;

use crate::{
    account::utc,
    app_password::{names, protocols},
    cli::{LoginKey, LoginKeySource},
    control::Directory,
    failure::{Failure, reason},
    output::Output,
    table::Table,
};

/// The largest file that may hold a certificate.
const MAX_FILE: u64 = 256 * 1024;

/// A login key as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    fingerprint: String,
    protocols: Vec<&'static str>,
    /// UTC, as the others.
    created: Option<String>,
    expires: Option<String>,
    last_use: Option<String>,
}

#[derive(Serialize)]
struct Added {
    account: String,
    name: String,
    fingerprint: String,
}

/// Computed here: authd is told nothing else.
fn fingerprint(source: &LoginKeySource) -> Result<Fingerprint, Failure> {
    match (&source.certificate, source.fingerprint) {
        (_, Some(fingerprint)) => Ok(fingerprint),
        (Some(file), None) => {
            let wrong = |why: String| Failure::Usage(format!("{}: {why}", file.display()));
            let pem = read(file).map_err(|error| wrong(reason(&error)))?;
            let key = key_in(&pem).map_err(|unfit| wrong(unfit.to_string()))?;
            let digest = digest::digest(&digest::SHA256, key.info());
            let octets = digest.as_ref().try_into().map_err(|_| wrong("it cannot be hashed".to_owned()))?;
            Ok(Fingerprint(octets))
        }
        (None, None) => Err(Failure::Usage("give --certificate or --fingerprint".to_owned())),
    }
}

pub(crate) fn run(command: LoginKey, directory: &Directory, output: &Output) -> Result<(), Failure> {
    match command {
        LoginKey::Add { account, name, source, protocols: uses, expires } => {
            let fingerprint = fingerprint(&source)?;
            directory.change(&AdminToAuthd::LoginKeyAdd {
                account: account.clone(),
                name: name.clone(),
                fingerprint,
                protocols: protocols(&uses),
                expires,
            })?;
            let added = Added { account, name, fingerprint: fingerprint.to_string() };
            // The fingerprint alone, so that it can be piped on.
            output.show(&added, |added| format!("{}\n", added.fingerprint));
        }
        LoginKey::List { account } => {
            let rows: Vec<_> = directory.login_keys(account)?.into_iter().map(Row::from).collect();
            output.list(&rows, table);
        }
        LoginKey::Rm { account, name } => {
            directory
                .change(&AdminToAuthd::LoginKeyRemove { account: account.clone(), name: name.clone() })?;
            output.done(&format!("login key {name} of account {account} removed; its sessions were ended"));
        }
    }
    Ok(())
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(file)?.take(MAX_FILE).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Why a file has no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unfit {
    #[error(
        "no certificate and no public key in PEM (-----BEGIN CERTIFICATE----- or -----BEGIN PUBLIC KEY-----)"
    )]
    Pem,
    #[error("{0}")]
    Key(#[from] NotAKey),
}

/// Of the first certificate or public key in PEM (RFC 7468).
fn key_in(pem: &[u8]) -> Result<ClientKey, Unfit> {
    let text = String::from_utf8_lossy(pem);
    let block = |label: &str| {
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        let (_, rest) = text.split_once(&begin)?;
        let (body, _) = rest.split_once(&end)?;
        let body: String = body.split_ascii_whitespace().collect();
        STANDARD.decode(body).ok()
    };
    match (block("CERTIFICATE"), block("PUBLIC KEY")) {
        (Some(certificate), _) => Ok(ClientKey::of_certificate(&certificate)?),
        (None, Some(info)) => Ok(ClientKey::parse(&info)?),
        (None, None) => Err(Unfit::Pem),
    }
}

fn table(rows: &[Row]) -> Table {
    let headings = ["NAME", "FOR", "CREATED", "EXPIRES", "LAST USE", "FINGERPRINT"];
    let mut table = Table::new(&headings, "no login keys; add one with `moxctl loginkey add`");
    for row in rows {
        table.row([
            row.name.clone(),
            row.protocols.join(","),
            row.created.clone().unwrap_or_default(),
            row.expires.clone().unwrap_or_else(|| "never".to_owned()),
            row.last_use.clone().unwrap_or_else(|| "never".to_owned()),
            row.fingerprint.clone(),
        ]);
    }
    table
}

impl From<LoginKeyInfo> for Row {
    fn from(key: LoginKeyInfo) -> Self {
        let LoginKeyInfo { name, fingerprint, protocols, created, expires, last_use } = key;
        Self {
            name,
            fingerprint: fingerprint.to_string(),
            protocols: names(protocols),
            created: utc(created),
            expires: expires.and_then(utc),
            last_use: last_use.and_then(utc),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A public key of Ed25519.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
                       MCowBQYDK2VwAyEACQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n\
                       -----END PUBLIC KEY-----\n";

    #[test]
    fn a_key_is_found_in_pem_and_nothing_else_is_taken_for_one() {
        assert_eq!(key_in(KEY.as_bytes()).unwrap().octets(), [9; 32]);
        let behind_text = format!("issuer=somebody\r\n{}trailer", KEY.replace('\n', "\r\n"));
        assert_eq!(key_in(behind_text.as_bytes()).unwrap().octets(), [9; 32]);
        let private = KEY.replace("PUBLIC", "PRIVATE");
        let no_base64 = KEY.replace("MCow", "MC!w");
        for (pem, unfit) in [
            ("", Unfit::Pem),
            (private.as_str(), Unfit::Pem),
            (no_base64.as_str(), Unfit::Pem),
            (&KEY.replace("CQk=", "CQl="), Unfit::Pem),
            (&KEY.replace("PUBLIC KEY", "CERTIFICATE"), Unfit::Key(NotAKey::Form)),
            (&KEY.replace("VwAy", "VxAy"), Unfit::Key(NotAKey::Kind)),
        ] {
            assert_eq!(key_in(pem.as_bytes()), Err(unfit), "{pem}");
        }
    }
}
