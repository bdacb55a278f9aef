//! `GET /profiles`: each profile with the state of its credentials and of its upstream, as JSON.
//!
//! It has the profiles with tables of their own and the members of templates that are loaded now. What a source has
//! beside them, nobody knows before a call.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{GatewayView, status::UpstreamStatus};
use crate::{credentials::SetStatus, proxy::profile::Profile};

#[derive(Debug, Serialize)]
pub(super) struct ProfileStates {
    templates: Vec<TemplateState>,
    profiles: Vec<ProfileState>,
}

/// A template.
#[derive(Debug, Serialize)]
struct TemplateState {
    /// The name of its table.
    table: String,
    /// How many members are loaded.
    loaded: usize,
    /// How many may be.
    max_members: u64,
    /// How many names are remembered that its source does not have.
    absent: u64,
}

/// A profile.
#[derive(Debug, Serialize)]
struct ProfileState {
    name: String,
    /// The name of its table: its own, or that of its template.
    table: String,
    credentials: SetStatus,
    upstream: UpstreamStatus,
}

impl ProfileState {
    fn of(profile: &Profile) -> Self {
        Self {
            name: profile.name.to_string(),
            table: profile.table.to_string(),
            credentials: profile.manager.status(),
            upstream: UpstreamStatus::of(&profile.name, &profile.health),
        }
    }
}

pub(super) async fn states(State(view): State<Arc<GatewayView>>) -> Json<ProfileStates> {
    let templates = view.directory.families().iter().map(|family| TemplateState {
        table: family.settings().table.to_string(),
        loaded: family.members().len(),
        max_members: family.settings().max_members,
        absent: family.absent(),
    });
    Json(ProfileStates {
        templates: templates.collect(),
        profiles: view.directory.present().map(|profile| ProfileState::of(&profile)).collect(),
    })
}
