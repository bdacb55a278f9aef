//! One stored response, prepared so that serving it is cheap.
//!
//! The stored header is complete and has room for the fields that every answer sets. All bytes are
//! copies: the frames that hyper hands over are slices of read buffers and would keep those alive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::epochs::{EpochStamp, Epochs};
use crate::{
    audit::CacheResult,
    domain::{Operation, RequestId},
    proxy::{
        cache::{
            policy::{
                directives::RequestDirectives,
                reuse::{LastAttempt, Reuse},
                storable::CachePolicy,
                validation::Validators,
                vary::Variant,
            },
            status::CACHE_STATUS,
        },
        call::{CallFacts, REQUEST_ID},
        profile::{FeedMark, Validity},
    },
};

/// A stored response.
#[derive(Debug)]
pub(in crate::proxy::cache) struct StoredResponse {
    pub(in crate::proxy::cache) status: StatusCode,
    pub(in crate::proxy::cache) headers: HeaderMap,
    pub(in crate::proxy::cache) body: Bytes,
    pub(in crate::proxy::cache) policy: CachePolicy,
    pub(in crate::proxy::cache) validators: Validators,
    pub(in crate::proxy::cache) variant: Variant,
    pub(in crate::proxy::cache) provenance: Provenance,
    weight: u32,
    /// When the upstream is asked again after a failure, in milliseconds since the response arrived.
    /// Zero if it has not failed.
    retry_at: AtomicU64,
}

/// The fetch that a stored response comes from.
#[derive(Clone, Debug)]
pub(in crate::proxy::cache) struct Provenance {
    /// The call that fetched the body.
    pub(in crate::proxy::cache) request_id: RequestId,
    /// The chain of the trail that has that call, if it is another member's.
    pub(in crate::proxy::cache) chain: Option<Arc<str>>,
    pub(in crate::proxy::cache) operation: Option<Arc<Operation>>,
    pub(in crate::proxy::cache) stamp: EpochStamp,
    pub(in crate::proxy::cache) mark: FeedMark,
}

impl Provenance {
    /// Notes for the record of a call that this answers it.
    pub(in crate::proxy::cache) fn note(&self, result: CacheResult, facts: &mut CallFacts) {
        facts.cache = Some(result);
        facts.source_request_id = Some(self.request_id);
        facts.source_chain.clone_from(&self.chain);
    }

    /// Whether neither a write nor a notice has outdated what the fetch brings.
    pub(in crate::proxy::cache) fn is_current(&self, epochs: &Epochs) -> bool {
        epochs.is_current(&self.stamp) && !self.mark.is_dropped()
    }
}

impl StoredResponse {
    pub(in crate::proxy::cache) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        policy: CachePolicy,
        variant: Variant,
        provenance: Provenance,
    ) -> Self {
        let headers = compact(headers, &policy, status, body.len());
        // Read from the copy: the original values would keep their read buffer alive.
        let validators = Validators::read(&headers);
        let weight = weight(&headers, &body, variant.heap_bytes());
        let retry_at = AtomicU64::new(0);
        Self { status, headers, body, policy, validators, variant, provenance, weight, retry_at }
    }

    /// The bytes that it takes in memory.
    pub(in crate::proxy::cache) fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether it may answer a request (RFC 9111 §4).
    pub(in crate::proxy::cache) fn reuse(
        &self,
        request: &RequestDirectives,
        validity: Validity,
        now: Instant,
    ) -> Reuse {
        let last_attempt = match self.retry_at.load(Ordering::Relaxed) {
            0 => LastAttempt::NotFailed,
            retry_at if millis(self.policy.freshness.resident(now)) < retry_at => {
                LastAttempt::JustFailed
            }
            _ => LastAttempt::Failed,
        };
        self.policy.reuse(request, validity, last_attempt, now)
    }

    /// Notes that the upstream failed: for a moment callers get this response without an attempt.
    pub(in crate::proxy::cache) fn upstream_failed(&self, now: Instant) {
        let retry_at = self.policy.freshness.resident(now).saturating_add(RETRY_AFTER);
        self.retry_at.store(millis(retry_at), Ordering::Relaxed);
    }
}

