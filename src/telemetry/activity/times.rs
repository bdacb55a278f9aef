//! A histogram of durations, small enough to keep one a minute.
//!
//! Two buckets an octave from 32 µs to over a minute: a percentile is accurate to about a fifth,
//! the resolution of a chart.

use std::time::Duration;

/// Counts of durations, by order of magnitude.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    counts: [u32; STEPS],
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: [0; STEPS] }
    }
}

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(FIRST);
        let octave = micros.ilog2() - FIRST.ilog2();
        // The bit after the leading one selects the half of the octave.
        let half = (micros >> (micros.ilog2() - 1)) & 1;
        let step = usize::try_from(u64::from(octave) * 2 + half).unwrap_or(STEPS);
        if let Some(count) = self.counts.get_mut(step.min(STEPS - 1)) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// The percentile, rounded up to its bucket; `None` without durations.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let wanted = (float(total) * percent / 100.0).max(1.0);
        let mut below = 0.0;
        for (step, count) in self.counts.iter().enumerate() {
            let count = f64::from(*count);
            if count > 0.0 && below + count >= wanted {
                let (from, to) = (begin(step), begin(step + 1));
                let share = (wanted - below) / count;
                return Some(Duration::from_secs_f64((from + (to - from) * share) / 1e6));
            }
            below += count;
        }
        None
    }
}

/// The lower bound of a bucket, in microseconds.
fn begin(step: usize) -> f64 {
    let octave = float(FIRST << (step / 2));
    if step.is_multiple_of(2) { octave } else { octave * 1.5 }
}

#[expect(clippy::cast_precision_loss, reason = "a percentile of so many needs no more digits")]
fn float(number: u64) -> f64 {
    number as f64
}

/// The lower bound of the first bucket, in microseconds; faster calls count there.
const FIRST: u64 = 32;
/// Up to 67 seconds; slower calls count in the last bucket.
const STEPS: usize = 42;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_right_to_about_a_third_of_an_octave() {
        for micros in [40_u64, 100, 999, 5_000, 123_456, 2_000_000, 30_000_000] {
            let mut times = Times::default();
            for _ in 0..100 {
                times.add(Duration::from_micros(micros));
            }
            for percent in [1.0, 50.0, 95.0, 100.0] {
                let told = times.percentile(percent).unwrap().as_secs_f64() * 1e6;
                let ratio = told / float(micros);
                assert!((0.66..=1.5).contains(&ratio), "{micros} µs told as {told} µs");
            }
        }
    }

    #[test]
    fn percentiles_are_in_order_and_nothing_has_none() {
        assert_eq!(Times::default().percentile(50.0), None);
        let mut times = Times::default();
        for millis in 1..=100 {
            times.add(Duration::from_millis(millis));
        }
        let at = |percent| times.percentile(percent).unwrap();
        assert!((40..=60).contains(&at(50.0).as_millis()), "{:?}", at(50.0));
        assert!((85..=110).contains(&at(95.0).as_millis()), "{:?}", at(95.0));
        assert!(at(50.0) < at(95.0) && at(95.0) <= at(99.0));
    }

    #[test]
    fn what_is_out_of_range_counts_as_the_nearest() {
        let mut times = Times::default();
        times.add(Duration::ZERO);
        times.add(Duration::from_hours(24));
        assert_eq!(times.count(), 2);
        assert!(times.percentile(1.0).unwrap() < Duration::from_micros(50));
        assert!(times.percentile(100.0).unwrap() > Duration::from_mins(1));
    }
}
