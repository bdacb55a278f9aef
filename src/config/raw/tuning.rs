//! The tables that have a sensible value for every key: cache, audit, waits, bounds, threads, logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, FilePath, Written};
use crate::domain::{OperationPattern, Origin, PathPattern, Span};

/// What is answered from memory.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Whether anything is.
    pub enabled: bool,
    /// Memory for all entries together, keys and headers included.
    pub max_bytes: Written<Bytes>,
    /// The largest answer that is stored.
    pub max_entry_bytes: Written<Bytes>,
    /// What is stored; the first rule that matches decides. What no rule names is not stored.
    pub rules: Vec<CacheRule>,
}

impl Default for Cache {
    fn default() -> Self {
        let subtenant = CacheRule {
            operations: vec![Written(OperationPattern::Exactly("subtenant.get".into()))],
            ..CacheRule::default()
        };
        Self {
            enabled: true,
            max_bytes: Written(Bytes::mebi(64)),
            max_entry_bytes: Written(Bytes::mebi(1)),
            rules: vec![subtenant],
        }
    }
}

/// One rule of the cache.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheRule {
    /// Operations the rule is for. Only reads are stored, and `protectedidentity` never is.
    pub operations: Vec<Written<OperationPattern>>,
    /// Paths the rule is for, of requests that match no operation: `/a/path` or `/a/prefix/*`.
    pub paths: Vec<Written<PathPattern>>,
    /// How long an answer is fresh that does not say so itself.
    pub ttl: Written<Span>,
    /// How long after that it may still be used while a new one is fetched (RFC 5861 §3).
    pub stale_while_revalidate: Written<Span>,
    /// How long after that it may still be used when Pigello fails (RFC 5861 §4).
    pub stale_if_error: Written<Span>,
    /// How long a 404 or 410 is fresh that does not say so itself.
    pub negative_ttl: Written<Span>,
    /// Takes a tenth of an answer's age for its freshness where `ttl` is zero and the answer has a
    /// `Last-Modified` and states nothing else (RFC 9111 §4.2.2). Without it: true for a rule over
    /// `paths`, false for one over `operations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heuristic: Option<bool>,
}

impl Default for CacheRule {
    fn default() -> Self {
        Self {
            operations: Vec::new(),
            paths: Vec::new(),
            // Short: `profile_picture` in a subtenant is a signed link that dies soon.
            ttl: Written(Span::from_secs(60)),
            stale_while_revalidate: Written(Span::from_secs(0)),
            stale_if_error: Written(Span::from_secs(600)),
            negative_ttl: Written(Span::from_secs(0)),
            heuristic: None,
        }
    }
}

/// The audit trail.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// The folder of the trail.
    pub directory: FilePath,
    /// When a record is on disk.
    pub durability: Durability,
    /// What happens to calls while the trail cannot be written.
    pub on_failure: OnFailure,
    /// How large a file of the trail may grow before the next one is begun. A new one begins each
    /// UTC day as well.
    pub segment_bytes: Written<Bytes>,
    /// How long after its end a file is compressed; zero is at once.
    pub compress_after: Written<Span>,
    /// How long files are kept. Without it, for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_for: Option<Written<Span>>,
    /// How much the trail may take on disk; the oldest files go first, and the one that is being
    /// written always stays. Without it, there is no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_bytes: Option<Written<Bytes>>,
    /// After how many lines a checkpoint is signed.
    #[schemars(range(min = 1))]
    pub checkpoint_records: u32,
    /// After how long a checkpoint is signed, if anything was written since the last one.
    pub checkpoint_interval: Written<Span>,
    /// The Ed25519 key that signs checkpoints, PKCS#8 in a PEM file. Made if it does not exist.
    /// Without it, one in the trail's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<FilePath>,
    /// How objects are named in the trail.
    pub object_ids: ObjectIds,
    /// The file with the key that objects are hashed with. Made if it does not exist. Without it,
    /// one in the trail's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_key: Option<FilePath>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            directory: FilePath("/var/lib/pigello-gateway/audit".into()),
            durability: Durability::Batched,
            on_failure: OnFailure::Refuse,
            segment_bytes: Written(Bytes::mebi(128)),
            // Whoever ships the files elsewhere has this long to read them as they are.
            compress_after: Written(Span::from_secs(3600)),
            // Nothing is thrown away unless someone says how much an auditor will ask for.
            retain_for: None,
            retain_bytes: None,
            checkpoint_records: 50_000,
            checkpoint_interval: Written(Span::from_secs(60)),
            signing_key: None,
            object_ids: ObjectIds::Plain,
            object_key: None,
        }
    }
}

