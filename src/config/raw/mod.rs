//! The configuration file as people write it: names, types, defaults, and what each key means.
//!
//! The doc comments here are the manual: `config schema` prints them, and the annotated
//! `config/gateway.toml` is checked against them. Nothing here decides anything; a value that
//! stands here has the right form, and [`super::check`] says whether it makes sense.

mod credentials;
mod derived;
mod tuning;
mod written;

use std::{collections::BTreeMap, net::SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use credentials::{Credentials, SourceKind, Vault, VaultAuth, VaultMethod};
pub use tuning::{
    Audit, Breaker, Cache, CacheRule, Durability, Limits, LogFormat, LogLevel, ObjectIds,
    OnFailure, Retry, Runtime, Telemetry, Timeouts,
};
pub use written::{Bytes, FilePath, HostName, Identifier, Method, Name, Written};
pub(super) use written::{complaint, example};

use crate::domain::{Address, OperationPattern, Origin, ProblemBase};

/// The configuration of pigello-gateway.
///
/// Later layers win: built-in defaults, the files in the order they are given, then environment
/// variables: `PIGELLO_GATEWAY_` and the key, with `__` between levels
/// (`PIGELLO_GATEWAY_TIMEOUTS__CONNECT=2s`, `PIGELLO_GATEWAY_LISTENERS__0__ADDRESS=…`). A list in a
/// later file replaces the list of an earlier one. Relative paths are relative to the file they
/// stand in.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "pigello-gateway")]
pub struct Config {
    /// The sockets that callers use. At least one.
    pub listeners: Vec<Listener>,
    /// The socket of health checks, metrics and the status page.
    pub admin: Admin,
    /// Upstreams, by name: where calls go, and with which credentials.
    pub profiles: BTreeMap<Name, Profile>,
    /// Where each credential set comes from, by name.
    pub credentials: BTreeMap<Name, Credentials>,
    /// The HashiCorp Vault or OpenBao of credentials with `source = "vault"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<Vault>,
    /// Who may do what. Without an entry, whoever reaches a listener may do everything it offers.
    pub callers: Vec<Caller>,
    /// What becomes of callers and requests that no entry names.
    pub policy: Policy,
    /// Operations besides the built-in ones of the Accounts API.
    pub operations: Vec<Operation>,
    /// What callers are told of errors.
    pub problems: Problems,
    /// What is answered from memory.
    pub cache: Cache,
    /// The audit trail.
    pub audit: Audit,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How much to take.
    pub limits: Limits,
    /// Repeating a call that failed on the way to the upstream; only what is safe to repeat.
    pub retry: Retry,
    /// Leaving an upstream alone that keeps failing; meanwhile reads come from memory where they can.
    pub breaker: Breaker,
    /// Threads.
    pub runtime: Runtime,
    /// Logs, traces, and copies of the audit trail.
    pub telemetry: Telemetry,
}

/// A socket that callers use.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "address", "profile"]))]
pub struct Listener {
    /// Its name in the audit trail and in metrics.
    #[schemars(required)]
    pub name: Option<Name>,
    /// Where it listens: `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/gateway.sock`. Port 0 takes a
    /// free port.
    #[schemars(required)]
    pub address: Option<Written<Address>>,
    /// The profile that its calls go to.
    #[schemars(required)]
    pub profile: Option<Name>,
    /// Names everyone who can reach this socket, for a socket that only one application can reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Name>,
    /// Values of `Host` that are served besides loopback names and the listener's own address.
    pub allowed_hosts: Vec<HostName>,
    /// Allows a TCP address that other machines can reach without client certificates.
    pub allow_remote: bool,
    /// TLS for callers; with `client_ca`, mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// TLS of a listener.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "private_key"]))]
pub struct ListenerTls {
    /// The certificate chain shown to callers, a PEM file.
    #[schemars(required)]
    pub certificate: Option<FilePath>,
    /// Its private key, a PEM file.
    #[schemars(required)]
    pub private_key: Option<FilePath>,
    /// Authorities that callers' certificates must come from, a PEM file. With it, every caller
    /// must show a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<FilePath>,
}

/// The admin socket.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens: a loopback TCP address or `unix:/path`. It asks for no credentials, so it
    /// is never reachable from other machines.
    pub address: Written<Address>,
}

impl Default for Admin {
    fn default() -> Self {
        let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 9901)));
        Self { enabled: true, address: Written(address) }
    }
}

