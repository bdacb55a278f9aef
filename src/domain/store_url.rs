//! Where the store of a fleet is, or one of its sentinels.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use http::{Uri, uri::Authority};

/// The address of a Valkey or Redis server: `rediss://valkey.internal:6379`, `redis://127.0.0.1:6379` or
/// `unix:/run/valkey.sock`.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// Over TCP, with TLS (`rediss`) or without (`redis`).
    Tcp {
        /// The host, which is the name that TLS verifies. An IPv6 address has no brackets.
        host: Box<str>,
        /// The port, unless it is the usual one.
        port: Option<u16>,
        /// Whether the connection uses TLS.
        is_tls: bool,
    },
    /// A Unix socket of this machine.
    Unix(PathBuf),
}

impl StoreUrl {
    /// Whether the connection uses TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { is_tls: true, .. })
    }

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

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let is_absolute = path.starts_with('/') && path != "/";
            return is_absolute.then(|| Self::Unix(path.into())).ok_or(StoreUrlError::NoPath);
        }
        let uri: Uri = text.parse().map_err(|_| StoreUrlError::NotAUrl)?;
        let parts = uri.into_parts();
        let is_tls = match parts.scheme.as_ref().map(http::uri::Scheme::as_str) {
            Some("rediss") => true,
            Some("redis") => false,
            _ => return Err(StoreUrlError::NotAUrl),
        };
        let authority = parts.authority.ok_or(StoreUrlError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(StoreUrlError::UserInfo);
        }
        if parts.path_and_query.is_some_and(|rest| rest != "/") || text.contains('#') {
            return Err(StoreUrlError::Path);
        }
        let authority: Authority =
            authority.as_str().to_ascii_lowercase().parse().map_err(|_| StoreUrlError::NotAUrl)?;
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if authority.host().is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
            return Err(StoreUrlError::NotAUrl);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').into();
        Ok(Self::Tcp { host, port: authority.port_u16(), is_tls })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, is_tls } => {
                f.write_str(if *is_tls { "rediss://" } else { "redis://" })?;
                if host.contains(':') { write!(f, "[{host}]") } else { f.write_str(host) }?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text does not lead to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Not a URL of a known scheme with a host.
    #[error(
        "is not an address of a store; write `rediss://host:6379`, `redis://127.0.0.1:6379` or `unix:/path/to/socket`"
    )]
    NotAUrl,
    /// `user@host`.
    #[error(
        "must not hold a user name or a password; they have the keys `username` and `password_file`"
    )]
    UserInfo,
    /// A path, query or fragment.
    #[error(
        "must be scheme, host and port only; the number of the database has the key `database`"
    )]
    Path,
    /// A Unix socket without an absolute path.
    #[error("needs an absolute path after `unix:`")]
    NoPath,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_reached_over_tls_plain_tcp_or_a_socket() {
        for (text, shown, is_tls, is_local) in [
            ("rediss://Valkey.Internal:6380", "rediss://valkey.internal:6380", true, false),
            ("rediss://valkey.internal/", "rediss://valkey.internal", true, false),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379", false, true),
            ("redis://localhost", "redis://localhost", false, true),
            ("redis://[::1]:6379", "redis://[::1]:6379", false, true),
            ("redis://10.0.0.7", "redis://10.0.0.7", false, false),
            ("unix:/run/valkey.sock", "unix:/run/valkey.sock", false, true),
            ("unix:///run/valkey.sock", "unix:/run/valkey.sock", false, true),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(
                (&*url.to_string(), url.is_tls(), url.is_local()),
                (shown, is_tls, is_local)
            );
        }
    }

    #[test]
    fn what_is_no_address_of_a_store_is_refused() {
        for (text, error) in [
            ("", StoreUrlError::NotAUrl),
            ("valkey.internal:6379", StoreUrlError::NotAUrl),
            ("http://valkey.internal", StoreUrlError::NotAUrl),
            ("rediss://:6379", StoreUrlError::NotAUrl),
            ("rediss://host:99999", StoreUrlError::NotAUrl),
            ("rediss://user:made-up@host", StoreUrlError::UserInfo),
            ("rediss://host/2", StoreUrlError::Path),
            ("rediss://host?insecure", StoreUrlError::Path),
            ("rediss://host/#insecure", StoreUrlError::Path),
            ("unix:", StoreUrlError::NoPath),
            ("unix:valkey.sock", StoreUrlError::NoPath),
        ] {
            assert_eq!(text.parse::<StoreUrl>().err(), Some(error), "{text}");
        }
    }
}
