//! `/__mock__/activations/`: adds, rotates, revokes and limits activations, and changes their world.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    activations::{Activation, Member, OldSecret},
    credentials::Credentials,
    operations, response,
    state::MockState,
    world::Writer,
};

use super::{log_faults, replica, settings, unknown};

/// `path` is what follows `/__mock__/activations/`.
pub(super) fn handle(state: &MockState, head: &Parts, path: &str, body: &[u8]) -> Response<Bytes> {
    let (name, action) = path.split_once('/').unwrap_or((path, ""));
    match (name, action, &head.method) {
        ("", "", &Method::GET) => {
            let all: Vec<Value> = state.activations.all().iter().map(|it| describe(it)).collect();
            let mixed = state.activations.mixed();
            response::json(StatusCode::OK, &json!({ "mixed": mixed, "activations": all }))
        }
        ("", ..) => response::method_not_allowed(&[Method::GET]),
        (_, "", &Method::PUT) => {
            let member = state.activations.add(Activation::made_up(name));
            let values = member.credentials().map(|credentials| values(&credentials));
            response::json(StatusCode::CREATED, &values)
        }
        _ => match state.activations.get(name) {
            Some(member) => one(state, &member, action, head, body),
            None => response::error(StatusCode::NOT_FOUND, "There is no such activation."),
        },
    }
}

/// A call about one activation.
fn one(
    state: &MockState,
    member: &Arc<Member>,
    action: &str,
    head: &Parts,
    body: &[u8],
) -> Response<Bytes> {
    if let Some(path) = action.strip_prefix("elsewhere/") {
        return elsewhere(state, member, head, path, body);
    }
    let activations = &state.activations;
    match (action, &head.method) {
        ("", &Method::GET) => return response::json(StatusCode::OK, &describe(member)),
        ("rotate", &Method::POST) => {
            let rotation = if body.is_empty() { Ok(Rotation::default()) } else { settings(body) };
            return match rotation {
                Ok(Rotation { old }) => {
                    let new = activations.rotate(member, old);
                    response::json(StatusCode::OK, &values(&new))
                }
                Err(response) => response,
            };
        }
        ("refuse-old", &Method::POST) => activations.refuse_old(member),
        ("revoke", &Method::POST) => activations.revoke(member, true),
        ("restore", &Method::POST) => activations.revoke(member, false),
        ("limit", &Method::PUT) => match settings(body) {
            Ok(limit) => member.limit(Some(limit)),
            Err(response) => return response,
        },
        ("limit", &Method::DELETE) => member.limit(None),
        ("eventlog", method) => return log_faults(member, method, body),
        ("replica", method) => return replica(member, method, body),
        ("", _) => return response::method_not_allowed(&[Method::GET, Method::PUT]),
        ("rotate" | "refuse-old" | "revoke" | "restore", _) => {
            return response::method_not_allowed(&[Method::POST]);
        }
        ("limit", _) => return response::method_not_allowed(&[Method::PUT, Method::DELETE]),
        _ => return unknown(),
    }
    response::empty(StatusCode::NO_CONTENT)
}

/// A call of the API that somebody else makes; `path` has no slash at its start.
fn elsewhere(
    state: &MockState,
    member: &Member,
    head: &Parts,
    path: &str,
    body: &[u8],
) -> Response<Bytes> {
    let query = head.uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let Ok(uri) = format!("/{path}{query}").parse() else { return unknown() };
    let mut called = head.clone();
    called.uri = uri;
    // curl sends a body as a form if it is told nothing else.
    called.headers.remove(header::CONTENT_TYPE);
    state.visit(member, Writer::OrganizationUser, |visit| operations::perform(visit, &called, body))
}

/// The body of a rotation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    old: OldSecret,
}

/// An activation as JSON, without its values.
fn describe(member: &Member) -> Value {
    json!({
        "name": member.name().as_ref(),
        "revoked": member.is_revoked(),
        "limit": member.rate_limit(),
        "counts": member.counts(),
    })
}

/// The seven values of an activation as JSON. The mock made the secret up, so it needs no hiding.
fn values(credentials: &Credentials) -> Map<String, Value> {
    let text = |scheme| json!(credentials.text(scheme));
    credentials.values().map(|(scheme, _)| (scheme.key().to_owned(), text(scheme))).collect()
}
