//! Keeps one credential set at hand: reads its source in the background and gives requests
//! snapshots that cost no wait.
//!
//! It promises: a snapshot is one whole set of one version; a source that fails never takes away
//! a set that was good; two reads never run at once; what was read after a change is what the
//! next request gets.

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
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    CredentialSet, Lease, LoadError, SetVersion, Settings, State, Status,
    backoff::{Backoff, spread},
    source::Source,
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
    view: ArcSwap<View>,
    generation: watch::Sender<u64>,
    record: Mutex<Record>,
    /// Reads that were begun.
    begun: AtomicU64,
    flight: tokio::sync::Mutex<Flight>,
}

/// What requests see.
enum View {
    Ready(Arc<Lease>),
    Unavailable(Unavailable),
}

/// The last read that ended; locked while one runs.
#[derive(Default)]
struct Flight {
    number: u64,
    outcome: Option<Result<RefreshOutcome, Arc<LoadError>>>,
}

/// What happened so far, for the status.
#[derive(Default)]
struct Record {
    loaded_at: Option<Moment>,
    confirmed_at: Option<Moment>,
    rotations: u64,
    failures: u64,
    last_error: Option<String>,
}

/// A point in time, for people and for reckoning.
#[derive(Clone, Copy)]
struct Moment {
    date: Timestamp,
    instant: time::Instant,
}

impl Moment {
    fn now() -> Self {
        Self { date: Timestamp::now(), instant: time::Instant::now() }
    }
}

impl Keeper {
    /// Gets ready to keep a set. Nothing is read before [`Self::run`] or [`Self::refresh`].
    pub fn new(settings: Settings) -> Self {
        let source = Source::new(&settings);
        let view = View::Unavailable(Unavailable {
            detail: format!("The credential set {:?} has not been read yet.", settings.name).into(),
            retry_after: Duration::from_secs(1),
        });
        let shared = Shared {
            settings,
            source,
            view: ArcSwap::from_pointee(view),
            generation: watch::Sender::new(0),
            record: Mutex::default(),
            begun: AtomicU64::new(0),
            flight: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The set to use for one request, or why there is none. Never waits, takes no lock.
    pub fn snapshot(&self) -> Result<Arc<Lease>, Unavailable> {
        match &**self.shared.view.load() {
            View::Ready(lease) => Ok(Arc::clone(lease)),
            View::Unavailable(reason) => Err(reason.clone()),
        }
    }

    /// Keeps the set fresh until `stop`: reads it, again after a pause while that fails, again at
    /// intervals, and again when its files change.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled_owned(self.keep()).await;
    }

    async fn keep(self) {
        let refresh = self.shared.settings.refresh;
        let mut backoff = Backoff::new(refresh.retry_cap);
        let mut watch = self.shared.source.watched().map(Watch::new);
        let signal = watch.as_ref().map_or_else(Signal::never, Watch::signal);
        loop {
            // First the watch, then the read, so that no change falls between the two.
            watch = self.renew(watch).await;
            let pause = match self.refresh().await {
                Ok(_) => {
                    backoff.reset();
                    spread(refresh.interval)
                }
                Err(_) => backoff.pause(),
            };
            tokio::select! {
                () = time::sleep(pause) => {}
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

    /// Reads the source now. Calls that come while a read runs share the one after it, because
    /// the running one may have looked before the change that they want to see. The read goes on
    /// if its caller goes away.
    pub async fn refresh(&self) -> Result<RefreshOutcome, Arc<LoadError>> {
        let seen = self.shared.begun.load(Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        let read = tokio::spawn(async move { shared.read_unless_newer_than(seen).await });
        read.await.unwrap_or_else(|_| Err(Arc::new(LoadError::Interrupted)))
    }

    /// What can be told about the set.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let lease = self.snapshot().ok();
        let record = shared.record.lock();
        let seconds = |moment: Option<Moment>| moment.map(|m| m.instant.elapsed().as_secs());
        Status {
            name: shared.settings.name.to_string(),
            source: shared.settings.source.kind(),
            state: match (&lease, &record.last_error) {
                (None, _) => State::Empty,
                (Some(_), None) => State::Fresh,
                (Some(_), Some(_)) => State::Stale,
            },
            version: lease.as_ref().map(|lease| lease.version().to_string()),
            generation: lease.as_ref().map(|lease| lease.generation()),
            loaded_at: record.loaded_at.map(|moment| moment.date),
            age_seconds: seconds(record.loaded_at),
            confirmed_at: record.confirmed_at.map(|moment| moment.date),
            unconfirmed_seconds: seconds(record.confirmed_at),
            rotations: record.rotations,
            failures: record.failures,
            last_error: record.last_error.clone(),
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

impl Shared {
    async fn read_unless_newer_than(&self, seen: u64) -> Result<RefreshOutcome, Arc<LoadError>> {
        let mut flight = self.flight.lock().await;
        if flight.number > seen
            && let Some(outcome) = &flight.outcome
        {
            return outcome.clone();
        }
        flight.number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = match self.source.read(&self.settings).await {
            Ok(set) => Ok(self.accept(set)),
            Err(error) => Err(self.fail(error)),
        };
        flight.outcome = Some(outcome.clone());
        outcome
    }

    fn accept(&self, set: CredentialSet) -> RefreshOutcome {
        let name = &self.settings.name;
        let mut record = self.record.lock();
        let now = Moment::now();
        record.confirmed_at = Some(now);
        record.last_error = None;
        let held = match &**self.view.load() {
            View::Ready(lease) => Some(Arc::clone(lease)),
            View::Unavailable(_) => None,
        };
        let version = set.version().clone();
        let from = match &held {
            Some(lease) if lease.version() == &version && lease.same_values(&set) => {
                return RefreshOutcome::Unchanged { version };
            }
            Some(lease) => {
                record.rotations += 1;
                Some(lease.version().clone())
            }
            None => None,
        };
        record.loaded_at = Some(now);
        let lease = Lease::new(set);
        let generation = lease.generation();
        self.view.store(Arc::new(View::Ready(Arc::new(lease))));
        self.generation.send_replace(generation);
        tracing::info!(credentials = %name, %version, generation, "credential set in use");
        RefreshOutcome::Replaced { from, to: version }
    }

    fn fail(&self, error: LoadError) -> Arc<LoadError> {
        let name = &self.settings.name;
        let reason = Chain(&error).to_string();
        let mut record = self.record.lock();
        record.failures += 1;
        // The same failure at every attempt of a long outage is news only once.
        if record.last_error.as_ref() == Some(&reason) {
            tracing::debug!(credentials = %name, %reason, "credential source still fails");
        } else {
            tracing::warn!(credentials = %name, %reason, "credential source failed");
        }
        record.last_error = Some(reason);
        if matches!(&**self.view.load(), View::Unavailable(_)) {
            self.view.store(Arc::new(View::Unavailable(Unavailable {
                detail: error.for_callers(name).into(),
                retry_after: Duration::from_secs(1).max(self.settings.refresh.retry_cap / 6),
            })));
        }
        Arc::new(error)
    }
}

/// What a read changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// Nothing: the source still has the version in use.
    Unchanged {
        /// That version.
        version: SetVersion,
    },
    /// Another version is in use from now on.
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
