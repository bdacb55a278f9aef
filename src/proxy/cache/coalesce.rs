//! One fetch for all who want the same object at the same time.
//!
//! The first caller leads, the others follow. The fetch runs in a task of its own, so it goes on if
//! the leader leaves, and whoever follows gets what it brought, on whatever worker they are. A fetch
//! whose answer is for its caller alone lets the others go the moment that is known, and for a while
//! nobody waits for such an answer again.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::storage::{
    epochs::Stamp,
    key::{Key, KeyView},
    object::Object,
};
use crate::error::{Error, Kind};

/// The fetches under way.
#[derive(Debug)]
pub(super) struct InFlights {
    under_way: Arc<Mutex<HashMap<Key, InFlight>>>,
    /// When each group of keys last had an answer that could not be shared, in milliseconds from
    /// `since`; zero for never.
    hit_for_miss: Box<[AtomicU64]>,
    since: Instant,
    hasher: RandomState,
}

#[derive(Debug)]
struct InFlight {
    landing: watch::Receiver<Option<FetchOutcome>>,
    stamp: Stamp,
}

/// What a fetch brought.
#[derive(Clone, Debug)]
pub(super) enum FetchOutcome {
    /// An object that may answer others.
    Stored(Arc<Object>),
    /// The upstream failed; a stale object is there for those who may have it.
    Stale(Arc<Object>, Failure),
    /// An answer for its caller alone.
    NotShared,
    /// No answer.
    Failed(Failure),
}

/// An error that several callers get.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: Kind,
    detail: Arc<str>,
    retry_after: Option<Duration>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (kind, retry_after) = (error.kind(), error.retry_after_hint());
        Self { kind, detail: error.detail().into(), retry_after }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = Self::new(failure.kind, Cow::Owned(failure.detail.as_ref().to_owned()));
        match failure.retry_after {
            Some(after) => error.retry_after(after),
            None => error,
        }
    }
}

/// A place in a fetch.
#[derive(Debug)]
pub(super) enum Place {
    /// This caller makes it.
    Lead(Leader),
    /// Another one is making it.
    Follow(Waiter),
}

impl InFlights {
    pub(super) fn new() -> Self {
        let hit_for_miss = (0..GROUPS).map(|_| AtomicU64::new(0)).collect();
        let (since, hasher) = (Instant::now(), RandomState::new());
        Self { under_way: Arc::default(), hit_for_miss, since, hasher }
    }

    /// Joins the fetch of an object, or begins it. One that began before a write is not joined by
    /// who comes after the write.
    pub(super) fn join(&self, key: Key, stamp: Stamp) -> Place {
        let mut flights = self.under_way.lock();
        if let Some(flight) = flights.get(&key).filter(|flight| flight.stamp == stamp) {
            return Place::Follow(Waiter(flight.landing.clone()));
        }
        let (sender, landing) = watch::channel(None);
        flights.insert(key.clone(), InFlight { landing, stamp });
        Place::Lead(Leader { flights: Arc::downgrade(&self.under_way), key, sender })
    }

    /// The answer to a request for this could not be shared: until it is known better, nobody waits
    /// for another's.
    pub(super) fn part(&self, key: &Key) {
        if let Some(hit_for_miss) = self.group(key.view()) {
            hit_for_miss.store(self.millis().max(1), Ordering::Relaxed);
        }
    }

    /// Whether callers who want this are to go each on their own.
    pub(super) fn is_parted(&self, key: KeyView<'_>) -> bool {
        let at = self.group(key).map_or(0, |hit_for_miss| hit_for_miss.load(Ordering::Relaxed));
        at > 0 && self.millis().saturating_sub(at) < PARTED_FOR
    }

    /// How many fetches are under way.
    pub(super) fn count(&self) -> u64 {
        self.under_way.lock().len() as u64
    }

    fn group(&self, key: KeyView<'_>) -> Option<&AtomicU64> {
        let at = self.hasher.hash_one(key) % GROUPS;
        self.hit_for_miss.get(usize::try_from(at).ok()?)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The duty to tell those who follow. A ticket that is dropped lets them go.
#[derive(Debug)]
pub(super) struct Leader {
    flights: Weak<Mutex<HashMap<Key, InFlight>>>,
    key: Key,
    sender: watch::Sender<Option<FetchOutcome>>,
}

impl Leader {
    /// Tells those who follow. Whoever comes later does not find the fetch any more, so what it
    /// brought must be in the store by now.
    pub(super) fn land(self, landing: FetchOutcome) {
        self.leave();
        self.sender.send_replace(Some(landing));
    }

    fn leave(&self) {
        let Some(flights) = self.flights.upgrade() else { return };
        let mut flights = flights.lock();
        // A later fetch may have taken the place.
        let is_ours = |flight: &InFlight| flight.landing.same_channel(&self.sender.subscribe());
        if flights.get(&self.key).is_some_and(is_ours) {
            flights.remove(&self.key);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Waits for another caller's fetch.
#[derive(Debug)]
pub(super) struct Waiter(watch::Receiver<Option<FetchOutcome>>);

impl Waiter {
    /// What the fetch brought; `NotShared` if it brought nothing in time.
    pub(super) async fn landing(mut self, longest: Duration) -> FetchOutcome {
        let landed = self.0.wait_for(Option::is_some);
        match tokio::time::timeout(longest, landed).await {
            Ok(Ok(landing)) => landing.clone().unwrap_or(FetchOutcome::NotShared),
            Ok(Err(_)) | Err(_) => FetchOutcome::NotShared,
        }
    }
}

/// How long callers go each on their own after an answer that could not be shared, in milliseconds.
const PARTED_FOR: u64 = 5_000;
/// Keys share the memory of that by groups: it only decides who waits.
const GROUPS: u64 = 4096;
