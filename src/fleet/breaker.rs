//! Whether a call may wait for the store: not while it is slow.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Five waits in vain, one after the other, and nobody waits for a second or two. Then one more wait in vain is
/// enough.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    in_vain: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may wait now.
    pub(super) fn may_wait(&self) -> bool {
        self.0.lock().open_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Notes how a wait ended.
    pub(super) fn note(&self, is_in_vain: bool) {
        let mut state = self.0.lock();
        if !is_in_vain {
            *state = State::default();
            return;
        }
        state.in_vain = state.in_vain.saturating_add(1);
        if state.in_vain >= MOST_IN_VAIN {
            state.in_vain = MOST_IN_VAIN - 1;
            state.open_until = Some(Instant::now() + OPEN.mul_f64(1.0 + fastrand::f64()));
        }
    }
}

const MOST_IN_VAIN: u32 = 5;
/// The least time that it is open; up to twice as much.
const OPEN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_store_that_is_slow() {
        let breaker = Breaker::default();
        for turn in 1..MOST_IN_VAIN {
            breaker.note(true);
            assert!(breaker.may_wait(), "{turn}");
        }
        breaker.note(true);
        assert!(!breaker.may_wait());
        advance(OPEN * 2).await;
        assert!(breaker.may_wait());
        breaker.note(true);
        assert!(!breaker.may_wait(), "one more is enough");
        advance(OPEN * 2).await;
        breaker.note(false);
        breaker.note(true);
        assert!(breaker.may_wait(), "a good one begins anew");
    }
}
