//! What an operator may change while the gateway runs: empty the cache, read credentials again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::View;
use crate::error::Chain;

/// What of the cache is emptied: everything, an operation, an object, or an operation's object.
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
pub(super) async fn purge(State(view): State<Arc<View>>, Query(what): Query<What>) -> Json<Purged> {
    let purged = match (what.operation.as_deref(), what.pk.as_deref()) {
        (None, None) => view.cache.purge_all(),
        (operation, pk) => view.cache.purge(operation, pk),
    };
    tracing::info!(purged, "cache emptied");
    Json(Purged { purged })
}

/// What became of one credential set.
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

/// `POST /credentials/refresh`: reads every set again, now. 200 when all could be read, else 502.
pub(super) async fn refresh(State(view): State<Arc<View>>) -> (StatusCode, Json<Vec<Refreshed>>) {
    let mut sets = Vec::with_capacity(view.keepers.len());
    for (name, keeper) in &view.keepers {
        let error = keeper.refresh().await.err().map(|error| Chain(&*error).to_string());
        let version = keeper.snapshot().ok().map(|lease| lease.version().to_string());
        sets.push(Refreshed { name: name.to_string(), done: error.is_none(), version, error });
    }
    let all = sets.iter().all(|set| set.done);
    (if all { StatusCode::OK } else { StatusCode::BAD_GATEWAY }, Json(sets))
}
