//! The members of a template: `[profiles."customer-*"]`.
//!
//! A member is loaded when its first call comes, kept fresh while it is used, and unloaded after a time without
//! calls. However many calls wait for a member, its source is asked once. A name that the source does not have is
//! remembered for a while, so that nobody can have the source asked at will.

use std::{fmt, sync::Arc, time::Duration};

use moka::{policy::EvictionPolicy, sync::Cache as Store};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{HealthSettings, Partition, Profile, SharedKeys, UpstreamHealth};
use crate::{
    credentials::{CredentialManager, KeySettings, Sources},
    domain::{Origin, ProfileName, ProfilePattern},
    error::{Error, Kind},
    fleet,
    telemetry::Metrics,
};

/// The settings of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilySettings {
    /// The table of the template.
    pub table: ProfileName,
    /// The names of its members.
    pub pattern: ProfilePattern,
    /// The upstream of all members.
    pub origin: Origin,
    /// How the health of each member's upstream is judged.
    pub health: HealthSettings,
    /// How long a member stays loaded without calls.
    pub unload_after: Duration,
    /// How many members are loaded at most; beyond it the one that was used least lately is unloaded.
    pub max_members: u64,
    /// How long it is remembered that the source does not have a name.
    pub negative_ttl: Duration,
    /// Where each member's key of its entries in the shared cache is.
    pub cache_key: Option<KeySettings>,
}

/// The members of one template. All workers share it.
pub struct Family {
    settings: FamilySettings,
    new_manager: Box<dyn Fn(&ProfileName) -> CredentialManager + Send + Sync>,
    /// Shared, because a token's clone takes a lock, and each call looks its member up.
    members: Store<ProfileName, Arc<Member>>,
    absent: Store<ProfileName, ()>,
    loading: Loading,
    waiting: Semaphore,
    metrics: Arc<Metrics>,
    sources: Sources,
    /// Is told of the pauses of members.
    fleet: Option<Arc<fleet::Member>>,
}

/// A loaded member, or one that is being loaded.
#[derive(Debug)]
pub struct Member {
    /// The profile.
    pub profile: Arc<Profile>,
    /// Cancelled when it is unloaded.
    pub unloaded: CancellationToken,
}

/// Takes members whose credentials are to be kept fresh from now on.
pub type Loading = mpsc::UnboundedSender<Arc<Member>>;

/// Why a member could not be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLoaded {
    /// Its source does not have it.
    Absent,
    /// Too many calls wait for members that are being loaded.
    Busy,
}

impl Family {
    /// A family without a member. `new_manager` makes the manager of a member's credentials.
    pub fn new(
        settings: FamilySettings,
        new_manager: Box<dyn Fn(&ProfileName) -> CredentialManager + Send + Sync>,
        loading: Loading,
        metrics: Arc<Metrics>,
        sources: Sources,
        fleet: Option<Arc<fleet::Member>>,
    ) -> Self {
        let members = Store::builder()
            .name("members")
            .max_capacity(settings.max_members)
            .time_to_idle(settings.unload_after)
            // The default policy would not keep a new member if it is full of members with many calls.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, member: Arc<Member>, _| member.unloaded.cancel())
            .build();
        let absent = Store::builder()
            .name("absent members")
            .max_capacity(MOST_ABSENT)
            .time_to_live(settings.negative_ttl)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let waiting = Semaphore::new(MOST_WAITING);
        Self { settings, new_manager, members, absent, loading, waiting, metrics, sources, fleet }
    }

    /// The settings.
    pub fn settings(&self) -> &FamilySettings {
        &self.settings
    }

    /// The names of its members.
    pub fn pattern(&self) -> &ProfilePattern {
        &self.settings.pattern
    }

