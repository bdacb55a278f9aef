//! The rate limit of one activation.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How many calls of an activation the mock answers; the others get 429 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many calls it answers in each second; 0 for none.
    pub calls_per_second: u32,
    /// The value of `Retry-After`, in seconds.
    pub retry_after: u32,
}

/// Counts the calls of the current second.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) limit: RateLimit,
    since: Instant,
    calls: u32,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, since: now, calls: 0 }
    }

    /// Whether the limit admits one more call.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            (self.since, self.calls) = (now, 0);
        }
        let admits = self.calls < self.limit.calls_per_second;
        self.calls += u32::from(admits);
        admits
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_calls() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let limit = |calls_per_second| RateLimit { calls_per_second, retry_after: 1 };
        let mut limiter = Limiter::new(limit(2), start);
        let admitted: Vec<bool> =
            [0, 10, 999, 1_000, 1_500, 1_999, 2_000].map(|ms| limiter.admits(at(ms))).to_vec();
        assert_eq!(admitted, [true, true, false, true, true, false, true]);
        assert!(!Limiter::new(limit(0), start).admits(at(10_000)));
    }
}
