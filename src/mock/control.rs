//! `/__mock__/`: driving a running mock with `curl`.
//!
//! | call | what it does |
//! | --- | --- |
//! | `GET /__mock__/` | tells these calls |
//! | `GET /__mock__/requests` | the requests that arrived, as JSON; `X-PIGELLO-*` values are not shown |
//! | `DELETE /__mock__/requests` | forgets them |
//! | `GET /__mock__/faults` | the faults that wait for requests |
//! | `POST /__mock__/faults` | adds one; the body is its text, see [`super::faults`] |
//! | `DELETE /__mock__/faults` | clears them |
//! | `POST /__mock__/reset` | objects, faults and requests as at the start |
//!
//! These calls need no credentials, are not recorded and never meet a fault.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::body::{Body, collect_limited};

use super::{Shared, faults::Fault, reply};

/// What the control paths begin with.
pub(super) const PREFIX: &str = "/__mock__/";

pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let place = head.uri.path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
    match (place.as_str(), &head.method) {
        ("", &Method::GET) => reply::typed(StatusCode::OK, "text/plain; charset=utf-8", HELP),
        ("requests", &Method::GET) => {
            let requests = shared.records.all();
            let shown: Vec<Value> = requests.iter().map(|request| request.to_json(false)).collect();
            reply::json(
                StatusCode::OK,
                &json!({ "count": shared.records.count(), "requests": shown }),
            )
        }
        ("requests", &Method::DELETE) => {
            shared.records.forget();
            reply::empty(StatusCode::NO_CONTENT)
        }
        ("faults", &Method::GET) => {
            reply::json(StatusCode::OK, &json!(shared.faults.lock().describe()))
        }
        ("faults", &Method::POST) => add_fault(shared, body).await,
        ("faults", &Method::DELETE) => {
            shared.faults.lock().clear();
            reply::empty(StatusCode::NO_CONTENT)
        }
        ("reset", &Method::POST) => {
            shared.reset();
            reply::empty(StatusCode::NO_CONTENT)
        }
        ("", _) => wrong_method("GET"),
        ("requests", _) => wrong_method("GET, DELETE"),
        ("faults", _) => wrong_method("GET, POST, DELETE"),
        ("reset", _) => wrong_method("POST"),
        _ => reply::refusal(StatusCode::NOT_FOUND, "GET /__mock__/ tells what there is."),
    }
}

async fn add_fault(shared: &Shared, body: Incoming) -> Response<Body> {
    let Ok(text) = collect_limited(body, MAX_FAULT_BYTES).await else {
        return reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, "A fault is at most 64 KiB of text.");
    };
    match String::from_utf8_lossy(&text).parse::<Fault>() {
        Ok(fault) => {
            let told = json!({ "fault": fault.to_string() });
            shared.faults.lock().push(fault);
            reply::json(StatusCode::CREATED, &told)
        }
        Err(error) => reply::refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn wrong_method(allow: &'static str) -> Response<Body> {
    let mut response =
        reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
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
