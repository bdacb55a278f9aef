//! `GET /status`: the state of every part, as JSON; never a credential value.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{
    ConfigurationView, GatewayView, ListenerView, ProfileView, foresight,
    profiles::{TemplateState, templates},
    trouble::judged,
};
use crate::{
    audit, credentials,
    domain::ProfileName,
    outbound::CertificateEnd,
    proxy::{cache, profile::UpstreamHealth},
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
    audit: audit::TrailStats,
    /// Every certificate that the gateway depends on.
    certificates: Vec<CertificateEnd>,
    /// This machine's clock beside those of the servers that were called.
    clocks: Vec<foresight::ClockOffset>,
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
    /// The rate that its 429 responses have taught, in calls a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
}

impl UpstreamStatus {
    pub(super) fn of(profile: &ProfileName, health: &UpstreamHealth) -> Self {
        Self {
            profile: profile.to_string(),
            breaker: health.breaker.state().label(),
            suspended_operations: health.suspended_operations(),
            pause_seconds: health.rate_limit.pause().as_secs(),
            rate: health.rate_limit.rate(),
        }
    }
}

fn upstreams(view: &GatewayView) -> Vec<UpstreamStatus> {
    let upstreams = view.upstreams.iter();
    upstreams.map(|(profile, health)| UpstreamStatus::of(profile, health)).collect()
}

pub(super) async fn status(State(view): State<Arc<GatewayView>>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: view.started.elapsed().unwrap_or_default().as_secs(),
        draining: view.draining.is_cancelled(),
        configuration: view.configuration.clone(),
        listeners: view.listeners.clone(),
        profiles: view.profiles.clone(),
        templates: templates(&view, &judged(&view)),
        upstreams: upstreams(&view),
        credentials: view.managers.values().map(credentials::CredentialManager::status).collect(),
        cache: view.cache.stats(),
        audit: view.trail.stats(),
        certificates: foresight::certificates(&view),
        clocks: foresight::clocks(&view),
    })
}
