//! `GET /status`: the state of every part, as JSON. Never a value of a credential.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{ListenerView, ProfileView, View};
use crate::{credentials, pipeline::cache, trail};

#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    listeners: Vec<ListenerView>,
    profiles: Vec<ProfileView>,
    credentials: Vec<credentials::Status>,
    cache: cache::Stats,
    audit: Audit,
}

/// The audit trail, as `/status` shows it.
#[derive(Debug, Serialize)]
struct Audit {
    writable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    queued: usize,
    lag_seconds: f64,
    written: u64,
    lost: u64,
    last_seq: u64,
    synced_seq: u64,
}

impl From<trail::Stats> for Audit {
    fn from(stats: trail::Stats) -> Self {
        Self {
            writable: stats.unwritable.is_none(),
            reason: stats.unwritable.map(|unwritable| unwritable.to_string()),
            queued: stats.queued,
            lag_seconds: stats.lag.as_secs_f64(),
            written: stats.written,
            lost: stats.lost,
            last_seq: stats.last_seq,
            synced_seq: stats.synced_seq,
        }
    }
}

pub(super) async fn status(State(view): State<Arc<View>>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: view.started.elapsed().unwrap_or_default().as_secs(),
        draining: view.draining.is_cancelled(),
        listeners: view.listeners.clone(),
        profiles: view.profiles.clone(),
        credentials: view.keepers.values().map(credentials::Keeper::status).collect(),
        cache: view.cache.stats(),
        audit: view.trail.stats().into(),
    })
}
