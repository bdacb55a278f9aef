//! `[timeouts]`, `[limits]`, `[runtime]` and `[telemetry]`: how long, how much, how many threads,
//! and where the logs and traces go. Several parts of the gateway share each of these sections.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{ByteSize, Origin, Span},
    telemetry::LogFormat,
};

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection to the upstream, TLS included.
    pub connect: Span,
    /// For a whole call, all attempts together, until the answer's last byte.
    pub request: Span,
    /// For an answer's first byte, once the request has been sent.
    pub first_byte: Span,
    /// For the next piece of an answer's body.
    pub upstream_read: Span,
    /// For the next request on a caller's connection.
    pub idle: Span,
    /// For a complete request head.
    pub header_read: Span,
    /// For the next piece of a request body.
    pub body_read: Span,
    /// For calls under way when the gateway is told to stop.
    pub drain: Span,
    /// How long new connections are still taken after that. For a sidecar: as long as the application
    /// may need for its last call. Meanwhile `/readyz` says that the gateway is going.
    pub drain_delay: Span,
    /// How long an upstream connection is kept without use.
    pub upstream_idle: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::from_secs(3),
            request: Span::from_secs(30),
            first_byte: Span::from_secs(20),
            upstream_read: Span::from_secs(15),
            idle: Span::from_secs(60),
            header_read: Span::from_secs(10),
            body_read: Span::from_secs(30),
            drain: Span::from_secs(30),
            drain_delay: Span::from_secs(0),
            upstream_idle: Span::from_secs(30),
        }
    }
}

/// How much to take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A request's body.
    pub request_body: ByteSize,
    /// A request's header fields together.
    pub header_bytes: ByteSize,
    /// The number of a request's header fields.
    #[schemars(with = "u32", range(min = 1, max = 1000))]
    pub header_count: usize,
    /// Callers' connections at a time.
    #[schemars(with = "u32", range(min = 1))]
    pub connections: usize,
    /// Calls at a time, and as many more whose body is on the way; more are refused with a 503.
    #[schemars(with = "u32", range(min = 1))]
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: ByteSize::mebi(8),
            header_bytes: ByteSize::kibi(32),
            header_count: 100,
            connections: 10_000,
            in_flight: 1024,
        }
    }
}

/// Threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Worker threads; 0 is one a core.
    #[schemars(with = "u32", range(max = 1024))]
    pub workers: usize,
}

/// Logs, traces, and copies of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The form of the log on standard output.
    pub log_format: LogFormat,
    /// The least important messages that are logged.
    pub log_level: LogLevel,
    /// The URL of an OpenTelemetry collector that speaks OTLP over HTTP (JSON),
    /// `http://127.0.0.1:4318`. A copy of every line of the audit trail goes there as a log record,
    /// and the traces of calls whose `traceparent` asks for them.
    pub otlp_endpoint: Option<Origin>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log_format: LogFormat::Json, log_level: LogLevel::Info, otlp_endpoint: None }
    }
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

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
