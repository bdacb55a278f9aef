//! What a checked configuration says, in the types of the parts that it is for.
//!
//! No value here needs another look: names lead somewhere, addresses parse, patterns match
//! something, bounds are above zero. Paths are absolute or as the environment gave them.

mod credentials;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

pub use credentials::{
    CredentialsSettings, FixedValues, SourceSettings, VaultAuth, VaultLogin, VaultSettings,
};

use crate::domain::{
    Address, CallerRule, Catalog, CredentialsName, ListenerName, OperationPattern, Origin,
    PathPattern, ProblemBase, ProfileName,
};

/// The whole configuration.
#[derive(Debug)]
pub struct Settings {
    /// The sockets of callers, in the order of the file.
    pub listeners: Vec<ListenerSettings>,
    /// The socket of health checks and metrics; `None` if it is switched off.
    pub admin: Option<AdminSettings>,
    /// Upstreams by name.
    pub profiles: BTreeMap<ProfileName, ProfileSettings>,
    /// Credential sets by name.
    pub credentials: BTreeMap<CredentialsName, CredentialsSettings>,
    /// The vault, as far as the configuration says; `None` without `[vault]`.
    pub vault: Option<VaultSettings>,
    /// Built-in operations and the configuration's own.
    pub catalog: Arc<Catalog>,
    /// Who may do what.
    pub callers: Vec<Arc<CallerRule>>,
    /// What becomes of the rest.
    pub policy: PolicySettings,
    /// What the type of a problem document begins with.
    pub problem_base: ProblemBase,
    /// What is answered from memory.
    pub cache: CacheSettings,
    /// The audit trail.
    pub audit: AuditSettings,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How much to take.
    pub limits: Limits,
    /// Repeating failed calls.
    pub retry: RetrySettings,
    /// Leaving a failing upstream alone.
    pub breaker: BreakerSettings,
    /// Threads.
    pub runtime: RuntimeSettings,
    /// Logs, traces, and copies of the audit trail.
    pub telemetry: TelemetrySettings,
}

/// A socket of callers.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    /// Its name.
    pub name: ListenerName,
    /// Where it listens. Reached from other machines only with `allow_remote`, or with `tls` that
    /// asks for client certificates.
    pub address: Address,
    /// Where its calls go; one of [`Settings::profiles`].
    pub profile: ProfileName,
    /// Who everyone on this socket is. If there are caller rules, one has this name.
    pub caller: Option<Arc<str>>,
    /// Further values of `Host`, in lower case, with a port where one is meant.
    pub allowed_hosts: Vec<String>,
    /// Whether a TCP address may be reached from other machines without client certificates.
    pub allow_remote: bool,
    /// TLS towards callers.
    pub tls: Option<ListenerTls>,
}

/// TLS towards callers: PEM files.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
    /// Authorities of callers' certificates; with it every caller must have one.
    pub client_ca: Option<PathBuf>,
}

/// The admin socket.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    /// Where it listens; always local to this machine.
    pub address: Address,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileSettings {
    /// Its scheme, host and port. `http` only to loopback, and only with `insecure_http`.
    pub upstream: Origin,
    /// The credential set for it; one of [`Settings::credentials`].
    pub credentials: CredentialsName,
    /// Roots to trust instead of the platform's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The address to dial instead of the name's.
    pub connect_to: Option<SocketAddr>,
    /// Whether the upstream's name may lead to an address of the inner network.
    pub allow_private: bool,
    /// Whether a plain `http` upstream is allowed.
    pub insecure_http: bool,
}

/// What becomes of what no entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// Callers without an entry.
    pub unidentified: Access,
    /// Requests without an operation.
    pub unmatched: Unmatched,
    /// Whether refusals are carried out.
    pub mode: Mode,
}

/// Whether someone may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They may use every operation.
    Allow,
    /// They are refused.
    Deny,
}

/// What becomes of requests that match no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// They are refused.
    Deny,
    /// They are forwarded for callers that may use `*`.
    Forward,
}

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Enforce,
    /// They are only written down.
    Report,
}

/// What is answered from memory.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSettings {
    /// Whether anything is.
    pub enabled: bool,
    /// Bytes for all entries together.
    pub max_bytes: u64,
    /// Bytes of the largest answer that is stored; at most `max_bytes`.
    pub max_entry_bytes: u64,
    /// The rules; the first that matches decides.
    pub rules: Vec<CacheRule>,
}

