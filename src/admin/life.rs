//! `GET /cache?path=…`: the life of what is cached under a path. It has no content.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::GatewayView;
use crate::{domain::CanonicalTarget, notices::DroppedBy, proxy::cache::StoredLife};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    path: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Life {
    /// What is stored now.
    stored: Vec<StoredLife>,
    /// The last notices that dropped it, the newest first.
    dropped: Vec<DroppedBy>,
}

pub(super) async fn life(
    State(view): State<Arc<GatewayView>>,
    Query(Asked { path }): Query<Asked>,
) -> Result<Json<Life>, (StatusCode, &'static str)> {
    let target: CanonicalTarget =
        path.parse().map_err(|_| (StatusCode::BAD_REQUEST, "`path` is no canonical path\n"))?;
    Ok(Json(Life { stored: view.cache.stored(&target), dropped: view.notices.dropped(&target) }))
}
