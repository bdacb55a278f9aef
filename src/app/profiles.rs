//! From checked settings to the profiles that calls use.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::{Settings, types::Profile as ProfileTable},
    credentials::{self, CredentialManager, KeySettings, Sources},
    domain::{CredentialsName, ProfileName, ProfilePattern},
    fleet::Member,
    proxy::profile::{
        Family, FamilySettings, HealthSettings, Loading, Partition, Profile, Profiles, SharedKeys,
        UpstreamHealth,
    },
    telemetry::Metrics,
};

/// What profiles are made of.
pub(super) struct ProfileParts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) managers: &'a BTreeMap<CredentialsName, CredentialManager>,
    pub(super) loading: &'a Loading,
    pub(super) sources: &'a Sources,
    /// Makes the manager of a member's credentials.
    pub(super) new_manager: &'a NewManager,
    /// Counts the calls of each.
    pub(super) metrics: &'a Arc<Metrics>,
    /// Is told of pauses.
    pub(super) fleet: Option<&'a Arc<Member>>,
    /// The profiles before a change of the configuration.
    pub(super) kept: Option<(&'a Settings, &'a Profiles)>,
}

/// Makes a manager of credentials, whose changes are recorded.
pub(super) type NewManager = Arc<dyn Fn(credentials::Settings) -> CredentialManager + Send + Sync>;

impl ProfileParts<'_> {
    /// Puts the profiles together. The health of an upstream is kept, and a family with its members, if the change
    /// does not concern them.
    pub(super) fn assemble(&self) -> Profiles {
        let (mut fixed, mut families) = (Vec::new(), Vec::new());
        for (name, table) in &self.settings.profiles {
            match name.template() {
                Some(pattern) => families.extend(self.family(name, pattern, table)),
                None => fixed.extend(self.profile(name, table)),
            }
        }
        Profiles::new(fixed, families)
    }

    /// `None` if the profile has no credentials, which checked settings rule out.
    fn profile(&self, name: &ProfileName, table: &ProfileTable) -> Option<Arc<Profile>> {
        let manager = self.managers.get(&table.credentials)?.clone();
        let known = self.kept.filter(|(before, _)| before.profiles.get(name) == Some(table));
        let known = known.and_then(|(before, profiles)| {
            let known = profiles.fixed().find(|profile| profile.name == *name)?;
            Some((health(before, table) == health(self.settings, table), known))
        });
        let known_keys = known.as_ref().and_then(|(_, known)| known.shared_keys.clone());
        let partition = Partition::new(name.clone(), table.upstream.clone(), manager.clone());
        let new_health =
            || UpstreamHealth::new(name, health(self.settings, table), self.fleet.cloned());
        let (partition, health) = match known {
            Some((true, known)) => (partition.after(&known.partition), Arc::clone(&known.health)),
            Some((false, known)) => (partition.after(&known.partition), new_health()),
            None => (partition, new_health()),
        };
        Some(Arc::new(Profile {
            name: name.clone(),
            table: name.clone(),
            partition,
            manager,
            health,
            shared_keys: self.shared_keys(name, known_keys),
            calls: self.metrics.profiles().of_table(name),
        }))
    }

    /// The keys of a profile's entries in the shared cache. Those that are known are kept.
    fn shared_keys(
        &self,
        name: &ProfileName,
        known: Option<Arc<SharedKeys>>,
    ) -> Option<Arc<SharedKeys>> {
        let settings = self.cache_key(name)?;
        let known = known.filter(|known| known.settings() == settings);
        Some(known.unwrap_or_else(|| SharedKeys::new(settings.clone(), self.sources.clone())))
    }

    fn cache_key(&self, name: &ProfileName) -> Option<&KeySettings> {
        self.settings.cache_keys.get(name).filter(|_| self.settings.cache.shared.enabled)
    }

    fn family(
        &self,
        name: &ProfileName,
        pattern: ProfilePattern,
        table: &ProfileTable,
    ) -> Option<Arc<Family>> {
        let template = self.settings.credentials.get(&table.credentials)?.clone();
        let settings = FamilySettings {
            table: name.clone(),
            pattern,
            origin: table.upstream.clone(),
            health: health(self.settings, table),
            unload_after: table.unload_after.map_or(UNLOAD_AFTER, Into::into),
            max_members: table.max_members.unwrap_or(MAX_MEMBERS),
            negative_ttl: table.negative_ttl.map_or(NEGATIVE_TTL, Into::into),
            cache_key: self.cache_key(name).cloned(),
        };
        let known = self.kept.filter(|(before, _)| {
            before.profiles.get(name) == Some(table)
                && before.credentials.get(&table.credentials) == Some(&template)
        });
        let known = known.and_then(|(_, profiles)| {
            let mut families = profiles.families().iter();
            families.find(|family| *family.settings() == settings).cloned()
        });
        let new_manager = Arc::clone(self.new_manager);
        let new = || {
            // The login is kept while no member is loaded.
            let hold = self.sources.hold(&template);
            let make = move |member: &ProfileName| {
                let _login = &hold;
                new_manager(template.for_member(member))
            };
            let (loading, metrics) = (self.loading.clone(), Arc::clone(self.metrics));
            let fleet = self.fleet.cloned();
            let sources = self.sources.clone();
            Arc::new(Family::new(settings, Box::new(make), loading, metrics, sources, fleet))
        };
        Some(known.unwrap_or_else(new))
    }
}

fn health(settings: &Settings, table: &ProfileTable) -> HealthSettings {
    HealthSettings {
        breaker: settings.breaker,
        quota: settings.quota,
        retry_share: settings.retry.budget,
        budget: table.budget.unwrap_or_default(),
    }
}

/// The credential sets that are templates: only members have sets of their own.
pub(super) fn templates(settings: &Settings) -> HashMap<&CredentialsName, &ProfileName> {
    let tables = settings.profiles.iter().filter(|(name, _)| name.template().is_some());
    tables.map(|(name, table)| (&table.credentials, name)).collect()
}

/// Long enough that a customer that is called each hour stays loaded.
const UNLOAD_AFTER: Duration = Duration::from_hours(1);
/// More than anybody has customers, and still a bound.
const MAX_MEMBERS: u64 = 10_000;
/// Short enough that a new customer need not wait, long enough that nobody has the source asked at will.
const NEGATIVE_TTL: Duration = Duration::from_secs(30);
