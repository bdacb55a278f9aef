//! A checked configuration.
//!
//! No value here needs another check: names lead to an entry, addresses parse, patterns match an
//! operation, and what must be above zero is. Sections that checking does not change are the ones
//! of [`super::types`].

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    report::Revision,
    types::{
        Limits, Listener, PolicySettings, Profile, Runtime, Telemetry, Timeouts, Vault, table_of,
    },
};
use crate::{
    audit, credentials,
    domain::{Address, CallerRule, Catalog, CredentialsName, ProblemBase, ProfileName, Span},
    fleet,
    notices::{self, EventLogChoice},
    proxy::{
        cache,
        profile::{CircuitBreakerSettings, QuotaSettings},
        server::TlsFiles,
        stages::retry::RetrySettings,
    },
};

/// The whole configuration.
#[derive(Debug)]
pub struct Settings {
    /// The revision that the audit trail names.
    pub revision: Arc<Revision>,
    /// The sockets of callers, in the order of the file. Other machines reach one only with
    /// `allow_remote`, or with `tls` that asks for client certificates.
    pub listeners: Vec<Listener>,
    /// The socket of operators, always local to this machine; `None` if it is switched off.
    pub admin: Option<AdminListener>,
    /// `admin.token_file`.
    pub admin_tokens: Option<PathBuf>,
    /// The socket of scrapers and probes, if there is one.
    pub metrics: Option<MetricsListener>,
    /// Upstreams by name. `http` leads only to loopback, and only with `insecure_http`.
    pub profiles: BTreeMap<ProfileName, Profile>,
    /// Credential sets by name.
    pub credentials: BTreeMap<CredentialsName, credentials::Settings>,
    /// `[vault]` as written; the credential sets that it is for have it in their settings.
    pub vault: Option<Vault>,
    /// Built-in operations and the configuration's own.
    pub catalog: Arc<Catalog>,
    /// Who may do what.
    pub callers: Vec<Arc<CallerRule>>,
    /// What happens to callers and requests that no entry names.
    pub policy: PolicySettings,
    /// The prefix of a problem document's `type`.
    pub problem_base: ProblemBase,
    /// The cache. `max_entry_bytes` is at most `max_bytes`.
    pub cache: cache::Settings,
    /// Notices of changes. `path` is a canonical one, and no time is zero.
    pub notices: notices::Settings,
    /// The fleet. There is one way to its store, and it leaves this machine only with TLS.
    pub fleet: Option<fleet::Settings>,
    /// The audit trail.
    pub audit: audit::Settings,
    /// How long the gateway waits; only `drain` and `drain_delay` may be zero.
    pub timeouts: Timeouts,
    /// How much to accept.
    pub limits: Limits,
    /// Retries.
    pub retry: RetrySettings,
    /// The circuit breaker.
    pub breaker: CircuitBreakerSettings,
    /// What is learnt of Pigello's rate limit.
    pub quota: QuotaSettings,
    /// Threads.
    pub runtime: Runtime,
    /// Logs, traces, and copies of the audit trail.
    pub telemetry: Telemetry,
}

impl Settings {
    /// How long a response under a rule is fresh while no notice is missed, if that is ever proved.
    pub fn coherent_ttl(&self, rule: &cache::Rule) -> Option<Span> {
        let is_read = self.notices.event_log == EventLogChoice::Poll;
        rule.coherent_ttl.filter(|_| is_read || self.fleet.is_some())
    }

    /// The table that a profile is made of.
    pub fn profile(&self, name: &ProfileName) -> Option<(&ProfileName, &Profile)> {
        table_of(&self.profiles, name)
    }
}

/// The socket of operators.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminListener {
    /// Its address.
    pub address: Address,
    /// The group that may open the Unix socket besides its owner.
    pub socket_group: Option<String>,
    /// The limit of its connections.
    pub connections: usize,
}

/// The socket of scrapers and probes.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsListener {
    /// Its address; other machines may reach it.
    pub address: Address,
    /// The limit of its connections.
    pub connections: usize,
    /// TLS for its clients; with `client_ca`, mutual TLS.
    pub tls: Option<TlsFiles>,
}
