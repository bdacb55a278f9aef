//! Single flight: one fetch for all calls that want the same response at the same time (RFC 9111 §4).
//!
//! The first call leads and makes the fetch; the others wait for its outcome, on whichever worker they
//! are. The leader is owned by the fetch's task, so the fetch goes on if its caller leaves. A leader
//! that is dropped without an outcome releases the waiters.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

/// The fetches in flight.
pub(super) struct SingleFlight<K, T>(Flights<K, T>);

type Flights<K, T> = Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>;

/// The part of a call in a fetch.
pub(super) enum FlightRole<K: Eq + Hash, T> {
    /// It makes the fetch.
    Lead(FlightLeader<K, T>),
    /// It waits for the fetch of another call.
    Wait(FlightWaiter<T>),
}

impl<K: Clone + Eq + Hash, T> SingleFlight<K, T> {
    /// Joins the fetch of a key, or begins it.
    pub(super) fn join(&self, key: K) -> FlightRole<K, T> {
        match self.0.lock().entry(key) {
            Entry::Occupied(flight) => FlightRole::Wait(FlightWaiter(flight.get().clone())),
            Entry::Vacant(vacant) => {
                let (sender, outcome) = watch::channel(None);
                let key = vacant.key().clone();
                vacant.insert(outcome);
                FlightRole::Lead(FlightLeader { flights: Arc::clone(&self.0), key, sender })
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.lock().len() as u64
    }
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The obligation to tell the waiters. To drop it ends the flight.
pub(super) struct FlightLeader<K: Eq + Hash, T> {
    flights: Flights<K, T>,
    key: K,
    sender: watch::Sender<Option<T>>,
}

impl<K: Eq + Hash, T> FlightLeader<K, T> {
    /// Tells the waiters how the fetch ended. A stored response must be in the store by now: a later
    /// call does not find the flight.
    pub(super) fn finish(self, outcome: T) {
        self.sender.send_replace(Some(outcome));
    }
}

impl<K: Eq + Hash, T> Drop for FlightLeader<K, T> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

/// Waits for the fetch of another call.
pub(super) struct FlightWaiter<T>(watch::Receiver<Option<T>>);

impl<T: Clone> FlightWaiter<T> {
    /// How the fetch ended. `None` if there is no outcome in time.
    pub(super) async fn outcome(mut self, longest: Duration) -> Option<T> {
        let outcome = self.0.wait_for(Option::is_some);
        tokio::time::timeout(longest, outcome).await.ok()?.ok()?.clone()
    }
}

/// Remembers for a while which keys had a response that could not be shared ("hit for miss"), so that
/// calls do not wait for such a response again.
pub(super) struct HitForMiss {
    /// When each group of keys last had such a response, in milliseconds since `since`. Zero is never.
    marks: Box<[AtomicU64]>,
    since: Instant,
    hasher: RandomState,
}

impl HitForMiss {
    pub(super) fn new() -> Self {
        let marks = (0..GROUPS).map(|_| AtomicU64::new(0)).collect();
        Self { marks, since: Instant::now(), hasher: RandomState::new() }
    }

    pub(super) fn mark(&self, key: &impl Hash) {
        if let Some(mark) = self.group(key) {
            mark.store(self.millis().max(1), Ordering::Relaxed);
        }
    }

    pub(super) fn is_marked(&self, key: &impl Hash) -> bool {
        let at = self.group(key).map_or(0, |mark| mark.load(Ordering::Relaxed));
        at > 0 && self.millis().saturating_sub(at) < MARKED_FOR
    }

    fn group(&self, key: &impl Hash) -> Option<&AtomicU64> {
        let at = self.hasher.hash_one(key) % GROUPS;
        self.marks.get(usize::try_from(at).ok()?)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// How long calls fetch on their own after a response that could not be shared, in milliseconds.
const MARKED_FOR: u64 = 5_000;
/// Keys share marks in groups, because a mark only decides whether a call waits.
const GROUPS: u64 = 4096;
