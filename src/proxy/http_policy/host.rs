//! The host names that a listener answers to.
//!
//! A page in a browser can make a foreign name resolve to a loopback address (DNS rebinding). The
//! `Host` of its requests is that foreign name, so names are matched exactly.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Uri, Version, header};

use crate::{
    domain::{Address, Host, PROFILE_PLACE, ProfileName},
    error::{Error, Kind},
};

/// The hosts of one listener.
#[derive(Clone, Debug)]
pub struct HostRules {
    /// The values that most callers send, byte for byte. They need no parsing.
    common: Vec<Box<[u8]>>,
    served: Served,
    own: Option<IpAddr>,
    allowed: Vec<Box<str>>,
    /// The names that have a profile in them.
    of_profiles: Vec<ProfileHost>,
}

/// A host name with `{profile}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileHost {
    before: Box<str>,
    after: Box<str>,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Served {
    /// Those of a TCP listener: loopback names, its own address, and the configured names.
    Known,
    /// Any one name. No browser and no DNS leads to a Unix socket, and its clients send what they like:
    /// nothing, the socket's path percent-encoded, or an invented name.
    Any,
}

impl HostRules {
    /// The hosts of a listener at this address. A name in `allowed` that has a port matches that port
    /// alone.
    pub fn new(address: &Address, allowed: &[String]) -> Self {
        let (of_profiles, allowed): (Vec<_>, Vec<_>) =
            allowed.iter().partition(|name| name.contains(PROFILE_PLACE));
        let of_profiles = of_profiles.into_iter().filter_map(|name| ProfileHost::parse(name));
        let of_profiles = of_profiles.collect();
        let (common, served, own) = match address {
            Address::Tcp(own) => {
                let ip = Some(own.ip()).filter(|ip| !ip.is_unspecified());
                (common(*own, &allowed), Served::Known, ip)
            }
            Address::Unix(_) => (vec![b"localhost".as_slice().into()], Served::Any, None),
        };
        let allowed = allowed.iter().map(|name| name.as_str().into()).collect();
        Self { common, served, own, allowed, of_profiles }
    }

    /// Any one host: for what may be asked under names that the gateway does not know, and is no secret.
    pub fn any() -> Self {
        Self {
            common: Vec::new(),
            served: Served::Any,
            own: None,
            allowed: Vec::new(),
            of_profiles: Vec::new(),
        }
    }

    /// Accepts a request that names exactly one host, the same in target and field (RFC 9112 §3.2,
    /// RFC 9113 §8.3.1), if it is a host of this listener. Returns the profile that the host names, if it does: a
    /// host that the listener serves as it stands names none.
    pub fn check(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<ProfileName>, Error> {
        let mut fields = headers.get_all(header::HOST).iter();
        let field = fields.next().map(HeaderValue::as_bytes);
        if fields.next().is_some() {
            return Err(malformed("the request names its host twice"));
        }
        let host = match (uri.authority(), field) {
            (None, Some(field)) if self.common.iter().any(|common| **common == *field) => {
                return Ok(None);
            }
            (None, None | Some(b"")) if self.needs_no_host(version, field) => return Ok(None),
            (None, None) => return Err(malformed("the request does not name its host")),
            (None, Some(field)) => parse(field)?,
            (Some(authority), None) => parse(authority.as_str().as_bytes())?,
            (Some(authority), Some(field)) => {
                let host = parse(authority.as_str().as_bytes())?;
                if parse(field)? != host {
                    let detail = "the request target and the host field name different hosts";
                    return Err(malformed(detail));
                }
                host
            }
        };
        if self.is_exact(&host) {
            return Ok(None);
        }
        let profile = self.of_profiles.iter().find_map(|named| named.profile(&host));
        if profile.is_some() || matches!(self.served, Served::Any) {
            return Ok(profile);
        }
        Err(Error::new(
            Kind::HostForbidden,
            "call the gateway by a loopback name or its own address, or add the name to the listener's `allowed_hosts`",
        ))
    }

    /// Whether the field may be empty, or missing in a version that does not require it.
    fn needs_no_host(&self, version: Version, field: Option<&[u8]>) -> bool {
        matches!(self.served, Served::Any) && (field.is_some() || version == Version::HTTP_10)
    }

    /// Whether it is a loopback name, an address of the listener, or a configured name as it stands.
    fn is_exact(&self, host: &Host<'_>) -> bool {
        host.name().eq_ignore_ascii_case("localhost")
            || host.ip().is_some_and(|ip| ip.is_loopback() || Some(ip) == self.own)
            || self.allowed.iter().filter_map(|name| Host::parse(name.as_bytes())).any(|allowed| {
                allowed == *host || (allowed.port().is_none() && allowed.has_name_of(host))
            })
    }
}

impl ProfileHost {
    /// Reads a host name in which `{profile}` stands once, as a label or a part of one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (before, after) = text.split_once(PROFILE_PLACE)?;
        let example = text.replacen(PROFILE_PLACE, "p", 1);
        let host = Host::parse(example.as_bytes()).filter(|host| host.ip().is_none())?;
        let (after, port) = match host.port() {
            Some(port) => (after.rsplit_once(':')?.0, Some(port)),
            None => (after, None),
        };
        let after = after.strip_suffix('.').unwrap_or(after);
        let is_once = !after.contains(PROFILE_PLACE);
        is_once.then(|| Self { before: before.into(), after: after.into(), port })
    }

