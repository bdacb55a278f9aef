//! A checked configuration.
//!
//! No value here needs another check: names lead to an entry, addresses parse, patterns match an
//! operation, and what must be above zero is. Sections that checking does not change are the ones
//! of [`super::types`].

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::types::{
    Admin, Limits, Listener, PolicySettings, Profile, Runtime, Telemetry, Timeouts,
};
use crate::{
    credentials::{ClientCertificate, Identifiers, RefreshSettings, VaultAuth},
    domain::{CallerRule, Catalog, CredentialsName, Origin, ProblemBase, ProfileName},
    pipeline::{
        cache,
        resilience::{BreakerSettings, RetrySettings},
    },
    trail,
};

/// The whole configuration.
#[derive(Debug)]
pub struct Settings {
    /// The sockets of callers, in the order of the file. Other machines reach one only with
    /// `allow_remote`, or with `tls` that asks for client certificates.
    pub listeners: Vec<Listener>,
    /// The socket of health checks and metrics, always local to this machine; `None` if it is
    /// switched off.
    pub admin: Option<Admin>,
    /// Upstreams by name. `http` leads only to loopback, and only with `insecure_http`.
    pub profiles: BTreeMap<ProfileName, Profile>,
    /// Credential sets by name.
    pub credentials: BTreeMap<CredentialsName, CredentialsSettings>,
    /// The vault, as far as the configuration says; `None` without `[vault]`.
    pub vault: Option<VaultSettings>,
    /// Built-in operations and the configuration's own.
    pub catalog: Arc<Catalog>,
    /// Who may do what.
    pub callers: Vec<Arc<CallerRule>>,
    /// What happens to callers and requests that no entry names.
    pub policy: PolicySettings,
    /// What the type of a problem document begins with.
    pub problem_base: ProblemBase,
    /// The cache. `max_entry_bytes` is at most `max_bytes`.
    pub cache: cache::Settings,
    /// The audit trail.
    pub audit: trail::Settings,
    /// How long to wait; none but `drain` and `drain_delay` is zero.
    pub timeouts: Timeouts,
    /// How much to accept.
    pub limits: Limits,
    /// Retries.
    pub retry: RetrySettings,
    /// The circuit breaker.
    pub breaker: BreakerSettings,
    /// Threads.
    pub runtime: Runtime,
    /// Logs, traces, and copies of the audit trail.
    pub telemetry: Telemetry,
}

/// A credential set.
#[derive(Clone, Debug)]
pub struct CredentialsSettings {
    /// Its name.
    pub name: CredentialsName,
    /// Identifiers that the configuration itself gives, over those of the source. Never the secret.
    pub fixed: Identifiers,
    /// Where the rest comes from.
    pub source: SourceSettings,
    /// When the source is read again, and how long a set may be used.
    pub refresh: RefreshSettings,
}

/// Where a credential set comes from.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// One file a value.
    Directory {
        /// The folder.
        path: PathBuf,
    },
    /// Environment variables.
    Environment {
        /// What stands before the value's name in upper case.
        prefix: String,
    },
    /// The sealed store.
    Sealed {
        /// The encrypted file.
        file: PathBuf,
        /// The key.
        key_file: PathBuf,
    },
    /// The vault.
    Vault {
        /// Where the key-value engine is mounted.
        mount: String,
        /// The secret's path below it.
        path: String,
        /// 1 or 2.
        kv_version: u8,
    },
}

/// The vault. Where a field is `None`, the environment may say (`VAULT_ADDR` and the like).
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// Scheme, host and port.
    pub address: Option<Origin>,
    /// Roots to trust instead of the platform's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The client certificate and its key.
    pub client_certificate: Option<ClientCertificate>,
    /// How to log in.
    pub auth: Option<VaultAuth>,
}
