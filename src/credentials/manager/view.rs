//! The part of a manager that requests see: behind one pointer that is swapped, without a lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::unavailable::Unavailable;
use crate::credentials::rotation::{Lease, Selection, UnavailableReason};

/// The time between two trials of a newer version while the one before it is in use.
const TRIAL_GAP: Duration = Duration::from_secs(1);
/// The time between two trials of a rejected version after its limit.
const REVIVAL_GAP: Duration = Duration::from_secs(15);

/// The answer to a request for a set.
#[derive(Debug)]
pub(super) enum RequestView {
    Ready {
        lease: Arc<Lease>,
        trial: Option<Trial>,
        /// Whether another accepted answer would change nothing.
        settled: bool,
    },
    Unavailable {
        reason: Unavailable,
        trial: Option<Trial>,
    },
}

impl RequestView {
    /// The view of a selection.
    pub(super) fn of(
        select: Selection,
        unavailable: impl FnOnce(UnavailableReason) -> Unavailable,
        start: Instant,
    ) -> Self {
        match select {
            Selection::Use { lease, trial, settled } => Self::Ready {
                lease,
                trial: trial.map(|lease| Trial::new(lease, TRIAL_GAP, start)),
                settled,
            },
            Selection::Nothing { reason, trial } => Self::Unavailable {
                reason: unavailable(reason),
                trial: trial.map(|lease| Trial::new(lease, REVIVAL_GAP, start)),
            },
        }
    }

    /// Whether both give the same answers. Then the older one stays, with the time of its last trial.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let trials = |a: &Option<Trial>, b: &Option<Trial>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.lease, &b.lease),
            (None, None) => true,
            _ => false,
        };
        match (self, other) {
            (
                Self::Ready { lease, trial, settled },
                Self::Ready { lease: other_lease, trial: other_trial, settled: other_settled },
            ) => {
                Arc::ptr_eq(lease, other_lease)
                    && trials(trial, other_trial)
                    && settled == other_settled
            }
            (
                Self::Unavailable { reason, trial },
                Self::Unavailable { reason: other_reason, trial: other_trial },
            ) => reason == other_reason && trials(trial, other_trial),
            _ => false,
        }
    }

    /// The generation in use; 0 if there is none.
    pub(super) fn generation(&self) -> u64 {
        match self {
            Self::Ready { lease, .. } => lease.generation(),
            Self::Unavailable { .. } => 0,
        }
    }

    /// Whether another accepted answer of that generation would change nothing.
    pub(super) fn is_settled(&self, generation: u64) -> bool {
        matches!(self, Self::Ready { settled: true, .. }) && self.generation() == generation
    }

    /// The lease of a request. `may_repeat`: the request can be sent again if Pigello refuses a trial.
    pub(super) fn lease(&self, may_repeat: bool) -> Result<Arc<Lease>, Unavailable> {
        match self {
            Self::Ready { lease, trial, .. } => {
                let trial = trial.as_ref().filter(|_| may_repeat).and_then(Trial::take);
                Ok(trial.unwrap_or_else(|| Arc::clone(lease)))
            }
            // Without a trial the request fails anyway, so any request can be one.
            Self::Unavailable { reason, trial } => {
                trial.as_ref().and_then(Trial::take).ok_or_else(|| reason.clone())
            }
        }
    }
}

/// A version that one request now and then is sent with, to learn whether Pigello accepts it.
#[derive(Debug)]
pub(super) struct Trial {
    lease: Arc<Lease>,
    gap: Duration,
    start: Instant,
    /// The time of the next trial, in milliseconds since `start`. Taking a trial sets the next one, so
    /// that a request that never ends does not stop the trials.
    next: AtomicU64,
}

impl Trial {
    fn new(lease: Arc<Lease>, gap: Duration, start: Instant) -> Self {
        let trial = Self { lease, gap, start, next: AtomicU64::new(0) };
        trial.next.store(trial.now().saturating_add(trial.gap_millis()), Ordering::Relaxed);
        trial
    }

    fn take(&self) -> Option<Arc<Lease>> {
        let (now, next) = (self.now(), self.next.load(Ordering::Relaxed));
        if now < next {
            return None;
        }
        let after = now.saturating_add(self.gap_millis());
        let won = self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed);
        won.is_ok().then(|| Arc::clone(&self.lease))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn gap_millis(&self) -> u64 {
        u64::try_from(self.gap.as_millis()).unwrap_or(u64::MAX)
    }
}
