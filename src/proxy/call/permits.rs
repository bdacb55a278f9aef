//! The limits of calls in flight, and the permits that a call holds until its record closes.
//!
//! Only a call that the policy allows counts against `limits.in_flight`. One whose request body is still
//! arriving counts against a limit of its own. So callers that send slowly, in good faith or not, take
//! permits from each other and from nobody else.
//!
//! A refusal counts against a small limit of its own until its problem document has left. Over that
//! limit a refusal is a status without a document, which leaves with its head and waits for nobody. So
//! a caller that is refused, and reads nothing, costs the others nothing.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Kind};

/// The limits of all listeners and workers. Clones share them.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimits {
    /// Calls whose request is complete.
    complete: Arc<Semaphore>,
    /// Calls whose request body is arriving.
    arriving: Arc<Semaphore>,
    /// Refusals with a document.
    refused: Arc<Semaphore>,
}

/// Counts a call, or its refusal, against [`ConcurrencyLimits`] until it is dropped.
#[derive(Debug)]
pub struct CallPermit {
    _permit: OwnedSemaphorePermit,
}

/// Counts a call against the limit of its caller until it is dropped.
#[derive(Debug)]
pub struct CallerPermit {
    _permit: OwnedSemaphorePermit,
}

impl ConcurrencyLimits {
    /// Allows `limit` calls with a complete request, and as many whose body is arriving.
    pub fn new(limit: usize) -> Self {
        let semaphore = |limit: usize| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self {
            complete: semaphore(limit),
            arriving: semaphore(limit),
            refused: semaphore(REFUSALS),
        }
    }

    /// The number of further calls with a complete request that are allowed now.
    pub fn available(&self) -> usize {
        self.complete.available_permits()
    }

    /// Takes a permit for a call, or refuses the call.
    pub(in crate::proxy) fn acquire(&self, is_complete: bool) -> Result<CallPermit, Error> {
        let limit = if is_complete { &self.complete } else { &self.arriving };
        let permit = Arc::clone(limit).try_acquire_owned().map_err(|_| {
            let detail = "too many calls are under way (`limits.in_flight`)";
            Error::new(Kind::Overloaded, detail).retry_after(Duration::from_secs(1))
        })?;
        Ok(CallPermit { _permit: permit })
    }

    /// Takes a permit for a refusal with a document; `None` if too many of them have not left.
    pub(in crate::proxy) fn refuse(&self) -> Option<CallPermit> {
        let permit = Arc::clone(&self.refused).try_acquire_owned().ok()?;
        Some(CallPermit { _permit: permit })
    }
}

impl From<OwnedSemaphorePermit> for CallerPermit {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit }
    }
}

/// Refusals whose document has not left, at most: a few kilobytes each, and callers that read have
/// theirs at once.
const REFUSALS: usize = 256;
