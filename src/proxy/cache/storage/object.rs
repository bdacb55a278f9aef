//! One stored response, made so that serving it is cheap.
//!
//! Everything that can be decided when it is stored is decided then. Its header is complete, with
//! places for the fields that each answer gets its own value of, and its bytes are its own: what
//! hyper hands over are slices of read buffers, which would keep those buffers alive.

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

use super::epochs::Stamp;
use crate::{
    domain::{Operation, RequestId},
    proxy::{
        cache::{
            policy::{
                directives::RequestDirectives, range::Piece, storable::CachePolicy,
                validation::Validators, vary::Variant,
            },
            status::CACHE_STATUS,
        },
        call::REQUEST_ID,
    },
};

/// A stored response.
#[derive(Debug)]
pub(in crate::proxy::cache) struct Object {
    pub(in crate::proxy::cache) status: StatusCode,
    pub(in crate::proxy::cache) headers: HeaderMap,
    pub(in crate::proxy::cache) body: Bytes,
    pub(in crate::proxy::cache) terms: CachePolicy,
    pub(in crate::proxy::cache) validators: Validators,
    pub(in crate::proxy::cache) variant: Variant,
    /// What part of the whole it is, if it is not all of it.
    pub(in crate::proxy::cache) piece: Option<Piece>,
    pub(in crate::proxy::cache) stamp: Stamp,
    /// The call whose upstream answer it is.
    pub(in crate::proxy::cache) source: RequestId,
    pub(in crate::proxy::cache) operation: Option<Arc<Operation>>,
    received: Instant,
    weight: u32,
    /// Milliseconds after `received` until which the upstream is not asked again; zero as long as it
    /// has not failed.
    spared_until: AtomicU64,
}

/// Where an object comes from.
#[derive(Clone, Debug)]
pub(in crate::proxy::cache) struct Origin {
    pub(in crate::proxy::cache) source: RequestId,
    pub(in crate::proxy::cache) operation: Option<Arc<Operation>>,
    pub(in crate::proxy::cache) stamp: Stamp,
}

