//! The part after the `@`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::AddressError;

const LIMIT: usize = 255;

/// A domain name as A-labels in lower case, at most 255 octets (RFC 5321 §4.5.3.1.2), or an address literal with its
/// brackets, as `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// Checks a domain name, in U-labels or A-labels, or an address literal.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Incomplete);
        }
        // Bounds the work below; a name within the limit never has a longer U-label form than this.
        if text.len() > 4 * LIMIT {
            return Err(AddressError::TooLong { limit: LIMIT });
        }
        if let Some(literal) = text.strip_prefix('[') {
            let literal = literal.strip_suffix(']').ok_or(AddressError::Domain)?;
            return Ok(Self(canonical_literal(literal).ok_or(AddressError::Domain)?));
        }
        // Hyphens in the third and fourth place are allowed: such names exist and RFC 5321 has no rule against them.
        let ascii = Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| AddressError::Domain)?;
        match ascii.len() {
            0 => Err(AddressError::Incomplete),
            1..=LIMIT => Ok(Self(ascii.into_owned())),
            _ => Err(AddressError::TooLong { limit: LIMIT }),
        }
    }

    /// As A-labels, in lower case, or a literal with its brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, where this is a literal.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        let literal = self.0.strip_prefix('[')?.strip_suffix(']')?;
        parse_literal(literal)
    }
}

fn parse_literal(literal: &str) -> Option<IpAddr> {
    match literal.split_at_checked(5) {
        Some((tag, ip)) if tag.eq_ignore_ascii_case("IPv6:") => ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        Some(_) | None => literal.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn canonical_literal(literal: &str) -> Option<String> {
    Some(match parse_literal(literal)? {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    })
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
