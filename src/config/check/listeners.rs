//! The sockets: nobody reaches one by accident, and no two are the same.

use super::{Checker, to_path};
use crate::{
    config::{
        key::KeyPath,
        problem::suggestion,
        raw::{self, HostName, Name},
        settings::{AdminSettings, ListenerSettings, ListenerTls},
    },
    domain::{Address, ListenerName, ProfileName},
};

impl Checker<'_> {
    pub(super) fn listeners(&mut self) -> Vec<ListenerSettings> {
        self.doubled_listeners();
        let raw = self.raw;
        let entries = raw.listeners.iter().enumerate();
        entries.filter_map(|(at, listener)| self.listener(&key(at), listener)).collect()
    }

    fn listener(&mut self, key: &KeyPath, raw: &raw::Listener) -> Option<ListenerSettings> {
        if let Some(profile) = &raw.profile
            && !self.raw.profiles.contains_key(profile)
        {
            let known: Vec<_> = self.raw.profiles.keys().map(Name::as_str).collect();
            self.dangling(&key.key("profile"), profile, &known, "profile", "profiles");
        }
        if let Some(caller) = &raw.caller {
            self.caller_of_listener(&key.key("caller"), caller);
        }
        if let Some(address) = &raw.address {
            self.socket_path(&key.key("address"), &address.0);
            self.reach(key, raw, &address.0);
        }
        let tls = raw.tls.as_ref().map(|tls| {
            Some(ListenerTls {
                certificate: to_path(tls.certificate.as_ref()?),
                private_key: to_path(tls.private_key.as_ref()?),
                client_ca: tls.client_ca.as_ref().map(to_path),
            })
        });
        Some(ListenerSettings {
            name: ListenerName::new(raw.name.as_ref()?.as_str()),
            address: raw.address.clone()?.0,
            profile: ProfileName::new(raw.profile.as_ref()?.as_str()),
            caller: raw.caller.as_ref().map(|caller| caller.as_str().into()),
            allowed_hosts: raw
                .allowed_hosts
                .iter()
                .map(HostName::as_str)
                .map(str::to_owned)
                .collect(),
            allow_remote: raw.allow_remote,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
        })
    }

    /// With caller rules, a name that has none would be allowed nothing, and nobody means that.
    fn caller_of_listener(&mut self, key: &KeyPath, caller: &Name) {
        let rules = self.raw.callers.iter().filter_map(|rule| rule.name.as_ref());
        let known: Vec<_> = rules.map(Name::as_str).collect();
        if self.raw.callers.is_empty() || known.contains(&caller.as_str()) {
            return;
        }
        let name = caller.as_str();
        let hint = suggestion(name, &known, "there are")
            .unwrap_or_else(|| format!("add a [[callers]] entry with `name = \"{name}\"`"));
        self.problem(key, format!("no [[callers]] entry is named `{name}`"), hint);
    }

    fn reach(&mut self, key: &KeyPath, raw: &raw::Listener, address: &Address) {
        let verified = raw.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if address.is_local() || verified {
            if raw.allow_remote && address.is_local() {
                self.warning(
                    &key.key("allow_remote"),
                    "has no effect: the address is reached from this machine only",
                    "remove it",
                );
            }
            return;
        }
        if raw.allow_remote {
            self.warning(
                &key.key("allow_remote"),
                "every machine that reaches this address uses Pigello with the gateway's secret",
                "ask for client certificates: [listeners.tls] with `client_ca`",
            );
        } else {
            self.problem(
                &key.key("address"),
                "other machines reach this address, and nothing asks who they are",
                "listen on 127.0.0.1 or a Unix socket, ask for client certificates with \
                 [listeners.tls] and `client_ca`, or say `allow_remote = true`",
            );
        }
    }

    /// The kernel keeps a socket's path in a field of fixed size, `sun_path` (unix(7)).
    fn socket_path(&mut self, key: &KeyPath, address: &Address) {
        const LONGEST: usize = 107;
        if let Address::Unix(path) = address
            && path.as_os_str().len() > LONGEST
        {
            self.problem(
                key,
                format!("the path is longer than {LONGEST} bytes, and no socket can have it"),
                "choose a shorter path",
            );
        }
    }

    fn doubled_listeners(&mut self) {
        let raw = self.raw;
        for (at, listener) in raw.listeners.iter().enumerate() {
            let before = || raw.listeners.iter().take(at);
            if let Some(name) = &listener.name
                && before().any(|other| other.name.as_ref() == Some(name))
            {
                self.problem(
                    &key(at).key("name"),
                    format!("another listener is named `{}`", name.as_str()),
                    "the audit trail tells listeners apart by name; give each its own",
                );
            }
            if let Some(address) = &listener.address
                && !takes_free_port(&address.0)
                && before().any(|other| other.address.as_ref() == Some(address))
            {
                self.problem(
                    &key(at).key("address"),
                    "another listener has the same address",
                    "give each listener its own address",
                );
            }
        }
    }

    pub(super) fn admin(&mut self) -> Option<AdminSettings> {
        let raw = self.raw;
        if !raw.admin.enabled {
            return None;
        }
        let address = &raw.admin.address;
        let key = KeyPath::root().key("admin").key("address");
        self.socket_path(&key, &address.0);
        if !address.0.is_local() {
            self.problem(
                &key,
                "other machines reach this address, and the admin listener asks nobody who they are",
                "listen on 127.0.0.1 or a Unix socket",
            );
        }
        for (at, listener) in raw.listeners.iter().enumerate() {
            if !takes_free_port(&address.0) && listener.address.as_ref() == Some(address) {
                self.problem(
                    &self::key(at).key("address"),
                    "the admin listener has the same address",
                    "choose another, or move the admin listener with `address = …` in [admin]",
                );
            }
        }
        Some(AdminSettings { address: address.0.clone() })
    }
}

fn key(at: usize) -> KeyPath {
    KeyPath::root().key("listeners").index(at)
}

fn takes_free_port(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if address.port() == 0)
}
