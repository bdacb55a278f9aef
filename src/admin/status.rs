//! `GET /status`: the state of every part, as JSON; never a credential value.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{
    ConfigurationView, GatewayView, ListenerView, ProfileView, foresight,
    profiles::{TemplateState, UpstreamStatus, templates},
    shared_keys::{CacheKeyState, cache_keys},
    trouble::judged,
};
use crate::{
    audit, credentials,
    fleet::{FleetStatus, Member},
    notices::FeedStatus,
    outbound::CertificateEnd,
    proxy::cache,
};

#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    configuration: ConfigurationView,
    listeners: Vec<ListenerView>,
    profiles: Vec<ProfileView>,
    /// Each template with how many of its members are loaded.
    templates: Vec<TemplateState>,
    upstreams: Vec<UpstreamStatus>,
    credentials: Vec<credentials::SetStatus>,
    cache: cache::CacheStats,
    /// The keys of the shared cache, of the profiles with tables of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_keys: Vec<CacheKeyState>,
    /// The notices of each profile.
    notices: Vec<FeedStatus>,
    /// The connection to the fleet's store.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<FleetStatus>,
    /// The heads of all members' trails, if this gateway is a hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet_log: Option<audit::FleetLogStatus>,
    audit: audit::TrailStats,
    /// Every certificate that the gateway depends on.
    certificates: Vec<CertificateEnd>,
    /// This machine's clock beside those of the servers that were called.
    clocks: Vec<foresight::ClockOffset>,
}

fn upstreams(view: &GatewayView) -> Vec<UpstreamStatus> {
    let upstreams = view.upstreams.iter();
    upstreams.map(|(profile, health)| UpstreamStatus::of(profile, health)).collect()
}

pub(super) async fn status(State(view): State<Arc<GatewayView>>) -> Json<Status> {
    let judged = judged(&view);
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: view.started.elapsed().unwrap_or_default().as_secs(),
        draining: view.draining.is_cancelled(),
        configuration: view.configuration.clone(),
        listeners: view.listeners.clone(),
        profiles: view.profiles.clone(),
        templates: templates(&view, &judged),
        upstreams: upstreams(&view),
        credentials: view.managers.values().map(credentials::CredentialManager::status).collect(),
        cache: view.cache.stats(),
        cache_keys: cache_keys(&judged),
        notices: view.notices.status(),
        fleet: view.fleet.as_deref().map(Member::status),
        fleet_log: view.fleet_log.as_deref().map(audit::FleetLog::status),
        audit: view.trail.stats(),
        certificates: foresight::certificates(&view),
        clocks: foresight::clocks(&view),
    })
}
