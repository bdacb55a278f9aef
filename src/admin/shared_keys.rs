//! The keys of profiles' responses in the shared cache, as `/status`, `/profiles`, the page and the metrics show them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::trouble::Judged;
use crate::{domain::ProfileName, fleet::KeyStatus, proxy::profile::Profile};

/// The key of a profile with a table of its own.
#[derive(Debug, Serialize)]
pub(super) struct CacheKeyState {
    pub(super) profile: String,
    #[serde(flatten)]
    pub(super) key: KeyStatus,
}

/// Those of all profiles with tables of their own that have one.
pub(super) fn cache_keys(judged: &[Judged]) -> Vec<CacheKeyState> {
    let profiles = judged.iter().map(|it| &*it.profile).filter(|profile| !profile.is_member());
    let state = |profile: &Profile| {
        Some(CacheKeyState { profile: profile.name.to_string(), key: cache_key(profile)? })
    };
    profiles.filter_map(state).collect()
}

/// That of one profile.
pub(super) fn cache_key(profile: &Profile) -> Option<KeyStatus> {
    Some(profile.shared_keys.as_ref()?.ring().status())
}

/// How many could not be read the last time, of each table whose profiles have one.
pub(super) fn unread(judged: &[Judged]) -> BTreeMap<&ProfileName, u64> {
    let mut unread = BTreeMap::new();
    for Judged { profile, .. } in judged {
        if let Some(keys) = &profile.shared_keys {
            let count: &mut u64 = unread.entry(&profile.table).or_default();
            *count = count.saturating_add(u64::from(keys.ring().is_unread()));
        }
    }
    unread
}
