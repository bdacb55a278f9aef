//! The state that all clones of a manager share, and its changes.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use super::{
    change::{ChangeCause, ChangeObserver, Told},
    heard::Heard,
    unavailable::Unavailable,
    view::RequestView,
};
use crate::{
    credentials::{
        rotation::{AfterRefusal, Lease, RefreshOutcome, RotationState, UnavailableReason},
        settings::Settings,
        sources::{CredentialSource, KeptFile, LoadError, RefreshReason},
    },
    fleet::Member,
};

pub(super) struct ManagerShared {
    pub(super) settings: Settings,
    pub(super) source: CredentialSource,
    pub(super) kept_file: Option<Arc<KeptFile>>,
    start: Instant,
    view: ArcSwap<RequestView>,
    /// The number in `generation`. It needs no lock, because every cache hit reads it.
    in_use: AtomicU64,
    pub(super) record: Mutex<SetRecord>,
    pub(super) generation: watch::Sender<u64>,
    pub(super) on_demand: watch::Sender<OnDemandRefresh>,
    pub(super) holders: Semaphore,
    /// Wakes the background task, because its next deadline may have changed.
    pub(super) wake: Notify,
    pub(super) reads_begun: AtomicU64,
    /// The time of the next read, in milliseconds since `start`; 0 before the first.
    next_read: AtomicU64,
    pub(super) last_read: tokio::sync::Mutex<LastRead>,
    /// Sees each change of the version in use.
    pub(super) observer: OnceLock<ChangeObserver>,
    /// Is told of versions, if there is a fleet.
    pub(super) fleet: OnceLock<Arc<Member>>,
    /// When the source was last read for an operator.
    pub(super) operator_read: Mutex<Option<Instant>>,
}

/// The state machine, and what the status tells.
pub(super) struct SetRecord {
    pub(super) rotation: RotationState,
    /// The version in use that the observer was told of.
    pub(super) told: Told,
    /// What other gateways of the fleet have told of the set.
    pub(super) heard: Heard,
    pub(super) loaded_at: Option<Timepoint>,
    pub(super) confirmed_at: Option<Timepoint>,
    pub(super) failures: u64,
    pub(super) last_error: Option<LastFailure>,
    /// The last copy that was written to `keep`.
    pub(super) kept: Option<KeptCopy>,
    /// The last write to `keep` failed.
    pub(super) keep_fails: bool,
    /// The last refresh on a 401 ended without an answer of the source, which has not answered since.
    pub(super) refresh_unanswered: bool,
}

/// A copy in `keep`.
pub(super) struct KeptCopy {
    pub(super) at: Timepoint,
    /// The generations in it.
    pub(super) generations: Vec<u64>,
}

pub(super) struct LastFailure {
    /// For the log and for operators.
    pub(super) reason: String,
    pub(super) for_callers: String,
    /// The source works and does not have the set.
    pub(super) is_absent: bool,
    /// Whether the source itself cannot be used.
    pub(super) is_of_source: bool,
}

pub(super) type ReadResult = Result<RefreshOutcome, Arc<LoadError>>;

/// The last read that ended. Locked while a read runs.
#[derive(Default)]
pub(super) struct LastRead {
    pub(super) number: u64,
    pub(super) result: Option<(RefreshReason, ReadResult)>,
}

/// A point in time by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Timepoint {
    pub(super) date: Timestamp,
    pub(super) instant: Instant,
}

impl Timepoint {
    pub(super) fn now() -> Self {
        Self { date: Timestamp::now(), instant: Instant::now() }
    }
}

/// The progress of a refresh on a 401, which all calls with a 401 share.
#[derive(Clone, Debug, Default)]
pub(super) enum OnDemandRefresh {
    /// None was started.
    #[default]
    Idle,
    Running,
    /// The waiting calls look up the result in the rotation, so that no version is kept alive here.
    Finished,
}

impl ManagerShared {
    pub(super) fn new(settings: Settings, source: CredentialSource) -> Self {
        let start = Instant::now();
        let record = SetRecord {
            rotation: RotationState::new(settings.refresh),
            told: Told::default(),
            heard: Heard::default(),
            loaded_at: None,
            confirmed_at: None,
            failures: 0,
            last_error: None,
            kept: None,
            keep_fails: false,
            refresh_unanswered: false,
        };
        Self {
            kept_file: source.kept_file(&settings).map(Arc::new),
            source,
            start,
            view: ArcSwap::from_pointee(view(&settings, &record, start)),
            in_use: AtomicU64::new(0),
            record: Mutex::new(record),
            generation: watch::Sender::new(0),
            on_demand: watch::Sender::default(),
            holders: Semaphore::new(settings.refresh.holders),
            wake: Notify::new(),
            reads_begun: AtomicU64::new(0),
            next_read: AtomicU64::new(0),
            last_read: tokio::sync::Mutex::default(),
            observer: OnceLock::new(),
            fleet: OnceLock::new(),
            operator_read: Mutex::default(),
            settings,
        }
    }

