//! The configuration as a file can write it: names, types, defaults, and what each key means.
//!
//! This is the one definition of a setting. The doc comments are the manual: `config schema` and
//! the reference page print them. A section that belongs to one part of the gateway is that
//! part's own type; the others are here. Nothing here decides anything: a value of these types has
//! the right form, and [`super::validate`] says whether it makes sense.

mod callers;
mod credentials;
mod limits;
mod listeners;
pub(super) mod text;

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use callers::{CallerEntry, OperationEntry, PolicySettings, ProblemSettings};
pub use credentials::{Adopt, Credentials, SourceKind, Vault, VaultLogin, VaultMethod};
pub use limits::{Limits, LogLevel, Runtime, Telemetry, Timeouts};
pub use listeners::{Admin, Listener, Metrics, Profile, table_of};

use crate::{
    audit,
    domain::{CredentialsName, ProfileName},
    fleet, notices,
    proxy::{
        cache,
        profile::{CircuitBreakerSettings, QuotaSettings},
        stages::{authorize::Access, retry::RetrySettings},
    },
};

/// The configuration of pigello-gateway.
///
/// Later layers win: built-in defaults, the files in the order they are given, then environment
/// variables: `PIGELLO_GATEWAY_` and the key, with `__` between levels
/// (`PIGELLO_GATEWAY_TIMEOUTS__CONNECT=2s`, `PIGELLO_GATEWAY_LISTENERS__0__ADDRESS=…`). A list in a
/// later file replaces the list of an earlier one. A relative path is relative to the file that
/// contains it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "pigello-gateway")]
pub struct Config {
    /// The sockets that callers use. At least one.
    pub listeners: Vec<Listener>,
    /// The socket of operators: health, metrics, state, the status page, and what they can do.
    pub admin: Admin,
    /// The socket of scrapers and probes.
    pub metrics: Metrics,
    /// Upstreams, by name: where calls go, and with which credentials.
    pub profiles: BTreeMap<ProfileName, Profile>,
    /// Where each credential set comes from, by name.
    pub credentials: BTreeMap<CredentialsName, Credentials>,
    /// The HashiCorp Vault or OpenBao of credentials with `source = "vault"`.
    pub vault: Option<Vault>,
    /// Who may do what. Without an entry, everyone who reaches a listener may do everything.
    pub callers: Vec<CallerEntry>,
    /// What happens to callers and requests that no entry names.
    pub policy: PolicySettings,
    /// Operations in addition to the built-in ones of the Accounts API. `pigello-gateway operations import`
    /// makes them from an OpenAPI description.
    pub operations: Vec<OperationEntry>,
    /// The errors that callers get.
    pub problems: ProblemSettings,
    /// The cache.
    pub cache: cache::Settings,
    /// Notices of changes in Pigello, by which the cache drops what has changed.
    pub notices: notices::Settings,
    /// The gateways that share a store, and this one as one of them.
    pub fleet: Option<fleet::Settings>,
    /// The audit trail.
    pub audit: audit::Settings,
    /// How long the gateway waits.
    pub timeouts: Timeouts,
    /// How much the gateway accepts.
    pub limits: Limits,
    /// Retries of calls that failed on the way to the upstream, if they are safe to repeat.
    pub retry: RetrySettings,
    /// The circuit breaker: stops requests to an upstream that keeps failing. Meanwhile the cache
    /// serves the reads that it can.
    pub breaker: CircuitBreakerSettings,
    /// What is learnt of Pigello's rate limit.
    pub quota: QuotaSettings,
    /// Threads.
    pub runtime: Runtime,
    /// Logs, traces, and copies of the audit trail.
    pub telemetry: Telemetry,
}

impl Config {
    /// Fills in the defaults that depend on other keys and on `$XDG_RUNTIME_DIR` (`runtime`), so that `config show` prints them and the
    /// checks meet one form only.
    pub(super) fn derive_defaults(&mut self, runtime: Option<&Path>) {
        let default = if self.callers.is_empty() { Access::Allow } else { Access::Deny };
        self.policy.unidentified.get_or_insert(default);
        self.admin.derive_address(runtime, &self.audit.directory);
        for listener in &mut self.listeners {
            listener.allowed_hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
        }
        self.credentials.values_mut().for_each(Credentials::derive_defaults);
        self.vault.iter_mut().for_each(Vault::derive_defaults);
    }
}