/// What a stored object is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) enum Reuse {
    /// It is fresh for this long yet.
    Fresh(Duration),
    /// It is stale and may be served; the word says why, for `Cache-Status`.
    Stale(&'static str),
    /// It is stale and may be served while it is fetched anew.
    WhileRevalidating(&'static str),
    /// The upstream must be asked: it is stale.
    RequestDirectives,
    /// The upstream must be asked: the caller wants it.
    Wanted,
    /// It is not for this caller.
    Never,
}

impl Object {
    pub(in crate::proxy::cache) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        terms: CachePolicy,
        (variant, piece): (Variant, Option<Piece>),
        origin: Origin,
        received: Instant,
    ) -> Self {
        let headers = compact(headers, &terms, status, body.len());
        // Of the copy: a value of the original would keep the buffer it was read into.
        let validators = Validators::read(&headers);
        let extra = variant.heap_bytes() + piece.as_ref().map_or(0, Piece::heap_bytes);
        let weight = weight(&headers, &body, extra);
        let Origin { source, operation, stamp } = origin;
        let spared_until = AtomicU64::new(0);
        Self {
            status,
            headers,
            body,
            terms,
            validators,
            variant,
            piece,
            stamp,
            source,
            operation,
            received,
            weight,
            spared_until,
        }
    }

    /// The header as a 304 leaves it (RFC 9111 §3.2).
    pub(in crate::proxy::cache) fn updated_headers(&self, not_modified: &HeaderMap) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in OWN_FIELDS {
            headers.remove(name);
        }
        for name in not_modified.keys().filter(|name| !DESCRIBES_BODY.contains(name)) {
            headers.remove(name);
            for value in not_modified.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers
    }

    /// Whether the header of an answer to HEAD is about these bytes (RFC 9111 §4.3.5): neither its
    /// length nor a validator in it is another one.
    pub(in crate::proxy::cache) fn is_described_by(&self, told: &HeaderMap) -> bool {
        let length = told.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let is_as_long = length.is_none_or(|length| length.parse() == Ok(self.body.len()));
        self.piece.is_none() && is_as_long && self.validators.confirmed_by(told)
    }

    /// The bytes it takes in memory.
    pub(in crate::proxy::cache) fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether it holds what a request asks for, as far as its fields say.
    pub(in crate::proxy::cache) fn answers(&self, request: &HeaderMap, is_head: bool) -> bool {
        let has_bytes = self.piece.as_ref().is_none_or(|piece| {
            !is_head
                && request.get(header::IF_RANGE).is_none_or(|tag| self.validators.in_range(tag))
                && piece.bytes_for(request, self.body.len()).is_some()
        });
        has_bytes && self.variant.answers(request)
    }

    /// Whether it takes another's place: that is the same variant, and no more of it.
    pub(in crate::proxy::cache) fn replaces(&self, other: &Self) -> bool {
        let is_no_less = self.piece.is_none() || self.piece == other.piece;
        is_no_less && self.variant.is_same(&other.variant)
    }

    /// Whether it is of any use yet. What is of none leaves memory.
    pub(in crate::proxy::cache) fn is_kept(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.received) < self.terms.keep
    }

    /// Whether it may answer a request (RFC 9111 §4).
    pub(in crate::proxy::cache) fn reuse(
        &self,
        ask: &RequestDirectives,
        authorized: bool,
        now: Instant,
    ) -> Reuse {
        if authorized && !self.terms.shares_authorized {
            return Reuse::Never;
        }
        if self.terms.no_cache {
            return Reuse::RequestDirectives;
        }
        let (age, left) = (self.terms.freshness.age(now), self.terms.freshness.left(now));
        let stale_for = self.stale_for(now);
        let is_wanted_anew = ask.no_cache || ask.max_age.is_some_and(|most| age > most);
        match left {
            Some(left) if !is_wanted_anew && ask.min_fresh.is_none_or(|least| left >= least) => {
                Reuse::Fresh(left)
            }
            Some(_) => Reuse::Wanted,
            None if is_wanted_anew || ask.min_fresh.is_some() => Reuse::RequestDirectives,
            None if self.terms.never_stale => Reuse::RequestDirectives,
            None if ask.max_stale.is_some_and(|most| stale_for <= most) => {
                Reuse::Stale("stale-allowed")
            }
            None if self.serves_on_error(ask, now) && self.has_failed() => {
                // The caller does not wait for the next attempt: it would wait in vain, most likely.
                if self.is_spared(now) {
                    Reuse::Stale(UPSTREAM_ERROR)
                } else {
                    Reuse::WhileRevalidating(UPSTREAM_ERROR)
                }
            }
            None if stale_for < self.terms.stale_while_revalidate => {
                Reuse::WhileRevalidating("revalidating")
            }
            None => Reuse::RequestDirectives,
        }
    }

    /// Whether it may be served instead of an error (RFC 5861 §4).
    pub(in crate::proxy::cache) fn serves_on_error(
        &self,
        ask: &RequestDirectives,
        now: Instant,
    ) -> bool {
        let most = self.terms.stale_if_error.max(ask.stale_if_error.unwrap_or_default());
        !self.terms.never_stale && !ask.no_cache && self.terms.freshness.stale_for(now) < most
    }

    /// How long it has been stale.
    pub(in crate::proxy::cache) fn stale_for(&self, now: Instant) -> Duration {
        self.terms.freshness.stale_for(now)
    }

    /// How long it is fresh yet.
    pub(in crate::proxy::cache) fn left(&self, now: Instant) -> Option<Duration> {
        self.terms.freshness.left(now).filter(|_| !self.terms.no_cache)
    }

    /// The upstream failed: for a moment callers get this without trying again.
    pub(in crate::proxy::cache) fn spare(&self, now: Instant) {
        let until = now.saturating_duration_since(self.received) + RETRY_AFTER;
        self.spared_until.store(millis(until), Ordering::Relaxed);
    }

    /// Whether the last attempt to fetch it anew failed.
    fn has_failed(&self) -> bool {
        self.spared_until.load(Ordering::Relaxed) > 0
    }

    fn is_spared(&self, now: Instant) -> bool {
        let until = self.spared_until.load(Ordering::Relaxed);
        millis(now.saturating_duration_since(self.received)) < until
    }
}

