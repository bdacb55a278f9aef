//! Whether a response may be stored, and on what terms (RFC 9111 §3).
//!
//! Every request leaves here with Pigello's secret on it, though it has no `Authorization`. So a
//! response is only ever looked at under a rule that the operator wrote, and everything that the
//! upstream says against storing it wins over the rule.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    directives::{FOREVER, ResponseDirectives},
    freshness::{self, Freshness, Lifetime, Times},
    vary::Varies,
};
use crate::proxy::cache::settings::Rule;

/// The terms on which a response is stored.
#[derive(Clone, Debug)]
pub(in crate::proxy::cache) struct CachePolicy {
    pub(in crate::proxy::cache) freshness: Freshness,
    /// Never served without asking the upstream.
    pub(in crate::proxy::cache) no_cache: bool,
    /// May answer a request with `Authorization`.
    pub(in crate::proxy::cache) shares_authorized: bool,
    /// How long it may be served stale while it is fetched anew.
    pub(in crate::proxy::cache) stale_while_revalidate: Duration,
    /// How long it may be served stale while the upstream fails.
    pub(in crate::proxy::cache) stale_if_error: Duration,
    /// Whether nothing, not even a caller's `max-stale`, makes it serve stale.
    pub(in crate::proxy::cache) never_stale: bool,
    /// How long it is of any use, from when it arrived. Then it leaves memory.
    pub(in crate::proxy::cache) keep: Duration,
    /// Fields that are passed on but not stored.
    pub(in crate::proxy::cache) not_stored: Vec<HeaderName>,
}

/// Decides on a response. The reason for a no is one word for `Cache-Status`.
pub(in crate::proxy::cache) fn terms(
    status: StatusCode,
    headers: &HeaderMap,
    authorized: bool,
    rule: &Rule,
    times: Times,
) -> Result<CachePolicy, &'static str> {
    let allow = ResponseDirectives::read(headers);
    if status == StatusCode::NOT_MODIFIED {
        return Err("not-modified");
    }
    if allow.must_understand {
        if !is_understood(status) {
            return Err("not-understood");
        }
    } else if allow.no_store {
        return Err("no-store");
    }
    if allow.private {
        return Err("private");
    }
    if !Varies::read(headers).is_some_and(|varies| varies.is_selectable()) {
        return Err("vary");
    }
    if authorized && !allow.shares_authorized() {
        return Err("authorization");
    }
    let initial_age = freshness::initial_age(headers, times);
    let lifetime = match freshness::lifetime(status, headers, &allow, rule, times.wall) {
        Lifetime::Stated(lifetime) | Lifetime::Guessed(lifetime) => lifetime,
        // A part is stored only if the upstream itself says for how long.
        _ if status == StatusCode::PARTIAL_CONTENT => return Err("partial"),
        // A session is one caller's, unless the upstream states that the response is everybody's.
        _ if headers.contains_key(header::SET_COOKIE) => return Err("set-cookie"),
        Lifetime::FromRule(lifetime) => initial_age.saturating_add(lifetime),
        Lifetime::Unknown if status.as_u16() >= 400 => return Err("no-freshness"),
        Lifetime::Unknown if !freshness::is_heuristically_cacheable(status) && !allow.public => {
            return Err("status");
        }
        Lifetime::Unknown => Duration::ZERO,
    };
    let freshness = Freshness::new(lifetime, initial_age, times.answered);
    keep(freshness, status, headers, allow, rule, times)
}

/// How long it is of use; what is of none is not stored.
fn keep(
    freshness: Freshness,
    status: StatusCode,
    headers: &HeaderMap,
    allow: ResponseDirectives,
    rule: &Rule,
    times: Times,
) -> Result<CachePolicy, &'static str> {
    let never_stale = allow.never_stale();
    // An error is no stand-in for a better answer, nor worth asking about.
    let is_error = status.as_u16() >= 400;
    let has_validator =
        headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let stale = |stated: Option<Duration>, by_rule: Duration| match stated {
        _ if never_stale || is_error => Duration::ZERO,
        Some(stated) => stated,
        None => by_rule,
    };
    let stale_while_revalidate = stale(allow.stale_while_revalidate, *rule.stale_while_revalidate);
    let stale_if_error = stale(allow.stale_if_error, *rule.stale_if_error);
    let revalidation = if has_validator && !is_error {
        REVALIDATION.max(*rule.stale_if_error)
    } else {
        Duration::ZERO
    };
    let beyond = stale_while_revalidate.max(stale_if_error).max(revalidation);
    let fresh = freshness.left(times.answered).filter(|_| !allow.no_cache).unwrap_or_default();
    if allow.no_cache && revalidation.is_zero() {
        return Err("no-cache");
    }
    // What is stale already is of use for that much less.
    let stale_for = freshness.stale_for(times.answered);
    let keep = fresh.saturating_add(beyond.saturating_sub(stale_for).max(revalidation));
    if keep.is_zero() {
        return Err("no-freshness");
    }
    Ok(CachePolicy {
        freshness,
        no_cache: allow.no_cache,
        shares_authorized: allow.shares_authorized(),
        stale_while_revalidate,
        stale_if_error,
        never_stale,
        keep: keep.min(FOREVER),
        not_stored: allow.not_stored,
    })
}

/// `Date` of a response that came without one (RFC 9110 §6.6.1).
pub(in crate::proxy::cache) fn date_if_missing(headers: &mut HeaderMap, wall: SystemTime) {
    if super::http_date::read(headers, &header::DATE).is_none()
        && let Some(date) = super::http_date::format(wall)
    {
        headers.insert(header::DATE, date);
    }
}

/// Status codes whose caching requirements this cache implements (RFC 9111 §5.2.2.3).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=204 | 206 | 300 | 301 | 302 | 303 | 307 | 308 | 400..=417 | 500..=505
    )
}

/// How long a stale response with a validator is kept to ask whether it still holds.
const REVALIDATION: Duration = Duration::from_mins(1);

#[cfg(test)]
#[path = "storable_tests.rs"]
mod tests;
