//! Keeps one credential set at hand: reads its source in the background and gives requests
//! snapshots that cost no wait.
//!
//! It promises: a snapshot is one whole set of one version; a source that fails does not take
//! away a set that was good before its limit; two reads never run at once; what was read after a
//! change is what the next request gets. What a set may be used for, and for how long, is decided
//! in [`super::rotation`]; here are the clock, the locks and the log.

mod refresh;
mod load;
mod unavailable;
mod view;

pub use load::RefreshOutcome;
pub use refresh::Next;
pub use unavailable::Unavailable;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use self::{load::Flight, refresh::Hunt, unavailable::unavailable, view::View};
use super::{
    Lease, LoadError, Settings, Status,
    rotation::{AfterRefusal, RotationState, Selection},
    source::{Asked, Source},
    watch::{Signal, Watch},
};
use crate::outbound::{Backoff, spread};

/// The upper end of the first pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Holds one credential set. Clones share it.
#[derive(Clone)]
pub struct CredentialManager {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    source: Source,
    start: Instant,
    view: ArcSwap<View>,
    /// The number in `generation`, without its lock: each call that memory answers asks for it.
    in_use: AtomicU64,
    record: Mutex<Record>,
    generation: watch::Sender<u64>,
    hunt: watch::Sender<Hunt>,
    holders: Semaphore,
    /// Wakes the background when its next deadline may be another.
    poke: Notify,
    /// Reads that were begun.
    begun: AtomicU64,
    /// When the next read is planned, in milliseconds since `start`; 0 before the first.
    next_read: AtomicU64,
    flight: tokio::sync::Mutex<Flight>,
}

/// The state machine, and what happened so far, for the status.
struct Record {
    life: RotationState,
    loaded_at: Option<Moment>,
    confirmed_at: Option<Moment>,
    failures: u64,
    last_error: Option<Failure>,
    /// A hunt ended without an answer of the source, and none has come since.
    is_unasked: bool,
}

struct Failure {
    /// For the log and for operators.
    reason: String,
    for_callers: String,
}

/// A point in time, for people and for reckoning.
#[derive(Clone, Copy)]
struct Moment {
    date: Timestamp,
    instant: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { date: Timestamp::now(), instant: Instant::now() }
    }
}

impl CredentialManager {
    /// Gets ready to keep a set. Nothing is read before [`Self::run`] or [`Self::refresh`].
    pub fn new(settings: Settings) -> Self {
        let source = Source::new(&settings);
        Self::with_source(settings, source)
    }