/// When a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Within a second of the answer.
    Batched,
    /// Before the answer leaves, and the intent before the call does.
    Synced,
}

/// What happens to calls while the trail cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are refused with a 503.
    Refuse,
    /// They go on, and the trail counts what it lost.
    Continue,
}

/// How objects are named in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectIds {
    /// By their UUID.
    Plain,
    /// By a keyed hash of it: the same object can be followed without being named.
    Hashed,
}

/// How long to wait.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection to the upstream, TLS included.
    pub connect: Written<Span>,
    /// For a whole call, all attempts together, until the answer's last byte.
    pub request: Written<Span>,
    /// For an answer's first byte, once the request has been sent.
    pub first_byte: Written<Span>,
    /// For the next piece of an answer's body.
    pub upstream_read: Written<Span>,
    /// For the next request on a caller's connection.
    pub idle: Written<Span>,
    /// For a complete request head.
    pub header_read: Written<Span>,
    /// For the next piece of a request body.
    pub body_read: Written<Span>,
    /// For calls under way when the gateway is told to stop.
    pub drain: Written<Span>,
    /// How long new connections are still taken after that. For a sidecar: as long as the application
    /// may need for its last call. Meanwhile `/readyz` says that the gateway is going.
    pub drain_delay: Written<Span>,
    /// How long an upstream connection is kept without use.
    pub upstream_idle: Written<Span>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Written(Span::from_secs(3)),
            request: Written(Span::from_secs(30)),
            first_byte: Written(Span::from_secs(20)),
            upstream_read: Written(Span::from_secs(15)),
            idle: Written(Span::from_secs(60)),
            header_read: Written(Span::from_secs(10)),
            body_read: Written(Span::from_secs(30)),
            drain: Written(Span::from_secs(30)),
            drain_delay: Written(Span::from_secs(0)),
            upstream_idle: Written(Span::from_secs(30)),
        }
    }
}

/// How much to take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A request's body.
    pub request_body: Written<Bytes>,
    /// A request's header fields together.
    pub header_bytes: Written<Bytes>,
    /// The number of a request's header fields.
    #[schemars(range(min = 1, max = 1000))]
    pub header_count: u32,
    /// Callers' connections at a time.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// Calls at a time, and as many more whose body is on the way; more are refused with a 503.
    #[schemars(range(min = 1))]
    pub in_flight: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: Written(Bytes::mebi(8)),
            header_bytes: Written(Bytes::kibi(32)),
            header_count: 100,
            connections: 10_000,
            in_flight: 1024,
        }
    }
}

/// Repeating failed calls.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// How often a call is tried at most, the first time included. 1 never repeats.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// How much load repeats may add, as a share of all calls: 0.2 is a fifth.
    #[schemars(range(min = 0, max = 1))]
    pub budget: f64,
    /// How much of a request's body is kept for another attempt. A larger body is sent once.
    pub body_bytes: Written<Bytes>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 4, budget: 0.2, body_bytes: Written(Bytes::kibi(64)) }
    }
}

/// Leaving an upstream alone that keeps failing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Whether it is ever left alone.
    pub enabled: bool,
    /// Failures within ten seconds after which it is, if they are at least half of the calls. A
    /// failure is a connection that cannot be made or breaks off, an answer that takes too long, or
    /// a 502, 503 or 504.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// For how long; then one call finds out whether it is back. Doubled each time it is not, up to
    /// a minute.
    pub pause: Written<Span>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { enabled: true, failures: 10, pause: Written(Span::from_secs(2)) }
    }
}

/// Threads.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Worker threads; 0 is one a core.
    #[schemars(range(max = 1024))]
    pub workers: u32,
}

/// Logs, traces, and copies of the audit trail.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The form of the log on standard output.
    pub log_format: LogFormat,
    /// The least important messages that are logged.
    pub log_level: LogLevel,
    /// The URL of an OpenTelemetry collector that speaks OTLP over HTTP (JSON),
    /// `http://127.0.0.1:4318`. A copy of every line of the audit trail goes there as a log record,
    /// and the traces of calls whose `traceparent` asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<Written<Origin>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log_format: LogFormat::Json, log_level: LogLevel::Info, otlp_endpoint: None }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// How important a message must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// Unexpected, and survived.
    Warn,
    /// The life of the process, and refusals.
    Info,
    /// A line a call.
    Debug,
    /// Everything.
    Trace,
}