/// An upstream and the credentials for it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["upstream", "credentials"]))]
pub struct Profile {
    /// Scheme, host and port of the upstream: `https://api.pigello.io`.
    #[schemars(required)]
    pub upstream: Option<Written<Origin>>,
    /// The credential set for it, a name under `[credentials]`.
    #[schemars(required)]
    pub credentials: Option<Name>,
    /// Trust the roots in this PEM file instead of the platform's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
    /// Dial this `IP:port`. The name that TLS verifies and `Host` stay the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_to: Option<Written<SocketAddr>>,
    /// Allows that the upstream's name leads to a private address (`10.0.0.0/8`, `fc00::/7` and so on).
    /// Link-local addresses and metadata services are refused in any case.
    pub allow_private: bool,
    /// Allows an `http://` upstream, which must be a loopback address: the secret travels in clear.
    pub insecure_http: bool,
}

/// One caller: how it is known, and what it may do.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "allow"]))]
pub struct Caller {
    /// Its name in the audit trail.
    #[schemars(required)]
    pub name: Option<Name>,
    /// User ids of processes that connect to a Unix socket.
    pub unix_uids: Vec<u32>,
    /// URI or DNS names in a verified client certificate, matched exactly:
    /// `spiffe://corp/billing`.
    pub tls_names: Vec<String>,
    /// Operations it may use: `subtenant.get`, `subtenant.*`, `*.get`, or `*` for all.
    pub allow: Vec<Written<OperationPattern>>,
    /// Calls a second it may make; more are refused with a 429. Without it, no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Calls it may make at once before `rate` holds. Default: as many as `rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Calls it may have under way at the same time. Without it, no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// What becomes of what no entry names.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Callers that match no `[[callers]]` entry. Default: `deny` as soon as there is an entry,
    /// `allow` without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unidentified: Option<Unidentified>,
    /// Requests that match no operation.
    pub unmatched: Unmatched,
    /// Whether refusals are carried out or only written down.
    pub mode: Mode,
}

/// What becomes of callers that match no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unidentified {
    /// They may use every operation.
    Allow,
    /// They are refused.
    Deny,
}

/// What becomes of requests that match no operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// They are refused.
    #[default]
    Deny,
    /// They are forwarded for callers that may use `*`.
    Forward,
}

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What is not allowed is refused.
    #[default]
    Enforce,
    /// What is not allowed goes through, and the audit trail says that it would be refused.
    Report,
}

/// What callers are told of errors.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Problems {
    /// What the `type` of a problem document begins with; the error's name follows. Default:
    /// `urn:pigello-gateway:problem:`, which names an error and leads nowhere. Where the manual is
    /// published, its page of errors makes a link of it: `https://docs.example.org/errors.html#`; on
    /// a laptop the admin listener's own does: `http://127.0.0.1:9901/errors/`. Callers compare it,
    /// so choose once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Written<ProblemBase>>,
}

/// An operation besides the built-in ones.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "method", "path"]))]
pub struct Operation {
    /// `entity.action` in lower case: `realestate.get`.
    #[schemars(required)]
    pub name: Option<String>,
    /// The method. `HEAD` belongs to the `GET` operation.
    #[schemars(required)]
    pub method: Option<Method>,
    /// The path; a variable segment is written `{pk}` and is a UUID.
    #[schemars(required)]
    pub path: Option<String>,
}
