//! Networks of addresses.

use std::{fmt, net::IpAddr, str::FromStr};

/// The addresses that share a prefix (RFC 4632 §3.1): `10.0.0.0/8`. An address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    length: u32,
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network; write an address with the length of its prefix, like `192.0.2.0/24`")]
pub struct NetworkError;

impl Network {
    /// Whether an address is in it. An IPv4 address counts as one also if it is mapped into IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let rest = u32::BITS.saturating_sub(self.length);
                first.to_bits().checked_shr(rest) == address.to_bits().checked_shr(rest)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let rest = u128::BITS.saturating_sub(self.length);
                first.to_bits().checked_shr(rest) == address.to_bits().checked_shr(rest)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (first, length) = match text.split_once('/') {
            Some((first, length)) => (first, Some(length)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| NetworkError)?;
        let longest = if first.is_ipv4() { u32::BITS } else { u128::BITS };
        let length = length.map_or(Ok(longest), str::parse).map_err(|_| NetworkError)?;
        if length > longest {
            return Err(NetworkError);
        }
        Ok(Self { first, length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_or_not() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.0.0.7", true),
            ("10.0.0.0/8", "11.0.0.7", false),
            ("10.0.0.0/8", "::ffff:10.0.0.7", true),
            ("0.0.0.0/0", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("fd00::/8", "fd00::7", true),
            ("fd00::/8", "fe00::7", false),
            ("::/0", "10.0.0.7", false),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), is_in, "{address} in {network}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "x/8", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
