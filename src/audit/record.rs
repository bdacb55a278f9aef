//! One finished call, as the path hands it to the trail.
//!
//! Built on the path's thread, so it holds only what is there already: shared names, numbers, and
//! a copy of the target. Turning it into text is the writer's work.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};

use super::target::Target;
use crate::domain::{LabelValue, ListenerName, ProfileName, Proof, RequestId};

/// One finished call.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the call came in.
    pub time: SystemTime,
    /// The gateway's identifier of the call.
    pub request_id: RequestId,
    /// The distributed trace it belongs to.
    pub trace_id: u128,
    /// The listener it came in on.
    pub listener: ListenerName,
    /// The caller's name, if it proved one.
    pub caller: Option<LabelValue>,
    /// What the connection showed of the caller.
    pub caller_proof: Option<Proof>,
    /// The profile the listener leads to.
    pub profile: ProfileName,
    /// The operation, if the request matched one.
    pub operation: Option<LabelValue>,
    /// The method.
    pub method: Method,
    /// Path and query as received, canonical or not; the trail keeps the path and the query's names.
    /// `None` where the request target was no path at all.
    pub target: Option<Target>,
    /// The status the caller got; `None` if it left before there was one.
    pub status: Option<StatusCode>,
    /// What became of the call.
    pub outcome: Outcome,
    /// What the cache did, where it had a say.
    pub cache: Option<CacheResult>,
    /// The call whose upstream answer these bytes are, where memory answered.
    pub source_request_id: Option<RequestId>,
    /// The upstream's own status, if it answered.
    pub upstream_status: Option<StatusCode>,
    /// The upstream's TLS, if a connection was used.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// How often the upstream was asked.
    pub attempts: u32,
    /// Why each attempt but the last was given up: labels of [`Kind`](crate::error::Kind).
    pub retries: Vec<&'static str>,
    /// The version of the credentials that were sent.
    pub credential_version: Option<Arc<str>>,
    /// From the request's head to the last byte of the answer.
    pub duration: Duration,
    /// From the first attempt to the head of the upstream's answer.
    pub upstream_time: Option<Duration>,
    /// Bytes of the caller's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body that were sent.
    pub response_bytes: u64,
    /// Why the call failed or was refused: a label of [`Kind`](crate::error::Kind).
    pub error: Option<&'static str>,
    /// Why the call would have been refused, where the policy only reports: a label of
    /// [`Kind`](crate::error::Kind).
    pub would_refuse: Option<&'static str>,
    /// How many fields of the upstream's answer were removed, because they were under the names of
    /// the seven.
    pub masked_fields: u32,
}

/// A call that is about to use a credential: written before the secret leaves the process, where
/// the durability is [`Synced`](super::Durability::Synced).
#[derive(Clone, Debug)]
pub struct Intent {
    /// When the call came in.
    pub time: SystemTime,
    /// The call; its record carries the same identifier.
    pub request_id: RequestId,
    /// The caller's name, if it proved one.
    pub caller: Option<LabelValue>,
    /// The profile the call leads to.
    pub profile: ProfileName,
    /// The operation, if the request matched one.
    pub operation: Option<LabelValue>,
    /// The method.
    pub method: Method,
    /// Path and query as received.
    pub target: Option<Target>,
}

/// What is known of the upstream connection's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// SHA-256 of the upstream's own certificate (DER).
    pub certificate: [u8; 32],
}

/// What became of a call, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The upstream answered, and the caller got its answer.
    Forwarded,
    /// Memory answered.
    Cached,
    /// The gateway said no before anything was sent.
    Refused,
    /// It was tried, and it failed or broke off.
    Failed,
}

impl Outcome {
    /// The word in the trail.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Cached => "cached",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What the cache did for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// Answered, fresh.
    Hit,
    /// Asked the upstream; there was nothing usable.
    Miss,
    /// Answered with something past its freshness, as the rules allow.
    Stale,
    /// Asked the upstream, which confirmed what was stored.
    Revalidated,
    /// Answered with what another call was fetching at the same moment.
    Collapsed,
    /// Was not to be used for this call.
    Bypass,
}

impl CacheResult {
    /// The word in the trail.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
        }
    }
}
