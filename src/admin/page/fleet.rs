//! `GET /fleet/members`: the members of the fleet, in a list that can be searched.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use maud::{Markup, Render as _, html};
use serde::Deserialize;

use super::{
    format::{moment, span, thousands},
    shell,
    state::mark,
};
use crate::{
    admin::{GatewayView, fleet::NO_FLEET},
    error::Chain,
    fleet::{Members, Seen},
};

#[derive(Debug, Default, Deserialize)]
pub(in crate::admin) struct Asked {
    /// A part of the names of the members to list.
    #[serde(default)]
    q: String,
}

/// The page. It has a place of its own, because it waits for the store.
pub(in crate::admin) async fn page(
    State(view): State<Arc<GatewayView>>,
    Query(asked): Query<Asked>,
) -> Response {
    const TITLE: &str = "The fleet";
    let Some(fleet) = &view.fleet else {
        return shell::answer(StatusCode::NOT_FOUND, TITLE, TITLE, &words(NO_FLEET));
    };
    match fleet.members().await {
        Ok(members) => shell::answer(StatusCode::OK, TITLE, TITLE, &list(&members, &asked.q)),
        Err(error) => {
            let body = words(&format!("Who is there is not known: {}.", Chain(&error)));
            shell::answer(StatusCode::SERVICE_UNAVAILABLE, TITLE, TITLE, &body)
        }
    }
}

fn words(words: &str) -> Markup {
    html! { section { p { (words) } p { a href="/" { "State of this gateway" } } } }
}

/// The list. Those that differ from most come first.
fn list(members: &Members, q: &str) -> Markup {
    let wanted = q.trim().to_lowercase();
    let is_wanted = |seen: &&Seen| seen.record.instance.to_lowercase().contains(&wanted);
    let mut found: Vec<_> = members.members.iter().filter(is_wanted).collect();
    // Stable: by name otherwise.
    found.sort_by_key(|seen| seen.differs.is_empty());
    let more = found.len().saturating_sub(MOST_ROWS);
    let differing = members.members.iter().filter(|seen| !seen.differs.is_empty()).count();
    html! {
        section {
            h2 { "Members" }
            p class="quiet" {
                (thousands(members.members.len() as u64)) " members, " (thousands(differing as u64)) " of them differ from \
                most. A member is listed while it has told of itself in the last 30 s."
            }
            @if members.unreadable > 0 {
                p { (mark("bad", &format!("{} records cannot be read: the members have another key", members.unreadable))) }
            }
            form method="get" action="/fleet/members" {
                label for="q" { "Name" }
                input type="search" id="q" name="q" value=(q) maxlength="63";
                button type="submit" { "Search" }
            }
            @if found.is_empty() {
                p class="empty" { "No member has such a name." }
            } @else {
                div class="wide" tabindex="0" role="region" aria-label="Members" {
                    table {
                        thead { tr { @for name in COLUMNS { th scope="col" { (name) } } } }
                        tbody { @for seen in found.iter().take(MOST_ROWS) { (row(seen)) } }
                    }
                }
                @if more > 0 { p class="quiet" { (thousands(more as u64)) " more" } }
            }
        }
    }
}

fn row(seen: &Seen) -> Markup {
    let record = &seen.record;
    let cell = |what: &str, text: &str| {
        let differs = seen.differs.iter().any(|known| known == what);
        if differs { mark("look", text) } else { text.render() }
    };
    html! {
        tr {
            th scope="row" { (record.instance) @if seen.is_self { " (this one)" } }
            td { (record.role.label()) }
            td { (cell("version", &record.version)) }
            td { (cell("configuration", &record.configuration)) }
            td { (cell("credentials", &record.credentials_in_words())) }
            td { (cell("event_log", &record.event_log)) }
            td { (moment(record.started)) }
            td { (span(seen.seen_seconds)) " ago" }
        }
    }
}

/// More are found with the search.
const MOST_ROWS: usize = 100;
const COLUMNS: [&str; 8] =
    ["name", "role", "version", "configuration", "credentials", "event log", "started", "seen"];
