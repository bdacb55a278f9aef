//! Pauses between attempts: exponential with full jitter, and intervals that do not march in step.

use std::time::Duration;

use aws_lc_rs::rand;

/// The shortest pause; a source that fails at once is not asked in a tight loop.
const FLOOR: Duration = Duration::from_millis(100);
/// The upper end of the first pause.
const FIRST: Duration = Duration::from_secs(1);

/// The pauses of one series of failures.
#[derive(Debug)]
pub(super) struct Backoff {
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    pub(super) fn new(cap: Duration) -> Self {
        Self { cap, ceiling: FIRST.min(cap) }
    }

    /// The next pause: anything up to a ceiling that doubles. A fixed pause would bring all
    /// replicas back to a recovering vault in the same instant.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = jittered(self.ceiling, random_fraction());
        self.ceiling = (self.ceiling * 2).min(self.cap);
        pause
    }

    /// The attempt succeeded.
    pub(super) fn reset(&mut self) {
        self.ceiling = FIRST.min(self.cap);
    }
}

fn jittered(ceiling: Duration, fraction: f64) -> Duration {
    ceiling.mul_f64(fraction).max(FLOOR.min(ceiling))
}

/// An interval, ten per cent shorter or longer.
pub(super) fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random_fraction())
}

/// From 0 up to 1. Without entropy it is 1, which is the longest pause.
pub(super) fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pause_stays_within_its_bounds(cap_ms in 1_u64..100_000, attempts in 0_usize..20) {
            let cap = Duration::from_millis(cap_ms);
            let mut backoff = Backoff::new(cap);
            for _ in 0..attempts {
                let pause = backoff.pause();
                prop_assert!(pause <= cap && pause >= FLOOR.min(cap));
            }
            backoff.reset();
            prop_assert!(backoff.pause() <= FIRST);
        }
    }

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(30));
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
        assert_eq!(jittered(ceiling, 0.0), FLOOR);
        assert_eq!(jittered(ceiling, 0.5), Duration::from_secs(5));
        assert_eq!(jittered(ceiling, 1.0), ceiling);
        for _ in 0..100 {
            let spread = spread(ceiling).as_millis();
            assert!((9_000..=11_000).contains(&spread), "{spread}");
        }
    }
}