/// A copy of a header that owns its bytes: all values are parts of one allocation.
fn compact(
    headers: &HeaderMap,
    terms: &CachePolicy,
    status: StatusCode,
    length: usize,
) -> HeaderMap {
    let is_stored = |name: &HeaderName| {
        !NOT_STORED.contains(name) && !OWN_FIELDS.contains(name) && !terms.not_stored.contains(name)
    };
    let length = (status != StatusCode::NO_CONTENT).then(|| HeaderValue::from(length));
    let length = length.as_ref().map(|length| (&header::CONTENT_LENGTH, length));
    let kept = || {
        let others = headers.iter().filter(|(name, _)| is_stored(name));
        others.filter(|(name, _)| **name != header::CONTENT_LENGTH).chain(length)
    };
    let is_own = |value: &HeaderValue| frequent(value).is_none();
    let own = || kept().map(|(_, value)| value).filter(|value| is_own(value));
    let mut bytes = BytesMut::with_capacity(own().map(HeaderValue::len).sum());
    for value in own() {
        bytes.extend_from_slice(value.as_bytes());
    }
    let mut bytes = bytes.freeze();
    let mut compact = HeaderMap::with_capacity(headers.len() + OWN_FIELDS.len() + 1);
    for (name, value) in kept() {
        if let Some(known) = frequent(value) {
            compact.append(name.clone(), known);
            continue;
        }
        let own = bytes.split_to(value.len().min(bytes.len()));
        if let Ok(own) = HeaderValue::from_maybe_shared(own) {
            compact.append(name.clone(), own);
        }
    }
    for name in OWN_FIELDS {
        compact.insert(name, HeaderValue::from_static(""));
    }
    // A map grows in powers of two; its clone has room for what is in it and no more.
    compact.clone()
}

/// A value that many responses have, as one that is no part of any allocation. Copies of such a
/// value, which each hit makes and drops, count no references, so cores do not meet over them.
fn frequent(value: &HeaderValue) -> Option<HeaderValue> {
    let known = FREQUENT.iter().find(|known| known.as_bytes() == value.as_bytes())?;
    Some(HeaderValue::from_static(known))
}

/// The bytes an object takes in memory.
fn weight(headers: &HeaderMap, body: &Bytes, extra: usize) -> u32 {
    let fields: usize =
        headers.iter().map(|(name, value)| FIELD_BYTES + name.as_str().len() + value.len()).sum();
    let bytes = OBJECT_BYTES + fields + body.len() + extra;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Each answer has its own value of these. They have their place in the stored header, so that
/// setting them moves nothing.
const OWN_FIELDS: [HeaderName; 3] = [header::AGE, CACHE_STATUS, REQUEST_ID];

/// What Django and the servers in front of it say on most answers.
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

/// Fields of one connection that `hop_by_hop` does not know, being about a proxy's own caller.
const NOT_STORED: [HeaderName; 3] = [
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Fields that belong to the stored bytes: a 304 does not change them (RFC 9111 §3.2).
pub(in crate::proxy::cache) const DESCRIBES_BODY: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::TRANSFER_ENCODING,
];

/// The word for a stale answer instead of an error.
pub(in crate::proxy::cache) const UPSTREAM_ERROR: &str = "upstream-error";

/// After the upstream failed, a stale object is served for this long before it is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What an object takes besides its header, body and key: its own fields, the cache's records and
/// what the allocator adds. This and the next were measured, and `tests/cost.rs` holds them.
const OBJECT_BYTES: usize = 1300;
/// What a header field takes besides its name and value.
const FIELD_BYTES: usize = 104;
