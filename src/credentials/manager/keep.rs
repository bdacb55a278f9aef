//! Keeps the last set on disk, and restores it where a process begins while the source is away.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    change::ChangeCause,
    shared::{KeptCopy, ManagerShared, Timepoint},
};
use crate::{
    credentials::{
        rotation::{Lease, SetState},
        sources::{KeptError, KeptSets},
    },
    error::Chain,
};

/// A copy is written again after this part of `max_stale`, because its age counts.
const PARTS_OF_MAX_STALE: u32 = 10;

impl ManagerShared {
    /// Writes what the source has just confirmed, if the copy is of other versions or has become old.
    pub(super) async fn keep(&self) {
        let Some(file) = self.kept_file.clone() else { return };
        let Some((leases, now)) = self.due_copy() else { return };
        let generations = leases.iter().map(|lease| lease.generation()).collect();
        let written = self.source.in_background(move || {
            let sets: Vec<_> = leases.iter().map(|lease| &***lease).collect();
            file.write(&sets, now.date)
        });
        let Ok(written) = written.await else { return };
        let mut record = self.record.lock();
        let name = &self.settings.name;
        match written {
            Ok(()) => {
                record.kept = Some(KeptCopy { at: now, generations });
                record.keep_fails = false;
            }
            Err(error) => {
                let reason = Chain(&error);
                // Each read tries again, and the first failure says it.
                if std::mem::replace(&mut record.keep_fails, true) {
                    tracing::debug!(credentials = %name, %reason, "the credential set still cannot be kept");
                } else {
                    tracing::warn!(
                        credentials = %name, %reason,
                        "the credential set cannot be kept for a restart"
                    );
                }
            }
        }
    }

    /// The versions to write, the older first; `None` while the copy is good.
    fn due_copy(&self) -> Option<(Vec<Arc<Lease>>, Timepoint)> {
        let record = self.record.lock();
        let now = Timepoint::now();
        let (current, previous) = record.rotation.versions();
        let leases: Vec<_> = previous.into_iter().chain(current).cloned().collect();
        let limit = self.settings.refresh.max_stale.unwrap_or_default() / PARTS_OF_MAX_STALE;
        let is_good = record.kept.as_ref().is_some_and(|copy| {
            let same =
                leases.iter().map(|lease| lease.generation()).eq(copy.generations.iter().copied());
            same && now.instant.saturating_duration_since(copy.at.instant) < limit
        });
        (!is_good && !leases.is_empty()).then_some((leases, now))
    }

    /// Uses the copy, if nothing was ever read. It is as old as it says, so `max_stale` ends it in time.
    pub(super) async fn restore(&self) {
        let Some(file) = self.kept_file.clone() else { return };
        let (is_empty, is_first) = {
            let record = self.record.lock();
            (record.rotation.state() == SetState::Empty, record.last_error.is_none())
        };
        if !is_empty {
            return;
        }
        let settings = self.settings.clone();
        let read = self.source.in_background(move || file.read(&settings)).await;
        let name = &self.settings.name;
        match read.map(|kept| kept.and_then(|kept| self.aged(kept))) {
            Ok(Ok((kept, confirmed))) => {
                if let Some(newest) = kept.sets.last() {
                    self.source.remember(newest.version());
                }
                let mut record = self.record.lock();
                record.rotation.restored(kept.sets, confirmed.instant);
                record.loaded_at = Some(confirmed);
                record.confirmed_at = Some(confirmed);
                self.publish(&mut record, Some(ChangeCause::Restored));
                tracing::warn!(
                    credentials = %name, confirmed = %confirmed.date,
                    "the credential source is away; the set that was kept of it is in use"
                );
            }
            Ok(Err(KeptError::Nothing)) | Err(_) => {}
            Ok(Err(error)) if is_first => tracing::warn!(
                credentials = %name, reason = %Chain(&error), "the set that was kept is not used"
            ),
            Ok(Err(error)) => tracing::debug!(
                credentials = %name, reason = %Chain(&error), "the set that was kept is not used"
            ),
        }
    }

    /// The moment at which the source confirmed the copy, if that is not too long ago.
    fn aged(&self, kept: KeptSets) -> Result<(KeptSets, Timepoint), KeptError> {
        let confirmed = kept.confirmed;
        let age = std::time::Duration::try_from(Timestamp::now().duration_since(confirmed))
            .map_err(|_| KeptError::InFuture { confirmed })?;
        let limit = self.settings.refresh.max_stale.unwrap_or_default();
        let instant = Instant::now().checked_sub(age).filter(|_| age < limit);
        let instant = instant.ok_or(KeptError::TooOld { confirmed })?;
        Ok((kept, Timepoint { date: confirmed, instant }))
    }

    /// Removes the copy of a set that its source withdrew.
    pub(super) async fn forget(&self) {
        let Some(file) = self.kept_file.clone() else { return };
        self.record.lock().kept = None;
        if self.source.in_background(move || file.remove()).await.is_ok_and(|removed| removed) {
            tracing::warn!(
                credentials = %self.settings.name,
                "the source withdrew the credential set; what was kept of it is removed"
            );
        }
    }
}
