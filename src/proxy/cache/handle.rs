//! The cache as the rest of the gateway sees it: one for all listeners, workers and profiles.

use std::{fmt, sync::Arc, time::SystemTime};

use uuid::Uuid;

use super::{
    coalesce::{HitForMiss, SingleFlight},
    outcome::FetchOutcome,
    settings::{self, Rule, Settings},
    storage::{
        epochs::{EpochScope, EpochStamp},
        key::CacheKey,
        store::{CacheStats, ResponseStore},
    },
};
use crate::{
    domain::{Operation, ProfileName},
    fleet::Member,
    proxy::profile::{Coherence, FeedNumber, Partition},
};

/// The key of a fetch in flight. A call after a write or a notice has another one, so it does not wait for a
/// fetch that began before.
pub(super) type FlightKey = (CacheKey, EpochStamp, FeedNumber);

/// The stored responses, the fetches in flight and the rules. Clones share them.
#[derive(Clone)]
pub struct Cache(Arc<CacheState>);

struct CacheState {
    settings: Settings,
    rules: Vec<Arc<Rule>>,
    store: ResponseStore,
    in_flight: SingleFlight<FlightKey, FetchOutcome>,
    hit_for_miss: HitForMiss,
    clock: Arc<dyn WallClock>,
    /// Whom to tell of what is dropped here.
    fleet: Option<Arc<Member>>,
}

/// The profile that a notice is about.
#[derive(Clone, Copy, Debug)]
pub struct Affected<'a> {
    /// Its name.
    pub profile: &'a ProfileName,
    /// The same, if its data is nobody else's.
    pub owner: Option<&'a ProfileName>,
    /// What its notices mean for its responses.
    pub coherence: &'a Coherence,
}

/// What a notice drops of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed<'a> {
    /// The lists of a collection.
    Lists(&'a str),
    /// The objects of a collection.
    Objects(&'a str),
    /// Everything under the rule of this number, counted from zero.
    Rule(usize),
    /// Everything of the profile.
    Everything,
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

impl Cache {
    /// An empty cache.
    pub fn new(settings: Settings) -> Self {
        Self::of_member(settings, None)
    }

    /// An empty cache that tells a fleet, if there is one, what is dropped from it.
    pub fn of_member(settings: Settings, fleet: Option<Arc<Member>>) -> Self {
        Self::assemble(settings, Arc::new(SystemClock), fleet)
    }

    /// An empty cache with its own time of day. Ages always grow with tokio's clock.
    pub fn with_clock(settings: Settings, clock: Arc<dyn WallClock>) -> Self {
        Self::assemble(settings, clock, None)
    }

    pub(super) fn assemble(
        settings: Settings,
        clock: Arc<dyn WallClock>,
        fleet: Option<Arc<Member>>,
    ) -> Self {
        Self(Arc::new(CacheState {
            rules: settings.rules.iter().cloned().map(Arc::new).collect(),
            store: ResponseStore::new(settings.max_bytes.0),
            in_flight: SingleFlight::default(),
            hit_for_miss: HitForMiss::new(),
            settings,
            clock,
            fleet,
        }))
    }

    /// Removes all responses. Returns their number.
    pub fn purge_all(&self) -> u64 {
        self.0.store.purge(|_, _| true)
    }

    /// Removes the responses of an operation, about an object, of a profile, or of what is all of these; without any,
    /// all responses. Returns their number.
    ///
    /// A list may hold the object, so a purge by `pk` alone also removes all lists.
    pub fn purge(
        &self,
        operation: Option<&str>,
        pk: Option<&str>,
        profile: Option<&ProfileName>,
    ) -> u64 {
        self.0.store.purge(|key, response| {
            let known = response.provenance.operation.as_deref();
            let is_named =
                operation.is_none_or(|name| known.is_some_and(|known| known.name() == name));
            let is_about = pk.is_none_or(|pk| {
                key.path().split('/').any(|segment| segment.eq_ignore_ascii_case(pk))
                    || (operation.is_none() && known.is_some_and(Operation::is_list))
            });
            let is_of_profile = profile.is_none_or(|profile| key.profile() == profile);
            is_named && is_about && is_of_profile
        })
    }

    /// Drops the responses about an object, whatever their path and profile. One that is in flight now is not stored
    /// either.
    pub fn drop_object(&self, id: Uuid) {
        self.0.store.epochs.advance(None, EpochScope::Object(id));
    }

    /// Drops what a notice of a profile is about. A response that is in flight now is not stored either.
    pub fn drop_noticed(&self, affected: Affected<'_>, what: Noticed<'_>) {
        let Affected { profile, owner, coherence } = affected;
        let epochs = &self.0.store.epochs;
        match what {
            Noticed::Lists(collection) => {
                epochs.advance(Some(profile), EpochScope::Lists(collection));
            }
            Noticed::Objects(collection) => epochs.advance(owner, EpochScope::Objects(collection)),
            Noticed::Rule(rule) => coherence.drop_rule(rule),
            Noticed::Everything => coherence.drop_all(),
        }
    }

    /// Drops what a write has changed, for every profile that shares the owner: a path, and the lists of a
    /// collection, or the whole collection.
    pub fn drop_written(
        &self,
        owner: Option<&ProfileName>,
        path: &str,
        collection: Option<&str>,
        whole: bool,
    ) {
        let lists = collection.map(EpochScope::Lists);
        let objects = collection.filter(|_| whole).map(EpochScope::Objects);
        let scopes = [EpochScope::Path(path)].into_iter().chain(lists).chain(objects);
        self.0.store.invalidate(owner, scopes);
    }

    /// The fleet that is told what is dropped here.
    pub fn fleet(&self) -> Option<&Member> {
        self.0.fleet.as_deref()
    }

    /// Whether both are clones of one cache.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes unusable responses out of memory, with all responses of profiles that are not among these. To be
    /// called every few seconds.
    pub fn maintain<'a>(&self, present: impl IntoIterator<Item = &'a Partition>) {
        let in_use = present
            .into_iter()
            .filter_map(|partition| Some((partition.profile(), partition.generation()?)));
        self.0.store.remove_unusable(&in_use.collect());
    }

    /// Its rules, in their order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.0.rules
    }

    /// The number of the rule for a request, counted from zero.
    pub fn rule_number(&self, operation: Option<&Operation>, path: &str) -> Option<usize> {
        self.rule(operation, path).map(|(number, _)| number)
    }

    /// The state of the cache.
    pub fn stats(&self) -> CacheStats {
        self.0.store.stats(self.0.settings.max_bytes.0, self.0.in_flight.count())
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The rule for a request, if its response may be stored.
    pub(super) fn rule(
        &self,
        operation: Option<&Operation>,
        path: &str,
    ) -> Option<(usize, &Arc<Rule>)> {
        settings::find(&self.0.rules, operation, path)
    }

    pub(super) fn store(&self) -> &ResponseStore {
        &self.0.store
    }

    pub(super) fn in_flight(&self) -> &SingleFlight<FlightKey, FetchOutcome> {
        &self.0.in_flight
    }

    pub(super) fn hit_for_miss(&self) -> &HitForMiss {
        &self.0.hit_for_miss
    }

    pub(super) fn wall(&self) -> SystemTime {
        self.0.clock.now()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The responses are personal data.
        write!(f, "Cache({} of {} bytes)", self.0.store.bytes(), self.0.settings.max_bytes.0)
    }
}
