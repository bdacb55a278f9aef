//! Reading the source: one read at a time, shared by those who wait for it.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::Instant;

use super::{Failure, Moment, Shared};
use crate::{
    credentials::{CredentialSet, LoadError, SetVersion, source::Asked},
    error::Chain,
};

/// What a read changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// Nothing: the source still has the version that is held.
    Unchanged {
        /// That version.
        version: SetVersion,
    },
    /// Another version is held from now on.
    Replaced {
        /// The one before, if there was one.
        from: Option<SetVersion>,
        /// The new one.
        to: SetVersion,
    },
}

/// The last read that ended; locked while one runs.
#[derive(Default)]
pub(super) struct Flight {
    number: u64,
    outcome: Option<(Asked, Result<RefreshOutcome, Arc<LoadError>>)>,
}

impl Shared {
    /// Reads, in a task of its own: it goes on if the one who asked goes away.
    pub(super) async fn read(
        self: &Arc<Self>,
        asked: Asked,
    ) -> Result<RefreshOutcome, Arc<LoadError>> {
        let seen = self.begun.load(Ordering::SeqCst);
        let shared = Arc::clone(self);
        let read = tokio::spawn(async move { shared.read_unless_newer_than(seen, asked).await });
        read.await.unwrap_or_else(|_| Err(Arc::new(LoadError::Interrupted)))
    }

    async fn read_unless_newer_than(
        &self,
        seen: u64,
        asked: Asked,
    ) -> Result<RefreshOutcome, Arc<LoadError>> {
        let mut flight = self.flight.lock().await;
        if flight.number > seen
            && let Some((by, outcome)) = &flight.outcome
            // An operator's read may take what another one refuses.
            && (asked != Asked::ByOperator || *by == Asked::ByOperator)
        {
            return outcome.clone();
        }
        flight.number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = match self.source.read(&self.settings, asked).await {
            Ok(set) => Ok(self.loaded(set)),
            Err(error) => Err(self.failed(error)),
        };
        flight.outcome = Some((asked, outcome.clone()));
        outcome
    }

    fn loaded(&self, set: CredentialSet) -> RefreshOutcome {
        let mut record = self.record.lock();
        let now = Moment::now();
        record.confirmed_at = Some(now);
        record.is_unasked = false;
        if record.last_error.take().is_some() {
            tracing::info!(credentials = %self.settings.name, "credential source answers again");
        }
        let outcome = record.life.loaded(set, now.instant);
        if let RefreshOutcome::Replaced { to, .. } = &outcome {
            record.loaded_at = Some(now);
            tracing::info!(credentials = %self.settings.name, version = %to, "credential set read");
        }
        self.publish(&record);
        outcome
    }

    fn failed(&self, error: LoadError) -> Arc<LoadError> {
        let name = &self.settings.name;
        let reason = Chain(&error).to_string();
        let mut record = self.record.lock();
        record.failures += 1;
        // The same failure at every attempt of a long outage is news only once.
        if record.last_error.as_ref().is_some_and(|last| last.reason == reason) {
            tracing::debug!(credentials = %name, %reason, "credential source still fails");
        } else {
            tracing::warn!(credentials = %name, %reason, "credential source failed");
        }
        record.last_error = Some(Failure { reason, for_callers: error.for_callers(name) });
        record.life.failed(error.cause(), Instant::now());
        self.publish(&record);
        drop(record);
        self.poke.notify_one();
        Arc::new(error)
    }
}
