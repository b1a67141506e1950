//! Addresses as RFC 5321 and RFC 6531 have them, checked once and then carried as proof.
//!
//! Grammar and text come in through [`Address::parse`] and [`parse_path`]; a [`Localpart`] is kept unquoted and in
//! normal form, a [`Domain`] as A-labels in lower case or as a canonical literal, so that equal mailboxes are equal
//! values. `Display` gives text that parses to the same value.

mod domain;
mod localpart;
mod path;

use std::fmt;

use bincode::{
    BorrowDecode, Decode, Encode,
    de::{BorrowDecoder, Decoder},
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

pub use self::{
    domain::Domain,
    localpart::Localpart,
    path::{Path, parse_path},
};

/// The longest address: a path of 256 octets (RFC 5321 §4.5.3.1.3) without its angle brackets.
pub const MAX_ADDRESS: usize = 254;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing before or after the `@`, no `@` at all, or a bracket or quote that does not close.
    #[error("an address is LOCALPART@DOMAIN")]
    Incomplete,
    /// A control octet, one that needs quotes, or one outside ASCII where that is not allowed.
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
    /// Not a domain name by IDNA (RFC 5890), and not an address literal (RFC 5321 §4.1.3).
    #[error("not a domain name")]
    Domain,
}

/// A mailbox address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Before the `@`.
    pub localpart: Localpart,
    /// After the `@`.
    pub domain: Domain,
}

impl Address {
    /// Parses `localpart@domain`, the localpart quoted or not. At most [`MAX_ADDRESS`] octets, as given and as
    /// displayed.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong { limit: MAX_ADDRESS });
        }
        let (localpart, used) = localpart::scan(text)?;
        let domain = match text.get(used..).and_then(|rest| rest.strip_prefix('@')) {
            Some(domain) => Domain::parse(domain)?,
            None if used == text.len() => return Err(AddressError::Incomplete),
            None => return Err(AddressError::Forbidden { at: used }),
        };
        Self { localpart, domain }.within_limit()
    }

    /// A-labels and quoting can make an address longer than it was written.
    fn within_limit(self) -> Result<Self, AddressError> {
        // Quoting at most doubles a localpart and adds two quotes.
        let longest = 2 * self.localpart.as_str().len() + 3 + self.domain.as_str().len();
        if longest > MAX_ADDRESS && self.to_string().len() > MAX_ADDRESS {
            return Err(AddressError::TooLong { limit: MAX_ADDRESS });
        }
        Ok(self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.localpart, self.domain)
    }
}

// On a channel an address is its parts as text, and is checked again on arrival: the peer may be captured.
impl Encode for Address {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.localpart.as_str().encode(encoder)?;
        self.domain.as_str().encode(encoder)
    }
}

