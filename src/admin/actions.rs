//! Actions of an operator on a running gateway: purge the cache, reload credentials, verify the
//! audit trail. Programs send `DELETE` and `POST`. The forms of the status page have routes of
//! their own, behind a check of their origin (see [`guard`](super::guard)) and a token.

use std::sync::Arc;

use axum::{
    Form, Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use serde::{Deserialize, Serialize};

use super::{AdminState, GatewayView};
use crate::error::Chain;

/// Selects stored responses to purge: all, an operation's, an object's, or one operation's of one
/// object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    operation: Option<String>,
    pk: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Purged {
    purged: u64,
}

/// `DELETE /cache`.
pub(super) async fn purge(
    State(view): State<Arc<GatewayView>>,
    Query(what): Query<What>,
) -> Json<Purged> {
    Json(Purged { purged: empty(&view, what.operation.as_deref(), what.pk.as_deref()) })
}

fn empty(view: &GatewayView, operation: Option<&str>, pk: Option<&str>) -> u64 {
    let purged = match (operation, pk) {
        (None, None) => view.cache.purge_all(),
        (operation, pk) => view.cache.purge(operation, pk),
    };
    tracing::info!(purged, "cache emptied");
    purged
}

/// The fields of a form on the status page.
#[derive(Deserialize)]
pub(super) struct Brought {
    token: String,
    #[serde(default)]
    operation: String,
}

/// `POST /page/purge`: the form's button. Redirects to the page, which reports how many were
/// purged.
pub(super) async fn purge_form(
    State(state): State<AdminState>,
    Form(brought): Form<Brought>,
) -> Response {
    if !state.token.is(&brought.token) {
        return stale_form();
    }
    let operation = Some(brought.operation.as_str()).filter(|operation| !operation.is_empty());
    let purged = empty(&state.window.view(), operation, None);
    Redirect::to(&format!("/?purged={purged}#cache")).into_response()
}

/// `POST /page/verify`: starts a verification of the trail and redirects to the page.
pub(super) async fn verify_form(
    State(state): State<AdminState>,
    Form(brought): Form<Brought>,
) -> Response {
    if !state.token.is(&brought.token) {
        return stale_form();
    }
    state.checks.begin(&state.window.view().trail);
    Redirect::to("/#trail").into_response()
}

fn stale_form() -> Response {
    let text = "the page is from before the gateway's last start: load it again, and then press\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

/// The result of reloading one credential set.
#[derive(Debug, Serialize)]
pub(super) struct Refreshed {
    name: String,
    #[serde(rename = "refreshed")]
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `POST /credentials/refresh`: reloads every set now. 200 when all could be loaded, else 502.
pub(super) async fn refresh(
    State(view): State<Arc<GatewayView>>,
) -> (StatusCode, Json<Vec<Refreshed>>) {
    let mut sets = Vec::with_capacity(view.managers.len());
    for (name, manager) in &view.managers {
        let error = manager.refresh().await.err().map(|error| Chain(&*error).to_string());
        let version = manager.snapshot().ok().map(|lease| lease.version().to_string());
        sets.push(Refreshed { name: name.to_string(), done: error.is_none(), version, error });
    }
    let all = sets.iter().all(|set| set.done);
    (if all { StatusCode::OK } else { StatusCode::BAD_GATEWAY }, Json(sets))
}
