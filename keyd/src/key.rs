//! One private key and its file: `keys/GROUP.key`, PKCS#8 DER, readable by keyd alone.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use zeroize::Zeroizing;

/// A P-256 key in PKCS#8 has 138 octets; nothing near this is one.
const MAX_FILE: u64 = 4096;

/// Why a key cannot be used. Each is a start error of one line.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others than keyd may read or write it.
    #[error(
        "{path} is open to others (mode {mode:04o}); run `chmod 0600 {path}`, or remove it to get a new key if others may have read it"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("{path} belongs to user {owner}, not to keyd's user {user}; run `chown {user} {path}`")]
    ForeignOwner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        user: u32,
    },
    /// Neither a file nor absent.
    #[error("{0} is not a regular file; move it away")]
    NotAFile(PathBuf),
    /// Not the key that was written there.
    #[error(
        "{0} is damaged: not an ECDSA P-256 key in PKCS#8; restore it from a backup, or remove it to get a new key"
    )]
    Damaged(PathBuf),
    /// The file system says no.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// The random generator or the library failed.
    #[error("a new key could not be made")]
    NotMade,
}

/// An ECDSA P-256 key. aws-lc wipes its memory when it is freed.
pub struct Key {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads the key, or makes one where there is none. `Ok` after making: it survives power loss. An existing file is
    /// never changed.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyError> {
        match read(path)? {
            Some(octets) => Self::parse(&octets).ok_or_else(|| KeyError::Damaged(path.to_owned())),
            None => Self::make(path),
        }
    }

    fn parse(pkcs8: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).ok()?;
        Some(Self { pair, random: SystemRandom::new() })
    }

    fn make(path: &Path) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        // Wiped by aws-lc-rs when dropped.
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|Unspecified| KeyError::NotMade)?;
        let key = Self::parse(document.as_ref()).ok_or(KeyError::NotMade)?;
        write_atomically(path, document.as_ref(), 0o600)
            .map_err(|error| KeyError::Io { path: path.to_owned(), error })?;
        tracing::info!(path = %path.display(), "made a new key");
        Ok(key)
    }

    /// SHA-256 and ECDSA, as TLS carries it. Only this crate decides what is signed.
    pub(crate) fn sign(&self, content: &[u8]) -> Option<Vec<u8>> {
        self.pair.sign(&self.random, content).ok().map(|signature| signature.as_ref().to_vec())
    }

    /// The point, uncompressed.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

/// `Ok(None)`: there is no such file.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let io = |error| KeyError::Io { path: path.to_owned(), error };
    // No link is followed, and a FIFO does not make us wait.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(KeyError::NotAFile(path.to_owned()));
        }
        Err(error) => return Err(io(error)),
    };
    let facts = file.metadata().map_err(io)?;
    let user = crate::sys::own_user();
    if !facts.is_file() {
        return Err(KeyError::NotAFile(path.to_owned()));
    }
    if facts.uid() != user {
        return Err(KeyError::ForeignOwner { path: path.to_owned(), owner: facts.uid(), user });
    }
    if facts.mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode: facts.mode() & 0o7777 });
    }
    if facts.len() > MAX_FILE {
        return Err(KeyError::Damaged(path.to_owned()));
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let room = usize::try_from(MAX_FILE).unwrap_or_default();
    let mut octets = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE).read_to_end(&mut octets).map_err(io)?;
    Ok(Some(octets))
}

/// `Ok`: the file is there whole and survives power loss. `Err`: `path` is as it was. A crash leaves at worst a `.new`
/// file that the next attempt replaces.
pub(crate) fn write_atomically(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension(match path.extension().and_then(|ending| ending.to_str()) {
        Some(ending) => format!("{ending}.new"),
        None => "new".to_owned(),
    });
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_CLOEXEC)
        .open(&new)
        .and_then(|mut file| file.write_all(octets).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
        return written;
    }
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