    /// A member whose credentials have been read once, with or without success, and not found absent. This counts
    /// as a use.
    pub fn loaded(&self, name: &ProfileName) -> Option<Arc<Profile>> {
        let profile = &self.members.get(name)?.profile;
        let is_found = profile.manager.was_read() && !profile.manager.is_absent();
        is_found.then(|| Arc::clone(profile))
    }

    /// Loads a member, unless it is loaded. Returns when its credentials have been read, with or without success,
    /// or when that takes long: then it goes on in the background.
    pub async fn load(&self, name: &ProfileName) -> Result<Arc<Profile>, NotLoaded> {
        if self.absent.contains_key(name) {
            return Err(NotLoaded::Absent);
        }
        let _permit = self.waiting.try_acquire().map_err(|_| NotLoaded::Busy)?;
        let member = self.members.get_with_by_ref(name, || self.begin(name));
        let profile = Arc::clone(&member.profile);
        self.members.run_pending_tasks();
        let read = tokio::time::timeout(FIRST_READ, profile.manager.first_read()).await;
        if let Ok(Err(error)) = read
            && error.is_absent()
        {
            self.absent.insert(name.clone(), ());
            self.members.invalidate(name);
            return Err(NotLoaded::Absent);
        }
        Ok(profile)
    }

    fn begin(&self, name: &ProfileName) -> Arc<Member> {
        let manager = (self.new_manager)(name);
        let origin = self.settings.origin.clone();
        let profile = Arc::new(Profile {
            name: name.clone(),
            table: self.settings.table.clone(),
            partition: Partition::new(name.clone(), origin, manager.clone()).of_member(),
            manager,
            health: UpstreamHealth::new(name, self.settings.health, self.fleet.clone()),
            shared_keys: self
                .settings
                .cache_key
                .as_ref()
                .map(|key| SharedKeys::new(key.for_member(name), self.sources.clone())),
            calls: self.metrics.profiles().of_member(name),
        });
        let member = Arc::new(Member { profile, unloaded: CancellationToken::new() });
        // While the gateway ends, nothing is kept fresh.
        let _ended = self.loading.send(Arc::clone(&member));
        member
    }

    /// The members that are loaded or being loaded, in no order.
    pub fn members(&self) -> impl Iterator<Item = Arc<Profile>> + use<'_> {
        self.members.iter().map(|(_, member)| Arc::clone(&member.profile))
    }

    /// How many names are remembered that the source does not have.
    pub fn absent(&self) -> u64 {
        // The number is of the last maintenance.
        self.absent.run_pending_tasks();
        self.absent.entry_count()
    }

    /// Unloads the members whose time is over, and those that their source was found not to have. To be called every
    /// few seconds.
    pub fn maintain(&self) {
        self.unload(|profile| profile.manager.is_absent());
        self.absent.run_pending_tasks();
    }

    /// Unloads some members. Their calls in flight are served.
    pub fn unload(&self, is_unloaded: impl Fn(&Profile) -> bool) {
        let unloaded = self.members.iter().filter(|(_, member)| is_unloaded(&member.profile));
        for (name, _) in unloaded {
            self.members.invalidate(&*name);
        }
        self.members.run_pending_tasks();
    }
}

