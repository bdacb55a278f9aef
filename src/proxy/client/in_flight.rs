//! Requests in flight, and their limit, which may change meanwhile.
//!
//! A semaphore can retire only the permits that nobody holds. The rest is a debt, which permits pay when
//! they are released.

use super::sync::{AtomicUsize, Notify, Ordering, Semaphore, SemaphorePermit};

/// The requests of one worker to one upstream.
#[derive(Debug)]
pub(super) struct InFlight {
    /// As many permits as the limit and the debt together.
    permits: Semaphore,
    limit: AtomicUsize,
    /// The permits over the limit that are still held.
    debt: AtomicUsize,
    /// Requests in flight or waiting.
    requests: AtomicUsize,
    /// More requests than this are a crowd.
    crowd: usize,
    is_crowded: Notify,
}

impl InFlight {
    pub(super) fn new(limit: usize, crowd: usize) -> Self {
        Self {
            permits: Semaphore::new(limit),
            limit: AtomicUsize::new(limit),
            debt: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            crowd,
            is_crowded: Notify::new(),
        }
    }

    /// Counts a request, which has no permit so far.
    pub(super) fn enter(&self) -> InFlightPermit<'_> {
        if self.requests.fetch_add(1, Ordering::AcqRel) == self.crowd {
            self.is_crowded.notify_one();
        }
        InFlightPermit { permit: None, in_flight: self }
    }

    /// The number of requests in flight or waiting.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    /// Waits until a crowd has come since the last wait.
    pub(super) async fn crowded(&self) {
        self.is_crowded.notified().await;
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    /// Changes the limit. Only one task does.
    pub(super) fn set_limit(&self, limit: usize) {
        let before = self.limit.swap(limit, Ordering::AcqRel);
        if let Some(fewer) = before.checked_sub(limit) {
            let debt = fewer.saturating_sub(self.permits.forget_permits(fewer));
            self.debt.fetch_add(debt, Ordering::AcqRel);
        } else {
            let more = limit.saturating_sub(before);
            self.permits.add_permits(more.saturating_sub(self.pay(more)));
        }
    }

    /// Pays the debt with up to this many permits. Returns how many must be retired for it.
    fn pay(&self, permits: usize) -> usize {
        let rest = |debt: usize| Some(debt.saturating_sub(permits));
        let debt = self.debt.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest);
        debt.unwrap_or_default().min(permits)
    }

    #[cfg(test)]
    pub(super) fn available_permits(&self) -> usize {
        self.permits.available_permits()
    }
}

/// Counts a request while it waits and while it is in flight.
#[derive(Debug)]
pub(super) struct InFlightPermit<'a> {
    permit: Option<SemaphorePermit<'a>>,
    in_flight: &'a InFlight,
}

impl InFlightPermit<'_> {
    /// Takes a permit if one is free.
    pub(super) fn try_start(&mut self) -> bool {
        self.permit = self.in_flight.permits.try_acquire().ok();
        self.permit.is_some()
    }

    /// Waits for a permit, in the order of arrival.
    pub(super) async fn start(&mut self) {
        // The semaphore is never closed.
        self.permit = self.in_flight.permits.acquire().await.ok();
    }
}

impl Drop for InFlightPermit<'_> {
    fn drop(&mut self) {
        self.in_flight.requests.fetch_sub(1, Ordering::AcqRel);
        if let Some(permit) = self.permit.take()
            && self.in_flight.pay(1) == 1
        {
            permit.forget();
        }
    }
}
