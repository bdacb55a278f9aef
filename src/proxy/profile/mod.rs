//! The profiles: where calls go, and everything that belongs to one credential set alone.
//!
//! Each profile has its own life cycle of credentials, part of the cache, and knowledge of its upstream, so
//! one profile's 401, 429 or missing secret is no other's trouble. Connections are shared, because they carry no
//! identity.
//!
//! A profile has a table of its own in the configuration, or it is a member of a [`Family`]: of a table whose name
//! is a pattern. A member is loaded when its first call comes.

mod coherence;
mod directory;
mod family;
mod partition;
mod shared_keys;
mod upstream_health;

use std::sync::Arc;

pub(in crate::proxy) use self::coherence::{FeedMark, FeedNumber, Validity};
pub use self::{
    coherence::Coherence,
    directory::{Chosen, Profiles},
    family::{Family, FamilySettings, Loading, Member, NotLoaded},
    partition::{CredentialGeneration, Partition},
    shared_keys::SharedKeys,
    upstream_health::{
        AttemptPermit, CircuitBreaker, CircuitBreakerSettings, CircuitBreakerState, HealthSettings,
        Priority, QuotaSettings, RetryBudget, UpstreamHealth, UpstreamRateLimit,
    },
};
use crate::{credentials::CredentialManager, domain::ProfileName, telemetry::ProfileCalls};

/// One profile, as its calls use it. All workers share it.
#[derive(Debug)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The `[profiles.…]` table that it is made of, which says where its calls go.
    pub table: ProfileName,
    /// Its part of the cache.
    pub partition: Partition,
    /// Its credentials.
    pub manager: CredentialManager,
    /// What is known of its upstream.
    pub health: Arc<UpstreamHealth>,
    /// The keys of its entries in the shared cache, if it takes part.
    pub shared_keys: Option<Arc<SharedKeys>>,
    /// What its calls are counted in.
    pub calls: Arc<ProfileCalls>,
}

impl Profile {
    /// Whether it is a member of a template.
    pub fn is_member(&self) -> bool {
        self.name != self.table
    }
}

#[cfg(test)]
impl Profile {
    /// A profile for tests, without credentials.
    pub(in crate::proxy) fn made_up(name: ProfileName, partition: Partition) -> Self {
        use crate::{
            credentials::{Identifiers, RefreshSettings, Settings, SourceSettings, Sources},
            domain::CredentialsName,
            fleet::BudgetSettings,
            telemetry::Metrics,
        };

        let settings = Settings {
            name: CredentialsName::new(name.as_str()),
            source: SourceSettings::Environment { prefix: "MADE_UP_".to_owned() },
            fixed: Identifiers::new(),
            refresh: RefreshSettings::default(),
            keep: None,
        };
        let manager = CredentialManager::new(settings, &Sources::default());
        let calls = Metrics::new(0).profiles().of_table(&name);
        let settings = HealthSettings {
            breaker: CircuitBreakerSettings::default(),
            quota: QuotaSettings::default(),
            retry_share: 0.2,
            budget: BudgetSettings::default(),
        };
        let health = UpstreamHealth::new(&name, settings, None);
        Self { table: name.clone(), name, partition, manager, health, shared_keys: None, calls }
    }
}