    pub(super) fn with_source(settings: Settings, source: Source) -> Self {
        let start = Instant::now();
        let life = RotationState::new(settings.refresh);
        let record = Record {
            life,
            loaded_at: None,
            confirmed_at: None,
            failures: 0,
            last_error: None,
            is_unasked: false,
        };
        let view = View::of(record.life.pick(), || unavailable(&settings, &record), start);
        let shared = Shared {
            source,
            start,
            view: ArcSwap::from_pointee(view),
            in_use: AtomicU64::new(0),
            record: Mutex::new(record),
            generation: watch::Sender::new(0),
            hunt: watch::Sender::default(),
            holders: Semaphore::new(settings.refresh.holders),
            poke: Notify::new(),
            begun: AtomicU64::new(0),
            next_read: AtomicU64::new(0),
            flight: tokio::sync::Mutex::default(),
            settings,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Whether it is the same manager, and not one with the same settings.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The set to use for one request, or why there is none. Never waits, takes no lock.
    pub fn snapshot(&self) -> Result<Arc<Lease>, Unavailable> {
        self.shared.view.load().lease(false).map_err(|reason| self.shared.timed(reason))
    }

    /// As [`Self::snapshot`], for a request that can be sent again after a 401. Now and then it
    /// gets a version that Pigello did not take a moment ago, to see whether it does by now.
    pub fn snapshot_to_try(&self) -> Result<Arc<Lease>, Unavailable> {
        self.shared.view.load().lease(true).map_err(|reason| self.shared.timed(reason))
    }

    /// The number of the generation in use, if there is one. Takes nothing: a version that is due to
    /// be tried stays due, and is not in use before it has proved itself.
    pub fn generation(&self) -> Option<u64> {
        Some(self.shared.in_use.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    /// Tells how Pigello took a set: once for every answer of it.
    pub fn report(&self, lease: &Lease, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => self.shared.accepted(lease),
            Verdict::Refused => {
                self.shared.refused(lease.generation());
            }
        }
    }

    /// Keeps the set fresh until `stop`: reads it, again after a pause while that fails, again at
    /// intervals, and again when its files change.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled_owned(self.keep()).await;
    }

    async fn keep(self) {
        let shared = &self.shared;
        let refresh = shared.settings.refresh;
        let mut backoff = Backoff::new(FIRST_PAUSE, refresh.retry_cap);
        let mut watch = shared.source.watched().map(Watch::new);
        let signal = watch.as_ref().map_or_else(Signal::never, Watch::signal);
        loop {
            // First the watch, then the read, so that no change falls between the two.
            watch = self.renew(watch).await;
            let read = shared.read(Asked::Routine).await;
            let content = read.is_ok() && !shared.record.lock().life.is_wanting();
            let pause = if content {
                backoff.reset();
                spread(refresh.interval)
            } else {
                backoff.pause()
            };
            let mut end = Instant::now() + pause;
            if let Some(wake_at) = shared.source.wake_at().filter(|_| content) {
                end = end.min(wake_at);
            }
            shared.next_read.store(shared.millis_at(end), Ordering::Relaxed);
            tokio::select! {
                () = shared.wait_until(end, content) => {}
                () = signal.settled(refresh.quiet) => {}
            }
        }
    }

    async fn renew(&self, watch: Option<Watch>) -> Option<Watch> {
        let mut watch = watch?;
        let renewed = self.shared.source.in_background(move || {
            watch.renew();
            watch
        });
        renewed.await.ok()
    }

    /// Reads the source now, because somebody asks for it: an operator, or a configuration that
    /// was read again. A version older than the one in use is taken then, too. Calls that come
    /// while a read runs share the one after it, because the running one may have looked before
    /// the change that they want to see. The read goes on if its caller goes away.
    pub async fn refresh(&self) -> Result<RefreshOutcome, Arc<LoadError>> {
        self.shared.read(Asked::ByOperator).await
    }

    /// What can be told about the set.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let record = shared.record.lock();
        let used = match record.life.pick() {
            Selection::Use { lease, .. } => Some(lease),
            Selection::Nothing { .. } => None,
        };
        let members = record.life.members();
        let other = [members.0, members.1]
            .into_iter()
            .flatten()
            .find(|lease| used.as_ref().is_none_or(|used| !Arc::ptr_eq(used, lease)));
        let (rotations, rejections) = record.life.counts();
        let accepted_at = used.as_ref().and_then(|lease| lease.accepted_at());
        let seconds = |moment: Option<Moment>| moment.map(|m| m.instant.elapsed().as_secs());
        Status {
            name: shared.settings.name.to_string(),
            source: shared.settings.source.kind(),
            state: record.life.state(),
            version: used.as_ref().map(|lease| lease.version().to_string()),
            other_version: other.map(|lease| lease.version().to_string()),
            generation: used.as_ref().map(|lease| lease.generation()),
            loaded_at: record.loaded_at.map(|moment| moment.date),
            age_seconds: seconds(record.loaded_at),
            confirmed_at: record.confirmed_at.map(|moment| moment.date),
            unconfirmed_seconds: seconds(record.confirmed_at),
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
        f.debug_struct("Keeper").field("name", &self.shared.settings.name).finish_non_exhaustive()
    }
}

/// How Pigello took a credential set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, and neither with 401 nor with an error of its own (5xx).
    Accepted,
    /// It answered with 401.
    Refused,
}

impl Shared {
    /// Waits, and lets the limits of the set take effect meanwhile. A wait that began with a set
    /// that was `content` ends early when it is refused for good.
    async fn wait_until(&self, end: Instant, content: bool) {
        loop {
            let poked = self.poke.notified();
            let deadline = self.record.lock().life.deadline();
            let wake = deadline.map_or(end, |deadline| deadline.min(end));
            tokio::select! {
                () = time::sleep_until(wake) => {}
                () = poked => {}
            }
            let wanting = self.change(|life, now| {
                life.tick(now);
                life.is_wanting()
            });
            if Instant::now() >= end || (content && wanting) {
                return;
            }
        }
    }

    fn accepted(&self, lease: &Lease) {
        lease.note_accepted();
        if let View::Ready { lease: used, settled: true, .. } = &**self.view.load()
            && used.generation() == lease.generation()
        {
            return;
        }
        self.change(|life, now| life.accepted(lease.generation(), now));
    }

    fn refused(&self, generation: u64) -> AfterRefusal {
        self.change(|life, now| life.refused(generation, now))
    }

    fn hunted_in_vain(&self) {
        if self.change(RotationState::hunted_in_vain) {
            tracing::error!(
                credentials = %self.settings.name,
                "Pigello refuses the credential set, and its source has no newer one"
            );
        }
    }

    /// Lets something happen to the set, and shows requests what came of it.
    fn change<T>(&self, event: impl FnOnce(&mut RotationState, Instant) -> T) -> T {
        let mut record = self.record.lock();
        let plans = |life: &RotationState| (life.deadline(), life.is_wanting());
        let before = plans(&record.life);
        let answer = event(&mut record.life, Instant::now());
        self.publish(&record);
        if plans(&record.life) != before {
            self.poke.notify_one();
        }
        answer
    }

    fn publish(&self, record: &Record) {
        let pick = record.life.pick();
        let generation = match &pick {
            Selection::Use { lease, .. } => lease.generation(),
            Selection::Nothing { .. } => 0,
        };
        let view = View::of(pick, || unavailable(&self.settings, record), self.start);
        if self.view.load().same_as(&view) {
            return;
        }
        self.view.store(Arc::new(view));
        self.in_use.store(generation, Ordering::Release);
        let changed = self.generation.send_if_modified(|last| {
            let changed = *last != generation;
            *last = generation;
            changed
        });
        if changed {
            let state = record.life.state().label();
            tracing::info!(
                credentials = %self.settings.name, generation, state, "credential set in use"
            );
        }
    }

    /// The reason with the time of the next read: before it nothing can have changed.
    fn timed(&self, reason: Unavailable) -> Unavailable {
        match self.next_read.load(Ordering::Relaxed) {
            0 => reason,
            next => {
                let wait = next.saturating_sub(self.millis_at(Instant::now()));
                // What is planned beyond the longest pause was planned while all was well, and is
                // brought forward now: by the manager itself, or by the next call that hunts.
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

#[cfg(test)]
mod tests;
