//! One profile's part of the cache.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    credentials::CredentialManager,
    domain::{Origin, ProfileName},
};

/// The part of the credentials that the cache knows: a number above zero that changes with each new
/// set.
pub trait CredentialGeneration: fmt::Debug + Send + Sync + 'static {
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
pub struct Partition {
    profile: ProfileName,
    origin: Origin,
    credentials: Box<dyn CredentialGeneration>,
    /// The generation that the cache knows, zero for none.
    noted: AtomicU64,
}

impl Partition {
    /// The partition of a profile. `origin` is its upstream, which `Location` must name for an
    /// invalidation (RFC 9111 §4.4).
    pub fn new(
        profile: ProfileName,
        origin: Origin,
        credentials: impl CredentialGeneration,
    ) -> Self {
        let (credentials, noted) = (Box::new(credentials), AtomicU64::new(u64::MAX));
        Self { profile, origin, credentials, noted }
    }

    /// The profile.
    pub(in crate::proxy) fn profile(&self) -> &ProfileName {
        &self.profile
    }

    /// Its upstream.
    pub(in crate::proxy) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The generation of the credentials in use.
    pub(in crate::proxy) fn generation(&self) -> Option<u64> {
        self.credentials.generation()
    }

    /// Whether that generation is another one than at the last call of this.
    pub(in crate::proxy) fn is_news(&self, generation: Option<u64>) -> bool {
        let number = generation.unwrap_or_default();
        if self.noted.load(Ordering::Relaxed) == number {
            return false;
        }
        self.noted.store(number, Ordering::Relaxed);
        true
    }
}
