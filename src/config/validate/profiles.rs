//! Checks `[profiles.…]`: the secret never travels in clear to another machine, and each name leads
//! to an entry.

use std::env;

use super::checker::Checker;
use crate::{
    config::{key::KeyPath, types::Profile},
    domain::{CredentialsName, Origin, ProxyChoice},
};

impl Checker<'_> {
    pub(super) fn profiles(&mut self) {
        for (name, profile) in &self.config.profiles {
            self.profile(&KeyPath::root().key("profiles").key(name.as_str()), profile);
        }
        let is_direct =
            |profile: &Profile| profile.proxy.is_none() && !profile.upstream.is_loopback();
        if self.config.profiles.values().any(is_direct) {
            self.proxy_variables();
        }
    }

    /// Variables that people set for other programs, in the belief that they count here. Their values may
    /// hold a password.
    fn proxy_variables(&mut self) {
        for name in PROXY_VARIABLES {
            if env::var_os(name).is_some_and(|value| !value.is_empty()) {
                self.warning(
                    &KeyPath::root().key("profiles"),
                    format!("the variable {name} is set and not used"),
                    "write `proxy = \"environment\"` in the profile, or let the gateway through the firewall",
                );
            }
        }
    }

    fn profile(&mut self, key: &KeyPath, profile: &Profile) {
        let config = self.config;
        if !config.credentials.contains_key(&profile.credentials) {
            let known: Vec<_> = config.credentials.keys().map(CredentialsName::as_str).collect();
            let name = profile.credentials.as_str();
            self.dangling(&key.key("credentials"), name, &known, "credential set", "credentials");
        }
        self.local_address(key, profile);
        self.proxy(key, profile);
        if profile.upstream.is_tls() {
            return;
        }
        if !profile.upstream.is_loopback() {
            self.problem(
                &key.key("upstream"),
                "plain `http://` leads to another machine, so the secret would travel in clear",
                "write `https://`",
            );
        } else if !profile.insecure_http {
            self.problem(
                &key.key("upstream"),
                "plain `http://` sends the secret in clear, even if only to this machine",
                "write `https://`, or allow it with `insecure_http = true` in this profile",
            );
        } else if profile.connect_to.is_some_and(|address| !address.ip().is_loopback()) {
            self.problem(
                &key.key("connect_to"),
                "leads to another machine over plain `http://`",
                "use an `https://` upstream, or dial a loopback address",
            );
        }
    }

    fn proxy(&mut self, key: &KeyPath, profile: &Profile) {
        let Some(proxy) = &profile.proxy else {
            for (unused, is_set) in [
                ("proxy_credentials", profile.proxy_credentials.is_some()),
                ("no_proxy", !profile.no_proxy.is_empty()),
            ] {
                if is_set {
                    let message = "has no effect without `proxy`";
                    self.warning(&key.key(unused), message, "set `proxy`, or remove it");
                }
            }
            return;
        };
        if !profile.upstream.is_tls() {
            self.problem(
                &key.key("proxy"),
                "would see the secret, because the upstream is plain `http://`",
                "use an `https://` upstream",
            );
        }
        if profile.connect_to.is_some() {
            self.problem(
                &key.key("connect_to"),
                "has no effect with `proxy`, which is what the gateway dials",
                "remove one of the two",
            );
        }
        let is_unreadable = |name: &&&str| {
            let value = env::var_os(name).filter(|value| !value.is_empty());
            value.is_some_and(|value| {
                value.to_str().is_none_or(|text| text.parse::<Origin>().is_err())
            })
        };
        if *proxy == ProxyChoice::Environment
            && let Some(name) = ["https_proxy", "HTTPS_PROXY"].iter().find(is_unreadable)
        {
            self.problem(
                &key.key("proxy"),
                format!("{name} is not a URL with scheme, host and port"),
                "write `http://proxy.internal:3128`; a password belongs into the file of `proxy_credentials`",
            );
        }
    }

    fn local_address(&mut self, key: &KeyPath, profile: &Profile) {
        if let (Some(from), Some(to)) = (profile.local_address, profile.connect_to)
            && from.is_ipv4() != to.is_ipv4()
        {
            self.problem(
                &key.key("local_address"),
                "is of another family than `connect_to`, so no connection can be made",
                "use two IPv4 or two IPv6 addresses",
            );
        }
    }

    /// Warns of entries that nothing uses.
    pub(super) fn unused_names(&mut self) {
        let config = self.config;
        let root = KeyPath::root();
        for name in config.profiles.keys() {
            if !config.listeners.iter().any(|listener| listener.profile == *name) {
                self.warning(
                    &root.key("profiles").key(name.as_str()),
                    "no listener uses this profile",
                    "remove it if it is not needed",
                );
            }
        }
        for name in config.credentials.keys() {
            if !config.profiles.values().any(|profile| profile.credentials == *name) {
                self.warning(
                    &root.key("credentials").key(name.as_str()),
                    "no profile uses these credentials",
                    "remove them if they are not needed",
                );
            }
        }
    }
}

/// The variables for `https` of curl and most other clients.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
