//! Where objects are: one store for all listeners, workers and profiles.
//!
//! A lookup takes no lock that others wait for. What is stored is bounded in bytes, and
//! [`Store::maintain`] makes sure that what has expired, or belongs to credentials that are no more,
//! leaves memory and is not merely unreachable.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use http::HeaderMap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    epochs::{Epochs, Scope, Stamp},
    key::{Key, KeyView},
    object::Object,
};
use crate::{
    domain::{Operation, ProfileName},
    proxy::cache::{
        coalesce::InFlights,
        settings::{self, Rule, Settings},
    },
};

/// Everything that is cached. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    settings: Settings,
    rules: Vec<Arc<Rule>>,
    objects: moka::sync::Cache<Key, Variants, ahash::RandomState>,
    epochs: Epochs,
    flights: InFlights,
    /// Moves on with each purge: what is being fetched then is not stored.
    purges: AtomicU64,
    /// The credentials that each profile uses now, if any.
    generations: Mutex<HashMap<ProfileName, Option<u64>>>,
    counts: Counts,
    wall: Arc<dyn WallClock>,
}

/// The variants of one target, the newest first.
type Variants = Arc<[Arc<Object>]>;

/// A stored object, as it was found: among its variants, so that finding it counts no more references
/// than it must.
pub(in crate::proxy::cache) struct Found {
    variants: Variants,
    at: usize,
}

impl Found {
    pub(in crate::proxy::cache) fn object(&self) -> Option<&Arc<Object>> {
        self.variants.get(self.at)
    }
}

