//! Reads the source: one read at a time, shared by those that wait for it.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::Instant;

use super::{
    change::ChangeCause,
    shared::{LastFailure, ManagerShared, ReadResult, Timepoint},
};
use crate::{
    credentials::{
        rotation::RefreshOutcome,
        set::CredentialSet,
        sources::{LoadError, RefreshReason, SourceFailure},
    },
    error::Chain,
};

impl ManagerShared {
    /// Reads the source. Shares no read that has begun before.
    pub(super) async fn read(self: &Arc<Self>, reason: RefreshReason) -> ReadResult {
        self.read_since(self.reads_begun.load(Ordering::SeqCst), reason).await
    }

    /// Waits for a read with a higher number than `seen`: in a task of its own, which goes on if its caller goes
    /// away.
    pub(super) async fn read_since(
        self: &Arc<Self>,
        seen: u64,
        reason: RefreshReason,
    ) -> ReadResult {
        let shared = Arc::clone(self);
        let read = tokio::spawn(async move { shared.read_unless_newer_than(seen, reason).await });
        read.await.unwrap_or_else(|_| Err(Arc::new(LoadError::Interrupted)))
    }

    async fn read_unless_newer_than(&self, seen: u64, reason: RefreshReason) -> ReadResult {
        let mut last = self.last_read.lock().await;
        if last.number > seen
            && let Some((by, result)) = &last.result
            // Other reads refuse an older version.
            && (reason != RefreshReason::AcceptOlder || *by == RefreshReason::AcceptOlder)
        {
            return result.clone();
        }
        last.number = self.reads_begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = match self.source.read(&self.settings, reason).await {
            Ok(set) => {
                let cause = match reason {
                    RefreshReason::Scheduled => ChangeCause::Read,
                    RefreshReason::Operator | RefreshReason::AcceptOlder => ChangeCause::Admin,
                    RefreshReason::CallsWait => ChangeCause::Rejected,
                };
                let outcome = self.loaded(set, cause);
                self.keep().await;
                self.try_out().await;
                Ok(outcome)
            }
            Err(error) => {
                match error.meaning() {
                    SourceFailure::Unavailable => self.restore().await,
                    SourceFailure::Withdrawn => self.forget().await,
                }
                Err(self.failed(error))
            }
        };
        self.note_read();
        last.result = Some((reason, result.clone()));
        result
    }

    fn loaded(&self, set: CredentialSet, cause: ChangeCause) -> RefreshOutcome {
        let mut record = self.record.lock();
        let now = Timepoint::now();
        record.confirmed_at = Some(now);
        record.refresh_unanswered = false;
        if record.last_error.take().is_some() {
            tracing::info!(credentials = %self.settings.name, "credential source answers again");
        }
        let outcome = record.rotation.loaded(set, now.instant);
        if let RefreshOutcome::Replaced { to, .. } = &outcome {
            record.loaded_at = Some(now);
            let is_unproven = record.rotation.waits();
            tracing::info!(credentials = %self.settings.name, version = %to, is_unproven, "credential set read");
        }
        self.publish(&mut record, Some(cause));
        if let RefreshOutcome::Replaced { from: Some(_), .. } = &outcome {
            self.found(&mut record);
        }
        outcome
    }

    fn failed(&self, error: LoadError) -> Arc<LoadError> {
        let name = &self.settings.name;
        let reason = Chain(&error).to_string();
        let mut record = self.record.lock();
        record.failures += 1;
        // During a long outage the same failure is a warning only once.
        if record.last_error.as_ref().is_some_and(|last| last.reason == reason) {
            tracing::debug!(credentials = %name, %reason, "credential source still fails");
        } else {
            tracing::warn!(credentials = %name, %reason, "credential source failed");
        }
        record.last_error = Some(LastFailure {
            reason,
            for_callers: error.for_callers(name),
            is_absent: error.is_absent(),
            is_of_source: error.is_of_source(),
        });
        record.rotation.failed(error.meaning(), Instant::now());
        self.publish(&mut record, None);
        drop(record);
        self.wake.notify_one();
        Arc::new(error)
    }
}
