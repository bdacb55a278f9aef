//! `GET /profiles`: each profile with the state of its credentials and of its upstream, as JSON.
//!
//! It has the profiles with tables of their own and the members of templates that are loaded now. What a source has
//! beside them, nobody knows before a call.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{
    GatewayView,
    status::UpstreamStatus,
    trouble::{Judged, ProfileTrouble, judged},
};
use crate::credentials::SetStatus;

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
}

impl ProfileState {
    fn of(Judged { profile, troubles }: Judged) -> Self {
        Self {
            name: profile.name.to_string(),
            table: profile.table.to_string(),
            troubles,
            calls: profile.calls.calls(),
            errors: profile.calls.errors(),
            credentials: profile.manager.status(),
            upstream: UpstreamStatus::of(&profile.name, &profile.health),
        }
    }
}

/// The templates, with what is the matter with these profiles.
pub(super) fn templates(view: &GatewayView, judged: &[Judged]) -> Vec<TemplateState> {
    let families = view.directory.families().iter();
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
                absent: family.absent(),
            }
        })
        .collect()
}

pub(super) async fn states(State(view): State<Arc<GatewayView>>) -> Json<ProfileStates> {
    let judged = judged(&view);
    Json(ProfileStates {
        templates: templates(&view, &judged),
        profiles: judged.into_iter().map(ProfileState::of).collect(),
    })
}