/// A rule of the cache. None of its operations is one of `protectedidentity` by name, but a
/// pattern may include them: the cache leaves them out itself.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheRule {
    /// Operations it is for.
    pub operations: Vec<OperationPattern>,
    /// Paths it is for, of requests that match no operation.
    pub paths: Vec<PathPattern>,
    /// Freshness where the answer states none.
    pub ttl: Duration,
    /// How long a stale answer serves while a new one is fetched.
    pub stale_while_revalidate: Duration,
    /// How long a stale answer serves when the upstream fails.
    pub stale_if_error: Duration,
    /// Freshness of a 404 or 410 that states none.
    pub negative_ttl: Duration,
    /// Whether freshness is guessed from `Last-Modified`.
    pub heuristic: bool,
}

/// The audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditSettings {
    /// Its folder.
    pub directory: PathBuf,
    /// When a record is on disk.
    pub durability: Durability,
    /// What happens to calls while it cannot be written.
    pub on_failure: OnFailure,
    /// Bytes of a file before the next one is begun.
    pub segment_bytes: u64,
    /// How long after its end a file is compressed.
    pub compress_after: Duration,
    /// How long files are kept; `None` for ever.
    pub retain_for: Option<Duration>,
    /// Bytes that the trail may take; `None` for no bound.
    pub retain_bytes: Option<u64>,
    /// Lines after which a checkpoint is signed; at least 1.
    pub checkpoint_records: u64,
    /// How long after a line a checkpoint is signed; not zero.
    pub checkpoint_interval: Duration,
    /// The file with the key that signs; `None` for one in the folder.
    pub signing_key: Option<PathBuf>,
    /// How objects are named.
    pub object_ids: ObjectIds,
    /// The file with the key that objects are hashed with; `None` for one in the folder.
    pub object_key: Option<PathBuf>,
}

/// How objects are named in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectIds {
    /// By their UUID.
    Plain,
    /// By a keyed hash of it.
    Hashed,
}

/// When a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Within a second of the answer.
    Batched,
    /// Before the answer leaves, and the intent before the call does.
    Synced,
}

/// What happens to calls while the trail cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused.
    Refuse,
    /// They go on, and the trail counts what it lost.
    Continue,
}

/// How long to wait; none but `drain` and `drain_delay` is zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    /// Connecting to the upstream, TLS included.
    pub connect: Duration,
    /// A whole call.
    pub request: Duration,
    /// An answer's first byte, once the request has been sent.
    pub first_byte: Duration,
    /// The next piece of an answer's body.
    pub upstream_read: Duration,
    /// The next request on a caller's connection.
    pub idle: Duration,
    /// A complete request head.
    pub header_read: Duration,
    /// The next piece of a request body.
    pub body_read: Duration,
    /// Calls under way at the end; zero cuts them off.
    pub drain: Duration,
    /// How long new connections are still taken once the gateway is told to stop.
    pub drain_delay: Duration,
    /// An upstream connection without use.
    pub upstream_idle: Duration,
}

/// How much to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a request body.
    pub request_body: u64,
    /// Bytes of a request's header fields together.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Callers' connections.
    pub connections: usize,
    /// Calls at a time.
    pub in_flight: usize,
}

/// Repeating failed calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    /// Tries at most, the first included; at least 1.
    pub attempts: u32,
    /// Load that repeats may add, as a share of all calls: 0 to 1.
    pub budget: f64,
    /// Bytes of a body that are kept for another attempt.
    pub body_bytes: usize,
}

/// Leaving a failing upstream alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSettings {
    /// Failures after which it is; at least 1. `None` is never.
    pub failures: Option<u32>,
    /// For how long at first; above zero.
    pub pause: Duration,
}

/// Threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuntimeSettings {
    /// Worker threads; `None` is one a core.
    pub workers: Option<usize>,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetrySettings {
    /// The form of the log.
    pub log_format: LogFormat,
    /// The least important messages that are logged.
    pub log_level: tracing::Level,
    /// The OTLP collector that gets a copy of every line of the trail, and the traces.
    pub otlp_endpoint: Option<Origin>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}
