//! `GET /access` and `GET /access.json`: who may use what, by the policy in force.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    format::{many, prose},
    shell,
};
use crate::{
    admin::GatewayView,
    domain::visible,
    proxy::stages::authorize::{
        AccessMatrix, AccessRow, EntityAccess, Mode, Unmatched, entity_access,
    },
};

/// The page: entities and callers in one table, then every operation.
pub(in crate::admin) async fn page(State(view): State<Arc<GatewayView>>) -> Response {
    let matrix = view.policy.matrix(&view.callers);
    let entities = matrix.entities();
    let body = html! {
        section {
            h2 { "By entity" }
            (remarks(&view))
            @if matrix.callers.is_empty() {
                p class="empty" { "Nobody may call: there is no caller, and everybody else is refused." }
            } @else {
                div class="wide" tabindex="0" role="region" aria-label="What each caller may do" {
                    (by_entity(&matrix, &entities))
                }
            }
        }
        section {
            h2 { "By operation" }
            @for (entity, rows) in &entities {
                details class="entity" {
                    summary { strong { (entity) } " " span class="quiet" { (many(rows.len() as u64, "operation")) } }
                    ul class="operations" {
                        @for row in rows { (operation(&matrix, row)) }
                    }
                }
            }
        }
    };
    shell::answer(StatusCode::OK, "Who may do what", "Who may do what", &body)
}

fn remarks(view: &GatewayView) -> Markup {
    let policy = &view.policy;
    html! {
        @if policy.mode == Mode::Report {
            p class="quiet" { (prose("`policy.mode` is `\"report\"`: every call passes, and the trail says which would not.")) }
        }
        @if policy.unmatched == Unmatched::Forward {
            p class="quiet" { (prose("`policy.unmatched` is `\"forward\"`: with `*` a caller may make other requests as well.")) }
        }
    }
}

fn by_entity(matrix: &AccessMatrix, entities: &[(&str, Vec<&AccessRow>)]) -> Markup {
    html! {
        table class="access" {
            thead {
                tr {
                    th scope="col" { "entity" }
                    @for caller in &matrix.callers { th scope="col" { (caller) } }
                }
            }
            tbody {
                @for (entity, rows) in entities {
                    tr {
                        th scope="row" { (entity) }
                        @for at in 0..matrix.callers.len() {
                            @match entity_access(rows, at) {
                                EntityAccess::All => { td { strong { "all" } } }
                                EntityAccess::Some(actions) if actions.is_empty() => { td class="quiet" { "–" } }
                                EntityAccess::Some(actions) => { td { (actions.join(", ")) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn operation(matrix: &AccessMatrix, row: &AccessRow) -> Markup {
    let operation = &row.operation;
    let callers: Vec<_> = matrix.allowed(row).collect();
    html! {
        li {
            strong { (operation.name()) }
            @if !operation.is_built_in() { span class="quiet" { " (of the configuration)" } }
            div { code { (operation.method()) " " (visible(operation.template())) } }
            div {
                @if callers.is_empty() { span class="quiet" { "nobody" } } @else { (callers.join(", ")) }
            }
        }
    }
}

/// The same as JSON; an entry is as `pigello-gateway operations --json` prints it.
pub(in crate::admin) async fn json(State(view): State<Arc<GatewayView>>) -> Json<Value> {
    let policy = &view.policy;
    let matrix = policy.matrix(&view.callers);
    let operations: Vec<_> = matrix.rows.iter().map(|row| matrix.entry(row)).collect();
    let listing = view.callers.iter().filter(|rule| !rule.profiles.is_empty());
    let profiles: serde_json::Map<_, _> = listing
        .map(|rule| {
            let patterns: Vec<_> = rule.profiles.iter().map(ToString::to_string).collect();
            (rule.name.to_string(), patterns.into())
        })
        .collect();
    Json(json!({
        "mode": policy.mode,
        "unidentified": policy.unidentified,
        "unmatched": policy.unmatched,
        "operations": operations,
        "profiles": profiles,
    }))
}