    /// The set for a request. `may_repeat`: the request can be sent again after a 401.
    pub(super) fn lease(&self, may_repeat: bool) -> Result<Arc<Lease>, Unavailable> {
        self.view.load().lease(may_repeat).map_err(|reason| self.with_next_read(reason))
    }

    pub(super) fn generation_in_use(&self) -> Option<u64> {
        Some(self.in_use.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    pub(super) fn accepted(&self, lease: &Lease) {
        lease.note_accepted();
        if !self.view.load().is_settled(lease.generation()) {
            let accepted = Some(ChangeCause::Accepted);
            self.change(accepted, |rotation, now| {
                if rotation.accepted(lease.generation(), now) {
                    self.judged(rotation, true);
                }
            });
        }
    }

    /// Whether it is a version that nobody knows Pigello to accept.
    pub(super) fn is_unproven(&self, lease: &Lease) -> bool {
        let generation = lease.generation();
        !self.view.load().is_settled(generation)
            && self.record.lock().rotation.is_unproven(generation)
    }

    pub(super) fn refused(&self, generation: u64) -> AfterRefusal {
        self.change(Some(ChangeCause::Rejected), |rotation, now| {
            let was_refused = rotation.refused_version().is_some();
            let next = rotation.refused(generation, now);
            if let Some((refused, used)) = rotation.refused_version().filter(|_| !was_refused) {
                tracing::warn!(
                    credentials = %self.settings.name, %refused, %used,
                    "Pigello refuses the new version of the credential set (401); the version before it \
                     stays in use"
                );
                self.judged(rotation, false);
            }
            next
        })
    }

    pub(super) fn refresh_found_nothing(&self) {
        if self.change(Some(ChangeCause::Rejected), RotationState::refresh_found_nothing) {
            tracing::error!(
                credentials = %self.settings.name,
                "Pigello refuses the credential set, and its source has no newer one"
            );
        }
    }

    /// Changes the rotation, and publishes the result to requests. Without a cause, limits are applied.
    pub(super) fn change<T>(
        &self,
        cause: Option<ChangeCause>,
        event: impl FnOnce(&mut RotationState, Instant) -> T,
    ) -> T {
        let mut record = self.record.lock();
        let plans = |rotation: &RotationState| (rotation.deadline(), rotation.needs_new_version());
        let before = plans(&record.rotation);
        let outcome = event(&mut record.rotation, Instant::now());
        self.publish(&mut record, cause);
        if plans(&record.rotation) != before {
            self.wake.notify_one();
        }
        outcome
    }

    pub(super) fn publish(&self, record: &mut SetRecord, cause: Option<ChangeCause>) {
        if let Some(observer) = self.observer.get()
            && let Some(change) = record.told.change(&record.rotation, cause)
        {
            observer(change);
        }
        let view = view(&self.settings, record, self.start);
        if self.view.load().same_as(&view) {
            return;
        }
        let generation = view.generation();
        self.view.store(Arc::new(view));
        self.in_use.store(generation, Ordering::Release);
        let changed = self.generation.send_if_modified(|last| {
            let changed = *last != generation;
            *last = generation;
            changed
        });
        if changed {
            let state = record.rotation.state().label();
            tracing::info!(
                credentials = %self.settings.name, generation, state, "credential set in use"
            );
        }
    }

    /// Plans the next read.
    pub(super) fn plan_read(&self, at: Instant) {
        self.next_read.store(self.millis_at(at), Ordering::Relaxed);
    }

    /// Sets `Retry-After` to the time of the next read, before which nothing changes.
    pub(super) fn with_next_read(&self, reason: Unavailable) -> Unavailable {
        match self.next_read.load(Ordering::Relaxed) {
            0 => reason,
            next => {
                let wait = next.saturating_sub(self.millis_at(Instant::now()));
                // A later read was planned before the trouble. It will be earlier now, because of the
                // background task or of the next 401.
                let wait = Duration::from_millis(wait).min(self.settings.refresh.retry_cap);
                Unavailable { retry_after: wait, ..reason }
            }
        }
    }

    fn millis_at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

fn view(settings: &Settings, record: &SetRecord, start: Instant) -> RequestView {
    let selection = record.rotation.select();
    let unavailable = |reason: UnavailableReason| {
        let for_callers = record.last_error.as_ref().map(|failure| failure.for_callers.as_str());
        Unavailable::new(settings, reason, for_callers)
    };
    RequestView::of(selection, unavailable, start)
}
