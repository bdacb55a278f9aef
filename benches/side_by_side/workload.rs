//! What is asked of the contestants.

use std::fmt;

use clap::ValueEnum;

use super::workplace::{CACHED, CREATED_AT, PROXIED};

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Reads from memory, 64 connections.
    Cached64,
    /// Reads from memory, 512 connections.
    Cached512,
    /// Reads from the upstream over TLS, 64 connections.
    Proxied64,
    /// Reads from the upstream over TLS, 512 connections.
    Proxied512,
    /// Bodies of 1 KB to the upstream, 64 connections.
    Created64,
    /// Reads from an upstream that offers HTTP/2, 64 connections.
    Proxied64Http2,
    /// Reads from an upstream that offers HTTP/2, 512 connections.
    Proxied512Http2,
    /// Bodies of 1 KB to an upstream that offers HTTP/2, 64 connections.
    Created64Http2,
    /// Reads from memory, each on a new connection, 64 at once.
    Connect64,
    /// Reads from memory, 4,000 a second.
    CachedPaced,
    /// Reads from the upstream, 2,500 a second.
    ProxiedPaced,
    /// Reads from memory, 4,000 a second, while the disk of the audit trail stalls for 500 ms.
    Stalled,
    /// From exec to the first answer, and memory at rest.
    Start,
}

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each connection sends the next call when it has its answer: wrk.
    Closed {
        /// Connections at once.
        connections: u32,
        /// A new connection for each call.
        fresh: bool,
    },
    /// So many a second, whatever the answers do; latency counts from when a call was due.
    Open {
        /// Calls a second.
        rate: u32,
    },
}

impl Workload {
    /// All of them, in the order they are measured.
    pub const ALL: [Self; 13] = [
        Self::Cached64,
        Self::Cached512,
        Self::Proxied64,
        Self::Proxied512,
        Self::Created64,
        Self::Proxied64Http2,
        Self::Proxied512Http2,
        Self::Created64Http2,
        Self::Connect64,
        Self::CachedPaced,
        Self::ProxiedPaced,
        Self::Stalled,
        Self::Start,
    ];

    /// How calls are made.
    pub fn pace(self) -> Pace {
        match self {
            Self::Cached64
            | Self::Proxied64
            | Self::Created64
            | Self::Proxied64Http2
            | Self::Created64Http2
            | Self::Start => Pace::Closed { connections: 64, fresh: false },
            Self::Cached512 | Self::Proxied512 | Self::Proxied512Http2 => {
                Pace::Closed { connections: 512, fresh: false }
            }
            Self::Connect64 => Pace::Closed { connections: 64, fresh: true },
            Self::CachedPaced | Self::Stalled => Pace::Open { rate: 4000 },
            Self::ProxiedPaced => Pace::Open { rate: 2500 },
        }
    }

    /// Whether answers come from memory.
    pub fn is_cached(self) -> bool {
        self.target() == CACHED
    }

    /// Whether calls have a body.
    pub fn has_body(self) -> bool {
        matches!(self, Self::Created64 | Self::Created64Http2)
    }

    /// Whether the upstream offers HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Proxied64Http2 | Self::Proxied512Http2 | Self::Created64Http2)
    }

    /// What is asked for.
    pub fn target(self) -> &'static str {
        match self {
            Self::Cached64
            | Self::Cached512
            | Self::Connect64
            | Self::CachedPaced
            | Self::Stalled
            | Self::Start => CACHED,
            Self::Proxied64
            | Self::Proxied512
            | Self::ProxiedPaced
            | Self::Proxied64Http2
            | Self::Proxied512Http2 => PROXIED,
            Self::Created64 | Self::Created64Http2 => CREATED_AT,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}

/// Where the contestants' caches answer: the gateway knows its operations by itself.
pub const CACHED_BELOW: &str = "/accounts/users/customer/subtenant/";
