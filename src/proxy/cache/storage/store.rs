//! The store: one map of stored responses for all listeners, workers and profiles, bounded in bytes.
//!
//! A lookup takes no lock that others wait for. Expired and invalidated responses are unreachable at
//! once; [`ResponseStore::remove_unusable`] also takes them out of memory.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::HeaderMap;
use serde::Serialize;
use tokio::{task::yield_now, time::Instant};

use super::{
    epochs::{EpochScope, Epochs},
    key::{CacheKey, CacheKeyRef},
    response::StoredResponse,
};
use crate::{
    domain::ProfileName,
    fleet::{Horizon, Position},
    proxy::{cache::shared_stats::SharedStats, profile::Validity},
};

/// The stored responses. They are personal data, so the type cannot be printed.
pub(in crate::proxy::cache) struct ResponseStore {
    responses: moka::sync::Cache<CacheKey, Variants, ahash::RandomState>,
    pub(in crate::proxy::cache) epochs: Epochs,
    /// The number of purges. A response whose fetch began before the last one is not stored.
    purges: AtomicU64,
    stored: AtomicU64,
    refused: AtomicU64,
    purged: AtomicU64,
    invalidations: AtomicU64,
}

/// The variants of one target, the newest first.
type Variants = Arc<[Arc<StoredResponse>]>;

/// A selected response among its variants, which saves a reference count on each hit.
pub(in crate::proxy::cache) struct Selected {
    variants: Variants,
    at: usize,
    /// What the notices allow.
    pub(in crate::proxy::cache) validity: Validity,
}

impl Selected {
    pub(in crate::proxy::cache) fn response(&self) -> Option<&Arc<StoredResponse>> {
        self.variants.get(self.at)
    }
}

