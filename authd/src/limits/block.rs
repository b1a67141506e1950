//! Addresses and the blocks around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, or a block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Block {
    /// IPv4: the leading bits, and how many count.
    V4(u32, u8),
    /// IPv6: the same; no more than 64 bits ever count, as a host has a /64 to itself.
    V6(u64, u8),
}

impl Block {
    const fn v4(bits: u32, length: u8) -> Self {
        Self::V4(bits & (u32::MAX << (32 - length)), length)
    }

    const fn v6(bits: u64, length: u8) -> Self {
        Self::V6(bits & (u64::MAX << (64 - length)), length)
    }
}

/// How large a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// One client.
    One,
    /// Its neighbours.
    Small,
    /// A provider's.
    Large,
}

impl Block {
    /// Which of the three it is.
    #[must_use]
    pub const fn size(self) -> Size {
        match self {
            Self::V4(_, 32..) | Self::V6(_, 64..) => Size::One,
            Self::V4(_, 26..) | Self::V6(_, 48..) => Size::Small,
            Self::V4(..) | Self::V6(..) => Size::Large,
        }
    }

    /// Its first address, and how many bits count.
    #[must_use]
    pub fn written(self) -> (IpAddr, u8) {
        match self {
            Self::V4(bits, length) => (Ipv4Addr::from_bits(bits).into(), length),
            Self::V6(bits, length) => (Ipv6Addr::from_bits(u128::from(bits) << 64).into(), length),
        }
    }
}

/// What counts as one client, its small block and its large block: /32, /26, /21 of IPv4, /64, /48, /32 of IPv6.
#[must_use]
pub fn blocks(address: IpAddr) -> [Block; 3] {
    match address.to_canonical() {
        IpAddr::V4(address) => [32, 26, 21].map(|length| Block::v4(address.to_bits(), length)),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let bits = [a, b, c, d].into_iter().fold(0, |bits, segment| bits << 16 | u64::from(segment));
            [64, 48, 32].map(|length| Block::v6(bits, length))
        }
    }
}

/// Where an account's owner logs in from: the small block around the address, as providers move their customers within
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(Block);

impl Network {
    /// The one that an address is in.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let [_, small, _] = blocks(address);
        Self(small)
    }

    /// Its first address, and how many bits count.
    #[must_use]
    pub fn written(self) -> (IpAddr, u8) {
        self.0.written()
    }

    /// As the database keeps it: 4 or 8 octets.
    #[must_use]
    pub fn to_octets(self) -> Vec<u8> {
        match self.0 {
            Block::V4(bits, _) => bits.to_be_bytes().to_vec(),
            Block::V6(bits, _) => bits.to_be_bytes().to_vec(),
        }
    }

    /// As the database keeps it.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        if let Ok(octets) = octets.try_into() {
            return Some(Self(Block::v4(u32::from_be_bytes(octets), 26)));
        }
        octets.try_into().ok().map(|octets| Self(Block::v6(u64::from_be_bytes(octets), 48)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> [Block; 3] {
        blocks(text.parse().unwrap())
    }

    #[test]
    fn addresses_share_the_blocks_that_their_leading_bits_say() {
        for (one, two, shared, why) in [
            ("192.0.2.1", "192.0.2.1", [true, true, true], "the same"),
            ("192.0.2.1", "192.0.2.63", [false, true, true], "one /26"),
            ("192.0.2.1", "192.0.2.64", [false, false, true], "one /21"),
            ("192.0.2.1", "192.0.8.1", [false, false, false], "another /21"),
            ("192.0.2.1", "::ffff:192.0.2.1", [true, true, true], "an IPv4 client on an IPv6 socket"),
            ("2001:db8::1", "2001:db8::ffff:1", [true, true, true], "one /64 is one host"),
            ("2001:db8::1", "2001:db8:0:1::1", [false, true, true], "one /48"),
            ("2001:db8::1", "2001:db8:1::1", [false, false, true], "one /32"),
            ("2001:db8::1", "2001:db9::1", [false, false, false], "another /32"),
            ("0.0.0.0", "::", [false, false, false], "the families are apart"),
        ] {
            let same = std::iter::zip(of(one), of(two)).map(|(one, two)| one == two).collect::<Vec<_>>();
            assert_eq!(same, shared, "{one} {two}: {why}");
        }
    }

    #[test]
    fn blocks_are_written_as_their_first_address_and_their_size() {
        for (address, written) in [
            ("192.0.2.77", ["192.0.2.77/32", "192.0.2.64/26", "192.0.0.0/21"]),
            ("2001:db8:7:8::9", ["2001:db8:7:8::/64", "2001:db8:7::/48", "2001:db8::/32"]),
        ] {
            let blocks = of(address);
            let text =
                blocks.map(|block| block.written()).map(|(address, length)| format!("{address}/{length}"));
            assert_eq!(text, written);
            assert_eq!(blocks.map(Block::size), [Size::One, Size::Small, Size::Large]);
        }
    }

    #[test]
    fn networks_survive_the_database() {
        for text in ["192.0.2.77", "2001:db8:7:8::9", "0.0.0.0", "::"] {
            let network = Network::of(text.parse().unwrap());
            assert_eq!(Network::from_octets(&network.to_octets()), Some(network), "{text}");
        }
        assert_eq!(Network::from_octets(b"abc"), None);
    }
}
