//! The cache as the rest of the gateway sees it: one for all listeners, workers and profiles.

use std::{fmt, sync::Arc, time::SystemTime};

use prometheus_client::metrics::histogram::Histogram;
use uuid::Uuid;

use super::{
    clock::{SystemClock, WallClock},
    coalesce::{HitForMiss, SingleFlight},
    outcome::FetchOutcome,
    settings::{self, Rule, Settings},
    shared::SharedTier,
    storage::{
        epochs::{EpochScope, EpochStamp},
        key::CacheKey,
        store::{CacheStats, ResponseStore},
    },
};
use crate::{
    domain::{Operation, ProfileName},
    fleet::{Horizon, Member, Position},
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
    /// What other members have fetched.
    shared: Option<SharedTier>,
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

impl Cache {
    /// An empty cache.
    pub fn new(settings: Settings) -> Self {
        Self::of_member(settings, None, None)
    }

    /// An empty cache that tells a fleet, if there is one, what is dropped from it. `chain` names the trail on which the
    /// calls of this member are.
    pub fn of_member(
        settings: Settings,
        fleet: Option<Arc<Member>>,
        chain: Option<Arc<str>>,
    ) -> Self {
        let is_shared = settings.enabled && settings.shared.enabled;
        let shared = fleet.clone().filter(|_| is_shared);
        let shared = shared.map(|fleet| SharedTier::new(fleet, &settings.shared, chain));
        Self::assemble(settings, Arc::new(SystemClock), fleet, shared)
    }

    /// An empty cache with its own time of day. Ages always grow with tokio's clock.
    pub fn with_clock(settings: Settings, clock: Arc<dyn WallClock>) -> Self {
        Self::assemble(settings, clock, None, None)
    }

    pub(super) fn assemble(
        settings: Settings,
        clock: Arc<dyn WallClock>,
        fleet: Option<Arc<Member>>,
        shared: Option<SharedTier>,
    ) -> Self {
        let horizon = shared.as_ref().map(|_| Horizon::new());
        Self(Arc::new(CacheState {
            rules: settings.rules.iter().cloned().map(Arc::new).collect(),
            store: ResponseStore::new(settings.max_bytes.0, horizon),
            in_flight: SingleFlight::default(),
            hit_for_miss: HitForMiss::new(),
            settings,
            clock,
            fleet,
            shared,
        }))
    }

    /// Removes all responses. Returns their number.
    pub fn purge_all(&self) -> u64 {
        self.outdate_everything(None);
        self.0.store.purge(|_, _| true)
    }

    /// Nothing that other members have stored by now is used any more.
    fn outdate_everything(&self, at: Option<Position>) {
        if let Some(horizon) = self.horizon() {
            horizon.everything_changed(at);
        }
    }

    /// Removes the responses of an operation, about an object, of a profile, or of what is all of these; without any,
    /// all responses. Returns their number.
    ///
    /// A list may hold the object, so a purge by `pk` alone also removes all lists. `at` is the position of the notice,
    /// if the fleet was told; so it is for all of these.
    pub fn purge(
        &self,
        operation: Option<&str>,
        pk: Option<&str>,
        profile: Option<&ProfileName>,
        at: Option<Position>,
    ) -> u64 {
        self.outdate_everything(at);
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
    pub fn drop_object(&self, id: Uuid, at: Option<Position>) {
        self.0.store.epochs.advance(None, EpochScope::Object(id), at);
    }

    /// Drops what a notice of a profile is about. A response that is in flight now is not stored either.
    pub fn drop_noticed(&self, affected: Affected<'_>, what: Noticed<'_>, at: Option<Position>) {
        let Affected { profile, owner, coherence } = affected;
        let epochs = &self.0.store.epochs;
        match what {
            Noticed::Lists(collection) => {
                epochs.advance(Some(profile), EpochScope::Lists(collection), at);
            }
            Noticed::Objects(collection) => {
                epochs.advance(owner, EpochScope::Objects(collection), at);
            }
            Noticed::Rule(rule) => {
                epochs.outdate(Some(profile), EpochScope::Rule(rule), at);
                coherence.drop_rule(rule);
            }
            Noticed::Everything => {
                epochs.outdate(Some(profile), EpochScope::Everything, at);
                coherence.drop_all();
            }
        }
    }

    /// Begins another chain of a profile's notices, of which nothing is proved yet. What was fetched before lives for
    /// its `ttl`.
    pub fn restart(&self, affected: Affected<'_>) {
        self.0.store.epochs.outdate(Some(affected.profile), EpochScope::Unproved, None);
        affected.coherence.restart();
    }

    /// The notices of a profile are taken from here on. What other members have stored before may have changed
    /// unnoticed.
    pub fn follow(&self, affected: Affected<'_>) {
        let epochs = &self.0.store.epochs;
        if epochs.horizon().is_some_and(|horizon| !horizon.is_new()) {
            epochs.outdate(Some(affected.profile), EpochScope::Everything, None);
        }
        affected.coherence.follow();
    }

    /// What may be used of what other members have stored.
    pub fn horizon(&self) -> Option<&Arc<Horizon>> {
        self.0.store.epochs.horizon()
    }

    pub(super) fn shared(&self) -> Option<&SharedTier> {
        self.0.shared.as_ref()
    }

    /// Drops what a write has changed, for every profile that shares the owner: a path, and the lists of a
    /// collection, or the whole collection.
    pub fn drop_written(
        &self,
        owner: Option<&ProfileName>,
        path: &str,
        collection: Option<&str>,
        whole: bool,
        at: Option<Position>,
    ) {
        let lists = collection.map(EpochScope::Lists);
        let objects = collection.filter(|_| whole).map(EpochScope::Objects);
        let scopes = [EpochScope::Path(path)].into_iter().chain(lists).chain(objects);
        self.0.store.invalidate(owner, scopes, at);
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
    pub async fn maintain<'a>(&self, present: impl IntoIterator<Item = &'a Partition>) {
        let in_use = present
            .into_iter()
            .filter_map(|partition| Some((partition.profile(), partition.generation()?)));
        self.0.store.remove_unusable(&in_use.collect()).await;
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
        let stats = self.0.store.stats(self.0.settings.max_bytes.0, self.0.in_flight.count());
        CacheStats { shared: self.shared().map(SharedTier::stats), ..stats }
    }

    /// How long looks in the shared cache took, if there is one.
    pub fn shared_seconds(&self) -> Option<&Histogram> {
        self.shared().map(SharedTier::seconds)
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
        self.clock().now()
    }

    pub(super) fn clock(&self) -> &dyn WallClock {
        &*self.0.clock
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The responses are personal data.
        write!(f, "Cache({} of {} bytes)", self.0.store.bytes(), self.0.settings.max_bytes.0)
    }
}