impl<C> Decode<C> for Address {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let localpart = String::decode(decoder)?;
        let domain = String::decode(decoder)?;
        let localpart = Localpart::parse(&localpart).map_err(|_| DecodeError::Other("localpart"))?;
        let domain = Domain::parse(&domain).map_err(|_| DecodeError::Other("domain"))?;
        Self { localpart, domain }.within_limit().map_err(|_| DecodeError::Other("address"))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Address {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_kept_in_one_canonical_form() {
        for (input, localpart, shown) in [
            ("a@example.org", "a", "a@example.org"),
            ("Alice.B+tag@EXAMPLE.org", "Alice.B+tag", "Alice.B+tag@example.org"),
            ("\"alice\"@example.org", "alice", "alice@example.org"),
            ("\"a b\"@example.org", "a b", "\"a b\"@example.org"),
            ("\"a@b\"@example.org", "a@b", "\"a@b\"@example.org"),
            ("\"a\\\"\\\\\\b\"@x.org", "a\"\\b", "\"a\\\"\\\\b\"@x.org"),
            ("\"..\"@x.org", "..", "\"..\"@x.org"),
            ("a@[192.0.2.1]", "a", "a@[192.0.2.1]"),
            ("a@[ipv6:2001:DB8:0::1]", "a", "a@[IPv6:2001:db8::1]"),
            ("jürgen@bücher.example", "jürgen", "jürgen@xn--bcher-kva.example"),
            // Normal form C, so that two keyboards name one mailbox.
            ("ju\u{308}rgen@x.org", "jürgen", "jürgen@x.org"),
        ] {
            let address = Address::parse(input).unwrap_or_else(|error| panic!("{input}: {error}"));
            assert_eq!(address.localpart.as_str(), localpart, "{input}");
            assert_eq!(address.to_string(), shown, "{input}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let long = "a".repeat(65);
        let label = "d".repeat(63);
        for (input, reason) in [
            ("", AddressError::Incomplete),
            ("alice", AddressError::Incomplete),
            ("@example.org", AddressError::Incomplete),
            ("alice@", AddressError::Incomplete),
            ("\"\"@example.org", AddressError::Incomplete),
            ("\"open@example.org", AddressError::Incomplete),
            ("a b@example.org", AddressError::Forbidden { at: 1 }),
            ("a..b@example.org", AddressError::Forbidden { at: 2 }),
            (".a@example.org", AddressError::Forbidden { at: 0 }),
            ("a.@example.org", AddressError::Forbidden { at: 2 }),
            ("a\r\nb@example.org", AddressError::Forbidden { at: 1 }),
            ("\"a\nb\"@example.org", AddressError::Forbidden { at: 2 }),
            ("\"a\\\u{0}\"@example.org", AddressError::Forbidden { at: 3 }),
            ("\"a\"b@example.org", AddressError::Forbidden { at: 3 }),
            ("a\u{85}@example.org", AddressError::Forbidden { at: 1 }),
            ("a@b@example.org", AddressError::Domain),
            ("a@exa_mple.org", AddressError::Domain),
            ("a@-example.org", AddressError::Domain),
            ("a@example..org", AddressError::Domain),
            ("a@example.org.", AddressError::Domain),
            ("a@exam ple.org", AddressError::Domain),
            ("a@[192.0.2.256]", AddressError::Domain),
            ("a@[2001:db8::1]", AddressError::Domain),
            ("a@[IPv6:2001:db8::g]", AddressError::Domain),
            ("a@[x-tag:thing]", AddressError::Domain),
            ("a@xn--a", AddressError::Domain),
        ] {
            assert_eq!(Address::parse(input), Err(reason), "{input:?}");
        }
        assert_eq!(Address::parse(&format!("{long}@x.org")), Err(AddressError::TooLong { limit: 64 }));
        let domain = format!("{label}.{label}.{label}.example.org");
        assert!(Address::parse(&format!("a@{domain}")).is_ok());
        let path = format!("{}@{domain}", "a".repeat(64));
        assert_eq!(Address::parse(&path), Err(AddressError::TooLong { limit: 254 }));
    }

    #[test]
    fn look_ups_ignore_case_outside_ascii_too() {
        let folded = |text: &str| Address::parse(text).unwrap().localpart.folded();
        assert_eq!(folded("Jürgen.X@x.org"), folded("jÜRGEN.x@x.org"));
        assert_ne!(folded("a@x.org"), folded("b@x.org"));
    }

    #[test]
    fn an_address_that_a_captured_peer_made_up_does_not_decode() {
        let config = bincode::config::standard();
        for (localpart, domain) in [("a\r\nb", "x.org"), ("", "x.org"), ("a", "x org"), ("a", "")] {
            let bytes = bincode::encode_to_vec((localpart, domain), config).unwrap();
            assert!(bincode::decode_from_slice::<Address, _>(&bytes, config).is_err(), "{localpart:?}");
        }
    }

    proptest! {
        #[test]
        fn a_displayed_address_parses_to_itself(
            localpart in prop_oneof!["[a-zA-Z0-9.!#+-]{1,20}", "[ -~]{1,40}", "\\PC{1,20}"],
            domain in prop_oneof![
                "[a-z0-9]{1,10}(\\.[a-z][a-z0-9-]{0,8}[a-z0-9]){0,3}",
                any::<[u8; 4]>().prop_map(|ip| format!("[{}]", std::net::Ipv4Addr::from(ip))),
                any::<[u16; 8]>().prop_map(|ip| format!("[IPv6:{}]", std::net::Ipv6Addr::from(ip))),
                "\\PC{1,12}",
            ],
        ) {
            if let (Ok(localpart), Ok(domain)) = (Localpart::parse(&localpart), Domain::parse(&domain)) {
                let address = Address { localpart, domain };
                if let Ok(address) = address.within_limit() {
                    prop_assert_eq!(Address::parse(&address.to_string()), Ok(address.clone()));
                    let path = format!("<{address}> SIZE=1");
                    prop_assert_eq!(
                        parse_path(path.as_bytes(), true),
                        Ok((Path::Address(address.clone()), path.len() - 7))
                    );
                    let config = bincode::config::standard();
                    let bytes = bincode::encode_to_vec(&address, config).unwrap();
                    let (decoded, _) = bincode::decode_from_slice::<Address, _>(&bytes, config).unwrap();
                    prop_assert_eq!(decoded, address);
                }
            }
        }

        #[test]
        fn any_octets_are_a_path_or_an_error(input in proptest::collection::vec(any::<u8>(), 0..80), utf8: bool) {
            if let Ok((path, used)) = parse_path(&input, utf8) {
                prop_assert!(used <= input.len());
                prop_assert_eq!(input[used - 1], b'>');
                if let Path::Address(address) = path {
                    prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
                }
            }
        }
    }
}
