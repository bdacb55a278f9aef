//! How much load repeats may add.

use std::sync::atomic::{AtomicI64, Ordering};

/// A purse of repeats, shared by all workers: every call pays a share in, every repeat takes one out.
///
/// Over any length of time repeats are at most `share` of the calls plus a reserve of [`RESERVE`],
/// which is what lets a gateway with little to do repeat at all.
#[derive(Debug)]
pub struct Budget {
    /// In thousandths of a repeat.
    purse: AtomicI64,
    share: i64,
}

impl Budget {
    /// Repeats may add this share of the calls, 0 to 1; 0 is none at all.
    pub fn new(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "0 to 1000")]
        let share = (share.clamp(0.0, 1.0) * 1000.0).round() as i64;
        let reserve = if share == 0 { 0 } else { RESERVE * 1000 };
        Self { purse: AtomicI64::new(reserve), share }
    }

    /// A call is made.
    pub fn deposit(&self) {
        // A full purse is the rule: then nothing is written, and no worker waits for another.
        if self.share > 0 && self.purse.load(Ordering::Relaxed) < LIMIT * 1000 {
            self.purse.fetch_add(self.share, Ordering::Relaxed);
        }
    }

    /// Takes a repeat, if there is one.
    pub fn withdraw(&self) -> bool {
        let take = |purse: i64| (purse >= 1000).then_some(purse - 1000);
        self.purse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Repeats that may be made before any call has paid for them.
const RESERVE: i64 = 10;
/// Repeats that can be saved up: an upstream that fails after a long good time meets no storm.
const LIMIT: i64 = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn repeats_never_exceed_their_share(
            share in 0_u32..=100,
            steps in proptest::collection::vec(any::<bool>(), 0..500),
        ) {
            let budget = Budget::new(f64::from(share) / 100.0);
            let (mut calls, mut repeats) = (0, 0);
            for call in steps {
                if call {
                    budget.deposit();
                    calls += 1;
                } else if budget.withdraw() {
                    repeats += 1;
                }
            }
            let reserve = if share == 0 { 0 } else { 10 };
            prop_assert!(repeats * 100 <= calls * share + reserve * 100);
        }
    }
}
