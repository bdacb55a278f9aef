//! `GET /livez` and `GET /readyz`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::GatewayView;
use crate::error::Kind;

/// Liveness: the process responds. Nothing outside the process counts: a vault outage is no reason
/// for a restart.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Readiness: calls can be served.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
pub(super) struct Reason {
    part: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "reason")]
    why: String,
    /// The remedy.
    remedy: &'static str,
}

impl Reason {
    /// The remedy.
    pub(super) fn remedy(&self) -> &'static str {
        self.remedy
    }

    /// The name of the affected part, where there may be several.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The reason, as a sentence.
    pub(super) fn sentence(&self) -> String {
        let mut why = self.why.trim_end_matches('.').chars();
        let first = why.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
        format!("{first}{}.", why.as_str())
    }
}

/// 200 when every credential set is loaded, the trail is writable and the gateway is not draining;
/// else 503 with the reasons.
pub(super) async fn ready(State(view): State<Arc<GatewayView>>) -> (StatusCode, Json<Readiness>) {
    let reasons = reasons(&view);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons }))
}

/// The reasons why calls cannot be served; empty when they can.
pub(super) fn reasons(view: &GatewayView) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (name, manager) in &view.managers {
        if let Err(unavailable) = manager.snapshot() {
            let (name, why) = (Some(name.to_string()), unavailable.to_string());
            let remedy = Kind::CredentialsUnavailable.manual().remedy;
            reasons.push(Reason { part: "credentials", name, why, remedy });
        }
    }
    if let Err(unwritable) = view.trail.admit() {
        let why = unwritable.to_string();
        let remedy = Kind::AuditUnavailable.manual().remedy;
        reasons.push(Reason { part: "audit", name: None, why, remedy });
    }
    if view.draining.is_cancelled() {
        let why = "the gateway is shutting down".to_owned();
        let remedy = "Calls under way are finished; nothing is to be done.";
        reasons.push(Reason { part: "listeners", name: None, why, remedy });
    }
    reasons
}
