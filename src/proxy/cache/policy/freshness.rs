//! How old a response is, and how long it is fresh (RFC 9111 §4.2).
//!
//! Ages grow by the monotonic clock, so a wall clock that jumps changes nothing that is stored. The
//! wall clock is read once, when a response arrives, to compare it with the upstream's `Date`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;

use super::{
    directives::{FOREVER, ResponseDirectives},
    http_date,
};
use crate::proxy::cache::settings::Rule;

/// When a response was asked for and when its head arrived.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::cache) struct Times {
    pub(in crate::proxy::cache) asked: Instant,
    pub(in crate::proxy::cache) answered: Instant,
    pub(in crate::proxy::cache) wall: SystemTime,
}

/// How old a stored response is, and how long it is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct Freshness {
    lifetime: Duration,
    initial_age: Duration,
    since: Instant,
}

impl Freshness {
    pub(in crate::proxy::cache) fn new(
        lifetime: Duration,
        initial_age: Duration,
        since: Instant,
    ) -> Self {
        Self { lifetime, initial_age, since }
    }

    /// `current_age` (RFC 9111 §4.2.3).
    pub(in crate::proxy::cache) fn age(&self, now: Instant) -> Duration {
        self.initial_age.saturating_add(now.saturating_duration_since(self.since))
    }

    /// For how long it is fresh yet: `None` once it is stale.
    pub(in crate::proxy::cache) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.lifetime.saturating_sub(self.age(now));
        (!left.is_zero()).then_some(left)
    }

    /// For how long it has been stale: zero while it is fresh.
    pub(in crate::proxy::cache) fn stale_for(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }
}

/// `corrected_initial_age` (RFC 9111 §4.2.3).
pub(in crate::proxy::cache) fn initial_age(headers: &HeaderMap, times: Times) -> Duration {
    let apparent = http_date::read(headers, &header::DATE)
        .and_then(|date| times.wall.duration_since(date).ok())
        .unwrap_or_default();
    let delay = times.answered.saturating_duration_since(times.asked);
    apparent.max(age_field(headers).saturating_add(delay))
}

/// `Age` (RFC 9111 §5.1): the first member counts, and what is no number is not there.
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

/// Where a lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) enum Lifetime {
    /// The response states it; it counts from when the response was made.
    Stated(Duration),
    /// The rule sets it; it counts from when the response arrived, so that a clock of the upstream
    /// that is behind ours does not turn the rule off.
    FromRule(Duration),
    /// A tenth of the time since the last change.
    Guessed(Duration),
    /// Nothing says how long it is fresh.
    Unknown,
}

/// `freshness_lifetime` (RFC 9111 §4.2.1, §4.2.2), with the rule's `ttl` before a guess.
pub(in crate::proxy::cache) fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    allow: &ResponseDirectives,
    rule: &Rule,
    wall: SystemTime,
) -> Lifetime {
    if let Some(stated) = allow.s_maxage.or(allow.max_age) {
        return Lifetime::Stated(stated);
    }
    if headers.contains_key(header::EXPIRES) && !allow.targeted {
        let made = http_date::read(headers, &header::DATE).unwrap_or(wall);
        let expires = http_date::read(headers, &header::EXPIRES);
        let stated = expires.and_then(|expires| expires.duration_since(made).ok());
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
    if rule.is_heuristic() && (is_heuristically_cacheable(status) || allow.public) {
        let made = http_date::read(headers, &header::DATE).unwrap_or(wall);
        let changed = http_date::read(headers, &header::LAST_MODIFIED);
        if let Some(since) = changed.and_then(|changed| made.duration_since(changed).ok()) {
            return Lifetime::Guessed((since / 10).min(LONGEST_GUESS));
        }
    }
    Lifetime::Unknown
}

/// RFC 9110 §15.1, without 206: how long a part is fresh is not guessed.
pub(in crate::proxy::cache) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// RFC 9111 §4.2.2 leaves the bound to the cache; a day is what it gives as the time after which a
/// guess was once to be warned of.
const LONGEST_GUESS: Duration = Duration::from_hours(24);

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
