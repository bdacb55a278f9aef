//! Whether a stored response may answer a request (RFC 9111 §4, RFC 5861).

use std::time::Duration;

use tokio::time::Instant;

use super::{directives::RequestDirectives, storable::CachePolicy};
use crate::proxy::profile::Validity;

/// The use that a request may make of a stored response. A word is the `detail` of `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) enum Reuse {
    /// Serve it: it stays fresh for this long.
    Fresh(Duration),
    /// Serve it: it stays fresh for this long, if no notice of a change comes.
    Coherent(Duration),
    /// Serve it although it is stale.
    Stale(&'static str),
    /// Serve it although it is stale, and revalidate it in the background.
    StaleWhileRevalidate(&'static str),
    /// Validate it: it is stale, or it is `no-cache`.
    Validate,
    /// Validate it: it is fresh, but the request's own directives want validation.
    ValidateOnRequest,
}

/// How the upstream answered the last attempt to revalidate a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) enum LastAttempt {
    /// It did not fail, or there was no attempt.
    NotFailed,
    /// It failed, and the next attempt is due.
    Failed,
    /// It failed a moment ago.
    JustFailed,
}

impl CachePolicy {
    pub(in crate::proxy::cache) fn reuse(
        &self,
        request: &RequestDirectives,
        validity: Validity,
        last_attempt: LastAttempt,
        now: Instant,
    ) -> Reuse {
        if self.no_cache {
            return Reuse::Validate;
        }
        let coherent = self.coherent.filter(|_| validity == Validity::Coherent);
        let freshness = coherent.map_or(self.freshness, |it| self.freshness.with_lifetime(it));
        let (age, stale_for) = (freshness.age(now), freshness.stale_for(now));
        let is_too_old = request.no_cache || request.max_age.is_some_and(|most| age > most);
        match freshness.left(now) {
            Some(left) if !is_too_old && request.min_fresh.is_none_or(|least| left >= least) => {
                if coherent.is_some() {
                    Reuse::Coherent(left)
                } else {
                    Reuse::Fresh(left)
                }
            }
            Some(_) => Reuse::ValidateOnRequest,
            None if is_too_old || request.min_fresh.is_some() || self.never_stale => {
                Reuse::Validate
            }
            None if request.max_stale.is_some_and(|most| stale_for <= most) => {
                Reuse::Stale("stale-allowed")
            }
            // The caller does not wait for another attempt, which would probably fail as well.
            None if last_attempt != LastAttempt::NotFailed
                && self.serves_on_error(request, now) =>
            {
                if last_attempt == LastAttempt::JustFailed {
                    Reuse::Stale(UPSTREAM_ERROR)
                } else {
                    Reuse::StaleWhileRevalidate(UPSTREAM_ERROR)
                }
            }
            None if stale_for < self.stale_while_revalidate => {
                Reuse::StaleWhileRevalidate("revalidating")
            }
            None => Reuse::Validate,
        }
    }

    /// Whether it may be served instead of an error (RFC 5861 §4).
    pub(in crate::proxy::cache) fn serves_on_error(
        &self,
        request: &RequestDirectives,
        now: Instant,
    ) -> bool {
        let most = self.stale_if_error.max(request.stale_if_error.unwrap_or_default());
        !self.never_stale && !request.no_cache && self.freshness.stale_for(now) < most
    }

    /// How long it may still be used without validation.
    pub(in crate::proxy::cache) fn ttl(&self, now: Instant) -> Option<Duration> {
        self.freshness.left(now).filter(|_| !self.no_cache)
    }

    /// Whether it is still useful. It leaves memory otherwise.
    pub(in crate::proxy::cache) fn is_useful(&self, now: Instant) -> bool {
        self.freshness.resident(now) < self.retention
    }
}

/// The `detail` of a stale response that is served instead of an error.
pub(in crate::proxy::cache) const UPSTREAM_ERROR: &str = "upstream-error";