/// Another configuration has taken its place, and no call uses it any more.
impl Drop for Family {
    fn drop(&mut self) {
        self.unload(|_| true);
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl NotLoaded {
    /// The error of a call.
    pub fn into_error(self, name: &ProfileName) -> Error {
        match self {
            Self::Absent => Error::new(
                Kind::ProfileUnknown,
                format!("the source of the credentials has no profile `{name}`"),
            ),
            Self::Busy => Error::new(
                Kind::Overloaded,
                "too many calls wait for profiles that are being loaded",
            )
            .retry_after(FIRST_READ),
        }
    }
}

/// How many absent names are remembered.
const MOST_ABSENT: u64 = 16_384;
/// How many calls may wait for members of one family.
const MOST_WAITING: usize = 256;
/// How long a call waits for its member's first read: longer than a vault takes that is well.
const FIRST_READ: Duration = Duration::from_secs(2);

#[cfg(test)]
impl Family {
    /// A family for tests, whose members have folders in this one.
    pub(super) fn made_up(pattern: &str, folder: &std::path::Path, loading: Loading) -> Arc<Self> {
        use super::{CircuitBreakerSettings, QuotaSettings};
        use crate::{
            credentials::{Identifiers, RefreshSettings, Settings, SourceSettings},
            domain::CredentialsName,
        };

        let settings = FamilySettings {
            table: ProfileName::new(pattern),
            pattern: pattern.parse().unwrap(),
            origin: "https://api.pigello.io".parse().unwrap(),
            health: HealthSettings {
                breaker: CircuitBreakerSettings::default(),
                quota: QuotaSettings::default(),
                retry_share: 0.2,
                budget: fleet::BudgetSettings::default(),
            },
            unload_after: Duration::from_mins(1),
            max_members: 8,
            negative_ttl: Duration::from_mins(1),
            cache_key: None,
        };
        let template = Settings {
            name: CredentialsName::new("customers"),
            source: SourceSettings::Directory { path: folder.join("{profile}") },
            fixed: Identifiers::new(),
            refresh: RefreshSettings::default(),
            keep: None,
        };
        let sources = Sources::default();
        let of_members = sources.clone();
        let make = move |name: &ProfileName| {
            CredentialManager::new(template.for_member(name), &of_members)
        };
        Arc::new(Self::new(settings, Box::new(make), loading, Metrics::new(1), sources, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_that_a_later_read_does_not_find_is_unloaded() {
        let folder = tempfile::tempdir().unwrap();
        let members = folder.path().join("members");
        let (loading, mut kept) = mpsc::unbounded_channel();
        let family = Family::made_up("customer-*", &members, loading);
        let name = ProfileName::new("customer-acme");
        // The source is away, which says nothing about the member.
        let profile = family.load(&name).await.unwrap();
        family.maintain();
        assert!(family.loaded(&name).is_some());
        // It is back, and does not have it.
        std::fs::create_dir(&members).unwrap();
        assert!(profile.manager.refresh().await.is_err());
        assert!(family.loaded(&name).is_none());
        family.maintain();
        assert!(kept.recv().await.unwrap().unloaded.is_cancelled());
        assert_eq!(family.members().count(), 0);
        assert_eq!(family.load(&name).await.unwrap_err(), NotLoaded::Absent);
    }

    #[tokio::test]
    async fn a_name_that_is_absent_is_not_asked_for_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (loading, mut kept) = mpsc::unbounded_channel();
        let family = Family::made_up("customer-*", folder.path(), loading);
        let name = ProfileName::new("customer-1");
        for _ in 0..3 {
            assert_eq!(family.load(&name).await.unwrap_err(), NotLoaded::Absent);
        }
        assert!(kept.recv().await.unwrap().unloaded.is_cancelled());
        assert!(kept.try_recv().is_err(), "it was loaded once");
        assert_eq!((family.absent(), family.members().count()), (1, 0));
    }

    #[tokio::test]
    async fn only_so_many_calls_wait_for_members() {
        let folder = tempfile::tempdir().unwrap();
        let (loading, mut kept) = mpsc::unbounded_channel();
        let family = Family::made_up("customer-*", folder.path(), loading);
        let all = family.waiting.try_acquire_many(u32::try_from(MOST_WAITING).unwrap()).unwrap();
        let name = ProfileName::new("customer-1");
        let refused = family.load(&name).await.unwrap_err();
        assert_eq!(refused, NotLoaded::Busy);
        assert_eq!(refused.into_error(&name).kind(), Kind::Overloaded);
        assert!(kept.try_recv().is_err(), "nothing was asked");
        drop(all);
        assert_eq!(family.load(&name).await.unwrap_err(), NotLoaded::Absent);
    }
}
