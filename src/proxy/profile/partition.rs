//! One profile's part of the cache.

use std::{fmt, sync::Arc};

use super::Coherence;
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

#[cfg(test)]
impl CredentialGeneration for u64 {
    fn generation(&self) -> Option<u64> {
        Some(*self)
    }
}

/// The stored responses of one profile belong to it alone, and to one generation of its credentials.
#[derive(Debug)]
pub struct Partition {
    profile: ProfileName,
    origin: Origin,
    credentials: Box<dyn CredentialGeneration>,
    coherence: Arc<Coherence>,
    is_members: bool,
}

impl Partition {
    /// The partition of a profile. `origin` is its upstream, which `Location` must name for an
    /// invalidation (RFC 9111 §4.4).
    pub fn new(
        profile: ProfileName,
        origin: Origin,
        credentials: impl CredentialGeneration,
    ) -> Self {
        let credentials = Box::new(credentials);
        Self { profile, origin, credentials, coherence: Coherence::new(), is_members: false }
    }

    /// The partition of a member of a template.
    #[must_use]
    pub fn of_member(self) -> Self {
        Self { is_members: true, ..self }
    }

    /// The same, which goes on where another one of the profile was.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        Self { coherence: Arc::clone(&before.coherence), ..self }
    }

    /// What the profile's notices mean for its stored responses.
    pub fn coherence(&self) -> &Arc<Coherence> {
        &self.coherence
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

    /// The profile that alone sees what its writes change: a member of a template, which is a customer with data
    /// of its own. Profiles with tables of their own may be several ways to one customer, and share it (`None`).
    pub fn owner(&self) -> Option<&ProfileName> {
        self.is_members.then_some(&self.profile)
    }
}