    /// The profile that a host names.
    fn profile(&self, host: &Host<'_>) -> Option<ProfileName> {
        if self.port.is_some() && self.port != host.port() {
            return None;
        }
        let name = host.name().to_ascii_lowercase();
        let profile = name.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        ProfileName::of_member(profile.as_bytes())
    }
}

fn common(own: SocketAddr, allowed: &[&String]) -> Vec<Box<[u8]>> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if own.port() != 0 {
        hosts.push(format!("localhost:{}", own.port()));
        hosts.push(format!("127.0.0.1:{}", own.port()));
        if !own.ip().is_unspecified() {
            hosts.push(own.to_string());
        }
    }
    hosts.extend(allowed.iter().map(|name| (*name).clone()));
    hosts.into_iter().map(|host| host.into_bytes().into()).collect()
}

fn parse(host: &[u8]) -> Result<Host<'_>, Error> {
    Host::parse(host).ok_or_else(|| malformed("the host is not a name with an optional port"))
}

fn malformed(detail: &'static str) -> Error {
    Error::new(Kind::Malformed, detail)
}

#[cfg(test)]
mod tests {

    use super::*;

    fn check_at(address: &str, version: Version, uri: &str, hosts: &[&str]) -> Result<(), Kind> {
        let allowed = ["pigello.local".into(), "gw:81".into(), "dotted.internal.".into()];
        let rules = HostRules::new(&address.parse().unwrap(), &allowed);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        let checked = rules.check(version, &uri.parse().unwrap(), &headers);
        checked.map(drop).map_err(|error| error.kind())
    }

    fn check(uri: &str, hosts: &[&str]) -> Result<(), Kind> {
        check_at("10.1.2.3:80", Version::HTTP_11, uri, hosts)
    }

    #[test]
    fn one_final_dot_makes_no_difference() {
        for host in [
            "localhost.",
            "localhost.:8080",
            "Pigello.Local.",
            "pigello.local.:443",
            "gw.:81",
            "dotted.internal",
            "dotted.internal.",
            "dotted.internal:9",
        ] {
            assert_eq!(check("/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(check("http://pigello.local./", &["pigello.local"]), Ok(()));
        assert_eq!(check("http://pigello.local/", &["pigello.local."]), Ok(()));
        assert_eq!(check("http://pigello.local./", &[]), Ok(()));
        for host in ["127.0.0.1.", "pigello.local..", ".", "10.1.2.3.:80"] {
            assert_eq!(check("/", &[host]), Err(Kind::Malformed), "{host}");
        }
    }

    #[test]
    fn a_unix_socket_serves_any_one_host() {
        let check =
            |version, uri: &str, hosts: &[&str]| check_at("unix:/run/g.sock", version, uri, hosts);
        for host in ["", "localhost", "docker", "_", "a.example:80", "%2Frun%2Fg.sock", "[::1]"] {
            assert_eq!(check(Version::HTTP_11, "/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(check(Version::HTTP_10, "/", &[]), Ok(()));
        assert_eq!(check(Version::HTTP_11, "http://a.example./", &["a.example"]), Ok(()));
        assert_eq!(check(Version::HTTP_2, "http://a.example/", &[]), Ok(()));
        for (version, uri, hosts) in [
            (Version::HTTP_11, "/", &[][..]),
            (Version::HTTP_11, "/", &["localhost", "localhost"]),
            (Version::HTTP_11, "/", &["", ""]),
            (Version::HTTP_11, "/", &["/run/g.sock"]),
            (Version::HTTP_11, "/", &["unix:/run/g.sock"]),
            (Version::HTTP_11, "/", &["a, b"]),
            (Version::HTTP_11, "/", &["user@a"]),
            (Version::HTTP_11, "/", &["127.0.0.1."]),
            (Version::HTTP_11, "http://a.example/", &["b.example"]),
            (Version::HTTP_11, "http://a.example/", &[""]),
        ] {
            assert_eq!(check(version, uri, hosts), Err(Kind::Malformed), "{uri} {hosts:?}");
        }
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

    #[test]
    fn a_host_that_is_served_as_it_stands_names_no_profile() {
        let allowed = ["{profile}", "{profile}.Gw.test", "api.gw.test", "{profile}.0.0.7"];
        let allowed = allowed.map(str::to_owned);
        for address in ["10.0.0.7:80", "unix:/run/g.sock"] {
            let rules = HostRules::new(&address.parse().unwrap(), &allowed);
            for (host, profile) in [
                ("acme", Some("acme")),
                ("acme.gw.test", Some("acme")),
                ("ACME.GW.TEST.:8080", Some("acme")),
                ("api.gw.test", None),
                ("API.gw.test.:80", None),
                ("localhost", None),
                ("127.0.0.1:80", None),
                ("127.0.0.7", None),
                ("[::1]", None),
                ("a.b.gw.test", None),
                ("_.gw.test", None),
            ] {
                let mut headers = HeaderMap::new();
                headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
                let found = rules.check(Version::HTTP_11, &Uri::from_static("/"), &headers);
                let found = found.ok().flatten();
                assert_eq!(found.as_ref().map(ProfileName::as_str), profile, "{address} {host}");
            }
        }
    }
}
