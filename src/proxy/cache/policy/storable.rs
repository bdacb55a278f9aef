//! Whether a response may be stored, and under which policy (RFC 9111 §3).
//!
//! Every request leaves the gateway with Pigello's secret, although it has no `Authorization`; one that has its own
//! does not come here. So only
//! responses under one of the operator's rules are considered, and a directive of the upstream against
//! storing wins over the rule.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    directives::{FOREVER, ResponseDirectives},
    freshness::{self, Freshness, Lifetime, ResponseTimes},
    http_date,
    vary::VaryFields,
};
use crate::proxy::cache::settings::Rule;

/// How a stored response may be used.
#[derive(Clone, Debug)]
pub(in crate::proxy::cache) struct CachePolicy {
    pub(in crate::proxy::cache) freshness: Freshness,
    /// The lifetime while no notice can have been missed, if the rule has one.
    pub(in crate::proxy::cache) coherent: Option<Duration>,
    /// It may not be used without validation.
    pub(in crate::proxy::cache) no_cache: bool,
    /// How long it may be served stale while it is revalidated.
    pub(in crate::proxy::cache) stale_while_revalidate: Duration,
    /// How long it may be served stale while the upstream fails.
    pub(in crate::proxy::cache) stale_if_error: Duration,
    /// It is never served stale, not even for a request with `max-stale`.
    pub(in crate::proxy::cache) never_stale: bool,
    /// How long it is useful after its arrival. It leaves memory then.
    pub(in crate::proxy::cache) retention: Duration,
    /// Fields that reach the caller but are not stored.
    pub(in crate::proxy::cache) not_stored: Vec<HeaderName>,
}

/// Decides on a response. An error is the `detail` parameter of `Cache-Status`.
pub(in crate::proxy::cache) fn decide(
    status: StatusCode,
    headers: &HeaderMap,
    rule: &Rule,
    times: ResponseTimes,
) -> Result<CachePolicy, &'static str> {
    let directives = ResponseDirectives::read(headers);
    if status == StatusCode::NOT_MODIFIED {
        return Err("not-modified");
    }
    if is_for_one_request(status) {
        return Err("status");
    }
    if directives.must_understand {
        if !is_understood(status) {
            return Err("not-understood");
        }
    } else if directives.no_store {
        return Err("no-store");
    }
    if directives.private {
        return Err("private");
    }
    if !VaryFields::read(headers).is_some_and(|fields| fields.is_selectable()) {
        return Err("vary");
    }
    // Without the field it would be another response, unless the upstream says that it is not
    // (RFC 9111 §5.2.2.4, §5.2.2.7).
    if headers.contains_key(header::SET_COOKIE)
        && !directives.not_stored.contains(&header::SET_COOKIE)
    {
        return Err("set-cookie");
    }
    let initial_age = freshness::initial_age(headers, times);
    let lifetime = freshness::lifetime(status, headers, &directives, rule, times.wall);
    // What another cache has kept is older than its fetch, and notices of the time before have been heard.
    let is_new = !headers.contains_key(header::AGE);
    let coherent = match (&lifetime, rule.coherent_ttl) {
        (Lifetime::FromRule(_), Some(coherent_ttl)) if status == StatusCode::OK && is_new => {
            Some(initial_age.saturating_add(*coherent_ttl))
        }
        _ => None,
    };
    let lifetime = match lifetime {
        Lifetime::Stated(lifetime) | Lifetime::Heuristic(lifetime) => lifetime,
        Lifetime::FromRule(lifetime) => initial_age.saturating_add(lifetime),
        Lifetime::Unknown if status.as_u16() >= 400 => return Err("no-freshness"),
        Lifetime::Unknown
            if !freshness::is_heuristically_cacheable(status) && !directives.public =>
        {
            return Err("status");
        }
        Lifetime::Unknown => Duration::ZERO,
    };
    let freshness = Freshness::new(lifetime, initial_age, times.response);
    policy((freshness, coherent), status, headers, directives, rule, times)
}

/// The policy, unless the response would never be useful.
fn policy(
    (freshness, coherent): (Freshness, Option<Duration>),
    status: StatusCode,
    headers: &HeaderMap,
    directives: ResponseDirectives,
    rule: &Rule,
    times: ResponseTimes,
) -> Result<CachePolicy, &'static str> {
    let never_stale = directives.never_stale();
    // A stored error replaces no better response, and is not worth a validation.
    let is_error = status.as_u16() >= 400;
    let has_validator =
        headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let stale = |stated: Option<Duration>, by_rule: Duration| match stated {
        _ if never_stale || is_error => Duration::ZERO,
        Some(stated) => stated,
        None => by_rule,
    };
    let stale_while_revalidate =
        stale(directives.stale_while_revalidate, *rule.stale_while_revalidate);
    let stale_if_error = stale(directives.stale_if_error, *rule.stale_if_error);
    let revalidation = if has_validator && !is_error {
        REVALIDATION.max(*rule.stale_if_error)
    } else {
        Duration::ZERO
    };
    if directives.no_cache && revalidation.is_zero() {
        return Err("no-cache");
    }
    let fresh = freshness.left(times.response).filter(|_| !directives.no_cache);
    let usable_stale = stale_while_revalidate
        .max(stale_if_error)
        .max(revalidation)
        .saturating_sub(freshness.stale_for(times.response));
    let retention = fresh.unwrap_or_default().saturating_add(usable_stale.max(revalidation));
    let coherent_left =
        coherent.and_then(|lifetime| freshness.with_lifetime(lifetime).left(times.response));
    let retention = retention.max(coherent_left.unwrap_or_default());
    if retention.is_zero() {
        return Err("no-freshness");
    }
    Ok(CachePolicy {
        freshness,
        coherent,
        no_cache: directives.no_cache,
        stale_while_revalidate,
        stale_if_error,
        never_stale,
        retention: retention.min(FOREVER),
        not_stored: directives.not_stored,
    })
}

/// Adds `Date` to a response that came without a valid one (RFC 9110 §6.6.1).
pub(in crate::proxy::cache) fn date_if_missing(headers: &mut HeaderMap, wall: SystemTime) {
    if http_date::read(headers, &header::DATE).is_none()
        && let Some(date) = http_date::format(wall)
    {
        headers.insert(header::DATE, date);
    }
}

/// Whether a status is about one request, one caller or one moment, and no answer to others whatever its
/// lifetime is. A part of a response (206) answers nobody, because nobody asks the upstream for one. RFC 6585 forbids to store 428, 429, 431 and 511, RFC 8470 to reuse 425.
fn is_for_one_request(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::PARTIAL_CONTENT
            | StatusCode::UNAUTHORIZED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::EXPECTATION_FAILED
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_EARLY
            | StatusCode::PRECONDITION_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            | StatusCode::NETWORK_AUTHENTICATION_REQUIRED
    )
}

/// Whether this cache implements the caching requirements of a status code (RFC 9111 §5.2.2.3).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=204 | 300 | 301 | 302 | 303 | 307 | 308 | 400..=417 | 500..=505
    )
}

/// How long a stale response with a validator is kept for revalidation.
const REVALIDATION: Duration = Duration::from_mins(1);

#[cfg(test)]
#[path = "storable_tests.rs"]
mod tests;