/// A copy of a header that owns its bytes. All values are slices of one allocation.
fn compact(
    headers: &HeaderMap,
    policy: &CachePolicy,
    status: StatusCode,
    length: usize,
) -> HeaderMap {
    let is_stored = |name: &HeaderName| {
        *name != header::CONTENT_LENGTH
            && !NOT_STORED.contains(name)
            && !SET_BY_ANSWER.contains(name)
            && !policy.not_stored.contains(name)
    };
    let length = (status != StatusCode::NO_CONTENT).then(|| HeaderValue::from(length));
    let length = length.as_ref().map(|length| (&header::CONTENT_LENGTH, length));
    let stored = || headers.iter().filter(|(name, _)| is_stored(name)).chain(length);
    let copied = || stored().map(|(_, value)| value).filter(|value| frequent(value).is_none());
    let mut bytes = BytesMut::with_capacity(copied().map(HeaderValue::len).sum());
    for value in copied() {
        bytes.extend_from_slice(value.as_bytes());
    }
    let mut bytes = bytes.freeze();
    let mut compact = HeaderMap::with_capacity(
        headers.len().saturating_add(SET_BY_ANSWER.len()).saturating_add(1),
    );
    for (name, value) in stored() {
        if let Some(known) = frequent(value) {
            compact.append(name.clone(), known);
            continue;
        }
        let copy = bytes.split_to(value.len().min(bytes.len()));
        if let Ok(copy) = HeaderValue::from_maybe_shared(copy) {
            compact.append(name.clone(), copy);
        }
    }
    for name in SET_BY_ANSWER {
        compact.insert(name, HeaderValue::from_static(""));
    }
    // A map grows in powers of two. Its clone has no spare room.
    compact.clone()
}

/// A frequent value as a static one. Every hit clones and drops the values, and a static value has no
/// reference count that cores would contend for.
fn frequent(value: &HeaderValue) -> Option<HeaderValue> {
    let known = FREQUENT.iter().find(|known| known.as_bytes() == value.as_bytes())?;
    Some(HeaderValue::from_static(known))
}

/// The bytes that a stored response takes in memory.
fn weight(headers: &HeaderMap, body: &Bytes, extra: usize) -> u32 {
    let fields =
        headers.iter().flat_map(|(name, value)| [FIELD_BYTES, name.as_str().len(), value.len()]);
    let bytes = fields.chain([body.len(), extra]).fold(RESPONSE_BYTES, usize::saturating_add);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The fields that every answer sets. The stored header has an empty value for each, so that setting
/// them moves nothing.
const SET_BY_ANSWER: [HeaderName; 3] = [header::AGE, CACHE_STATUS, REQUEST_ID];

/// Values that Django and the servers in front of it send with most responses.
const FREQUENT: [&str; 16] = [
    "application/json",
    "application/json; charset=utf-8",
    "text/html; charset=utf-8",
    "text/plain; charset=utf-8",
    "DENY",
    "SAMEORIGIN",
    "nosniff",
    "same-origin",
    "strict-origin-when-cross-origin",
    "Accept",
    "Accept, Cookie",
    "Accept, Accept-Language, Cookie, Origin",
    "Accept-Encoding",
    "GET, PUT, PATCH, DELETE, HEAD, OPTIONS",
    "max-age=31536000; includeSubDomains",
    "nginx",
];

/// Proxy authentication fields: `hop_by_hop` keeps them, but they are for one caller alone.
const NOT_STORED: [HeaderName; 3] = [
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// How long a stale response is served after a failure before the upstream is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The bytes of a stored response besides its header, body and key: its own fields, the bookkeeping of
/// the store and the allocator's overhead. This and the next were measured; `tests/cost.rs` checks them.
const RESPONSE_BYTES: usize = 1350;
/// The bytes of a header field besides its name and value.
const FIELD_BYTES: usize = 104;
