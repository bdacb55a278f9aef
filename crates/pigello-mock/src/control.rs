//! `/__mock__/`: controls a running mock over HTTP.
//!
//! | call | what it does |
//! | --- | --- |
//! | `GET /__mock__/` | lists these calls |
//! | `GET /__mock__/requests` | the requests that have arrived, as JSON, without `X-PIGELLO-*` values |
//! | `DELETE /__mock__/requests` | forgets them |
//! | `GET /__mock__/faults` | the queue of faults |
//! | `POST /__mock__/faults` | adds a fault; the body is its text, see [`crate::faults`] |
//! | `DELETE /__mock__/faults` | clears them |
//! | `POST /__mock__/reset` | restores objects, faults and recorded requests to the state at the start |
//!
//! These calls need no credentials; the mock neither records them nor injects faults into them.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{body, faults::Fault, response, state::MockState};

/// The prefix of these paths.
pub(crate) const PREFIX: &str = "/__mock__/";

pub(crate) async fn handle(state: &MockState, request: Request<Incoming>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    match (path, &head.method) {
        ("", &Method::GET) => response::typed(StatusCode::OK, "text/plain; charset=utf-8", HELP),
        ("requests", &Method::GET) => {
            let requests = state.recording.all();
            let shown: Vec<Value> = requests.iter().map(|request| request.to_json(false)).collect();
            let count = state.recording.count();
            response::json(StatusCode::OK, &json!({ "count": count, "requests": shown }))
        }
        ("requests", &Method::DELETE) => {
            state.recording.clear();
            response::empty(StatusCode::NO_CONTENT)
        }
        ("faults", &Method::GET) => {
            response::json(StatusCode::OK, &json!(state.faults.lock().describe()))
        }
        ("faults", &Method::POST) => add_fault(state, body).await,
        ("faults", &Method::DELETE) => {
            state.faults.lock().clear();
            response::empty(StatusCode::NO_CONTENT)
        }
        ("reset", &Method::POST) => {
            state.reset();
            response::empty(StatusCode::NO_CONTENT)
        }
        ("", _) => response::method_not_allowed(&[Method::GET]),
        ("requests", _) => response::method_not_allowed(&[Method::GET, Method::DELETE]),
        ("faults", _) => response::method_not_allowed(&[Method::GET, Method::POST, Method::DELETE]),
        ("reset", _) => response::method_not_allowed(&[Method::POST]),
        _ => response::error(StatusCode::NOT_FOUND, "GET /__mock__/ tells what there is."),
    }
}

async fn add_fault(state: &MockState, body: Incoming) -> Response<Bytes> {
    let Ok(text) = body::read(body, MAX_FAULT_BYTES).await else {
        return response::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "A fault is at most 64 KiB of text.",
        );
    };
    match String::from_utf8_lossy(&text).parse::<Fault>() {
        Ok(fault) => {
            let added = json!({ "fault": fault.to_string() });
            state.faults.lock().push(fault);
            response::json(StatusCode::CREATED, &added)
        }
        Err(error) => response::error(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

const MAX_FAULT_BYTES: usize = 64 * 1024;

const HELP: &str = "\
The mock of Pigello's Accounts API.

GET    /__mock__/requests   what arrived (X-PIGELLO-* values are not shown)
DELETE /__mock__/requests   forget it
GET    /__mock__/faults     the faults that wait
POST   /__mock__/faults     add one, for example:  status=503; times=3; path=/accounts/
DELETE /__mock__/faults     clear them
POST   /__mock__/reset      everything as at the start

A fault is made of directives separated by `;`:
  delay=250ms            status=503             header=cache-control: max-age=60
  echo                   echo=everything        body=... (must be the last)
  break=connection       break=head             break=body
  stall=head             stall=body             early
  method=GET             path=/accounts/        times=3 (or always; 1 if left out)

For one request alone, send the same text in its header `X-Mock-Fault`.
";
