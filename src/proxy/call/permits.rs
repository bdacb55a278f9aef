//! How many calls there may be at a time.
//!
//! A call takes a place when it comes and gives it back when its record closes. While its body is
//! still on the way it stands in another queue: callers that send slowly, in good faith or not, use
//! up the places of each other and of nobody else.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::Draft;
use crate::error::{Error, Kind};

/// The places of all listeners and workers. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimits {
    calls: Arc<Semaphore>,
    /// Of calls whose body is on the way.
    bodies: Arc<Semaphore>,
}

impl ConcurrencyLimits {
    /// So many calls, and as many more whose body is on the way.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { calls: Arc::new(Semaphore::new(limit)), bodies: Arc::new(Semaphore::new(limit)) }
    }

    /// How many places are free, of calls that are whole.
    pub fn free(&self) -> usize {
        self.calls.available_permits()
    }

    /// Gives a call a place, instead of the one it has, if any: among those that are whole, or among
    /// those whose body is on the way.
    pub(in crate::proxy) fn give(&self, draft: &Draft, is_whole: bool) -> Result<(), Error> {
        let places = if is_whole { &self.calls } else { &self.bodies };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| {
            let detail = "too many calls are under way (`limits.in_flight`)";
            Error::new(Kind::Overloaded, detail).retry_after(Duration::from_secs(1))
        })?;
        draft.note(|facts| facts.place = Some(place));
        Ok(())
    }
}
