//! Keeps one credential set ready: reads its source in the background, and gives requests snapshots
//! without waiting.
//!
//! A snapshot is one whole set of one version. Two reads never run at once, and the result of a read is
//! in use for the next request. A failing source takes no set away before its limit. [`rotation`] decides
//! which version is used and for how long; the clock, the locks and the log are here.
//!
//! [`rotation`]: super::rotation

mod change;
mod heard;
mod keep;
mod load;
mod peers;
mod refresh;
mod shared;
mod status;
mod unavailable;
mod view;

use std::{fmt, mem, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use self::shared::{ManagerShared, Timepoint};
pub use self::{
    change::{ChangeCause, VersionChange},
    refresh::Next,
    status::{SetHealth, SetStatus},
    unavailable::Unavailable,
};
use super::{
    rotation::{Lease, RefreshOutcome, RotationState, Selection},
    settings::Settings,
    sources::{ChangeSignal, CredentialSource, FolderWatch, LoadError, RefreshReason, Sources},
};
use crate::{
    fleet::{Change, Member},
    outbound::{Backoff, Observed, spread},
};

/// The longest first pause after a failed read.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The time between two reads for operators.
const OPERATOR_GAP: Duration = Duration::from_secs(5);

/// Holds one credential set. Clones share it.
#[derive(Clone)]
pub struct CredentialManager {
    shared: Arc<ManagerShared>,
}

impl CredentialManager {
    /// A manager for a set. It reads nothing before [`Self::run`] or [`Self::refresh`]. All managers of a
    /// process have the same `sources`.
    pub fn new(settings: Settings, sources: &Sources) -> Self {
        let source = CredentialSource::new(&settings, sources);
        Self { shared: Arc::new(ManagerShared::new(settings, source)) }
    }

    /// Shows each change of the version in use to this observer from now on. There is one: later ones are
    /// ignored.
    pub fn set_observer(&self, observer: Arc<dyn Fn(VersionChange) + Send + Sync>) {
        let _already_set = self.shared.observer.set(observer);
    }

    /// Tells that fleet of versions from now on. There is one: later ones are ignored.
    pub fn join(&self, fleet: Arc<Member>) {
        self.shared.join(fleet);
    }

    /// Another gateway of the fleet tells of a version of a set with this name.
    pub fn hear(&self, change: &Change) {
        self.shared.hear(change);
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Whether both are clones of one manager.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The set for one request, or the reason why there is none. Never waits, and takes no lock.
    pub fn snapshot(&self) -> Result<Arc<Lease>, Unavailable> {
        self.shared.lease(false)
    }

    /// As [`Self::snapshot`], for a request that can be sent again after a 401. Now and then it gets a
    /// version that Pigello refused, to learn whether Pigello accepts it by now.
    pub fn snapshot_to_try(&self) -> Result<Arc<Lease>, Unavailable> {
        self.shared.lease(true)
    }

    /// The number of the generation in use, if there is one. Starts no trial of another version.
    pub fn generation(&self) -> Option<u64> {
        self.shared.generation_in_use()
    }

    /// Reports how Pigello answered a set: once for every answer.
    pub fn report(&self, lease: &Lease, verdict: CredentialVerdict) {
        match verdict {
            CredentialVerdict::Forbidden if self.shared.is_unproven(lease) => {}
            CredentialVerdict::Accepted | CredentialVerdict::Forbidden => {
                self.shared.accepted(lease);
            }
            CredentialVerdict::Refused => {
                self.shared.refused(lease.generation());
            }
        }
    }

    /// Decides what to do with a call that used `lease`, got a 401 and can be sent again. Waits only if
    /// there is no other version to try, and no longer than [`hold`].
    ///
    /// A call that cannot be sent again is [`reported`](Self::report) as refused instead.
    ///
    /// [`hold`]: super::RefreshSettings::hold
    pub async fn after_unauthorized(&self, lease: &Lease) -> Next {
        self.shared.after_unauthorized(lease.generation()).await
    }

    /// Keeps the set up to date until `stop`: reads it at intervals and when its files change, and after
    /// a pause when a read fails.
    pub async fn run(self, stop: CancellationToken) {
        // Boxed, because the future that can be cancelled has room for it twice.
        stop.run_until_cancelled_owned(Box::pin(self.keep_fresh())).await;
    }

    async fn keep_fresh(self) {
        let shared = &self.shared;
        let refresh = shared.settings.refresh;
        let mut backoff = Backoff::new(FIRST_PAUSE, refresh.retry_cap);
        let mut watch = shared.source.watch();
        let signal = watch.as_ref().map_or_else(ChangeSignal::never, FolderWatch::signal);
        // Those who wait for the first read share it. Of files, it may have begun before the watch.
        let mut is_shared = watch.is_none();
        loop {
            // The watch starts before the read, so that no change is missed between the two.
            watch = self.renew(watch).await;
            let read = if mem::take(&mut is_shared) {
                self.first_read().await
            } else {
                self.refresh().await
            };
            let is_content = read.is_ok() && !shared.record.lock().rotation.needs_new_version();
            let pause = if is_content {
                backoff.reset();
                spread(refresh.interval)
            } else {
                backoff.pause()
            };
            let end = Instant::now() + pause;
            shared.plan_read(end);
            tokio::select! {
                () = self.wait_until(end, is_content) => {}
                () = signal.settled(refresh.quiet) => {}
            }
        }
    }

    async fn renew(&self, watch: Option<FolderWatch>) -> Option<FolderWatch> {
        let mut watch = watch?;
        let renewed = self.shared.source.in_background(move || {
            watch.renew();
            watch
        });
        renewed.await.ok()
    }

    /// Waits until `end`, and applies the limits of the set meanwhile. If all was well (`is_content`),
    /// the wait ends early when a new version is needed.
    async fn wait_until(&self, end: Instant, is_content: bool) {
        loop {
            let woken = self.shared.wake.notified();
            let (deadline, nudge) = {
                let record = self.shared.record.lock();
                (record.rotation.deadline(), record.heard.nudge.due().filter(|_| is_content))
            };
            let next = [deadline, nudge].into_iter().flatten().fold(end, Instant::min);
            tokio::select! {
                () = time::sleep_until(next) => {}
                () = woken => {}
            }
            self.shared.change(Some(ChangeCause::Unheard), RotationState::adopt_unheard);
            let needs_new_version = self.shared.change(None, |rotation, now| {
                rotation.tick(now);
                rotation.needs_new_version()
            });
            let now = Instant::now();
            let is_nudged = nudge.is_some_and(|due| due <= now);
            if now >= end || is_nudged || (is_content && needs_new_version) {
                return;
            }
        }
    }

    /// Reads the source now, for a start, a new configuration or a signal. Calls that come during a read
    /// share the next one, because the running one may have missed the change that they want to see. The
    /// read goes on if its caller goes away.
    pub async fn refresh(&self) -> Result<RefreshOutcome, Arc<LoadError>> {
        self.shared.read(RefreshReason::Scheduled).await
    }

    /// Whether the source was read once, with or without success.
    pub fn was_read(&self) -> bool {
        self.generation().is_some() || self.shared.record.lock().failures > 0
    }

    /// Whether no set is in use, and the last read found that the source has none.
    pub fn is_absent(&self) -> bool {
        self.generation().is_none()
            && self.shared.record.lock().last_error.as_ref().is_some_and(|last| last.is_absent)
    }

    /// Waits for the first read of the source, and starts it if nobody has. All who wait share it, and it goes on
    /// if they go away. After it, gives the outcome of the last read at once.
    pub async fn first_read(&self) -> Result<RefreshOutcome, Arc<LoadError>> {
        self.shared.read_since(0, RefreshReason::Scheduled).await
    }

    /// Reads the source for an operator, at most once in a few seconds. A login that the source refused
    /// is not repeated: that is left to the scheduled reads, which pause longer each time.
    pub async fn refresh_for_operator(
        &self,
        older: OlderVersion,
    ) -> Result<RefreshOutcome, NotRefreshed> {
        {
            let mut last = self.shared.operator_read.lock();
            let now = Instant::now();
            let next = last.map(|last| last + OPERATOR_GAP).filter(|next| *next > now);
            if let Some(next) = next {
                return Err(NotRefreshed::TooSoon { retry_after: next - now });
            }
            *last = Some(now);
        }
        let reason = match older {
            OlderVersion::Refuse => RefreshReason::Operator,
            OlderVersion::Accept => RefreshReason::AcceptOlder,
        };
        self.shared.read(reason).await.map_err(NotRefreshed::Failed)
    }

    /// Lets the next read for an operator come at once.
    #[cfg(test)]
    pub(super) fn forget_operator_read(&self) {
        *self.shared.operator_read.lock() = None;
    }

    /// What the source's server has shown of itself, if it has one.
    pub fn observed(&self) -> Option<Arc<Observed>> {
        self.shared.source.observed()
    }

    /// Whether the set is well. Cheaper than [`Self::status`].
    pub fn health(&self) -> SetHealth {
        let record = self.shared.record.lock();
        SetHealth {
            state: record.rotation.state(),
            was_read: record.failures > 0 || record.confirmed_at.is_some(),
            refuses_new: record.rotation.refused_version().is_some(),
            unconfirmed: record.confirmed_at.map(|moment| moment.instant.elapsed()),
            source_fails: record.last_error.as_ref().is_some_and(|failure| failure.is_of_source),
        }
    }

    /// The status of the set.
    pub fn status(&self) -> SetStatus {
        let shared = &self.shared;
        let record = shared.record.lock();
        let used = match record.rotation.select() {
            Selection::Use { lease, .. } => Some(lease),
            Selection::Nothing { .. } => None,
        };
        let (current, previous) = record.rotation.versions();
        let other = [current, previous]
            .into_iter()
            .flatten()
            .find(|lease| used.as_ref().is_none_or(|used| !Arc::ptr_eq(used, lease)));
        let (rotations, rejections) = record.rotation.counts();
        let waiting = record.rotation.waiting_version();
        let accepted_at = used.as_ref().and_then(|lease| lease.accepted_at());
        let seconds = |moment: Option<Timepoint>| moment.map(|m| m.instant.elapsed().as_secs());
        SetStatus {
            name: shared.settings.name.to_string(),
            source: shared.settings.source.kind(),
            state: record.rotation.state(),
            version: used.as_ref().map(|lease| lease.version().to_string()),
            other_version: other.map(|lease| lease.version().to_string()),
            refused_version: record
                .rotation
                .refused_version()
                .map(|(refused, _)| refused.to_string()),
            waiting_version: waiting.map(|(version, _)| version.to_string()),
            rejected_version: waiting
                .filter(|(_, is_rejected)| *is_rejected)
                .map(|(version, _)| version.to_string()),
            generation: used.as_ref().map(|lease| lease.generation()),
            loaded_at: record.loaded_at.map(|moment| moment.date),
            age_seconds: seconds(record.loaded_at),
            confirmed_at: record.confirmed_at.map(|moment| moment.date),
            unconfirmed_seconds: seconds(record.confirmed_at),
            kept_at: record.kept.as_ref().map(|copy| copy.at.date),
            accepted_at,
            unaccepted_seconds: accepted_at.map(|date| {
                u64::try_from(Timestamp::now().duration_since(date).as_secs()).unwrap_or_default()
            }),
            rotations,
            rejections,
            failures: record.failures,
            last_error: record.last_error.as_ref().map(|failure| failure.reason.clone()),
        }
    }

    /// The number of the generation in use, as it changes; 0 before the first.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }
}

impl fmt::Debug for CredentialManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.shared.settings.name;
        f.debug_struct("CredentialManager").field("name", name).finish_non_exhaustive()
    }
}

/// What becomes of a version that is older than the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderVersion {
    /// It is refused, as in every scheduled read.
    Refuse,
    /// It is used.
    Accept,
}

/// Why a source was not read for an operator, or gave no set.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotRefreshed {
    /// It was read for an operator a moment ago.
    #[error("the source was read for an operator less than {} s ago", OPERATOR_GAP.as_secs())]
    TooSoon {
        /// When it may be read again.
        retry_after: Duration,
    },
    /// It could not be read, or gave an older version.
    #[error(transparent)]
    Failed(Arc<LoadError>),
}

/// How Pigello answered a credential set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialVerdict {
    /// Neither with 401 or 403 nor with an error of its own (5xx).
    Accepted,
    /// With 403: the set is known. That proves no new version.
    Forbidden,
    /// With 401.
    Refused,
}

#[cfg(test)]
mod tests;
