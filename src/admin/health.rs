//! `GET /livez` and `GET /readyz`.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::{GatewayView, Routes};
use crate::{error::Kind, proxy::profile::Family};

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
    /// What failed, for an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_seconds: Option<u64>,
    /// The remedy.
    remedy: &'static str,
}

impl Reason {
    fn of(part: &'static str, why: String, remedy: &'static str) -> Self {
        Self { part, name: None, why, cause: None, next_try_seconds: None, remedy }
    }

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

/// 200 when every credential set is loaded, the sources of templates answer, the trail is writable and the gateway is not draining;
/// else 503 with the reasons.
pub(super) async fn ready(
    State(view): State<Arc<GatewayView>>,
    Extension(routes): Extension<Routes>,
) -> (StatusCode, Json<Readiness>) {
    let mut reasons = reasons(&view);
    if routes == Routes::Health {
        // Strangers may ask there, and a cause may name addresses and files.
        for reason in &mut reasons {
            reason.cause = None;
        }
    }
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
            reasons.push(Reason {
                part: "credentials",
                name,
                why,
                cause: manager.status().last_error,
                next_try_seconds: Some(unavailable.retry_after().as_secs().max(1)),
                remedy: "`pigello-gateway check --online` tests each step on the way to the credentials. Calls work \
                         again when their source does.",
            });
        }
    }
    reasons.extend(view.directory.families().iter().filter_map(|family| unready(family)));
    if let Err(unwritable) = view.trail.admit() {
        let why = unwritable.to_string();
        let remedy = Kind::AuditUnavailable.manual().remedy;
        reasons.push(Reason::of("audit", why, remedy));
    }
    if view.draining.is_cancelled() {
        let why = "the gateway is shutting down".to_owned();
        let remedy = "Calls under way are finished; nothing is to be done.";
        reasons.push(Reason::of("listeners", why, remedy));
    }
    reasons
}

/// A template is not ready if its source was asked and cannot be used, and no member has credentials from before. One
/// member that is absent or broken is no reason.
fn unready(family: &Family) -> Option<Reason> {
    let members: Vec<_> = family.members().collect();
    let has_credentials = members.iter().any(|member| member.manager.generation().is_some());
    let failing = members.iter().find(|member| member.manager.health().source_fails)?;
    let answers = || {
        let mut others = members.iter().map(|member| member.manager.health());
        others.any(|other| other.was_read && !other.source_fails)
    };
    if has_credentials || answers() {
        return None;
    }
    let why = "the source of its members' credentials cannot be used".to_owned();
    let remedy = "Each member's page has the error of the source. Calls work again when it does.";
    Some(Reason {
        name: Some(family.settings().table.to_string()),
        cause: failing.manager.status().last_error,
        ..Reason::of("credentials", why, remedy)
    })
}
