//! A group's self-signed certificate and its file: `keys/GROUP.crt`, PEM, with what it was made for written above it.

use std::{
    fs,
    io::ErrorKind,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, SigningKey, date_time_ymd,
};

use crate::key::{Key, write_atomically};

const DAY: u64 = 24 * 60 * 60;

/// Self-signed certificates are trusted because somebody looked at them once: let them last.
const VALID: u64 = 3650 * DAY;

/// So much before its end a new one is made.
const RENEW: u64 = 30 * DAY;

/// Clients' clocks go wrong.
const BACKDATE: u64 = DAY;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Why there is no certificate. Each is a start error of one line.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// keyd has nothing to put into it.
    #[error("no names for the certificates; set `[host] name`")]
    NoNames,
    /// Neither a name nor an address.
    #[error("{0:?} cannot stand in a certificate: neither a host name in ASCII nor an IP address")]
    Name(String),
    /// The library refuses.
    #[error("a certificate could not be made: {0}")]
    NotMade(#[from] rcgen::Error),
    /// The file system says no.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it says.
        error: std::io::Error,
    },
}

/// A certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// DER.
    pub der: Vec<u8>,
    /// Host names in it, in lower case.
    pub names: Vec<String>,
}

/// A key lets rcgen sign, and keeps itself.
struct Issuer<'k>(&'k Key);

impl PublicKeyData for Issuer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Issuer<'_> {
    fn sign(&self, content: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(content).ok_or(rcgen::Error::RemoteKeyError)
    }
}

impl Certificate {
    /// Reads the certificate, or makes one where there is none for this key and these names that lasts a while from
    /// `now`.
    pub fn load_or_make(
        path: &Path,
        key: &Key,
        names: &[String],
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let io = |error| CertificateError::Io { path: path.to_owned(), error };
        let names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let hosts = names.iter().filter(|name| name.parse::<IpAddr>().is_err()).cloned().collect();
        let stored = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => None,
            Err(error) => return Err(io(error)),
        };
        let fits = |text: String| Header::of(key, &names).find(&text, now);
        if let Some(der) = stored.and_then(fits) {
            return Ok(Self { der, names: hosts });
        }
        let expires = now + VALID;
        let der = make(key, &names, now, expires)?;
        let text = Header::of(key, &names).write(&der, expires);
        write_atomically(path, text.as_bytes(), 0o644).map_err(io)?;
        tracing::info!(path = %path.display(), names = %names.join(", "), "made a self-signed certificate");
        Ok(Self { der, names: hosts })
    }
}

/// What stands above a certificate in its file, so that nothing has to take the certificate apart to see whether it
/// still fits. (RFC 7468 §5.2 lets readers skip such text.)
struct Header(String);

impl Header {
    fn of(key: &Key, names: &[String]) -> Self {
        let digest = digest::digest(&digest::SHA256, key.public());
        let digest: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        Self(format!("Self-signed by moxd.\nNames: {}\nKey (SHA-256): {digest}\nExpires: ", names.join(", ")))
    }

    fn write(&self, der: &[u8], expires: u64) -> String {
        let mut text = format!("{}{expires}\n{BEGIN}\n", self.0);
        let encoded = STANDARD.encode(der);
        let mut rest = encoded.as_str();
        while let Some((line, after)) = rest.split_at_checked(64) {
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        if !rest.is_empty() {
            text.push_str(rest);
            text.push('\n');
        }
        text.push_str(END);
        text.push('\n');
        text
    }

    /// `None`: made for another key or other names, about to expire, or not whole.
    fn find(&self, text: &str, now: u64) -> Option<Vec<u8>> {
        let (expires, rest) = text.strip_prefix(&self.0)?.split_once('\n')?;
        if expires.parse::<u64>().ok()? < now.checked_add(RENEW)? {
            return None;
        }
        let (body, _) = rest.strip_prefix(BEGIN)?.split_once(END)?;
        let body: String = body.split_ascii_whitespace().collect();
        STANDARD.decode(body).ok().filter(|der| !der.is_empty())
    }
}

fn make(key: &Key, names: &[String], now: u64, expires: u64) -> Result<Vec<u8>, CertificateError> {
    let first = names.first().ok_or(CertificateError::NoNames)?;
    let mut params = CertificateParams::default();
    for name in names {
        params.subject_alt_names.push(alternative_name(name)?);
    }
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, first.as_str());
    params.distinguished_name = subject;
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(BACKDATE));
    params.not_after = epoch + Duration::from_secs(expires);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    // Positive and never zero (RFC 5280 §4.1.2.2).
    let [first_octet, ..] = &mut serial;
    *first_octet = (*first_octet & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params.self_signed(&Issuer(key))?.der().to_vec())
}

fn alternative_name(name: &str) -> Result<SanType, CertificateError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let is_host = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_'));
    match name.try_into() {
        Ok(host) if is_host => Ok(SanType::DnsName(host)),
        Ok(_) | Err(_) => Err(CertificateError::Name(name.to_owned())),
    }
}
