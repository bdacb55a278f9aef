//! `/__mock__/`: controls a running mock over HTTP.
//!
//! `help.txt` lists the calls; `GET /__mock__/` shows it. They need no credentials, and the mock
//! neither records them nor injects faults into them.

mod activations;
mod webhooks;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    activations::Member, body, faults::Fault, response, state::MockState, world::EventLogFaults,
};

/// The prefix of these paths.
pub(crate) const PREFIX: &str = "/__mock__/";

pub(crate) async fn handle(state: &MockState, request: Request<Incoming>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let Ok(body) = body::read(body, MAX_BODY_BYTES).await else {
        let detail = "A control call has at most 1 MiB of body.";
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
        ("faults", &Method::GET) => response::json(StatusCode::OK, &state.faults.lock().describe()),
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
        ("webhooks", _) => webhooks::handle(state, &head.method, rest, &body),
        ("eventlog", method @ (&Method::PUT | &Method::DELETE)) => {
            for_all(state, |member| log_faults(member, method, &body))
        }
        ("replica", method @ (&Method::PUT | &Method::DELETE)) => {
            for_all(state, |member| replica(member, method, &body))
        }
        ("clock", &Method::GET) => {
            let skew = ClockSetting { skew: state.clock.skew() };
            response::json(StatusCode::OK, &skew)
        }
        ("clock", &Method::PUT) => match settings(&body) {
            Ok(ClockSetting { skew }) => {
                state.clock.set_skew(skew);
                response::empty(StatusCode::NO_CONTENT)
            }
            Err(response) => response,
        },
        ("", _) => response::method_not_allowed(&[Method::GET]),
        ("requests", _) => response::method_not_allowed(&[Method::GET, Method::DELETE]),
        ("faults", _) => response::method_not_allowed(&[Method::GET, Method::POST, Method::DELETE]),
        ("reset", _) => response::method_not_allowed(&[Method::POST]),
        ("eventlog" | "replica", _) => response::method_not_allowed(&[Method::PUT, Method::DELETE]),
        ("clock", _) => response::method_not_allowed(&[Method::GET, Method::PUT]),
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

/// Does the same in every activation. They answer alike.
fn for_all(state: &MockState, call: impl Fn(&Member) -> Response<Bytes>) -> Response<Bytes> {
    let mut response = unknown();
    for member in state.activations.all() {
        response = call(&member);
    }
    response
}

/// Reads or changes how an activation's event log misbehaves.
fn log_faults(member: &Member, method: &Method, body: &[u8]) -> Response<Bytes> {
    let faults = match *method {
        Method::GET => {
            return response::json(StatusCode::OK, member.world().log_faults());
        }
        Method::PUT => settings(body),
        Method::DELETE => Ok(EventLogFaults::default()),
        _ => return response::method_not_allowed(&[Method::GET, Method::PUT, Method::DELETE]),
    };
    faults.map_or_else(
        |response| response,
        |faults| {
            member.world().set_log_faults(faults);
            response::empty(StatusCode::NO_CONTENT)
        },
    )
}

/// Reads or changes how far an activation's replica is behind.
fn replica(member: &Member, method: &Method, body: &[u8]) -> Response<Bytes> {
    let setting = match *method {
        Method::GET => {
            let setting = ReplicaSetting { lag: member.world().lag() };
            return response::json(StatusCode::OK, &setting);
        }
        Method::PUT => settings(body),
        Method::DELETE => Ok(ReplicaSetting { lag: Duration::ZERO }),
        _ => return response::method_not_allowed(&[Method::GET, Method::PUT, Method::DELETE]),
    };
    setting.map_or_else(
        |response| response,
        |ReplicaSetting { lag }| {
            member.world().set_lag(lag);
            response::empty(StatusCode::NO_CONTENT)
        },
    )
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplicaSetting {
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    lag: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockSetting {
    #[serde(serialize_with = "jiff::fmt::serde::duration::friendly::compact::required")]
    skew: SignedDuration,
}

/// What the JSON body of a control call says; an error is the response to it.
#[expect(clippy::result_large_err, reason = "the error is a response")]
fn settings<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response<Bytes>> {
    serde_json::from_slice(body)
        .map_err(|error| response::error(StatusCode::BAD_REQUEST, &error.to_string()))
}

const MAX_BODY_BYTES: usize = 1024 * 1024;

const HELP: &str = include_str!("help.txt");
