//! The 63 operations on the mock's objects.
//!
//! Pigello's reference has no statuses and error bodies. The mock sends those of Django REST
//! framework, which Pigello seems to use.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use crate::{
    api::{self, Action, Resource},
    objects::{FieldErrors, ListQuery, Object, Schema, write},
    response,
    world::Visit,
};

/// The response to a request with the right credentials.
pub(crate) fn perform(visit: &mut Visit<'_>, head: &Parts, body: &[u8]) -> Response<Bytes> {
    let path = head.uri.path();
    let Some((entity, resource)) = api::resolve(path) else {
        let slash_is_missing = api::resolve(&format!("{path}/")).is_some();
        let detail = if slash_is_missing {
            "Not found. Every path of this API ends in a slash."
        } else {
            "Not found."
        };
        return response::error(StatusCode::NOT_FOUND, detail);
    };
    let Some(action) = resource.action(&head.method) else {
        return method_not_allowed(resource);
    };
    let id = if let Resource::Object(id) = resource { id } else { "" };
    run(action, entity.name, id, visit, head, body).unwrap_or_else(|error| error)
}

fn method_not_allowed(resource: Resource<'_>) -> Response<Bytes> {
    let mut methods: Vec<_> =
        resource.actions().iter().map(|action| action.method().clone()).collect();
    if methods.contains(&Method::GET) {
        methods.push(Method::HEAD);
    }
    methods.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    response::method_not_allowed(&methods)
}

/// An error is a response as well; `Err` serves to return early.
#[expect(clippy::result_large_err, reason = "both sides are responses")]
fn run(
    action: Action,
    entity: &'static str,
    id: &str,
    visit: &mut Visit<'_>,
    head: &Parts,
    body: &[u8],
) -> Result<Response<Bytes>, Response<Bytes>> {
    let schema = Schema::of(entity);
    match action {
        Action::Get => {
            let object = visit.shown().get(entity, id).ok_or_else(not_found)?;
            Ok(response::json(StatusCode::OK, object))
        }
        Action::List => {
            let query = head.uri.query().unwrap_or_default();
            let list = ListQuery::parse(schema, query).map_err(|errors| invalid(&errors))?;
            let found = list.select(visit.shown().all(entity));
            Ok(list_response(&found, list.json_lines()))
        }
        Action::Create => {
            let sent = object(json_body(head, body)?)?;
            let created = write::create(schema, &sent, visit.now().shown);
            let mut created = created.map_err(|errors| invalid(&errors))?;
            created.insert("id".to_owned(), json!(visit.next_id()));
            visit.put(entity, created.clone());
            Ok(response::json(StatusCode::CREATED, &created))
        }
        Action::Update => {
            let old = visit.current().get(entity, id).ok_or_else(not_found)?;
            let sent = object(json_body(head, body)?)?;
            let new = write::update(schema, old, &sent).map_err(|errors| invalid(&errors))?;
            visit.put(entity, new.clone());
            Ok(response::json(StatusCode::OK, &new))
        }
        Action::Delete => {
            if visit.remove(entity, id) {
                Ok(response::empty(StatusCode::NO_CONTENT))
            } else {
                Err(not_found())
            }
        }
        Action::BulkWrite => bulk_write(entity, visit, json_body(head, body)?),
        Action::Invite => {
            if !body.is_empty() {
                json_body(head, body)?;
            }
            // As in the reference's example.
            Ok(response::json(StatusCode::CREATED, &Value::Null))
        }
    }
}

/// An item with the `id` of an object changes that object, any other creates one. One invalid item
/// fails the whole call. The reference says nothing about either.
#[expect(clippy::result_large_err, reason = "both sides are responses")]
fn bulk_write(
    entity: &'static str,
    visit: &mut Visit<'_>,
    sent: Value,
) -> Result<Response<Bytes>, Response<Bytes>> {
    let Value::Array(items) = sent else {
        return Err(response::error(StatusCode::BAD_REQUEST, "The body must be a JSON array."));
    };
    let schema = Schema::of(entity);
    let mut written = Vec::with_capacity(items.len());
    let mut problems = Vec::with_capacity(items.len());
    for item in items {
        let outcome = if let Value::Object(item) = item {
            let id = item.get("id").and_then(Value::as_str);
            match id.and_then(|id| visit.current().get(entity, id)) {
                Some(old) => write::update(schema, old, &item),
                None => write::create(schema, &item, visit.now().shown),
            }
        } else {
            let mut errors = FieldErrors::default();
            errors.add("non_field_errors", "Every item must be an object.");
            Err(errors)
        };
        // One entry for each item, in the order of the request.
        problems.push(outcome.as_ref().err().map_or_else(|| json!({}), FieldErrors::to_json));
        written.extend(outcome);
    }
    if written.len() < problems.len() {
        return Err(response::json(StatusCode::BAD_REQUEST, &problems));
    }
    for object in &mut written {
        if object.get("id").is_none_or(Value::is_null) {
            object.insert("id".to_owned(), json!(visit.next_id()));
        }
        visit.put(entity, object.clone());
    }
    Ok(response::json(StatusCode::OK, &written))
}

/// A list as a JSON array or as JSON Lines.
pub(crate) fn list_response(found: &[Value], json_lines: bool) -> Response<Bytes> {
    if json_lines {
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        return response::typed(StatusCode::OK, "application/x-ndjson", lines.join("\n"));
    }
    response::json(StatusCode::OK, &found)
}

#[expect(clippy::result_large_err, reason = "the error is a response")]
fn json_body(head: &Parts, body: &[u8]) -> Result<Value, Response<Bytes>> {
    let media_type = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = media_type.map(|text| text.split(|byte| *byte == b';').next().unwrap_or(text));
    if essence.is_some_and(|text| !text.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        let detail = "The body must be JSON, with Content-Type: application/json.";
        return Err(response::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("The body is not JSON (line {line}, column {column}).");
        response::error(StatusCode::BAD_REQUEST, &detail)
    })
}

#[expect(clippy::result_large_err, reason = "the error is a response")]
fn object(sent: Value) -> Result<Object, Response<Bytes>> {
    match sent {
        Value::Object(object) => Ok(object),
        _ => Err(response::error(StatusCode::BAD_REQUEST, "The body must be a JSON object.")),
    }
}

fn invalid(errors: &FieldErrors) -> Response<Bytes> {
    response::json(StatusCode::BAD_REQUEST, &errors.to_json())
}

fn not_found() -> Response<Bytes> {
    response::error(StatusCode::NOT_FOUND, "Not found.")
}
