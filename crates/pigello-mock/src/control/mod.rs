//! `/__mock__/`: controls a running mock over HTTP.
//!
//! `help.txt` lists the calls; `GET /__mock__/` shows it. They need no credentials, and the mock
//! neither records them nor injects faults into them.

mod activations;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{body, faults::Fault, response, state::MockState};

/// The prefix of these paths.
pub(crate) const PREFIX: &str = "/__mock__/";

pub(crate) async fn handle(state: &MockState, request: Request<Incoming>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let Ok(body) = body::read(body, MAX_BODY_BYTES).await else {
        let detail = "A control call has at most 64 KiB of body.";
        return response::error(StatusCode::PAYLOAD_TOO_LARGE, detail);
    };
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (first, &head.method) {
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
        ("faults", &Method::POST) => add_fault(state, &body),
        ("faults", &Method::DELETE) => {
            state.faults.lock().clear();
            response::empty(StatusCode::NO_CONTENT)
        }
        ("reset", &Method::POST) => {
            state.reset();
            response::empty(StatusCode::NO_CONTENT)
        }
        ("activations", _) => activations::handle(state, &head, rest, &body),
        ("", _) => response::method_not_allowed(&[Method::GET]),
        ("requests", _) => response::method_not_allowed(&[Method::GET, Method::DELETE]),
        ("faults", _) => response::method_not_allowed(&[Method::GET, Method::POST, Method::DELETE]),
        ("reset", _) => response::method_not_allowed(&[Method::POST]),
        _ => unknown(),
    }
}

fn unknown() -> Response<Bytes> {
    response::error(StatusCode::NOT_FOUND, "GET /__mock__/ tells what there is.")
}

fn add_fault(state: &MockState, text: &[u8]) -> Response<Bytes> {
    match String::from_utf8_lossy(text).parse::<Fault>() {
        Ok(fault) => {
            let added = json!({ "fault": fault.to_string() });
            state.faults.lock().push(fault);
            response::json(StatusCode::CREATED, &added)
        }
        Err(error) => response::error(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// What the JSON body of a control call says; an error is the response to it.
#[expect(clippy::result_large_err, reason = "the error is a response")]
fn settings<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response<Bytes>> {
    serde_json::from_slice(body)
        .map_err(|error| response::error(StatusCode::BAD_REQUEST, &error.to_string()))
}

const MAX_BODY_BYTES: usize = 64 * 1024;

const HELP: &str = include_str!("help.txt");
