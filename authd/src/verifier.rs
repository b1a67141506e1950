//! What is kept of a password: SCRAM-SHA-256's keys (RFC 5802 §3, RFC 7677), against which plain passwords are checked too.

use std::{fmt, num::NonZeroU32, sync::Arc};

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use ipc_proto::logins::MAX_APP_PASSWORDS;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{name::LoginName, password::Password};

/// Octets of a new salt.
pub const SALT: usize = 16;

/// The most rounds that a stored verifier may ask for: more is damage, and would stop the hashing threads.
pub const MAX_ROUNDS: u32 = 10_000_000;

/// The random generator of the system failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random numbers")]
pub struct NoRandomness;

/// Fills with random octets.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| NoRandomness)?;
    Ok(octets)
}

/// One password's verifier.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Verifier {
    pub(crate) salt: Vec<u8>,
    #[zeroize(skip)]
    pub(crate) rounds: NonZeroU32,
    pub(crate) stored_key: [u8; 32],
    pub(crate) server_key: [u8; 32],
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} rounds, ..)", self.rounds)
    }
}

impl Verifier {
    /// With a salt of its own. Takes as long as `rounds` say.
    pub fn new(password: &Password, rounds: NonZeroU32) -> Result<Self, NoRandomness> {
        Ok(Self::derive(password.octets(), random::<SALT>()?.to_vec(), rounds))
    }

    /// With the salt and the rounds of another one of the same account.
    #[must_use]
    pub fn beside(&self, password: &Password) -> Self {
        Self::derive(password.octets(), self.salt.clone(), self.rounds)
    }

    /// RFC 5802 §3: SaltedPassword is PBKDF2; StoredKey is H(HMAC(SaltedPassword, "Client Key")), ServerKey is
    /// HMAC(SaltedPassword, "Server Key").
    pub(crate) fn derive(password: &[u8], salt: Vec<u8>, rounds: NonZeroU32) -> Self {
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, salted.as_mut_slice());
        let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_slice());
        let client_key = Zeroizing::new(array(hmac::sign(&key, b"Client Key").as_ref()));
        let stored_key = array(digest::digest(&digest::SHA256, client_key.as_slice()).as_ref());
        let server_key = array(hmac::sign(&key, b"Server Key").as_ref());
        Self { salt, rounds, stored_key, server_key }
    }

    /// Is it this password? Takes as long as the rounds say.
    #[must_use]
    pub fn check(&self, password: &Password) -> bool {
        let derived = Self::derive(password.octets(), self.salt.clone(), self.rounds);
        derived.stored_key.ct_eq(&self.stored_key).into()
    }
}

pub(crate) fn array(octets: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
    array
}

/// With which of an account's passwords or keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// Its own.
    Password,
    /// An app password, by its name.
    App(Arc<str>),
    /// A login key, by its name.
    Key(Arc<str>),
}

impl Credential {
    /// The name of an app password or a login key.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Password => None,
            Self::App(name) | Self::Key(name) => Some(name),
        }
    }
}

/// What a login is checked against: those of an account's verifiers that count there and now. All of an account's have one
/// salt and as many rounds, so that one hash is compared with all, and SCRAM can show the salt before it knows which of
/// the passwords the client has.
#[derive(Debug)]
pub struct Keyring {
    shown: Arc<Verifier>,
    keys: Vec<(Credential, Arc<Verifier>)>,
}

impl Keyring {
    /// `shown` says the salt and the rounds.
    #[must_use]
    pub fn new(shown: Arc<Verifier>, keys: Vec<(Credential, Arc<Verifier>)>) -> Self {
        Self { shown, keys }
    }

    /// Of one password.
    #[must_use]
    pub fn of(verifier: Arc<Verifier>) -> Self {
        Self { keys: vec![(Credential::Password, Arc::clone(&verifier))], shown: verifier }
    }

    /// The salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.shown.salt
    }

    /// The rounds.
    #[must_use]
    pub fn rounds(&self) -> NonZeroU32 {
        self.shown.rounds
    }

    /// Does this one count?
    #[must_use]
    pub fn has(&self, credential: &Credential) -> bool {
        self.keys.iter().any(|(held, _)| held == credential)
    }

    /// Which one is this password? Takes as long as the rounds say, whatever is on the ring.
    #[must_use]
    pub fn check(&self, password: &Password) -> Option<Credential> {
        let derived = Verifier::derive(password.octets(), self.shown.salt.clone(), self.shown.rounds);
        self.find(|verifier| bool::from(derived.stored_key.ct_eq(&verifier.stored_key)).then_some(()))
            .map(|(found, ())| found)
    }

    /// The first key that passes. As many are tried as a ring can have, so that the time tells nothing of it.
    pub fn find<T>(&self, mut passes: impl FnMut(&Verifier) -> Option<T>) -> Option<(Credential, T)> {
        let mut found = None;
        for place in 0..=MAX_APP_PASSWORDS {
            match self.keys.get(place) {
                Some((credential, verifier)) => {
                    let passed = passes(verifier);
                    found = found.or(passed.map(|passed| (credential.clone(), passed)));
                }
                None => drop(std::hint::black_box(passes(&self.shown))),
            }
        }
        found
    }
}

/// Makes verifiers for users who do not exist: always the same salt for the same name, as real users have, so that
/// neither time nor, with SCRAM, the salt tells them apart. Whatever stands behind the `@` makes no difference: an
/// account has one salt too, whether it is called `mox` or `mox@example.org`.
pub struct Pretender {
    key: hmac::Key,
    rounds: NonZeroU32,
}

