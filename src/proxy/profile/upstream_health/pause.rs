//! A pause that Pigello has asked for: this gateway, or another one of the fleet.

use std::time::Duration;

use tokio::time::Instant;

/// Until when calls pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// Whether another member of the fleet was asked for it.
    pub(super) is_heard: bool,
}

impl Pause {
    /// A pause that another member was asked for. Each member waits a little longer, and none like the other, so that
    /// not all of them call again at once.
    pub(super) fn heard(until: Instant) -> Self {
        let now = Instant::now();
        let left = until.saturating_duration_since(now).min(LONGEST_PAUSE);
        let left = left.mul_f64(1.0 + SPREAD * fastrand::f64()).min(LONGEST_PAUSE);
        Self { until: now + left, is_heard: true }
    }

    /// The longer one.
    pub(super) fn or(self, known: Option<Self>) -> Self {
        known.filter(|known| known.until > self.until).unwrap_or(self)
    }

    /// Whether it is no more than what is known. Responses to calls that were in flight together ask for about the
    /// same pause.
    pub(super) fn is_known(self, known: Option<Self>) -> bool {
        let now = Instant::now();
        let known = known.filter(|known| known.until > now);
        known.is_some_and(|known| self.until.saturating_duration_since(known.until) <= ALIKE)
    }

    /// What is left of it.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        Some(self.until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Whom Pigello has asked, in the middle of a sentence.
    pub(super) fn whom(self) -> &'static str {
        if self.is_heard { "asked another gateway of the fleet" } else { "asked" }
    }
}

/// The longest pause, whatever Pigello or another member says.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// The part of a pause that is added to one that was heard, at most.
const SPREAD: f64 = 0.1;
/// Pauses that end within this time are alike.
const ALIKE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Pause {
        Pause { until: Instant::now() + Duration::from_secs(seconds), is_heard: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_was_heard_is_a_little_longer_and_never_longer_than_the_longest() {
        let heard = |length| Pause::heard(Instant::now() + length).left(Instant::now());
        for _ in 0..100 {
            let left = heard(Duration::from_secs(10)).unwrap().as_millis();
            assert!((10_000..=11_000).contains(&left), "{left}");
        }
        for length in [LONGEST_PAUSE, Duration::from_hours(24)] {
            assert_eq!(heard(length), Some(LONGEST_PAUSE));
        }
        assert_eq!(heard(Duration::ZERO), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_like_the_known_one_is_known_and_one_that_is_over_is_not() {
        assert!(!after(5).is_known(None));
        assert!(after(5).is_known(Some(after(5))) && after(6).is_known(Some(after(5))));
        assert!(after(2).is_known(Some(after(5))));
        assert!(!after(7).is_known(Some(after(5))));
        let known = after(0);
        assert!(!after(1).is_known(Some(known)));
    }
}
