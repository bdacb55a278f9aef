//! `GET /fleet`: the members of the fleet that are there, as JSON.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::GatewayView;
use crate::{
    audit::{Finding, FleetLog},
    error::Chain,
    fleet::Members,
};

#[derive(Debug, Serialize)]
pub(super) struct Fleet {
    /// Its name.
    name: String,
    #[serde(flatten)]
    members: Members,
    /// What is wrong with trails of members, if this gateway is a hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Finding>>,
}

/// 503 while the store cannot be asked.
pub(super) async fn members(
    State(view): State<Arc<GatewayView>>,
) -> Result<Json<Fleet>, (StatusCode, String)> {
    let fleet = view.fleet.as_ref().ok_or((StatusCode::NOT_FOUND, NO_FLEET.to_owned()))?;
    match fleet.members().await {
        Ok(members) => Ok(Json(Fleet {
            name: fleet.status().name,
            members: Members::clone(&members),
            findings: view.fleet_log.as_deref().map(FleetLog::findings),
        })),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", Chain(&error)))),
    }
}

/// What an alone gateway answers.
pub(super) const NO_FLEET: &str = "this gateway has no fleet: there is no [fleet]\n";
