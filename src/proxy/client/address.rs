//! The addresses that an upstream's name may resolve to.
//!
//! An attacker who controls a name (a poisoned cache, a search domain, a rebinding) could point the
//! gateway at a cloud's metadata service or at a private machine. TLS would refuse it, but only after a
//! connection. So each address is checked, and only a checked address is dialled. An address in the
//! configuration (`connect_to`, or a literal in `upstream`) is the operator's choice and is not checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    /// A link-local address, where metadata services are (RFC 3927, RFC 4291 §2.5.6).
    #[error("the name leads to a link-local address")]
    LinkLocal,
    /// A cloud's metadata service outside the link-local range.
    #[error("the name leads to a metadata service")]
    Metadata,
    /// An unspecified, multicast or broadcast address.
    #[error("the name leads to an address that is no host's")]
    NoHost,
    /// Not a loopback address, for an upstream without TLS.
    #[error("the name leads to another machine, and nothing would encrypt what is sent there")]
    Plain,
    /// A private address that the profile does not allow (RFC 1918, RFC 4193, RFC 6598).
    #[error("the name leads to a private address")]
    Private,
}

/// Checks an address that a name resolved to.
pub(super) fn check(address: IpAddr, private_allowed: bool) -> Result<(), AddressRefused> {
    let refused = match address {
        IpAddr::V4(v4) => v4_refusal(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => v4_refusal(v4),
            None => v6_refusal(v6),
        },
    };
    match refused {
        Some(AddressRefused::Private) if private_allowed => Ok(()),
        Some(refused) => Err(refused),
        None => Ok(()),
    }
}

fn v4_refusal(address: Ipv4Addr) -> Option<AddressRefused> {
    let [first, second, ..] = address.octets();
    if METADATA_V4.contains(&address) {
        Some(AddressRefused::Metadata)
    } else if address.is_link_local() {
        Some(AddressRefused::LinkLocal)
    } else if first == 0 || address.is_multicast() || first >= 240 {
        Some(AddressRefused::NoHost)
    } else if address.is_private() || address.is_loopback() || (first, second & 0xc0) == (100, 64) {
        Some(AddressRefused::Private)
    } else {
        None
    }
}

fn v6_refusal(address: Ipv6Addr) -> Option<AddressRefused> {
    if METADATA_V6.contains(&address) {
        Some(AddressRefused::Metadata)
    } else if address.is_unicast_link_local() {
        Some(AddressRefused::LinkLocal)
    } else if address.is_unspecified() || address.is_multicast() {
        Some(AddressRefused::NoHost)
    } else if address.is_unique_local() || address.is_loopback() {
        Some(AddressRefused::Private)
    } else {
        None
    }
}

/// An IPv4 address in an IPv6 one: mapped, 6to4 (RFC 3056) or NAT64 (RFC 6052).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        _ => address.to_ipv4_mapped(),
    }
}

/// AWS, Azure, Google and most others; the ECS endpoint of AWS; Alibaba; Oracle.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// AWS.
const METADATA_V6: [Ipv6Addr; 1] = [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_are_in_every_spelling() {
        for (address, refused) in [
            ("93.184.216.34", None),
            ("2606:2800:220:1:248:1893:25c8:1946", None),
            ("169.254.169.254", Some(AddressRefused::Metadata)),
            ("::ffff:169.254.169.254", Some(AddressRefused::Metadata)),
            ("64:ff9b::a9fe:a9fe", Some(AddressRefused::Metadata)),
            ("2002:a9fe:a9fe::1", Some(AddressRefused::Metadata)),
            ("fd00:ec2::254", Some(AddressRefused::Metadata)),
            ("100.100.100.200", Some(AddressRefused::Metadata)),
            ("169.254.1.1", Some(AddressRefused::LinkLocal)),
            ("fe80::1", Some(AddressRefused::LinkLocal)),
            ("10.0.0.1", Some(AddressRefused::Private)),
            ("172.31.255.255", Some(AddressRefused::Private)),
            ("172.32.0.1", None),
            ("192.168.0.1", Some(AddressRefused::Private)),
            ("100.64.0.1", Some(AddressRefused::Private)),
            ("127.0.0.1", Some(AddressRefused::Private)),
            ("::1", Some(AddressRefused::Private)),
            ("::ffff:10.0.0.1", Some(AddressRefused::Private)),
            ("fc00::1", Some(AddressRefused::Private)),
            ("0.0.0.0", Some(AddressRefused::NoHost)),
            ("::", Some(AddressRefused::NoHost)),
            ("224.0.0.1", Some(AddressRefused::NoHost)),
            ("255.255.255.255", Some(AddressRefused::NoHost)),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(check(address, false).err(), refused, "{address}");
            let allowed = refused.filter(|refused| *refused != AddressRefused::Private);
            assert_eq!(check(address, true).err(), allowed, "{address}");
        }
    }
}