impl ResponseStore {
    pub(in crate::proxy::cache) fn new(max_bytes: u64, horizon: Option<Arc<Horizon>>) -> Self {
        let responses = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &CacheKey, variants: &Variants| {
                let heap = u32::try_from(key.heap_bytes()).unwrap_or(u32::MAX);
                variants.iter().fold(heap, |sum, response| sum.saturating_add(response.weight()))
            })
            .build_with_hasher(ahash::RandomState::new());
        Self {
            responses,
            epochs: Epochs::new(horizon),
            purges: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            purged: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
        }
    }

    /// Selects the stored response for a request (RFC 9111 §4.1).
    pub(in crate::proxy::cache) fn select(
        &self,
        key: &CacheKeyRef<'_>,
        request: &HeaderMap,
        now: Instant,
    ) -> Option<Selected> {
        let variants = self.responses.get(key)?;
        let (at, validity) = variants.iter().enumerate().find_map(|(at, response)| {
            let is_usable = response.variant.answers(request)
                && response.policy.is_useful(now)
                && self.epochs.is_current(&response.provenance.stamp);
            let validity = is_usable.then(|| response.provenance.mark.validity(now));
            Some((at, validity.filter(|validity| *validity != Validity::Dropped)?))
        })?;
        Some(Selected { variants, at, validity })
    }

    /// Stores a response in place of the same variant, unless a write, a notice or a purge has overtaken its
    /// fetch. `purges` is the number of purges when the fetch began.
    pub(in crate::proxy::cache) fn put(
        &self,
        key: CacheKey,
        response: &Arc<StoredResponse>,
        purges: u64,
    ) -> bool {
        if !response.provenance.is_current(&self.epochs) || self.purges() != purges {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let entry = self.responses.entry(key).and_upsert_with(|known| {
            let known = known.map(moka::Entry::into_value).unwrap_or_default();
            let others = known.iter().filter(|other| {
                !response.variant.is_same(&other.variant)
                    && other.provenance.is_current(&self.epochs)
            });
            std::iter::once(response).chain(others.take(MAX_VARIANTS - 1)).cloned().collect()
        });
        // A purge that began meanwhile may have passed this key already.
        if self.purges() != purges {
            self.responses.invalidate(entry.key());
        }
        self.stored.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Removes all variants of a target.
    pub(in crate::proxy::cache) fn remove(&self, key: &CacheKeyRef<'_>) {
        self.responses.invalidate(key);
    }

    /// Invalidates the responses that a write changed, for every profile that shares the owner.
    pub(in crate::proxy::cache) fn invalidate<'a>(
        &self,
        owner: Option<&ProfileName>,
        scopes: impl IntoIterator<Item = EpochScope<'a>>,
        at: Option<Position>,
    ) {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
        for scope in scopes {
            self.epochs.advance(owner, scope, at);
        }
    }

    /// The number of purges so far.
    pub(in crate::proxy::cache) fn purges(&self) -> u64 {
        self.purges.load(Ordering::Acquire)
    }

    /// Shows every stored response.
    pub(in crate::proxy::cache) fn for_each(
        &self,
        mut show: impl FnMut(&CacheKey, &StoredResponse),
    ) {
        for (key, variants) in &self.responses {
            variants.iter().for_each(|response| show(&key, response));
        }
    }

    /// Removes the responses that a predicate matches. Returns their number.
    pub(in crate::proxy::cache) fn purge(
        &self,
        is_purged: impl Fn(&CacheKey, &StoredResponse) -> bool,
    ) -> u64 {
        // Counted first, so that a response that is in flight now is not stored after the purge.
        self.purges.fetch_add(1, Ordering::AcqRel);
        let removed = |(key, variants): (Arc<CacheKey>, Variants)| {
            self.remove_if(&key, &variants, &is_purged)
        };
        let purged = self.responses.iter().map(removed).sum();
        self.responses.run_pending_tasks();
        self.purged.fetch_add(purged, Ordering::Relaxed);
        purged
    }

    /// Removes the responses that no request can select any more: they expired, a write invalidated them, or
    /// credentials fetched them that their profile does not use (`in_use`) now. Other tasks of the thread run in between.
    pub(in crate::proxy::cache) async fn remove_unusable(
        &self,
        in_use: &HashSet<(&ProfileName, u64)>,
    ) {
        let now = Instant::now();
        let is_unusable = |key: &CacheKey, response: &StoredResponse| {
            let is_retired = !in_use.contains(&(key.profile(), key.generation()));
            is_retired
                || !response.policy.is_useful(now)
                || !response.provenance.is_current(&self.epochs)
        };
        for (number, (key, variants)) in self.responses.iter().enumerate() {
            if number % AT_ONCE == AT_ONCE - 1 {
                yield_now().await;
            }
            self.remove_if(&key, &variants, is_unusable);
        }
        self.responses.run_pending_tasks();
    }

    /// Removes the responses of a target that a predicate matches. Returns their number.
    fn remove_if(
        &self,
        key: &CacheKey,
        variants: &Variants,
        is_removed: impl Fn(&CacheKey, &StoredResponse) -> bool,
    ) -> u64 {
        use moka::ops::compute::Op;
        if !variants.iter().any(|response| is_removed(key, response)) {
            return 0;
        }
        // Checked again under the key's lock, because the entry may have been replaced since.
        let mut removed = 0;
        let done = self.responses.entry_by_ref(key).and_compute_with(|known| {
            let Some(known) = known.map(moka::Entry::into_value) else { return Op::Nop };
            let kept: Variants =
                known.iter().filter(|response| !is_removed(key, response)).cloned().collect();
            removed = known.len().saturating_sub(kept.len()) as u64;
            match (removed, kept.is_empty()) {
                (0, _) => Op::Nop,
                (_, true) => Op::Remove,
                (_, false) => Op::Put(kept),
            }
        });
        drop(done);
        removed
    }

    pub(in crate::proxy::cache) fn stats(&self, max_bytes: u64, in_flight: u64) -> CacheStats {
        let mut by_operation: BTreeMap<Arc<str>, OperationUsage> = BTreeMap::new();
        for (_, variants) in &self.responses {
            for response in variants.iter() {
                let name = response.provenance.operation.as_deref().map_or_else(
                    || Arc::from("none"),
                    |operation| Arc::clone(operation.label().shared()),
                );
                let usage = by_operation.entry(name).or_default();
                usage.responses = usage.responses.saturating_add(1);
                usage.bytes = usage.bytes.saturating_add(u64::from(response.weight()));
            }
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            responses: by_operation.values().map(|usage| usage.responses).sum(),
            bytes: self.bytes(),
            max_bytes,
            in_flight,
            stored: count(&self.stored),
            refused: count(&self.refused),
            purged: count(&self.purged),
            invalidations: count(&self.invalidations),
            shared: None,
            by_operation,
        }
    }

    /// The bytes that the stored responses take.
    pub(in crate::proxy::cache) fn bytes(&self) -> u64 {
        self.responses.weighted_size()
    }
}

/// The state of the cache, for `/status` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// Responses in memory.
    pub responses: u64,
    /// Bytes that they take, keys and header fields included.
    pub bytes: u64,
    /// Bytes that they may take.
    pub max_bytes: u64,
    /// Fetches that other calls may be waiting for.
    pub in_flight: u64,
    /// Responses that were stored since the start.
    pub stored: u64,
    /// Responses that a write or a purge overtook while they were fetched.
    pub refused: u64,
    /// Responses that were purged.
    pub purged: u64,
    /// Writes that invalidated something.
    pub invalidations: u64,
    /// What was found among the responses of other members of the fleet, if they are shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedStats>,
    /// The responses of each operation; `none` for requests that match no operation.
    pub by_operation: BTreeMap<Arc<str>, OperationUsage>,
}

/// The memory that the stored responses of one operation take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OperationUsage {
    /// Responses in memory.
    pub responses: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// How many targets are looked at before other tasks run: that takes less than a millisecond.
const AT_ONCE: usize = 512;
/// The greatest number of variants of one target. Another one replaces the oldest.
const MAX_VARIANTS: usize = 8;
