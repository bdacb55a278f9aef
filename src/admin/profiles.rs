//! `GET /profiles`: each profile with the state of its credentials, its upstream and its notices, as JSON.
//!
//! It has the profiles with tables of their own and the members of templates that are loaded now. What a source has
//! beside them, nobody knows before a call.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{
    GatewayView,
    shared_keys::{cache_key, unread},
    trouble::{Judged, ProfileTrouble, judged},
};
use crate::{
    credentials::SetStatus,
    domain::ProfileName,
    fleet::{BudgetStatus, KeyStatus},
    notices::{Notices, NoticesState},
    proxy::profile::UpstreamHealth,
};

#[derive(Debug, Serialize)]
pub(super) struct ProfileStates {
    templates: Vec<TemplateState>,
    profiles: Vec<ProfileState>,
}

/// A template.
#[derive(Debug, Serialize)]
pub(super) struct TemplateState {
    /// The name of its table.
    table: String,
    /// How many members are loaded.
    loaded: usize,
    /// How many may be.
    max_members: u64,
    /// How many of the loaded ones are in trouble.
    in_trouble: usize,
    /// How many of the loaded ones have a key of the shared cache that could not be read the last time; absent while
    /// none has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_keys_unread: Option<u64>,
    /// How many names are remembered that its source does not have.
    absent: u64,
}

/// A profile.
#[derive(Debug, Serialize)]
struct ProfileState {
    name: String,
    /// The name of its table: its own, or that of its template.
    table: String,
    /// What is the matter with it, the worst first.
    troubles: Vec<ProfileTrouble>,
    /// Its calls since it was loaded.
    calls: u64,
    /// Those among them that failed.
    errors: u64,
    credentials: SetStatus,
    upstream: UpstreamStatus,
    /// The key of its responses in the shared cache; absent if they are not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_key: Option<KeyStatus>,
    /// The notices of changes; absent if nothing brings any.
    #[serde(skip_serializing_if = "Option::is_none")]
    notices: Option<NoticesState>,
}

/// What is known of the upstream of a profile.
#[derive(Debug, Serialize)]
pub(super) struct UpstreamStatus {
    profile: String,
    /// The state of its circuit breaker.
    breaker: &'static str,
    /// Operations that are paused or whose own breaker is open.
    suspended_operations: Vec<String>,
    /// The rest of the pause that several operations were asked for.
    pause_seconds: u64,
    /// Whether another gateway of the fleet was asked for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pause_is_heard: bool,
    /// The rate that its 429 responses have taught, in calls a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    /// The calls that it may have by the budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetStatus>,
}

impl UpstreamStatus {
    pub(super) fn of(profile: &ProfileName, health: &UpstreamHealth) -> Self {
        Self {
            profile: profile.to_string(),
            breaker: health.breaker.state().label(),
            suspended_operations: health.suspended_operations(),
            pause_seconds: health.rate_limit.pause().as_secs(),
            pause_is_heard: health.rate_limit.is_pause_heard(),
            rate: health.rate_limit.rate(),
            budget: health.rate_limit.budget(),
        }
    }
}

impl ProfileState {
    fn of(Judged { profile, troubles }: Judged, notices: &Notices) -> Self {
        Self {
            name: profile.name.to_string(),
            table: profile.table.to_string(),
            troubles,
            calls: profile.calls.calls(),
            errors: profile.calls.errors(),
            credentials: profile.manager.status(),
            upstream: UpstreamStatus::of(&profile.name, &profile.health),
            cache_key: cache_key(&profile),
            notices: notices.state(&profile.name),
        }
    }
}

/// The templates, with what is the matter with these profiles.
pub(super) fn templates(view: &GatewayView, judged: &[Judged]) -> Vec<TemplateState> {
    let (families, unread) = (view.directory.families().iter(), unread(judged));
    families
        .map(|family| {
            let table = &family.settings().table;
            let members = judged.iter().filter(|judged| judged.profile.table == *table);
            let in_trouble = members.clone().filter(|judged| judged.is_member_in_trouble());
            TemplateState {
                table: table.to_string(),
                loaded: members.count(),
                max_members: family.settings().max_members,
                in_trouble: in_trouble.count(),
                cache_keys_unread: unread.get(table).copied(),
                absent: family.absent(),
            }
        })
        .collect()
}

pub(super) async fn states(State(view): State<Arc<GatewayView>>) -> Json<ProfileStates> {
    let judged = judged(&view);
    Json(ProfileStates {
        templates: templates(&view, &judged),
        profiles: judged.into_iter().map(|it| ProfileState::of(it, &view.notices)).collect(),
    })
}
