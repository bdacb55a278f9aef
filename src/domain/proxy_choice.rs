//! A forward proxy as the configuration names it, and the hosts that are called without one.

use std::{fmt, str::FromStr};

use super::{
    network::Network,
    origin::{Origin, OriginError},
};

/// Which forward proxy leads to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The one that `HTTPS_PROXY` names, if there is one, unless `NO_PROXY` excludes the host or it is on this
    /// machine.
    Environment,
    /// The one at that address.
    At(Origin),
}

impl FromStr for ProxyChoice {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == ENVIRONMENT { Ok(Self::Environment) } else { text.parse().map(Self::At) }
    }
}

impl fmt::Display for ProxyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str(ENVIRONMENT),
            Self::At(origin) => origin.fmt(f),
        }
    }
}

/// Whether a list like that of `NO_PROXY` names a host: itself, a domain above it, a network of addresses
/// (`10.0.0.0/8`), or `*`.
pub fn is_excluded<'a>(host: &str, list: impl IntoIterator<Item = &'a str>) -> bool {
    list.into_iter().map(str::trim).any(|entry| {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        let is_above = host
            .len()
            .checked_sub(domain.len())
            .and_then(|at| host.split_at_checked(at))
            .is_some_and(|(name, end)| {
                end.eq_ignore_ascii_case(domain) && (name.is_empty() || name.ends_with('.'))
            });
        entry == "*" || (!domain.is_empty() && is_above) || contains(entry, host)
    })
}

fn contains(network: &str, host: &str) -> bool {
    let network = network.parse::<Network>();
    network.is_ok_and(|network| host.parse().is_ok_and(|address| network.contains(address)))
}

const ENVIRONMENT: &str = "environment";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_excludes_hosts_and_what_is_below_a_domain() {
        for (host, list, excluded) in [
            ("api.pigello.io", "pigello.io", true),
            ("api.pigello.io", ".pigello.io", true),
            ("api.pigello.io", "localhost, *.Pigello.io", true),
            ("api.pigello.io", "api.pigello.io", true),
            ("api.pigello.io", "*", true),
            ("api.pigello.io", "", false),
            ("api.pigello.io", "gello.io", false),
            ("api.pigello.io", "io.pigello", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "192.168.0.0/16, 10.0.0.0/8", true),
            ("11.0.0.7", "10.0.0.0/8", false),
            ("10.0.0.7", "0.0.0.0/0", true),
            ("10.0.0.7", "10.0.0.0/33", false),
            ("10.0.0.7", "10.0.0.0/", false),
            ("fd00::7", "fd00::/8", true),
            ("fe00::7", "fd00::/8", false),
            ("fe00::7", "10.0.0.0/8,::/0", true),
            ("api.pigello.io", "0.0.0.0/0", false),
        ] {
            assert_eq!(is_excluded(host, list.split(',')), excluded, "{host} in {list:?}");
        }
    }
}
