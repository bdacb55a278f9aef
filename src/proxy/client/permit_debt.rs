//! The changing limit of a semaphore whose permits are in use.
//!
//! A semaphore can retire only the permits that nobody holds. The rest is a debt, which permits pay when
//! they are released.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit, and the permits over it that are still held.
#[derive(Debug)]
pub(super) struct PermitDebt {
    limit: AtomicUsize,
    debt: AtomicUsize,
}

impl PermitDebt {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), debt: AtomicUsize::new(0) }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    /// Changes the limit. `retire` retires free permits, up to a number, and returns how many; `add` adds
    /// permits.
    pub(super) fn set_limit(
        &self,
        limit: usize,
        retire: impl FnOnce(usize) -> usize,
        add: impl FnOnce(usize),
    ) {
        let before = self.limit.swap(limit, Ordering::AcqRel);
        if let Some(fewer) = before.checked_sub(limit) {
            let debt = fewer - retire(fewer);
            self.debt.fetch_add(debt, Ordering::AcqRel);
        } else {
            let more = limit - before;
            add(more - self.pay(more));
        }
    }

    /// Pays the debt with up to this many permits. Returns how many must be retired for it.
    pub(super) fn pay(&self, permits: usize) -> usize {
        let rest = |debt: usize| Some(debt.saturating_sub(permits));
        let debt = self.debt.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest);
        debt.unwrap_or_default().min(permits)
    }
}
