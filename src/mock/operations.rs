//! The 63 operations on the mock's objects.
//!
//! Statuses and error bodies are not documented; these are the usual ones of the Django back end
//! that Pigello looks to be.

use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use crate::{
    body::Body,
    domain::{Action, Operation, OperationMatch},
};

use super::{
    Shared,
    data::Data,
    list::ListQuery,
    reply::{self, FieldErrors},
    schema::{Object, Schema},
    write,
};

pub(super) fn perform(shared: &Shared, head: &Parts, body: &[u8]) -> Response<Body> {
    let path = head.uri.path();
    match shared.catalog.find(&head.method, path) {
        OperationMatch::Found(operation) => {
            let data = &mut shared.data.lock();
            run(operation, data, head, body).unwrap_or_else(|refused| refused)
        }
        OperationMatch::OtherMethods(known) => {
            let methods = known.iter().map(|operation| operation.method().as_str());
            wrong_method(methods.collect())
        }
        OperationMatch::Unknown => {
            let slashed = format!("{path}/");
            let forgotten = !path.ends_with('/')
                && !matches!(shared.catalog.find(&head.method, &slashed), OperationMatch::Unknown);
            let detail = if forgotten {
                "Not found. Every path of this API ends in a slash."
            } else {
                "Not found."
            };
            reply::refusal(StatusCode::NOT_FOUND, detail)
        }
    }
}

fn wrong_method(mut methods: Vec<&str>) -> Response<Body> {
    if methods.contains(&Method::GET.as_str()) {
        methods.push(Method::HEAD.as_str());
    }
    methods.sort_unstable();
    let mut response =
        reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.");
    if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The refusals are answers as well; `Err` only serves to leave early.
#[expect(clippy::result_large_err, reason = "both sides are the one answer")]
fn run(
    operation: &Operation,
    data: &mut Data,
    head: &Parts,
    body: &[u8],
) -> Result<Response<Body>, Response<Body>> {
    let entity = operation.entity_name();
    let schema = Schema::of(entity);
    let pk = head.uri.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match operation.action() {
        Some(Action::Get) => {
            let object = data.get(entity, pk).ok_or_else(unknown_pk)?;
            Ok(reply::json(StatusCode::OK, &json!(object)))
        }
        Some(Action::List) => {
            let query = head.uri.query().unwrap_or_default();
            let list = ListQuery::parse(schema, query).map_err(|errors| invalid(&errors))?;
            let found = list.select(data.all(entity));
            if list.json_lines() {
                let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
                let lines = lines.join("\n");
                return Ok(reply::typed(StatusCode::OK, "application/x-ndjson", lines));
            }
            Ok(reply::json(StatusCode::OK, &json!(found)))
        }
        Some(Action::Create) => {
            let sent = object(json_body(head, body)?)?;
            let mut made = write::create(schema, &sent).map_err(|errors| invalid(&errors))?;
            made.insert("id".to_owned(), json!(data.next_id()));
            data.put(entity, made.clone());
            Ok(reply::json(StatusCode::CREATED, &json!(made)))
        }
        Some(Action::Update) => {
            let old = data.get(entity, pk).ok_or_else(unknown_pk)?;
            let sent = object(json_body(head, body)?)?;
            let new = write::update(schema, old, &sent).map_err(|errors| invalid(&errors))?;
            data.put(entity, new.clone());
            Ok(reply::json(StatusCode::OK, &json!(new)))
        }
        Some(Action::Delete) => {
            if data.remove(entity, pk) {
                Ok(reply::empty(StatusCode::NO_CONTENT))
            } else {
                Err(unknown_pk())
            }
        }
        Some(Action::BulkWrite) => bulk_write(entity, data, json_body(head, body)?),
        Some(Action::Invite) => {
            if !body.is_empty() {
                json_body(head, body)?;
            }
            // The reference's own sample answer.
            Ok(reply::json(StatusCode::CREATED, &Value::Null))
        }
        None => Err(reply::refusal(StatusCode::NOT_FOUND, "Not found.")),
    }
}

/// An item with the `id` of an object changes it, any other makes a new one. All or nothing: how
/// Pigello matches and what it does with half-good batches is not documented.
#[expect(clippy::result_large_err, reason = "both sides are the one answer")]
fn bulk_write(
    entity: &str,
    data: &mut Data,
    sent: Value,
) -> Result<Response<Body>, Response<Body>> {
    let Value::Array(items) = sent else {
        return Err(reply::refusal(StatusCode::BAD_REQUEST, "The body must be a JSON array."));
    };
    let schema = Schema::of(entity);
    let mut written = Vec::with_capacity(items.len());
    let mut problems = Vec::with_capacity(items.len());
    for item in items {
        let outcome = if let Value::Object(item) = item {
            let id = item.get("id").and_then(Value::as_str);
            match id.and_then(|id| data.get(entity, id)) {
                Some(old) => write::update(schema, old, &item),
                None => write::create(schema, &item),
            }
        } else {
            let mut errors = FieldErrors::default();
            errors.add("non_field_errors", "Every item must be an object.");
            Err(errors)
        };
        // One entry an item, so that the answer's places are those of the request.
        problems.push(outcome.as_ref().err().map_or_else(|| json!({}), FieldErrors::to_json));
        written.extend(outcome);
    }
    if written.len() < problems.len() {
        return Err(reply::json(StatusCode::BAD_REQUEST, &json!(problems)));
    }
    for object in &mut written {
        if object.get("id").is_none_or(Value::is_null) {
            object.insert("id".to_owned(), json!(data.next_id()));
        }
        data.put(entity, object.clone());
    }
    Ok(reply::json(StatusCode::OK, &json!(written)))
}

#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn json_body(head: &Parts, body: &[u8]) -> Result<Value, Response<Body>> {
    let media_type = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = media_type.map(|text| text.split(|byte| *byte == b';').next().unwrap_or(text));
    if essence.is_some_and(|text| !text.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        let detail = "The body must be JSON, with Content-Type: application/json.";
        return Err(reply::refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("The body is not JSON (line {line}, column {column}).");
        reply::refusal(StatusCode::BAD_REQUEST, &detail)
    })
}

#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn object(sent: Value) -> Result<Object, Response<Body>> {
    match sent {
        Value::Object(object) => Ok(object),
        _ => Err(reply::refusal(StatusCode::BAD_REQUEST, "The body must be a JSON object.")),
    }
}

fn invalid(errors: &FieldErrors) -> Response<Body> {
    reply::json(StatusCode::BAD_REQUEST, &errors.to_json())
}

fn unknown_pk() -> Response<Body> {
    reply::refusal(StatusCode::NOT_FOUND, "Not found.")
}
