//! What requests see of a credential set: one pointer that is swapped, never a lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::Unavailable;
use crate::credentials::{Lease, rotation::Selection};

/// How often the newer version is tried while the one before it is in use.
const TRIAL_GAP: Duration = Duration::from_secs(1);
/// How often a rejected version is tried once its limit is over.
const REVIVAL_GAP: Duration = Duration::from_secs(15);

/// What to give to a request.
#[derive(Debug)]
pub(super) enum View {
    Ready {
        lease: Arc<Lease>,
        trial: Option<Trial>,
        /// Whether an accepted answer would change nothing.
        settled: bool,
    },
    Unavailable {
        reason: Unavailable,
        trial: Option<Trial>,
    },
}

impl View {
    /// Puts a pick into the shape that requests see.
    pub(super) fn of(
        pick: Selection,
        reason: impl FnOnce() -> Unavailable,
        start: Instant,
    ) -> Self {
        match pick {
            Selection::Use { lease, trial, settled } => Self::Ready {
                lease,
                trial: trial.map(|lease| Trial::new(lease, TRIAL_GAP, start)),
                settled,
            },
            Selection::Nothing { trial, .. } => Self::Unavailable {
                reason: reason(),
                trial: trial.map(|lease| Trial::new(lease, REVIVAL_GAP, start)),
            },
        }
    }

    /// Whether both give the same to every request. If so, the older one stays, with the time of
    /// its last trial.
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

    /// The lease of a request. `may_repeat` says that the request can be sent again if it turns
    /// out that a trial was refused.
    pub(super) fn lease(&self, may_repeat: bool) -> Result<Arc<Lease>, Unavailable> {
        match self {
            Self::Ready { lease, trial, .. } => {
                let trial = trial.as_ref().filter(|_| may_repeat).and_then(Trial::take);
                Ok(trial.unwrap_or_else(|| Arc::clone(lease)))
            }
            // There is nothing to lose here, so any request will do.
            Self::Unavailable { reason, trial } => {
                trial.as_ref().and_then(Trial::take).ok_or_else(|| reason.clone())
            }
        }
    }
}

/// A version that one request in a while is sent with, to see whether it works.
#[derive(Debug)]
pub(super) struct Trial {
    lease: Arc<Lease>,
    gap: Duration,
    start: Instant,
    /// In milliseconds since `start`. A request that takes the trial sets the next one, so that a
    /// trial whose request is never heard of again is not missed.
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
