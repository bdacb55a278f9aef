//! `GET /status`: the state of every part, as JSON; never a credential value.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{GatewayView, ListenerView, ProfileView};
use crate::{audit, credentials, proxy::cache};

#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    listeners: Vec<ListenerView>,
    profiles: Vec<ProfileView>,
    credentials: Vec<credentials::SetStatus>,
    cache: cache::CacheStats,
    audit: audit::TrailStats,
}

pub(super) async fn status(State(view): State<Arc<GatewayView>>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: view.started.elapsed().unwrap_or_default().as_secs(),
        draining: view.draining.is_cancelled(),
        listeners: view.listeners.clone(),
        profiles: view.profiles.clone(),
        credentials: view.managers.values().map(credentials::CredentialManager::status).collect(),
        cache: view.cache.stats(),
        audit: view.trail.stats(),
    })
}
