//! One profile's part of the cache.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    coherence::Coherence,
    handle::Cache,
    storage::key::{CacheKeyRef, TargetName},
};
use crate::{
    credentials::CredentialManager,
    domain::{Origin, ProfileName},
};

/// The part of the credentials that the cache knows: a number above zero that changes with each new
/// set.
pub trait CredentialGeneration: Clone + Send + Sync + 'static {
    /// The number of the set in use. `None` if no set is in use; then nothing is read from the cache or
    /// stored.
    ///
    /// An unavailable source changes nothing while the set from it stays in use.
    fn generation(&self) -> Option<u64>;
}

impl CredentialGeneration for CredentialManager {
    fn generation(&self) -> Option<u64> {
        Self::generation(self)
    }
}

/// The stored responses of one profile belong to it alone, and to one generation of its credentials.
#[derive(Debug)]
pub struct Partition<G = CredentialManager> {
    pub(super) profile: ProfileName,
    pub(super) origin: Origin,
    pub(super) manager: G,
    /// What the profile's notices mean for them.
    pub(super) coherence: Arc<Coherence>,
    /// The generation that the store knows, zero for none.
    noted: AtomicU64,
}

impl<G: CredentialGeneration> Partition<G> {
    /// The partition of a profile. `origin` is its upstream, which `Location` must name for an
    /// invalidation (RFC 9111 §4.4).
    pub fn new(
        profile: ProfileName,
        origin: Origin,
        manager: G,
        coherence: Arc<Coherence>,
    ) -> Self {
        Self { profile, origin, manager, coherence, noted: AtomicU64::new(u64::MAX) }
    }

    /// The key of a target. `None` if no credentials are in use.
    ///
    /// Tells the store about a new generation, so that the responses of the old one leave memory.
    pub(super) fn key<'a>(
        &'a self,
        cache: &Cache,
        target: &'a TargetName<'_>,
    ) -> Option<CacheKeyRef<'a>> {
        let generation = self.manager.generation();
        let number = generation.unwrap_or_default();
        if self.noted.load(Ordering::Relaxed) != number {
            self.noted.store(number, Ordering::Relaxed);
            cache.store().set_generation(&self.profile, generation);
        }
        Some(CacheKeyRef::new(&self.profile, generation?, target))
    }
}
