//! The origin of a profile's upstream: scheme, host and port.

use std::{fmt, str::FromStr};

use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::target::CanonicalTarget;

/// The destination of a profile's calls. Callers cannot change it.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    host_header: HeaderValue,
}

impl Origin {
    /// Whether calls use TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The host, which is the name that TLS verifies. An IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, or the default of the scheme.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// The value of `Host`.
    pub fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// Whether the host is `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// The URI of a target at this origin.
    pub fn uri(&self, target: &CanonicalTarget) -> Uri {
        self.uri_of(target.path_and_query().clone())
    }

    /// The URI of a path and query at this origin.
    pub fn uri_of(&self, target: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        // The builder only requires all three parts, and each is valid.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let uri: Uri = text.parse().map_err(|_| OriginError::NotAUrl)?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or(OriginError::NotAUrl)?;
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err(OriginError::Scheme);
        }
        let authority = parts.authority.ok_or(OriginError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(OriginError::UserInfo);
        }
        if parts.path_and_query.is_some_and(|rest| rest != "/") {
            return Err(OriginError::Path);
        }
        let authority: Authority =
            authority.as_str().to_ascii_lowercase().parse().map_err(|_| OriginError::NotAUrl)?;
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if authority.host().is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
            return Err(OriginError::NotAUrl);
        }
        let host_header =
            HeaderValue::from_str(authority.as_str()).map_err(|_| OriginError::NotAUrl)?;
        Ok(Self { scheme, authority, host_header })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not a URL with scheme and host.
    #[error("is not a URL with scheme and host, like `https://api.pigello.io`")]
    NotAUrl,
    /// Neither `https` nor `http`.
    #[error("must begin with `https://` (or `http://` for a loopback address)")]
    Scheme,
    /// `user@host`.
    #[error("must not hold a user name or a password")]
    UserInfo,
    /// A path, query or fragment.
    #[error("must be scheme, host and port only; the path comes from each call")]
    Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin: Origin = "https://API.pigello.io/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://api.pigello.io");
        assert_eq!((origin.host(), origin.port(), origin.is_tls()), ("api.pigello.io", 443, true));
        let v6: Origin = "http://[::1]:8443".parse().unwrap();
        assert_eq!((v6.host(), v6.port(), v6.is_loopback()), ("::1", 8443, true));
        assert_eq!(v6.host_header(), "[::1]:8443");
    }

    #[test]
    fn other_parts_of_a_url_are_refused() {
        for (text, error) in [
            ("api.pigello.io", OriginError::NotAUrl),
            ("ftp://api.pigello.io", OriginError::Scheme),
            ("https://user@api.pigello.io", OriginError::UserInfo),
            ("https://api.pigello.io/v2", OriginError::Path),
            ("https://api.pigello.io?x", OriginError::Path),
            ("https://api.pigello.io:99999", OriginError::NotAUrl),
        ] {
            assert_eq!(text.parse::<Origin>().err(), Some(error), "{text}");
        }
    }

    #[test]
    fn a_target_is_kept_byte_for_byte() {
        let origin: Origin = "https://api.pigello.io".parse().unwrap();
        let target = CanonicalTarget::parse("/l/?category!=3&id__in!=a,b&&q=%2F".parse().unwrap());
        assert_eq!(
            origin.uri(&target.unwrap()).to_string(),
            "https://api.pigello.io/l/?category!=3&id__in!=a,b&&q=%2F"
        );
    }
}
