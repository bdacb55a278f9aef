//! Checks `[profiles.…]`: the secret never travels in clear to another machine, each name leads to an entry, and
//! no two members of a template share credentials.

use std::{collections::BTreeMap, time::Duration};

use super::checker::Checker;
use crate::{
    config::{
        key::KeyPath,
        problem::suggestion,
        types::{CallerEntry, Listener, Profile, table_of},
    },
    credentials::Settings,
    domain::{CredentialsName, PROFILE_PLACE, ProfileName, ProfilePattern},
    fleet::BudgetSettings,
};

impl Checker<'_> {
    pub(super) fn profiles(&mut self) {
        for (name, profile) in &self.config.profiles {
            self.profile(&KeyPath::root().key("profiles").key(name.as_str()), name, profile);
        }
    }

    /// Whether a profile has a table, or a template matches its name.
    fn is_profile(&self, name: &ProfileName) -> bool {
        table_of(&self.config.profiles, name).is_some()
    }

    /// Reports the name of a profile that is none.
    pub(super) fn existing_profile(&mut self, key: &KeyPath, name: &ProfileName) {
        if !self.is_profile(name) {
            let known: Vec<_> = self.config.profiles.keys().map(ProfileName::as_str).collect();
            self.dangling(key, name.as_str(), &known, "profile", "profiles");
        }
    }

    /// Checks the profiles of a caller's entry.
    pub(super) fn profiles_of_caller(&mut self, key: &KeyPath, caller: &CallerEntry) {
        if let Some(name) = &caller.profile {
            self.existing_profile(&key.key("profile"), name);
        }
        for pattern in &caller.profiles {
            let matches_some = match pattern {
                ProfilePattern::Exactly(name) => self.is_profile(name),
                ProfilePattern::Prefix(_) => self.config.profiles.keys().any(|table| {
                    let exactly = || ProfilePattern::Exactly(table.clone());
                    table.template().unwrap_or_else(exactly).common(pattern).is_some()
                }),
            };
            if !matches_some {
                let known: Vec<_> = self.config.profiles.keys().map(ProfileName::as_str).collect();
                let hint = suggestion(&pattern.to_string(), &known, "there are")
                    .unwrap_or_else(|| "add a [profiles.…] table".to_owned());
                self.problem(
                    &key.key("profiles"),
                    format!("`{pattern}` stands for no profile"),
                    hint,
                );
            }
        }
    }

    fn profile(&mut self, key: &KeyPath, name: &ProfileName, profile: &Profile) {
        let config = self.config;
        if !config.credentials.contains_key(&profile.credentials) {
            let known: Vec<_> = config.credentials.keys().map(CredentialsName::as_str).collect();
            let name = profile.credentials.as_str();
            self.dangling(&key.key("credentials"), name, &known, "credential set", "credentials");
        }
        self.template_keys(key, name, profile);
        if let Some(budget) = &profile.budget {
            self.budget(&key.key("budget"), budget);
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

    fn budget(&mut self, key: &KeyPath, budget: &BudgetSettings) {
        let Some(rate) = budget.rate else {
            let message = "is missing, so there is no budget";
            self.warning(&key.key("rate"), message, "write the calls a second of all gateways");
            return;
        };
        if budget.burst.is_some_and(|burst| burst < rate) {
            self.problem(
                &key.key("burst"),
                "is less than `rate`, which could then not be used up",
                "write twice the `rate`, or leave it out",
            );
        }
        // A gateway asks each half second, and one answer may be late.
        if *budget.lease < SHORTEST_LEASE {
            self.problem(&key.key("lease"), "is shorter than a second", "write \"2s\"");
        }
    }

    /// Each member of a template has credentials of its own, and only a template has a place for their names.
    pub(super) fn templates(&mut self, sets: &BTreeMap<CredentialsName, Settings>) {
        for (name, profile) in &self.config.profiles {
            let Some(set) = sets.get(&profile.credentials) else { continue };
            let table = KeyPath::root().key("credentials").key(profile.credentials.as_str());
            match (name.template(), set.check_template()) {
                (Some(_), Err(error)) => self.problem(
                    &table.key(error.key()),
                    error.to_string(),
                    format!("`{name}` is a template: write `{PROFILE_PLACE}` where a member's name stands"),
                ),
                (None, _) if set.is_template() => self.problem(
                    &table,
                    format!("`{PROFILE_PLACE}` stands for a member of a template, and `{name}` is none"),
                    "give the profile a credential set of its own, or end its name in `*`",
                ),
                (Some(_) | None, _) => {}
            }
        }
    }

    fn template_keys(&mut self, key: &KeyPath, name: &ProfileName, profile: &Profile) {
        if name.template().is_some() {
            for (place, span) in
                [("unload_after", profile.unload_after), ("negative_ttl", profile.negative_ttl)]
            {
                if let Some(span) = span {
                    self.above_zero(&key.key(place), span);
                }
            }
            return;
        }
        for (place, is_there) in [
            ("unload_after", profile.unload_after.is_some()),
            ("max_members", profile.max_members.is_some()),
            ("negative_ttl", profile.negative_ttl.is_some()),
        ] {
            if is_there {
                self.problem(
                    &key.key(place),
                    "is a key of a template, whose name ends in `*`",
                    "remove it",
                );
            }
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
            let by_listener = |listener: &Listener| match &listener.profile {
                Some(profile) => {
                    profile == name || name.template().is_some_and(|t| t.matches(profile))
                }
                None => true,
            };
            if !config.listeners.iter().any(by_listener) {
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

/// Enough for two questions to the store.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
