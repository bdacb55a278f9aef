//! `[timeouts]`, `[limits]`, `[runtime]` and `[telemetry]`: sections that several parts share.

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Listener;
use crate::{
    domain::{ByteSize, Origin, ProxyChoice, Span, Text},
    outbound::{CollectorSettings, ForwardProxySettings},
    telemetry::LogFormat,
};

/// How long the gateway waits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection to one address of the upstream, including TLS. A name's addresses are tried a
    /// quarter of a second apart.
    pub connect: Span,
    /// For the name service, when an upstream's name has no address that is known. Its last good answer
    /// is used while it is away.
    pub resolve: Span,
    /// For a whole call with all its attempts, until the last byte of the response.
    pub request: Span,
    /// For the first byte of a response, after the request was sent.
    pub first_byte: Span,
    /// For more of a response body.
    pub upstream_read: Span,
    /// For the next request on a caller's connection. Callers are told to use it a few seconds less
    /// (`Keep-Alive`).
    pub idle: Span,
    /// For a caller to take the next 16 KiB of its response, or all that is left; then the response is
    /// cut off. Over HTTP/2 the time that it waits for the upstream does not count.
    pub write: Span,
    /// For a complete request head.
    pub header_read: Span,
    /// For more of a request body.
    pub body_read: Span,
    /// For open calls, once the gateway is told to stop.
    pub drain: Span,
    /// How long the gateway still accepts connections once it is told to stop. For a sidecar: as
    /// long as the application may need for its last call. `/readyz` already reports the end.
    pub drain_delay: Span,
    /// For the next request on an upstream connection; then it is closed.
    pub upstream_idle: Span,
    /// The age at which a connection to the upstream takes no further request, give or take a tenth.
    /// So calls follow a name that moves.
    pub connection_age: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::from_secs(3),
            resolve: Span::from_secs(10),
            request: Span::from_secs(30),
            first_byte: Span::from_secs(20),
            upstream_read: Span::from_secs(15),
            idle: Span::from_secs(120),
            write: Span::from_secs(30),
            header_read: Span::from_secs(10),
            body_read: Span::from_secs(30),
            drain: Span::from_secs(30),
            drain_delay: Span::from_secs(0),
            upstream_idle: Span::from_secs(30),
            connection_age: Span::from_secs(600),
        }
    }
}

/// How much the gateway accepts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The size of a request body.
    pub request_body: ByteSize,
    /// The size of a request's header fields together.
    pub header_bytes: ByteSize,
    /// The number of a request's header fields.
    #[schemars(with = "u32", range(min = 1, max = 1000))]
    pub header_count: usize,
    /// Connections of callers at the same time, on all listeners. Each listener has a part of its own
    /// (its `connections`), so that one cannot take those of another. A quarter of a part is for
    /// connections on which no call was allowed yet: when it is full, the oldest of them is closed for
    /// a new one.
    #[schemars(with = "u32", range(min = 1))]
    pub connections: usize,
    /// Connections of one peer on a listener: of an IP address (an IPv6 network of 64 bits counts as
    /// one), or of the user at a Unix socket. More are closed at once. Default: three quarters of the
    /// listener's part.
    #[schemars(with = "Option<u32>", range(min = 1))]
    pub connections_per_peer: Option<usize>,
    /// Allowed calls at the same time, and as many more whose body is still arriving. More are refused
    /// with a 503.
    #[schemars(with = "u32", range(min = 1))]
    pub in_flight: usize,
    /// Whether a worker without idle time sends fewer requests to Pigello at a time, at least 64. Then a
    /// call costs less; it waits at most 100 ms for another one, which is `queue_us` of its record.
    pub adaptive_concurrency: bool,
    /// The age at which an HTTP/2 connection of a caller is ended, more or less a tenth: its calls
    /// finish, and further ones need a new connection. Default: never.
    pub connection_age: Option<Span>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: ByteSize::mebi(8),
            header_bytes: ByteSize::kibi(32),
            header_count: 100,
            connections: 10_000,
            connections_per_peer: None,
            in_flight: 1024,
            adaptive_concurrency: true,
            connection_age: None,
        }
    }
}

impl Limits {
    /// The part of a listener without `connections` of its own: an equal one of what the others leave.
    pub fn part(&self, listeners: &[Listener]) -> usize {
        let named = listeners.iter().filter_map(|listener| listener.connections);
        let (sum, count) =
            named.fold((0_usize, 0), |(sum, count), part| (sum.saturating_add(part), count + 1));
        self.connections.saturating_sub(sum) / (listeners.len() - count).max(1)
    }
}

/// Threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Worker threads. 0 means one for each core, and at most four unless the process has a quota or a set of
    /// processors of its own. A sidecar needs one.
    #[schemars(with = "u32", range(max = 1024))]
    pub workers: usize,
}

/// Logs, traces, and copies of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The format of the log, which goes to standard error. Default: `pretty` if that is a terminal, else `json`.
    /// With `json`, nothing else is written: the addresses of the listeners are in the log alone, and a
    /// configuration with mistakes has a line for each.
    pub log_format: Option<LogFormat>,
    /// The level of the least important messages that are logged.
    pub log_level: LogLevel,
    /// The URL of an OpenTelemetry collector for OTLP over HTTP (protobuf, gzip): `http://127.0.0.1:4318`. It
    /// receives every line of the audit trail as a log record, and the traces of calls whose
    /// `traceparent` asks for them.
    pub otlp_endpoint: Option<Origin>,
    /// Trusts these roots (PEM) for the collector, in place of the platform's.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub otlp_ca_file: Option<PathBuf>,
    /// A file with header fields for the collector, such as a token: a `name: value` on each line. It is read
    /// for each request, and only the gateway should be able to read it.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub otlp_headers_file: Option<PathBuf>,
    /// The forward proxy that leads to the collector, with the values of a profile's `proxy`.
    pub proxy: Option<ProxyChoice>,
    /// A file with the proxy's credentials, one line `user:password` or the value of `Proxy-Authorization`, which
    /// nobody else may read.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub proxy_authorization_file: Option<PathBuf>,
    /// Hosts, domains and networks that are called without the proxy, like `NO_PROXY`.
    pub no_proxy: Vec<String>,
    /// How many members of templates (`[profiles."customer-*"]`) have metrics of their own: the busiest ones. The calls
    /// of the others are counted together, with `profile="other"`.
    #[schemars(with = "u32", range(max = 1000))]
    pub top_profiles: usize,
}

impl Telemetry {
    /// The collector, if there is one.
    pub fn collector(&self) -> Option<CollectorSettings> {
        Some(CollectorSettings {
            endpoint: self.otlp_endpoint.clone()?,
            ca_file: self.otlp_ca_file.clone(),
            headers_file: self.otlp_headers_file.clone(),
            proxy: self.forward_proxy(),
        })
    }

    /// The forward proxy that leads to the collector.
    pub fn forward_proxy(&self) -> ForwardProxySettings {
        ForwardProxySettings {
            choice: self.proxy.clone(),
            credentials: self.proxy_authorization_file.clone(),
            excluded: self.no_proxy.clone(),
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: None,
            log_level: LogLevel::Info,
            otlp_endpoint: None,
            otlp_ca_file: None,
            otlp_headers_file: None,
            proxy: None,
            proxy_authorization_file: None,
            no_proxy: Vec::new(),
            top_profiles: 20,
        }
    }
}

/// The level of a log message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// Something unexpected that the gateway survived.
    Warn,
    /// The life of the process, and refusals. Repeated lines are at most one a second and kind.
    Info,
    /// One line for each call, from the gateway itself and not from its libraries.
    Debug,
    /// Everything.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
