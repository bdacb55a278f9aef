//! `GET /`: the status page.
//!
//! It shows whether calls are served and if not why, who calls what and with which result, the
//! state of upstreams, credentials, cache and trail, and which calls were refused and how to allow
//! them. Its sources are the state of the parts and the audit records of the last hour or day. The
//! server renders it; it works without scripts, and a small one refreshes it. It never shows a
//! credential value, a query, or an object's identifier.

mod activity;
mod chart;
pub(super) mod errors;
pub(super) mod fleet;
mod format;
pub(super) mod permissions;
pub(super) mod profiles;
mod refusals;
mod shell;
mod summary;
mod state;

use std::time::SystemTime;

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::html;
use serde::Deserialize;

use self::{
    format::{moment, span},
    summary::GatewayState,
};
use super::{
    AdminState, GatewayView,
    access::{Actor, Role},
    check::Check,
    foresight::{self, ClockOffset},
    shared_keys::{CacheKeyState, cache_keys},
    trouble::{Judged, judged},
};
use crate::{
    audit::{self, Checkpoint},
    credentials,
    fleet::{FleetStatus, Member},
    notices::FeedStatus,
    outbound::CertificateEnd,
    proxy::cache,
    telemetry::{Period, Summary, Trouble},
};

/// Query parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PageQuery {
    #[serde(default)]
    over: Period,
    purged: Option<u64>,
    /// A part of the names of the profiles to list.
    #[serde(default)]
    q: String,
}

/// All data for one rendering, read once.
struct PageData<'a> {
    view: &'a GatewayView,
    period: Period,
    summary: Summary,
    troubles: Vec<Trouble>,
    credentials: Vec<credentials::SetStatus>,
    profiles: Vec<Judged>,
    q: String,
    cache: cache::CacheStats,
    cache_keys: Vec<CacheKeyState>,
    notices: Vec<FeedStatus>,
    fleet: Option<FleetStatus>,
    fleet_log: Option<audit::FleetLogStatus>,
    trail: audit::TrailStats,
    checkpoint: Option<Checkpoint>,
    check: Check,
    certificates: Vec<CertificateEnd>,
    clocks: Vec<ClockOffset>,
    token: Option<&'a str>,
    purged: Option<u64>,
}

impl PageData<'_> {
    /// Whether notices come from anywhere.
    fn has_notices(&self) -> bool {
        self.view.webhooks.is_some()
            || self.notices.iter().any(|feed| feed.state.event_log != "off")
    }
}

/// `GET /`.
pub(super) async fn page(
    State(state): State<AdminState>,
    actor: Actor,
    Query(asked): Query<PageQuery>,
) -> Response {
    let view = state.window.view();
    let now = SystemTime::now();
    let profiles = judged(&view);
    let data = PageData {
        view: &view,
        period: asked.over,
        summary: view.activity.summary(asked.over, now),
        troubles: view.activity.troubles(),
        credentials: view.managers.values().map(credentials::CredentialManager::status).collect(),
        cache_keys: cache_keys(&profiles),
        profiles,
        q: asked.q,
        cache: view.cache.stats(),
        notices: view.notices.status(),
        fleet: view.fleet.as_deref().map(Member::status),
        fleet_log: view.fleet_log.as_deref().map(audit::FleetLog::status),
        trail: view.trail.stats(),
        checkpoint: view.trail.last_checkpoint(),
        check: state.checks.last(),
        certificates: foresight::certificates(&view),
        clocks: foresight::clocks(&view),
        // Without it there are no forms.
        token: state.token.text().filter(|_| actor.role >= Role::Operate),
        purged: asked.purged,
    };
    let state = GatewayState::of(&data);
    let title = state.words();
    shell::with_policy(shell::document(
        &title,
        state.class(),
        &html! {
            a class="skip" href="#activity" { "Skip to the calls" }
            header class="top" {
                p class="name" { "pigello-gateway" }
                h1 class="hidden" { "State of the gateway" }
                p class="quiet" id="about" data-live {
                    "version " (env!("CARGO_PKG_VERSION"))
                    " · up " (span(view.started.elapsed().unwrap_or_default().as_secs()))
                    " · as of " (moment(now)) " UTC"
                }
                p class="controls" {
                    a id="again" class="button" href="/" { "Read again" }
                    button id="pause" type="button" aria-pressed="false" hidden { "Pause refreshing" }
                }
            }
            p id="contact" role="alert" {}
            main {
                section id="standing" data-live aria-live="polite" { (state.render()) }
                section id="activity" data-live tabindex="-1" { (activity::render(&data)) }
                div class="grid" {
                    section id="upstreams" data-live { (state::upstreams(&data)) }
                    section id="credentials" data-live { (state::credentials(&data)) }
                    section id="cache" data-live { (state::cache(&data)) }
                    @if data.has_notices() {
                        section id="notices" data-live { (state::notices(&data)) }
                    }
                    @if let Some(fleet) = &data.fleet {
                        section id="fleet" data-live { (state::fleet(fleet, data.fleet_log.as_ref())) }
                    }
                    section id="trail" data-live { (state::trail(&data)) }
                    section id="foresight" data-live { (state::foresight(&data)) }
                }
                @if !view.directory.families().is_empty() {
                    section id="profiles" data-live { (profiles::list(&data)) }
                }
                section id="refusals" data-live { (refusals::render(&data)) }
            }
            footer {
                nav aria-label="More" {
                    a href="/access" { "Who may do what" }
                    a href="/status" { "State as JSON" }
                    a href="/metrics" { "Metrics" }
                    a href="/errors" { "Errors and what to do" }
                }
            }
        },
    ))
}
