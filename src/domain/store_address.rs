//! Where the store of a fleet is, or one of its sentinels.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use http::uri::Authority;

/// The address of a Valkey or Redis server: `valkey.internal:6379`, `[2001:db8::7]:6379` or `unix:/run/valkey.sock`.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// Over TCP.
    Tcp {
        /// The host, which is the name that TLS verifies. An IPv6 address has no brackets.
        host: Box<str>,
        /// The port, unless it is the usual one.
        port: Option<u16>,
    },
    /// A Unix socket of this machine.
    Unix(PathBuf),
}

impl StoreAddress {
    /// Whether the connection stays on this machine: a Unix socket, `localhost` or a loopback address.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => {
                &**host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let is_absolute = path.starts_with('/') && path != "/";
            return is_absolute.then(|| Self::Unix(path.into())).ok_or(StoreAddressError::NoPath);
        }
        if text.contains("://") {
            return Err(StoreAddressError::Url);
        }
        if text.contains('@') {
            return Err(StoreAddressError::UserInfo);
        }
        let authority: Authority =
            text.to_ascii_lowercase().parse().map_err(|_| StoreAddressError::NotAnAddress)?;
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if authority.host().is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
            return Err(StoreAddressError::NotAnAddress);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').into();
        Ok(Self::Tcp { host, port: authority.port_u16() })
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => {
                if host.contains(':') { write!(f, "[{host}]") } else { f.write_str(host) }?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text does not lead to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreAddressError {
    /// Neither `host:port` nor `unix:`.
    #[error("is not an address of a store; write `valkey.internal:6379` or `unix:/path/to/socket`")]
    NotAnAddress,
    /// `rediss://…`.
    #[error(
        "must not be a URL; write `host:port`, and `tls`, `username` and `database` as keys of their own"
    )]
    Url,
    /// `user@host`.
    #[error(
        "must not hold a user name or a password; they have the keys `username` and `password_file`"
    )]
    UserInfo,
    /// A Unix socket without an absolute path.
    #[error("needs an absolute path after `unix:`")]
    NoPath,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_reached_over_tcp_or_a_socket() {
        for (text, shown, is_local) in [
            ("Valkey.Internal:6380", "valkey.internal:6380", false),
            ("valkey.internal", "valkey.internal", false),
            ("127.0.0.1:6379", "127.0.0.1:6379", true),
            ("localhost", "localhost", true),
            ("[::1]:6379", "[::1]:6379", true),
            ("10.0.0.7", "10.0.0.7", false),
            ("unix:/run/valkey.sock", "unix:/run/valkey.sock", true),
            ("unix:///run/valkey.sock", "unix:/run/valkey.sock", true),
        ] {
            let address: StoreAddress = text.parse().unwrap();
            assert_eq!((&*address.to_string(), address.is_local()), (shown, is_local));
        }
    }

    #[test]
    fn what_is_no_address_of_a_store_is_refused() {
        for (text, error) in [
            ("", StoreAddressError::NotAnAddress),
            (":6379", StoreAddressError::NotAnAddress),
            ("host:99999", StoreAddressError::NotAnAddress),
            ("host:", StoreAddressError::NotAnAddress),
            ("host/2", StoreAddressError::NotAnAddress),
            ("host?insecure", StoreAddressError::NotAnAddress),
            ("two words", StoreAddressError::NotAnAddress),
            ("rediss://host:6379", StoreAddressError::Url),
            ("rediss://user:made-up@host", StoreAddressError::Url),
            ("user:made-up@host", StoreAddressError::UserInfo),
            ("unix:", StoreAddressError::NoPath),
            ("unix:valkey.sock", StoreAddressError::NoPath),
        ] {
            assert_eq!(text.parse::<StoreAddress>().err(), Some(error), "{text}");
        }
    }
}
