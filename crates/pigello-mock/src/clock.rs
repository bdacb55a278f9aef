//! Pigello's clock, which may be ahead of the caller's or behind it.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Pigello's clock.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// How far it is ahead.
    skew: Mutex<SignedDuration>,
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// What durations are measured by; it never jumps.
    pub(crate) instant: Instant,
    /// What Pigello's clock shows.
    pub(crate) shown: Timestamp,
}

impl Clock {
    pub(crate) fn now(&self) -> Now {
        let real = Timestamp::now();
        // Only a skew of thousands of years has no moment; the clock is right then.
        let shown = real.checked_add(self.skew()).unwrap_or(real);
        Now { instant: Instant::now(), shown }
    }

    pub(crate) fn skew(&self) -> SignedDuration {
        *self.skew.lock()
    }

    pub(crate) fn set_skew(&self, skew: SignedDuration) {
        *self.skew.lock() = skew;
    }
}

impl Now {
    /// The value of the header `Date`; `None` in years that it cannot hold.
    pub(crate) fn date(self) -> Option<String> {
        DateTimePrinter::new().timestamp_to_rfc9110_string(&self.shown).ok()
    }
}
