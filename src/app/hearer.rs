//! What the gateway does with what its fleet tells: the cache drops what has changed, profiles pause, and sources of
//! credentials are read.

use std::{collections::BTreeMap, sync::Arc};

use super::parts::Shared;
use crate::{
    credentials::CredentialManager,
    domain::{Catalog, CredentialsName, ProfileName},
    fleet::{Change, Hearing, Horizon, Pause, Position},
    notices::Notices,
    proxy::profile::Profiles,
};

/// Hears for the parts of one configuration.
pub(super) struct Hearer {
    notices: Arc<Notices>,
    profiles: Arc<Profiles>,
    catalog: Arc<Catalog>,
    managers: BTreeMap<CredentialsName, CredentialManager>,
}

impl Hearer {
    pub(super) fn of(shared: &Shared) -> Self {
        Self {
            notices: Arc::clone(&shared.notices),
            profiles: Arc::clone(&shared.profiles),
            catalog: Arc::clone(&shared.policy.catalog),
            managers: shared.managers.clone(),
        }
    }

    /// A member of a template that is not loaded here has nothing to pause. If it is called before the pause is over,
    /// Pigello says so again.
    fn pause(&self, pause: &Pause) {
        // What another catalog knows beside this one's matches no operation here.
        let operation = pause.operation.as_deref().and_then(|name| self.catalog.by_name(name));
        if let Some(profile) = self.profiles.peek(&pause.profile) {
            profile.health.hear(operation.map(AsRef::as_ref), pause);
        }
    }

    /// The set of a member of a template has the member's name. One that is not loaded is read when it is.
    fn credentials(&self, set: &CredentialsName, change: &Change) {
        if let Some(manager) = self.managers.get(set) {
            manager.hear(change);
        }
        let member = self.profiles.peek(&ProfileName::new(set.as_str()));
        if let Some(member) = member.filter(|profile| profile.is_member()) {
            member.manager.hear(change);
        }
    }
}

impl Hearing for Hearer {
    fn hear(&self, at: Position, changes: Vec<Change>) {
        for change in &changes {
            match change {
                Change::Pause(pause) => self.pause(pause),
                Change::CacheKey { profile } => {
                    let profile = self.profiles.peek(profile);
                    if let Some(keys) = profile.as_ref().and_then(|it| it.shared_keys.as_ref()) {
                        keys.ring().want();
                    }
                }
                Change::Credentials(of) | Change::Accepted(of) | Change::Rejected(of) => {
                    self.credentials(&of.set, change);
                }
                _ => {}
            }
        }
        self.notices.hear(at, changes);
    }

    fn silent(&self) {
        self.notices.silent();
    }

    fn missed(&self) {
        self.notices.missed();
    }

    fn horizon(&self) -> Option<Arc<Horizon>> {
        self.notices.horizon()
    }
}
