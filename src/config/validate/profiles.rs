//! Checks `[profiles.…]`: the secret never travels in clear to another machine, and each name leads
//! to an entry.

use super::checker::Checker;
use crate::{
    config::{key::KeyPath, types::Profile},
    domain::CredentialsName,
};

impl Checker<'_> {
    pub(super) fn profiles(&mut self) {
        for (name, profile) in &self.config.profiles {
            self.profile(&KeyPath::root().key("profiles").key(name.as_str()), profile);
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
        self.forward_proxy(key, &profile.forward_proxy(), Some(&profile.upstream));
        if profile.proxy.is_some() && profile.connect_to.is_some() {
            self.problem(
                &key.key("connect_to"),
                "has no effect with `proxy`, which is what the gateway dials",
                "remove one of the two",
            );
        }
        self.server_revocation(
            key,
            profile.crl_policy,
            profile.crl_file.as_deref(),
            Some(&profile.upstream),
        );
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
