//! Pauses between attempts: exponential backoff with full jitter, intervals with some jitter, and what a
//! server asks for.
//!
//! The jitter comes from `fastrand`: it only has to differ between replicas, and asking it cannot
//! fail. Secrets and identifiers come from other sources.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// The shortest pause, so that a server that fails at once is not called in a tight loop.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The pauses of one series of failures.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Pauses of at most `first`, then twice as much, up to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let first = first.min(cap);
        Self { first, cap, ceiling: first }
    }

    /// The next pause: anything up to a ceiling that doubles. Equal pauses would bring all replicas
    /// back to a recovering server at the same instant.
    pub fn pause(&mut self) -> Duration {
        let pause = jittered(self.ceiling, fastrand::f64());
        self.ceiling = (self.ceiling * 2).min(self.cap);
        pause
    }

    /// An attempt succeeded: the next pause is a first one.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

fn jittered(ceiling: Duration, fraction: f64) -> Duration {
    ceiling.mul_f64(fraction).max(MIN_PAUSE.min(ceiling))
}

/// The interval, up to ten per cent shorter or longer.
pub fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Duration = Duration::from_secs(1);

    proptest! {
        #[test]
        fn a_pause_stays_within_its_bounds(cap_ms in 1_u64..100_000, attempts in 0_usize..20) {
            let cap = Duration::from_millis(cap_ms);
            let mut backoff = Backoff::new(FIRST, cap);
            for _ in 0..attempts {
                let pause = backoff.pause();
                prop_assert!(pause <= cap && pause >= MIN_PAUSE.min(cap));
            }
            backoff.reset();
            prop_assert!(backoff.pause() <= FIRST);
        }
    }

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let mut backoff = Backoff::new(FIRST, Duration::from_secs(30));
        let ceilings: Vec<_> = (0..7)
            .map(|_| {
                let ceiling = backoff.ceiling.as_secs();
                backoff.pause();
                ceiling
            })
            .collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn the_jitter_is_full_and_an_interval_keeps_its_length_by_and_large() {
        let ceiling = Duration::from_secs(10);
        assert_eq!(jittered(ceiling, 0.0), MIN_PAUSE);
        assert_eq!(jittered(ceiling, 0.5), Duration::from_secs(5));
        assert_eq!(jittered(ceiling, 1.0), ceiling);
        for _ in 0..100 {
            let spread = spread(ceiling).as_millis();
            assert!((9_000..=11_000).contains(&spread), "{spread}");
        }
    }
}
