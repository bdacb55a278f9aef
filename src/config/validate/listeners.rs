//! Checks `[[listeners]]`, `[admin]` and `[metrics]`: nobody reaches a socket by accident, and no two are the same.

use super::checker::Checker;
use crate::{
    config::{
        key::KeyPath,
        problem::suggestion,
        settings::{AdminListener, MetricsListener},
        types::Listener,
    },
    domain::{Address, PROFILE_PLACE},
    proxy::server::TlsFiles,
};

impl Checker<'_> {
    pub(super) fn listeners(&mut self) {
        self.doubled_listeners();
        let config = self.config;
        for (at, listener) in config.listeners.iter().enumerate() {
            let key = key(at);
            self.profile_of_listener(&key, listener);
            if let Some(caller) = &listener.caller {
                self.caller_of_listener(&key.key("caller"), caller);
            }
            self.socket_path(&key.key("address"), &listener.address);
            self.reach(&key, listener);
            self.revocation(&key.key("tls"), listener.tls.as_ref());
        }
    }

    /// Each call has to have a profile.
    fn profile_of_listener(&mut self, key: &KeyPath, listener: &Listener) {
        let config = self.config;
        let names_hosts = listener.allowed_hosts.iter().any(|host| host.contains(PROFILE_PLACE));
        match &listener.profile {
            Some(name) => {
                self.existing_profile(&key.key("profile"), name);
                if names_hosts {
                    self.warning(
                        &key.key("allowed_hosts"),
                        "`{profile}` has no effect: all calls of the listener go to its `profile`",
                        "remove one of the two",
                    );
                }
            }
            None if config.profiles.keys().any(|name| name.template().is_some())
                || config.callers.iter().any(|caller| caller.profile.is_some())
                || config.callers.iter().any(|caller| !caller.profiles.is_empty()) => {}
            None => {
                let example =
                    config.profiles.keys().next().map_or("production", |name| name.as_str());
                self.problem(
                    &key.key("profile"),
                    "is missing",
                    format!("add `profile = \"{example}\"`"),
                );
            }
        }
    }

    /// With caller rules, a name without one would be allowed nothing, and nobody means that.
    fn caller_of_listener(&mut self, key: &KeyPath, name: &str) {
        let rules = self.config.callers.iter().enumerate();
        let callers = KeyPath::root().key("callers");
        let named = rules.filter(|(at, _)| self.is_usable(&callers.index(*at).key("name")));
        let known: Vec<_> = named.map(|(_, rule)| &*rule.name).collect();
        if self.config.callers.is_empty() || known.contains(&name) {
            return;
        }
        let hint = suggestion(name, &known, "there are")
            .unwrap_or_else(|| format!("add a [[callers]] entry with `name = \"{name}\"`"));
        self.problem(key, format!("no [[callers]] entry is named `{name}`"), hint);
    }

    fn reach(&mut self, key: &KeyPath, listener: &Listener) {
        let is_local = listener.address.is_local();
        if is_local || listener.asks_for_certificates() {
            if listener.allow_remote && is_local {
                self.warning(
                    &key.key("allow_remote"),
                    "has no effect: the address is reached from this machine only",
                    "remove it",
                );
            }
            return;
        }
        if listener.allow_remote {
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

    fn revocation(&mut self, key: &KeyPath, tls: Option<&TlsFiles>) {
        if tls.is_some_and(|tls| !tls.client_crl.is_empty() && tls.client_ca.is_none()) {
            self.problem(
                &key.key("client_crl"),
                "no client shows a certificate that could be revoked",
                "ask for client certificates with `client_ca`, or remove it",
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
                format!(
                    "the path has {} bytes, and that of a socket at most {LONGEST}",
                    path.as_os_str().len()
                ),
                "choose a shorter one; a relative path counts with the folder of its file",
            );
        }
    }

    fn doubled_listeners(&mut self) {
        let listeners = &self.config.listeners;
        for (at, listener) in listeners.iter().enumerate() {
            let before = || listeners.iter().take(at);
            if before().any(|other| other.name == listener.name) {
                self.problem(
                    &key(at).key("name"),
                    format!("another listener is named `{}`", listener.name),
                    "the audit trail tells listeners apart by name; give each its own",
                );
            }
            if before().any(|other| other.address.excludes(&listener.address)) {
                self.problem(
                    &key(at).key("address"),
                    "another listener has the same address",
                    "give each listener its own address",
                );
            }
        }
    }

    /// The admin listener, if it is switched on.
    pub(super) fn admin(&mut self) -> Option<AdminListener> {
        let config = self.config;
        let admin = &config.admin;
        let address = admin.address.clone().filter(|_| admin.enabled)?;
        let table = KeyPath::root().key("admin");
        let key = table.key("address");
        self.socket_path(&key, &address);
        if !address.is_local() {
            self.problem(
                &key,
                "other machines reach this address, and the admin listener has no TLS to tell them apart",
                "listen on 127.0.0.1 or a Unix socket; for scrapers there is `address = …` in [metrics]",
            );
        }
        if admin.socket_group.is_some() && matches!(address, Address::Tcp(_)) {
            self.warning(
                &table.key("socket_group"),
                "has no effect: the address is no Unix socket",
                "remove it, or write `address = \"unix:/…\"`",
            );
        }
        if admin.token_file.is_none() && matches!(address, Address::Tcp(_)) {
            self.warning(
                &key,
                "serves health and metrics only: on TCP, everything else needs a token",
                "write `address = \"unix:/…\"`, or name a `token_file`",
            );
        }
        self.taken(&address, "the admin listener", "admin");
        Some(AdminListener {
            address,
            socket_group: admin.socket_group.clone(),
            connections: admin.connections,
        })
    }

    /// The metrics listener, if there is one.
    pub(super) fn metrics(&mut self) -> Option<MetricsListener> {
        let config = self.config;
        let (metrics, admin) = (&config.metrics, &config.admin);
        let address = metrics.address.clone()?;
        let table = KeyPath::root().key("metrics");
        let key = table.key("address");
        self.socket_path(&key, &address);
        self.revocation(&table.key("tls"), metrics.tls.as_ref());
        if admin.enabled && admin.address.as_ref().is_some_and(|own| own.excludes(&address)) {
            self.problem(
                &key,
                "the admin listener has the same address",
                "choose another, or leave it out: the admin listener serves the same",
            );
        }
        self.taken(&address, "the metrics listener", "metrics");
        let (connections, tls) = (metrics.connections, metrics.tls.clone());
        Some(MetricsListener { address, connections, tls })
    }

    fn taken(&mut self, address: &Address, by: &str, table: &str) {
        let config = self.config;
        for (at, listener) in config.listeners.iter().enumerate() {
            if listener.address.excludes(address) {
                self.problem(
                    &key(at).key("address"),
                    format!("{by} has the same address"),
                    format!("choose another, or move {by} with `address = …` in [{table}]"),
                );
            }
        }
    }
}

fn key(at: usize) -> KeyPath {
    KeyPath::root().key("listeners").index(at)
}
