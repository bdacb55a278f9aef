//! Keeps one credential set at hand: reads its source in the background and gives requests
//! snapshots that cost no wait.
//!
//! It promises: a snapshot is one whole set of one version; a source that fails does not take
//! away a set that was good before its limit; two reads never run at once; what was read after a
//! change is what the next request gets. What a set may be used for, and for how long, is decided
//! in [`super::life`]; here are the clock, the locks and the log.

mod hunt;
mod view;

pub use hunt::Next;

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

use self::{hunt::Hunt, view::View};
use super::{
    CredentialSet, Lease, LoadError, SetVersion, Settings, Status,
    backoff::{Backoff, spread},
    life::{AfterRefusal, Life, Loss, Pick},
    source::{Asked, Source},
    watch::{Signal, Watch},
};
use crate::error::{Chain, Error, Kind};

/// Holds one credential set. Clones share it.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    source: Source,
    start: Instant,
    view: ArcSwap<View>,
    record: Mutex<Record>,
    generation: watch::Sender<u64>,
    hunt: watch::Sender<Hunt>,
    holders: Semaphore,
    /// Wakes the background when its next deadline may be another.
    poke: Notify,
    /// Reads that were begun.
    begun: AtomicU64,
    flight: tokio::sync::Mutex<Flight>,
}

/// The last read that ended; locked while one runs.
#[derive(Default)]
struct Flight {
    number: u64,
    outcome: Option<Result<RefreshOutcome, Arc<LoadError>>>,
}

/// The state machine, and what happened so far, for the status.
struct Record {
    life: Life,
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

impl Keeper {
    /// Gets ready to keep a set. Nothing is read before [`Self::run`] or [`Self::refresh`].
    pub fn new(settings: Settings) -> Self {
        let source = Source::new(&settings);
        Self::with_source(settings, source)
    }

    pub(super) fn with_source(settings: Settings, source: Source) -> Self {
        let start = Instant::now();
        let life = Life::new(settings.refresh);
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
            record: Mutex::new(record),
            generation: watch::Sender::new(0),
            hunt: watch::Sender::default(),
            holders: Semaphore::new(settings.refresh.holders),
            poke: Notify::new(),
            begun: AtomicU64::new(0),
            flight: tokio::sync::Mutex::default(),
            settings,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The set to use for one request, or why there is none. Never waits, takes no lock.
    pub fn snapshot(&self) -> Result<Arc<Lease>, Unavailable> {
        self.shared.view.load().lease(false)
    }

    /// As [`Self::snapshot`], for a request that can be sent again after a 401. Now and then it
    /// gets a version that Pigello did not take a moment ago, to see whether it does by now.
    pub fn snapshot_to_try(&self) -> Result<Arc<Lease>, Unavailable> {
        self.shared.view.load().lease(true)
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
        let mut backoff = Backoff::new(refresh.retry_cap);
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
            Pick::Use { lease, .. } => Some(lease),
            Pick::Nothing { .. } => None,
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

impl fmt::Debug for Keeper {
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

    async fn read(self: &Arc<Self>, asked: Asked) -> Result<RefreshOutcome, Arc<LoadError>> {
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
            && let Some(outcome) = &flight.outcome
        {
            return outcome.clone();
        }
        flight.number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = match self.source.read(&self.settings, asked).await {
            Ok(set) => Ok(self.loaded(set)),
            Err(error) => Err(self.failed(error)),
        };
        flight.outcome = Some(outcome.clone());
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

    fn accepted(&self, lease: &Lease) {
        lease.note_accepted();
        if let View::Ready { lease: used, settled: true, .. } = &**self.view.load()
            && used.generation() == lease.generation()
        {
            return;
        }
        self.change(|life, now| life.accepted(lease.generation(), now));
        self.poke.notify_one();
    }

    fn refused(&self, generation: u64) -> AfterRefusal {
        self.change(|life, now| life.refused(generation, now))
    }

    fn hunted_in_vain(&self) {
        if self.change(Life::hunted_in_vain) {
            tracing::error!(
                credentials = %self.settings.name,
                "Pigello refuses the credential set, and its source has no newer one"
            );
        }
        self.poke.notify_one();
    }

    /// Lets something happen to the set, and shows requests what came of it.
    fn change<T>(&self, event: impl FnOnce(&mut Life, Instant) -> T) -> T {
        let mut record = self.record.lock();
        let answer = event(&mut record.life, Instant::now());
        self.publish(&record);
        answer
    }

    fn publish(&self, record: &Record) {
        let pick = record.life.pick();
        let generation = match &pick {
            Pick::Use { lease, .. } => lease.generation(),
            Pick::Nothing { .. } => 0,
        };
        let view = View::of(pick, || unavailable(&self.settings, record), self.start);
        if self.view.load().same_as(&view) {
            return;
        }
        self.view.store(Arc::new(view));
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

    fn retry_after(&self, loss: Loss) -> Duration {
        retry_after(&self.settings, loss)
    }
}

/// What a request without a set is told.
fn unavailable(settings: &Settings, record: &Record) -> Unavailable {
    let name = &settings.name;
    let loss = match record.life.pick() {
        Pick::Nothing { loss, .. } => loss,
        Pick::Use { .. } => Loss::NotYet,
    };
    let detail = match (loss, &record.last_error) {
        (Loss::NotYet, None) => format!("The credential set {name:?} has not been read yet."),
        (Loss::NotYet, Some(failure)) => failure.for_callers.clone(),
        (Loss::Stale, _) => {
            format!("The source of the credential set {name:?} has been away for too long.")
        }
        (Loss::Withdrawn, _) => {
            format!("The credential set {name:?} was taken away at its source.")
        }
        (Loss::Rejected, _) => {
            format!("Pigello has refused the credential set {name:?} for too long.")
        }
    };
    Unavailable { detail: detail.into(), retry_after: retry_after(settings, loss) }
}

/// When another call has a chance. At the start that is soon; later a person must act first.
fn retry_after(settings: &Settings, loss: Loss) -> Duration {
    match loss {
        Loss::NotYet => Duration::from_secs(2).min(settings.refresh.retry_cap),
        Loss::Stale | Loss::Withdrawn | Loss::Rejected => settings.refresh.retry_cap,
    }
}

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

/// There is no set to use, and why, in words for a caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unavailable {
    detail: Arc<str>,
    retry_after: Duration,
}

impl Unavailable {
    /// The reason: a sentence without paths, addresses or values.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When it is worth trying again (`Retry-After`).
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl From<Unavailable> for Error {
    fn from(reason: Unavailable) -> Self {
        Self::new(Kind::CredentialsUnavailable, reason.detail.to_string())
            .retry_after(reason.retry_after)
    }
}

#[cfg(test)]
mod tests;
