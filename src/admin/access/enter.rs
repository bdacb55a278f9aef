//! `POST /session/link` makes a link that works once; `GET /session/enter` uses it and begins a session.

use std::time::Instant;

use axum::{
    Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::{Deserialize, Serialize};

use super::{Actor, Refused, sessions::LINK_TIME};
use crate::admin::AdminState;

/// A link, for `pigello-gateway page`.
#[derive(Debug, Serialize)]
struct Link {
    /// Path and query; the host is the one where the page is asked for.
    path: String,
    /// How long it works.
    seconds: u64,
}

/// `POST /session/link`.
pub(in crate::admin) async fn make_link(State(state): State<AdminState>, actor: Actor) -> Response {
    let action = actor.did("page_link", "made");
    let Some(text) = state.gate.sessions.link(actor, Instant::now()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    state.window.view().trail.admin(action);
    let path = format!("/session/enter?link={text}");
    Json(Link { path, seconds: LINK_TIME.as_secs() }).into_response()
}

/// The query of a link.
#[derive(Deserialize)]
pub(in crate::admin) struct Entry {
    #[serde(default)]
    link: String,
}

/// `GET /session/enter`: sets the cookie, and redirects to the page.
pub(in crate::admin) async fn enter(
    State(state): State<AdminState>,
    Query(entry): Query<Entry>,
) -> Response {
    match state.gate.sessions.enter(&entry.link, Instant::now()) {
        Some((cookie, actor)) => {
            state.window.view().trail.admin(actor.did("page", "entered"));
            ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        None => state.gate.wrong(Refused::WrongLink).into(),
    }
}
