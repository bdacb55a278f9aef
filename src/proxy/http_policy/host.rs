//! The host names that a listener answers to.
//!
//! A page in a browser can make a foreign name resolve to a loopback address (DNS rebinding). The
//! `Host` of its requests is that foreign name, so names are matched exactly.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

use crate::error::{Error, Kind};

/// The names of one listener: loopback names, its own address, and the configured names.
#[derive(Clone, Debug)]
pub struct HostRules {
    /// The values that most callers send, byte for byte. They need no parsing.
    common: Vec<Box<[u8]>>,
    own: Option<IpAddr>,
    allowed: Vec<Box<str>>,
}

impl HostRules {
    /// `own` is the address of a TCP listener. A name in `allowed` that has a port matches that port
    /// alone.
    pub fn new(own: Option<SocketAddr>, allowed: &[String]) -> Self {
        let common = common(own, allowed);
        let own = own.map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
        let allowed: Vec<_> = allowed.iter().map(|name| name.to_ascii_lowercase().into()).collect();
        Self { common, own, allowed }
    }

    /// Accepts a request that names exactly one host, the same in target and field (RFC 9112 §3.2,
    /// RFC 9113 §8.3.1), if it is a host of this listener.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let mut fields = headers.get_all(header::HOST).iter();
        let field = fields.next();
        if fields.next().is_some() {
            return Err(Error::new(Kind::Malformed, "the request names its host twice"));
        }
        if let (None, Some(field)) = (uri.authority(), field)
            && self.common.iter().any(|common| **common == *field.as_bytes())
        {
            return Ok(());
        }
        let host = match (uri.authority(), field) {
            (None, None) => {
                return Err(Error::new(Kind::Malformed, "the request does not name its host"));
            }
            (None, Some(field)) => parse(field)?,
            (Some(authority), None) => plain(authority.clone())?,
            (Some(authority), Some(field)) => {
                let authority = plain(authority.clone())?;
                if !parse(field)?.as_str().eq_ignore_ascii_case(authority.as_str()) {
                    let detail = "the request target and the host field name different hosts";
                    return Err(Error::new(Kind::Malformed, detail));
                }
                authority
            }
        };
        if self.accepts(&host) {
            Ok(())
        } else {
            Err(Error::new(
                Kind::HostForbidden,
                "call the gateway by a loopback name or its own address, or add the name to the listener's `allowed_hosts`",
            ))
        }
    }

    fn accepts(&self, host: &Authority) -> bool {
        let name = host.host();
        let address: Option<IpAddr> =
            name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        name.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|ip| ip.is_loopback() || Some(ip) == self.own)
            || self.allowed.iter().any(|allowed| {
                allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host.as_str())
            })
    }
}

fn common(own: Option<SocketAddr>, allowed: &[String]) -> Vec<Box<[u8]>> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if let Some(own) = own.filter(|own| own.port() != 0) {
        hosts.push(format!("localhost:{}", own.port()));
        hosts.push(format!("127.0.0.1:{}", own.port()));
        if !own.ip().is_unspecified() {
            hosts.push(own.to_string());
        }
    }
    hosts.extend_from_slice(allowed);
    hosts.into_iter().map(|host| host.into_bytes().into()).collect()
}

fn parse(field: &HeaderValue) -> Result<Authority, Error> {
    let malformed = || Error::new(Kind::Malformed, "the host is not a name with an optional port");
    let authority = Authority::try_from(field.as_bytes()).map_err(|_| malformed())?;
    plain(authority)
}

fn plain(authority: Authority) -> Result<Authority, Error> {
    let port = authority.as_str().strip_prefix(authority.host());
    let port_is_plain = match port.map(|port| port.strip_prefix(':')) {
        Some(Some(digits)) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
        Some(None) => port == Some(""),
        None => false,
    };
    let name_is_plain = !authority.host().is_empty()
        && !authority.host().contains([',', '@', '/', '%', '\\'])
        && !authority.as_str().contains('@');
    if name_is_plain && port_is_plain && (port == Some("") || authority.port_u16().is_some()) {
        Ok(authority)
    } else {
        Err(Error::new(Kind::Malformed, "the host is not a name with an optional port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, hosts: &[&str]) -> Result<(), Kind> {
        let rules =
            HostRules::new("10.1.2.3:80".parse().ok(), &["pigello.local".into(), "gw:81".into()]);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        rules.check(&uri.parse().unwrap(), &headers).map_err(|error| error.kind())
    }

    #[test]
    fn loopback_own_and_allowed_names_are_served() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.2:1",
            "[::1]:8080",
            "10.1.2.3",
            "pigello.local",
            "Pigello.Local:9",
            "gw:81",
        ] {
            assert_eq!(check("/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(check("http://localhost/", &["localhost"]), Ok(()));
        assert_eq!(check("http://localhost/", &[]), Ok(()));
    }

    #[test]
    fn foreign_names_are_refused() {
        for host in [
            "evil.test",
            "localhost.evil.test",
            "10.1.2.4",
            "gw",
            "gw:82",
            "api.pigello.io",
            "xlocalhost",
            "127.0.0.1.evil.test",
        ] {
            assert_eq!(check("/", &[host]), Err(Kind::HostForbidden), "{host}");
        }
    }

    #[test]
    fn ambiguous_hosts_are_malformed() {
        for hosts in [
            &[][..],
            &["localhost", "localhost"],
            &[""],
            &["user@localhost"],
            &["localhost/"],
            &["localhost, evil.test"],
            &["localhost:"],
            &["localhost:80:80"],
            &["localhost:99999"],
            &["localhost:+80"],
        ] {
            assert_eq!(check("/", hosts), Err(Kind::Malformed), "{hosts:?}");
        }
        assert_eq!(check("http://evil.test/", &["localhost"]), Err(Kind::Malformed));
        assert_eq!(check("http://user@localhost/", &["localhost"]), Err(Kind::Malformed));
    }
}