impl fmt::Debug for Pretender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pretender(..)")
    }
}

impl Pretender {
    /// With the directory's own secret, and the rounds of new passwords.
    #[must_use]
    pub fn new(secret: &[u8], rounds: NonZeroU32) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), rounds }
    }

    /// No password passes it: its key is a hash of nothing known. With `like`, it looks like that one.
    #[must_use]
    pub fn verifier(&self, user: &LoginName, like: Option<&Verifier>) -> Verifier {
        let part = |label: &[u8]| {
            let mut context = hmac::Context::with_key(&self.key);
            context.update(label);
            context.update(user.localpart().as_bytes());
            array(context.sign().as_ref())
        };
        let (salt, rounds) = match like {
            Some(like) => (like.salt.clone(), like.rounds),
            None => (part(b"salt\0").into_iter().take(SALT).collect(), self.rounds),
        };
        Verifier { salt, rounds, stored_key: part(b"stored\0"), server_key: part(b"server\0") }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use ipc_proto::Secret;

    use super::*;

    const FEW: NonZeroU32 = NonZeroU32::new(16).unwrap();

    fn password(text: &str) -> Password {
        Password::prepare(&Secret(text.as_bytes().to_vec())).unwrap()
    }

    /// The exchange of RFC 7677 §3, user `user`, password `pencil`: the verifier must accept its proof and make its
    /// signature.
    #[test]
    fn the_keys_are_those_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive(b"pencil", salt, NonZeroU32::new(4096).unwrap());
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
             r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
             c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign = |key: &[u8]| {
            array(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref())
        };
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client_key: Vec<u8> =
            sign(&verifier.stored_key).iter().zip(&proof).map(|(left, right)| left ^ right).collect();
        assert_eq!(digest::digest(&digest::SHA256, &client_key).as_ref(), verifier.stored_key);
        assert_eq!(
            STANDARD.encode(sign(&verifier.server_key)),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn a_verifier_passes_its_password_and_no_other() {
        let verifier = Verifier::new(&password("moxmoxmox"), FEW).unwrap();
        assert!(verifier.check(&password("moxmoxmox")));
        for wrong in ["moxmoxmo", "moxmoxmox ", "Moxmoxmox", "x"] {
            assert!(!verifier.check(&password(wrong)), "{wrong:?}");
        }
        let other = Verifier::new(&password("moxmoxmox"), FEW).unwrap();
        assert_ne!(verifier.salt, other.salt, "every verifier has a salt of its own");
        assert_ne!(verifier.stored_key, other.stored_key);
    }

    #[test]
    fn pretended_verifiers_look_real_stay_the_same_and_pass_nobody() {
        let pretender = Pretender::new(b"secret", FEW);
        let nobody = LoginName::parse("nobody@example.org");
        let verifier = pretender.verifier(&nobody, None);
        assert_eq!(verifier, pretender.verifier(&LoginName::parse("Nobody@EXAMPLE.org"), None));
        assert_eq!(verifier.salt, pretender.verifier(&LoginName::parse("nobody"), None).salt);
        assert_ne!(verifier.salt, pretender.verifier(&LoginName::parse("nobodyelse"), None).salt);
        assert_ne!(verifier.salt, Pretender::new(b"other", FEW).verifier(&nobody, None).salt);
        let real = Verifier::new(&password("moxmoxmox"), NonZeroU32::new(7).unwrap()).unwrap();
        let like = pretender.verifier(&nobody, Some(&real));
        assert_eq!((&like.salt, like.rounds), (&real.salt, real.rounds));
        assert!(!like.check(&password("moxmoxmox")));
        assert_eq!((verifier.salt.len(), verifier.rounds), (SALT, FEW));
        assert!(!verifier.check(&password("nobody@example.org")));
    }

    /// Attack class 16: how many passwords an account has costs no more and no less.
    #[test]
    fn a_ring_finds_which_password_it_was_and_always_tries_as_many() {
        let first = Arc::new(Verifier::new(&password("moxmoxmox"), FEW).unwrap());
        let second = Arc::new(first.beside(&password("phonephone")));
        let app = Credential::App("phone".into());
        let both = vec![(Credential::Password, Arc::clone(&first)), (app.clone(), second)];
        for (ring, typed, found) in [
            (Keyring::of(Arc::clone(&first)), "moxmoxmox", Some(Credential::Password)),
            (Keyring::of(Arc::clone(&first)), "phonephone", None),
            (Keyring::new(Arc::clone(&first), both.clone()), "phonephone", Some(app)),
            (Keyring::new(Arc::clone(&first), both), "moxmoxmox", Some(Credential::Password)),
            (Keyring::new(first, Vec::new()), "moxmoxmox", None),
        ] {
            assert_eq!(ring.check(&password(typed)), found, "{typed}");
            let mut tried = 0;
            ring.find(|_| {
                tried += 1;
                Some(())
            });
            assert_eq!(tried, MAX_APP_PASSWORDS + 1);
        }
    }

    #[test]
    fn nothing_secret_shows_in_logs() {
        let verifier = Verifier::new(&password("moxmoxmox"), FEW).unwrap();
        assert_eq!(format!("{verifier:?}"), "Verifier(16 rounds, ..)");
        assert_eq!(format!("{:?}", password("moxmoxmox")), "Password(Secret(..))");
    }
}
