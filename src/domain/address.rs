//! The address of a listening socket.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// The address of a listener: `127.0.0.1:8080`, `[::1]:0` or `unix:/run/gateway.sock`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address. Port 0 takes a free port.
    Tcp(SocketAddr),
    /// The path of a Unix socket. In a configuration file a relative one is relative to that file.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this host can connect to it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether the operating system refuses to have both at a time. `0.0.0.0` has every address of IPv4, and
    /// `[::]` every address. Port 0 takes a free port.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let has = |all: &SocketAddr, one: &SocketAddr| {
                    all.ip() == one.ip()
                        || all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
                };
                one.port() != 0
                    && one.port() == other.port()
                    && (has(one, other) || has(other, one))
            }
            (Self::Unix(one), Self::Unix(other)) => one == other,
            _ => false,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some("" | "/") => Err(AddressError::NoPath),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError::NotAnAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `IP:port` nor `unix:`.
    #[error("is not an address; write `127.0.0.1:8080`, `[::1]:8080` or `unix:/path/to/socket`")]
    NotAnAddress,
    /// `unix:` without a path.
    #[error("needs a path after `unix:`")]
    NoPath,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_excludes_the_addresses_of_its_family() {
        let excludes = |one: &str, other: &str| {
            let (one, other): (Address, Address) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(one.excludes(&other), other.excludes(&one), "{one} {other}");
            one.excludes(&other)
        };
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[::]:80", "0.0.0.0:80"),
            ("unix:/a", "unix:/a"),
        ] {
            assert!(excludes(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("0.0.0.0:80", "127.0.0.1:81"),
            ("0.0.0.0:80", "[::1]:80"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("unix:/a", "unix:/b"),
            ("unix:/a", "127.0.0.1:80"),
        ] {
            assert!(!excludes(one, other), "{one} {other}");
        }
    }
}
