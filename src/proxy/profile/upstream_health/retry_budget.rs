//! A retry budget: how much load retries may add.

use std::sync::atomic::{AtomicI64, Ordering};

/// A budget that all workers share: each call adds a share of a retry, each retry takes one.
///
/// Over any time, retries are at most `share` of the calls and a reserve of [`RESERVE`], which lets a
/// gateway with few calls retry.
#[derive(Debug)]
pub struct RetryBudget {
    /// In thousandths of a retry.
    balance: AtomicI64,
    share: i64,
}

impl RetryBudget {
    /// Retries may add this share of the calls, 0 to 1. With 0 there are none.
    pub fn new(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "0 to 1000")]
        let share = (share.clamp(0.0, 1.0) * 1000.0).round() as i64;
        let reserve = if share == 0 { 0 } else { RESERVE * 1000 };
        Self { balance: AtomicI64::new(reserve), share }
    }

    /// Adds the share of a call.
    pub fn deposit(&self) {
        // A full budget is the rule. It is not written, so workers do not contend for the cache line.
        if self.share > 0 && self.balance.load(Ordering::Relaxed) < LIMIT * 1000 {
            self.balance.fetch_add(self.share, Ordering::Relaxed);
        }
    }

    /// Takes a retry, if the budget has one.
    pub fn withdraw(&self) -> bool {
        let take = |balance: i64| balance.checked_sub(1000).filter(|left| *left >= 0);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Retries of a new budget.
const RESERVE: i64 = 10;
/// Most retries that can be saved, so that a failure after a long good time causes no storm.
const LIMIT: i64 = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_never_exceed_their_share(
            share in 0_u32..=100,
            steps in proptest::collection::vec(any::<bool>(), 0..500),
        ) {
            let budget = RetryBudget::new(f64::from(share) / 100.0);
            let (mut calls, mut retries) = (0, 0);
            for call in steps {
                if call {
                    budget.deposit();
                    calls += 1;
                } else if budget.withdraw() {
                    retries += 1;
                }
            }
            let reserve = if share == 0 { 0 } else { 10 };
            prop_assert!(retries * 100 <= calls * share + reserve * 100);
        }
    }
}