/// Tells the time of day, for comparison with `Date` and `Expires`.
pub trait WallClock: fmt::Debug + Send + Sync {
    /// The time of day.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings) -> Self {
        Self::with_clock(settings, Arc::new(SystemClock))
    }

    /// An empty store with its own time of day. Ages always grow by tokio's clock.
    pub fn with_clock(settings: Settings, wall: Arc<dyn WallClock>) -> Self {
        let objects = moka::sync::Cache::builder()
            .max_capacity(settings.max_bytes.0)
            .weigher(|key: &Key, variants: &Variants| {
                let heap = u32::try_from(key.heap_bytes()).unwrap_or(u32::MAX);
                variants.iter().fold(heap, |sum, object| sum.saturating_add(object.weight()))
            })
            .build_with_hasher(ahash::RandomState::new());
        let rules = settings.rules.iter().cloned().map(Arc::new).collect();
        Self(Arc::new(Shared {
            settings,
            rules,
            objects,
            epochs: Epochs::new(),
            flights: InFlights::new(),
            purges: AtomicU64::new(0),
            generations: Mutex::default(),
            counts: Counts::default(),
            wall,
        }))
    }

    /// Drops everything. Returns how many responses that were.
    pub fn purge_all(&self) -> u64 {
        self.purge_if(|_, _| true)
    }

    /// Drops what an operation stored, what is stored about one object, or what the operation stored
    /// about that object; with neither, everything. Returns how many responses that were.
    ///
    /// An object's data is in lists too, and what is in a list is not known. So with `pk` alone all
    /// lists go as well.
    pub fn purge(&self, operation: Option<&str>, pk: Option<&str>) -> u64 {
        self.purge_if(|key, object| {
            let known = object.operation.as_deref();
            let named =
                operation.is_none_or(|name| known.is_some_and(|known| known.name() == name));
            let about = pk.is_none_or(|pk| {
                path_of(key.target()).split('/').any(|segment| segment.eq_ignore_ascii_case(pk))
                    || (operation.is_none()
                        && known.is_some_and(crate::proxy::cache::invalidate::is_list))
            });
            named && about
        })
    }

    /// Drops what belongs to a profile.
    pub fn purge_profile(&self, profile: &ProfileName) -> u64 {
        self.purge_if(|key, _| key.profile() == profile)
    }

    /// Takes out of memory what is of no use any more: what has expired, what a write or new
    /// credentials made unreachable. To be called every few seconds.
    pub fn maintain(&self) {
        let now = Instant::now();
        let generations = self.0.generations.lock().clone();
        self.sweep(|key, object| {
            let is_retired =
                generations.get(key.profile()).is_some_and(|now| *now != Some(key.generation()));
            is_retired || !object.is_kept(now) || !self.is_current(&object.stamp)
        });
        self.0.objects.run_pending_tasks();
    }

    /// What is stored, and what became of what was.
    pub fn stats(&self) -> Stats {
        let mut by_operation: BTreeMap<Arc<str>, Held> = BTreeMap::new();
        for (_, variants) in &self.0.objects {
            for object in variants.iter() {
                let name = object.operation.as_deref().map_or_else(
                    || Arc::from("none"),
                    |operation| Arc::clone(operation.label().shared()),
                );
                let held = by_operation.entry(name).or_default();
                held.responses += 1;
                held.bytes += u64::from(object.weight());
            }
        }
        let counts = &self.0.counts;
        Stats {
            responses: by_operation.values().map(|held| held.responses).sum(),
            bytes: self.0.objects.weighted_size(),
            max_bytes: self.0.settings.max_bytes.0,
            in_flight: self.0.flights.count(),
            stored: counts.stored.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            purged: counts.purged.load(Ordering::Relaxed),
            invalidations: counts.invalidations.load(Ordering::Relaxed),
            by_operation,
        }
    }

    pub(in crate::proxy::cache) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(in crate::proxy::cache) fn rule(
        &self,
        operation: Option<&Operation>,
        path: &str,
    ) -> Option<&Arc<Rule>> {
        if !self.0.settings.enabled {
            return None;
        }
        settings::find(&self.0.rules, operation, path)
    }

    pub(in crate::proxy::cache) fn flights(&self) -> &InFlights {
        &self.0.flights
    }

    pub(in crate::proxy::cache) fn wall(&self) -> SystemTime {
        self.0.wall.now()
    }

    /// The stored object that answers a request.
    pub(in crate::proxy::cache) fn find(
        &self,
        key: &KeyView<'_>,
        request: &HeaderMap,
        is_head: bool,
        now: Instant,
    ) -> Option<Found> {
        let variants = self.0.objects.get(key)?;
        let at = variants.iter().position(|object| {
            object.answers(request, is_head)
                && object.is_kept(now)
                && self.is_current(&object.stamp)
        })?;
        Some(Found { variants, at })
    }

    /// Stores an object in place of the variant that it is, unless it is of another time already.
    pub(in crate::proxy::cache) fn put(&self, key: Key, object: &Arc<Object>, purges: u64) -> bool {
        if !self.is_current(&object.stamp) || self.purges() != purges {
            self.0.counts.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let entry = self.0.objects.entry(key).and_upsert_with(|known| {
            let known = known.map(moka::Entry::into_value).unwrap_or_default();
            let others = known
                .iter()
                .filter(|other| !object.replaces(other) && self.is_current(&other.stamp));
            std::iter::once(object).chain(others.take(MAX_VARIANTS - 1)).cloned().collect()
        });
        // A purge that came in between may have passed this key already.
        if self.purges() != purges {
            self.0.objects.invalidate(entry.key());
        }
        self.0.counts.stored.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Drops all variants of a target.
    pub(in crate::proxy::cache) fn drop_target(&self, key: &KeyView<'_>) {
        self.0.objects.invalidate(key);
    }

    pub(in crate::proxy::cache) fn stamp(
        &self,
        path: &str,
        collection: Option<&str>,
        is_list: bool,
    ) -> Stamp {
        self.0.epochs.stamp(path, collection, is_list)
    }

    pub(in crate::proxy::cache) fn is_current(&self, stamp: &Stamp) -> bool {
        self.0.epochs.is_current(stamp)
    }

    /// Makes what a write changed unreachable, for every profile.
    pub(in crate::proxy::cache) fn invalidate<'a>(
        &self,
        scopes: impl IntoIterator<Item = Scope<'a>>,
    ) {
        self.0.counts.invalidations.fetch_add(1, Ordering::Relaxed);
        for scope in scopes {
            self.0.epochs.advance(scope);
        }
    }

    pub(in crate::proxy::cache) fn purges(&self) -> u64 {
        self.0.purges.load(Ordering::Acquire)
    }

    /// A profile has new credentials, or none: what the old ones fetched is unreachable already, and
    /// leaves memory with the next maintenance.
    pub(in crate::proxy::cache) fn has_generation(
        &self,
        profile: &ProfileName,
        generation: Option<u64>,
    ) {
        self.0.generations.lock().insert(profile.clone(), generation);
    }

    fn purge_if(&self, is_purged: impl Fn(&Key, &Object) -> bool) -> u64 {
        // First, so that what is being fetched right now is not stored behind the purge's back.
        self.0.purges.fetch_add(1, Ordering::AcqRel);
        let purged = self.sweep(is_purged);
        self.0.objects.run_pending_tasks();
        self.0.counts.purged.fetch_add(purged, Ordering::Relaxed);
        purged
    }

    /// Drops objects, variant by variant.
    fn sweep(&self, is_gone: impl Fn(&Key, &Object) -> bool) -> u64 {
        use moka::ops::compute::Op;
        let mut gone = 0;
        for (key, variants) in &self.0.objects {
            if !variants.iter().any(|object| is_gone(&key, object)) {
                continue;
            }
            // Looked at again under the key's lock: it may have been replaced since.
            let mut dropped = 0;
            let done = self.0.objects.entry_by_ref(&*key).and_compute_with(|known| {
                let Some(known) = known.map(moka::Entry::into_value) else { return Op::Nop };
                let kept: Variants =
                    known.iter().filter(|object| !is_gone(&key, object)).cloned().collect();
                dropped = (known.len() - kept.len()) as u64;
                match (dropped, kept.is_empty()) {
                    (0, _) => Op::Nop,
                    (_, true) => Op::Remove,
                    (_, false) => Op::Put(kept),
                }
            });
            drop(done);
            gone += dropped;
        }
        gone
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is stored is personal data.
        write!(
            f,
            "Store({} of {} bytes)",
            self.0.objects.weighted_size(),
            self.0.settings.max_bytes.0
        )
    }
}

/// The path of a target.
pub(in crate::proxy::cache) fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    refused: AtomicU64,
    purged: AtomicU64,
    invalidations: AtomicU64,
}

/// What is stored, for `/status` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Responses in memory.
    pub responses: u64,
    /// Bytes that they take, keys and header fields included.
    pub bytes: u64,
    /// Bytes that they may take.
    pub max_bytes: u64,
    /// Fetches that others may be waiting for.
    pub in_flight: u64,
    /// Responses that were stored since the start.
    pub stored: u64,
    /// Responses that a write or a purge overtook while they were fetched.
    pub refused: u64,
    /// Responses that were purged.
    pub purged: u64,
    /// Writes that made something unreachable.
    pub invalidations: u64,
    /// What each operation holds; `none` for requests that match no operation.
    pub by_operation: BTreeMap<Arc<str>, Held>,
}

/// What one operation holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Responses in memory.
    pub responses: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Variants of one target that are stored; a further one takes the place of the oldest.
const MAX_VARIANTS: usize = 8;
