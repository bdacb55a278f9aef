//! `/__mock__/activations/`: adds, rotates, revokes and limits activations.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    activations::{Activation, Member, OldSecret},
    credentials::Credentials,
    response,
    state::MockState,
};

use super::{settings, unknown};

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
            response::json(StatusCode::CREATED, &json!(values))
        }
        _ => match state.activations.get(name) {
            Some(member) => one(state, &member, action, &head.method, body),
            None => response::error(StatusCode::NOT_FOUND, "There is no such activation."),
        },
    }
}

/// A call about one activation.
fn one(
    state: &MockState,
    member: &Arc<Member>,
    action: &str,
    method: &Method,
    body: &[u8],
) -> Response<Bytes> {
    let activations = &state.activations;
    match (action, method) {
        ("", &Method::GET) => return response::json(StatusCode::OK, &describe(member)),
        ("rotate", &Method::POST) => {
            let rotation = if body.is_empty() { Ok(Rotation::default()) } else { settings(body) };
            return match rotation {
                Ok(Rotation { old }) => {
                    let new = activations.rotate(member, old);
                    response::json(StatusCode::OK, &json!(values(&new)))
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
        ("", _) => return response::method_not_allowed(&[Method::GET, Method::PUT]),
        ("rotate" | "refuse-old" | "revoke" | "restore", _) => {
            return response::method_not_allowed(&[Method::POST]);
        }
        ("limit", _) => return response::method_not_allowed(&[Method::PUT, Method::DELETE]),
        _ => return unknown(),
    }
    response::empty(StatusCode::NO_CONTENT)
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

/// Seven made-up values as JSON. They open nothing but this mock, so they need no hiding.
fn values(credentials: &Credentials) -> Map<String, Value> {
    let text = |scheme| json!(credentials.text(scheme));
    credentials.values().map(|(scheme, _)| (scheme.key().to_owned(), text(scheme))).collect()
}
