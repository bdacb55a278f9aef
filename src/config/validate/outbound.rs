//! Checks the keys that every way to a server has: its forward proxy, and revocation lists for its certificate.

use std::{env, path::Path};

use super::checker::Checker;
use crate::{
    config::{
        key::KeyPath,
        types::{SourceKind, Vault},
    },
    credentials::vault_address,
    domain::{Origin, ProxyChoice},
    outbound::{ForwardProxySettings, RevocationPolicy, forward_proxy::variables_exclude},
};

impl Checker<'_> {
    /// Checks `proxy` and what belongs to it. `server` is where the table's calls go, if that is known.
    pub(super) fn forward_proxy(
        &mut self,
        table: &KeyPath,
        proxy: &ForwardProxySettings,
        server: Option<&Origin>,
    ) {
        let Some(choice) = &proxy.choice else {
            for (unused, is_set) in [
                ("proxy_authorization_file", proxy.credentials.is_some()),
                ("no_proxy", !proxy.excluded.is_empty()),
            ] {
                if is_set {
                    let message = "has no effect without `proxy`";
                    self.warning(&table.key(unused), message, "set `proxy`, or remove it");
                }
            }
            return;
        };
        if let (ProxyChoice::At(_), Some(server)) = (choice, server)
            && !server.is_tls()
            && !proxy.excludes(server)
        {
            self.problem(
                &table.key("proxy"),
                format!("would see the secret, because {server} is plain `http://`"),
                "use an `https://` address, or remove `proxy`: what is on this machine needs none",
            );
        }
        let is_unreadable = |name: &&&str| {
            let value = env::var_os(name).filter(|value| !value.is_empty());
            value.is_some_and(|value| {
                value.to_str().is_none_or(|text| text.parse::<Origin>().is_err())
            })
        };
        if *choice == ProxyChoice::Environment
            && let Some(name) = ["https_proxy", "HTTPS_PROXY"].iter().find(is_unreadable)
        {
            self.problem(
                &table.key("proxy"),
                format!("{name} is not a URL with scheme, host and port"),
                "write `http://proxy.internal:3128`; a password belongs into the file of `proxy_authorization_file`",
            );
        }
    }

    /// Checks `crl_file` and `crl_policy`. What is in the file, [`super::super::files`] looks at.
    pub(super) fn server_revocation(
        &mut self,
        table: &KeyPath,
        policy: RevocationPolicy,
        lists: Option<&Path>,
        server: Option<&Origin>,
    ) {
        if lists.is_none() && policy != RevocationPolicy::default() {
            let key = table.key("crl_policy");
            self.warning(&key, "has no effect without `crl_file`", "set `crl_file`, or remove it");
        }
        if lists.is_some() && server.is_some_and(|server| !server.is_tls()) {
            let key = table.key("crl_file");
            let message = "has no effect, because plain `http://` shows no certificate";
            self.warning(&key, message, "use an `https://` address, or remove it");
        }
    }

    /// Names the variables that people set for other programs, in the belief that they count here. Their
    /// values may hold a password.
    pub(super) fn unused_proxy_variables(&mut self) {
        let set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let names: Vec<_> = PROXY_VARIABLES.into_iter().filter(set).collect();
        let tables = self.called_directly();
        let (Some(first), false) = (tables.first(), names.is_empty()) else { return };
        let (variables, are) =
            if names.len() == 1 { ("variable", "is") } else { ("variables", "are") };
        let all: Vec<_> = tables.iter().map(|table| format!("[{table}]")).collect();
        self.warning(
            first,
            format!(
                "the {variables} {} {are} set and not used for {}",
                names.join(" and "),
                all.join(" and ")
            ),
            "write `proxy = \"environment\"` there, or let the gateway through the firewall",
        );
    }

    /// The tables whose servers are called without a proxy, where the variables would lead through one.
    fn called_directly(&self) -> Vec<KeyPath> {
        let config = self.config;
        let is_direct = |choice: &Option<ProxyChoice>, server: &Origin| {
            choice.is_none() && !variables_exclude(server)
        };
        let root = KeyPath::root();
        let profiles = config.profiles.iter().filter_map(|(name, profile)| {
            let key = root.key("profiles").key(name.as_str());
            is_direct(&profile.proxy, &profile.upstream).then_some(key)
        });
        let mut sets = config.credentials.values();
        let vault = sets
            .any(|set| set.source == Some(SourceKind::Vault))
            .then(|| config.vault.clone().unwrap_or_default());
        let vault = vault.filter(|vault: &Vault| {
            let address = vault.address.clone().or_else(vault_address);
            address.is_some_and(|address| is_direct(&vault.proxy, &address))
        });
        let telemetry = &config.telemetry;
        let collector = telemetry.otlp_endpoint.as_ref();
        let collector = collector.filter(|endpoint| is_direct(&telemetry.proxy, endpoint));
        profiles
            .chain(vault.map(|_| root.key("vault")))
            .chain(collector.map(|_| root.key("telemetry")))
            .collect()
    }
}

/// The variables for `https` of curl and most other clients.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
