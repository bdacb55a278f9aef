//! The age of a response and its freshness lifetime (RFC 9111 §4.2).
//!
//! Ages grow with the monotonic clock, so a jump of the wall clock does not change them. The wall clock
//! is read once, when a response arrives, for the comparison with `Date`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;

use super::{
    directives::{FOREVER, ResponseDirectives},
    http_date,
};
use crate::proxy::cache::settings::Rule;

/// When a request was sent and when the head of its response arrived (RFC 9111 §4.2.3).
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::cache) struct ResponseTimes {
    pub(in crate::proxy::cache) request: Instant,
    pub(in crate::proxy::cache) response: Instant,
    /// The time of day at `response`.
    pub(in crate::proxy::cache) wall: SystemTime,
}

/// The age of a stored response and its freshness lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct Freshness {
    lifetime: Duration,
    initial_age: Duration,
    received: Instant,
}

impl Freshness {
    pub(in crate::proxy::cache) fn new(
        lifetime: Duration,
        initial_age: Duration,
        received: Instant,
    ) -> Self {
        Self { lifetime, initial_age, received }
    }

    /// The same with another lifetime.
    pub(in crate::proxy::cache) fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// How long the response has been stored.
    pub(in crate::proxy::cache) fn resident(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.received)
    }

    /// `current_age` (RFC 9111 §4.2.3).
    pub(in crate::proxy::cache) fn age(&self, now: Instant) -> Duration {
        self.initial_age.saturating_add(self.resident(now))
    }

    /// How long it will stay fresh. `None` if it is stale.
    pub(in crate::proxy::cache) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.lifetime.saturating_sub(self.age(now));
        (!left.is_zero()).then_some(left)
    }

    /// How long it has been stale. Zero while it is fresh.
    pub(in crate::proxy::cache) fn stale_for(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }
}

/// `corrected_initial_age` (RFC 9111 §4.2.3).
pub(in crate::proxy::cache) fn initial_age(headers: &HeaderMap, times: ResponseTimes) -> Duration {
    let apparent = http_date::read(headers, &header::DATE)
        .and_then(|date| times.wall.duration_since(date).ok())
        .unwrap_or_default();
    let delay = times.response.saturating_duration_since(times.request);
    apparent.max(age_field(headers).saturating_add(delay))
}

/// `Age` (RFC 9111 §5.1). The first member counts; an invalid number counts as zero.
fn age_field(headers: &HeaderMap) -> Duration {
    let first = headers
        .get(header::AGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(',').next().map(str::trim).filter(|text| !text.is_empty()));
    match first {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_or(FOREVER, Duration::from_secs).min(FOREVER)
        }
        _ => Duration::ZERO,
    }
}

/// A freshness lifetime and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) enum Lifetime {
    /// The response states it. It counts from the response's generation.
    Stated(Duration),
    /// The rule sets it. It counts from the response's arrival, so that an upstream clock that is slow
    /// does not cancel the rule.
    FromRule(Duration),
    /// A tenth of the time since `Last-Modified`.
    Heuristic(Duration),
    /// Nothing says how long it is fresh.
    Unknown,
}

/// `freshness_lifetime` (RFC 9111 §4.2.1, §4.2.2). The rule's `ttl` comes before the heuristic.
pub(in crate::proxy::cache) fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    rule: &Rule,
    wall: SystemTime,
) -> Lifetime {
    if let Some(stated) = directives.s_maxage.or(directives.max_age) {
        return Lifetime::Stated(stated);
    }
    let date = || http_date::read(headers, &header::DATE).unwrap_or(wall);
    if headers.contains_key(header::EXPIRES) && !directives.targeted {
        let expires = http_date::read(headers, &header::EXPIRES);
        let stated = expires.and_then(|expires| expires.duration_since(date()).ok());
        return Lifetime::Stated(stated.unwrap_or_default());
    }
    let by_rule = match status.as_u16() {
        200 => *rule.ttl,
        404 | 410 => *rule.negative_ttl,
        _ => Duration::ZERO,
    };
    if !by_rule.is_zero() {
        return Lifetime::FromRule(by_rule);
    }
    if rule.is_heuristic() && (is_heuristically_cacheable(status) || directives.public) {
        let changed = http_date::read(headers, &header::LAST_MODIFIED);
        if let Some(since) = changed.and_then(|changed| date().duration_since(changed).ok()) {
            return Lifetime::Heuristic(
                since.checked_div(10).unwrap_or_default().min(LONGEST_HEURISTIC),
            );
        }
    }
    Lifetime::Unknown
}

/// RFC 9110 §15.1. 206 is left out: the cache does not guess a lifetime for a partial response.
pub(in crate::proxy::cache) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// RFC 9111 §4.2.2 leaves the bound to the cache. A day is the age from which RFC 7234 §5.5.4 had a
/// cache warn of a heuristic lifetime.
const LONGEST_HEURISTIC: Duration = Duration::from_hours(24);

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
