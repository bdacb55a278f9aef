//! What this gateway tells its fleet of itself.

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;

use super::parts::Shared;
use crate::{
    fleet::{Describe, InUse, MOST_PROFILES, Record, Role},
    notices::Notices,
    proxy::profile::{Profile, Profiles},
};

/// Describes the parts of one configuration, in a process of that start.
pub(super) fn describe(shared: &Shared, role: Role, started: SystemTime) -> Describe {
    let started = Timestamp::try_from(started).unwrap_or_default();
    let configuration = shared.policy_id.to_string();
    let (trail, notices) = (shared.trail.clone(), Arc::clone(&shared.notices));
    let profiles = Arc::clone(&shared.profiles);
    Arc::new(move || {
        let (credentials, more) = credentials(&profiles);
        Record {
            instance: trail.stats().instance.as_deref().unwrap_or_default().to_owned(),
            role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: configuration.clone(),
            started,
            trail: trail.head(),
            event_log: event_log(&notices).to_owned(),
            credentials,
            more,
        }
    })
}

/// The worst of all profiles.
fn event_log(notices: &Notices) -> &'static str {
    const WORST_FIRST: [&str; 3] = ["stopped", "incomplete", "complete"];
    let logs = notices.status();
    let mut worst = WORST_FIRST.into_iter();
    worst.find(|state| logs.iter().any(|log| log.state.event_log == *state)).unwrap_or("off")
}

/// What each profile uses, and how many more there are.
fn credentials(profiles: &Profiles) -> (Vec<InUse>, u64) {
    let mut present: Vec<_> = profiles.present().collect();
    present
        .sort_by(|one, other| (one.is_member(), &one.name).cmp(&(other.is_member(), &other.name)));
    let more = present.len().saturating_sub(MOST_PROFILES);
    let in_use = |profile: &Arc<Profile>| {
        let set = profile.manager.status();
        InUse {
            profile: profile.name.clone(),
            set: set.name,
            version: set.version,
            waiting: set.waiting_version,
            refused: set.refused_version,
            state: set.state.label().to_owned(),
            cache_key_unread: profile.shared_keys.as_ref().is_some_and(|it| it.ring().is_unread()),
        }
    };
    (present.iter().take(MOST_PROFILES).map(in_use).collect(), more as u64)
}
