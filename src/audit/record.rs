//! The record of one finished call, as the request path submits it.
//!
//! The path's thread builds it, so it holds only what is cheap: shared names, numbers and a copy of
//! the target. The writer thread encodes it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};

use super::target::Target;
use crate::domain::{CredentialsName, LabelValue, ListenerName, ProfileName, Proof, RequestId};

/// One finished call.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the call arrived.
    pub time: SystemTime,
    /// The gateway's identifier of the call.
    pub request_id: RequestId,
    /// The distributed trace of the call.
    pub trace_id: u128,
    /// The listener that accepted the call.
    pub listener: ListenerName,
    /// The caller's name, if the caller was identified.
    pub caller: Option<LabelValue>,
    /// The proof that identified the caller.
    pub caller_proof: Option<Proof>,
    /// The profile the listener leads to.
    pub profile: ProfileName,
    /// The operation, if the request matched one.
    pub operation: Option<LabelValue>,
    /// The method.
    pub method: Method,
    /// Path and query as received, canonical or not; the trail keeps the path and the query's names.
    /// `None` if the request target was not a path.
    pub target: Option<Target>,
    /// The status sent to the caller; `None` if the caller left before.
    pub status: Option<StatusCode>,
    /// How the call ended.
    pub outcome: Outcome,
    /// The cache's result, if the call reached the cache.
    pub cache: Option<CacheResult>,
    /// For a cache hit: the call that fetched the response from the upstream.
    pub source_request_id: Option<RequestId>,
    /// The upstream's own status, if it responded.
    pub upstream_status: Option<StatusCode>,
    /// The TLS parameters of the upstream connection, if one was used.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// How many attempts were made at the upstream.
    pub attempts: u32,
    /// Why each attempt but the last was abandoned: labels of [`Kind`](crate::error::Kind).
    pub retries: Vec<&'static str>,
    /// The version of the credentials that were sent.
    pub credential_version: Option<Arc<str>>,
    /// From the request head to the last byte of the response.
    pub duration: Duration,
    /// How long its requests waited to be sent, because the worker was saturated.
    pub queue_time: Duration,
    /// From the first attempt to the upstream's response head.
    pub upstream_time: Option<Duration>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the response body that were sent.
    pub response_bytes: u64,
    /// Why the call failed or was refused: a label of [`Kind`](crate::error::Kind).
    pub error: Option<&'static str>,
    /// Why an enforcing policy would have refused the call: a label of
    /// [`Kind`](crate::error::Kind).
    pub would_refuse: Option<&'static str>,
    /// How many response fields were removed because they carry the name of an injected field.
    pub masked_fields: u32,
}

/// A call that is about to use a credential. With [`Synced`](super::Durability::Synced) it is on disk
/// before the secret leaves the process.
#[derive(Clone, Debug)]
pub struct Intent {
    /// When the call arrived.
    pub time: SystemTime,
    /// The call; its record carries the same identifier.
    pub request_id: RequestId,
    /// The caller's name, if the caller was identified.
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

/// Something that an operator did over the admin listener.
#[derive(Clone, Debug)]
pub struct AdminAction {
    /// When it was done.
    pub time: SystemTime,
    /// What was done: `purge`, `refresh`, `verify`, `page_link`, `page`.
    pub action: &'static str,
    /// Who did it: the user of a Unix socket, a token's role and fingerprint, or a session of the page.
    pub who: String,
    /// The operation that it was limited to.
    pub operation: Option<String>,
    /// The UUID of the object that it was limited to.
    pub object: Option<String>,
    /// The credential set that it was about.
    pub credentials: Option<CredentialsName>,
    /// What came of it, in a few words.
    pub result: String,
}

/// The TLS parameters of an upstream connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// SHA-256 of the upstream's own certificate (DER).
    pub certificate: [u8; 32],
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The caller got the upstream's response.
    Forwarded,
    /// The caller got a response from the cache.
    Cached,
    /// The gateway refused the call before it sent anything to the upstream.
    Refused,
    /// The call failed or was interrupted.
    Failed,
}

impl Outcome {
    /// The value of the line's field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Cached => "cached",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The cache's result for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// A fresh stored response.
    Hit,
    /// No usable stored response; the call went to the upstream.
    Miss,
    /// A stale stored response, as the cache rules allow.
    Stale,
    /// A stored response that the upstream confirmed.
    Revalidated,
    /// The response to another call's concurrent request.
    Collapsed,
    /// The cache was not used for this call.
    Bypass,
}

impl CacheResult {
    /// The value of the line's field.
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
