//! `GET /fleet`: the members of the fleet that are there, as JSON.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::GatewayView;
use crate::{error::Chain, fleet::Members};

#[derive(Debug, Serialize)]
pub(super) struct Fleet {
    /// Its name.
    name: String,
    #[serde(flatten)]
    members: Members,
}

/// 503 while the store cannot be asked.
pub(super) async fn members(
    State(view): State<Arc<GatewayView>>,
) -> Result<Json<Fleet>, (StatusCode, String)> {
    let fleet = view.fleet.as_ref().ok_or((StatusCode::NOT_FOUND, NO_FLEET.to_owned()))?;
    match fleet.members().await {
        Ok(members) => {
            Ok(Json(Fleet { name: fleet.status().name, members: Members::clone(&members) }))
        }
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", Chain(&error)))),
    }
}

/// What an alone gateway answers.
pub(super) const NO_FLEET: &str = "this gateway has no fleet: there is no [fleet]\n";
