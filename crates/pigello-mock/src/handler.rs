//! Handles one request: records it, checks its credentials, answers, and injects its fault.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::LengthLimitError;
use hyper::body::{Frame, Incoming};

use crate::{
    activations::{Member, RateLimit},
    body::{self, Body, BoxError},
    clock::Now,
    connection::Connection,
    control, event_list,
    faults::{Echo, FAULT_HEADER, Fault, FaultError, Interruption},
    operations,
    recording::RecordedRequest,
    response,
    state::MockState,
    world::Writer,
};

/// The largest request body the mock reads.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

pub(crate) async fn handle(
    state: &MockState,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    if request.uri().path().starts_with(control::PREFIX) {
        return control::handle(state, request).await.map(body::full);
    }
    let (head, body) = request.into_parts();
    let fault = fault_for(state, &head);
    let mut recorded = RecordedRequest::new(&head, connection.number, connection.sni.clone());
    let admission = state.activations.admit(&head.headers);
    match &admission {
        Ok(member) => {
            recorded.authorized = true;
            recorded.activation = Some(Arc::clone(member.name()));
        }
        Err(refusal) => recorded.mixed = refusal.mixed,
    }
    let early = matches!(&fault, Ok(Some(fault)) if fault.early);
    let read = if early { Ok(Bytes::new()) } else { body::read(body, MAX_BODY_BYTES).await };
    match &read {
        Ok(body) => recorded.body = body.clone(),
        Err(_) => recorded.complete = false,
    }
    recorded.complete &= !early;
    let recorded = Arc::new(recorded);
    state.recording.add(Arc::clone(&recorded));

    let fault = match fault {
        Ok(fault) => fault.unwrap_or_default(),
        Err(error) => {
            let response = response::error(StatusCode::BAD_REQUEST, &error.to_string());
            return response.map(body::full);
        }
    };
    pause(state.latency + fault.delay).await;
    let mut response = match (faulty_response(&fault, &recorded), admission) {
        (Some(response), _) => response,
        (None, Err(refusal)) => {
            response::error(StatusCode::UNAUTHORIZED, &refusal.error.to_string())
        }
        (None, Ok(member)) => answer(state, &member, &head, read),
    };
    add_date(&mut response, state.clock.now());
    add_headers(&mut response, &fault);
    if head.method == Method::HEAD {
        remove_body(&mut response);
    }
    tracing::debug!(
        method = %head.method,
        path = head.uri.path(),
        status = response.status().as_u16(),
        authorized = recorded.authorized,
        interruption = fault.interruption.map(Interruption::as_str),
        "the mock answered"
    );
    interrupt(response, fault.interruption, connection).await
}

/// The response to a request with the values of an activation.
fn answer(
    state: &MockState,
    member: &Member,
    head: &Parts,
    body: Result<Bytes, BoxError>,
) -> Response<Bytes> {
    if let Some(limit) = member.over_limit() {
        return throttled(limit);
    }
    match body {
        Ok(body) => state.visit(member, Writer::Integration, |visit| {
            if head.uri.path() == state.event_log {
                event_list::respond(visit, head)
            } else {
                operations::perform(visit, head, &body)
            }
        }),
        Err(error) if error.is::<LengthLimitError>() => {
            response::error(StatusCode::PAYLOAD_TOO_LARGE, "The body is over 8 MiB.")
        }
        Err(_) => response::error(StatusCode::BAD_REQUEST, "The body broke off."),
    }
}

/// What Django REST framework answers over a rate limit.
fn throttled(limit: RateLimit) -> Response<Bytes> {
    let seconds = limit.retry_after;
    let detail = format!("Request was throttled. Expected available in {seconds} seconds.");
    let mut response = response::error(StatusCode::TOO_MANY_REQUESTS, &detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The fault in the request's header, or else the first in the queue that matches the request.
fn fault_for(state: &MockState, head: &Parts) -> Result<Option<Fault>, FaultError> {
    match head.headers.get(FAULT_HEADER) {
        Some(text) => String::from_utf8_lossy(text.as_bytes()).parse().map(Some),
        None => Ok(state.faults.lock().take(&head.method, head.uri.path())),
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The response that the fault specifies, if it specifies one.
fn faulty_response(fault: &Fault, recorded: &RecordedRequest) -> Option<Response<Bytes>> {
    let status = fault.status.unwrap_or(StatusCode::OK);
    if let Some(body) = &fault.body {
        return Some(response::typed(status, "text/plain; charset=utf-8", body.clone()));
    }
    if let Some(echo) = fault.echo {
        return Some(response::json(status, &recorded.to_json(echo == Echo::Everything)));
    }
    fault.status.map(|status| match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => response::empty(status),
        _ => response::error(status, &format!("The mock was told to answer {}.", status.as_u16())),
    })
}

/// Adds the time of Pigello's clock, which may be wrong.
fn add_date(response: &mut Response<Bytes>, now: Now) {
    if let Some(date) = now.date().and_then(|date| HeaderValue::try_from(date).ok()) {
        response.headers_mut().insert(header::DATE, date);
    }
}

/// Adds the fault's header fields, in place of others with their names.
fn add_headers(response: &mut Response<Bytes>, fault: &Fault) {
    let headers = response.headers_mut();
    for (name, _) in &fault.headers {
        headers.remove(name);
    }
    for (name, value) in &fault.headers {
        headers.append(name.clone(), value.clone());
    }
}

/// `HEAD` gets the header fields of `GET`, `Content-Length` among them (RFC 9110 §9.3.2).
fn remove_body(response: &mut Response<Bytes>) {
    let length = std::mem::take(response.body_mut()).len();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// Hands the response to the HTTP library, such that its transfer is interrupted.
async fn interrupt(
    response: Response<Bytes>,
    interruption: Option<Interruption>,
    connection: &Connection,
) -> Response<Body> {
    let has_body = !response.body().is_empty();
    match interruption {
        None => {}
        Some(Interruption::StallHead) => std::future::pending().await,
        Some(Interruption::CloseUnanswered) => connection.write_limit.set(0),
        Some(Interruption::CutBody) if has_body => return half(response, true),
        Some(Interruption::StallBody) if has_body => return half(response, false),
        Some(Interruption::CutHead | Interruption::CutBody | Interruption::StallBody) => {
            connection.write_limit.set(CUT_HEAD_BYTES);
        }
    }
    response.map(body::full)
}

/// A response with the `Content-Length` of its whole body that sends half of it, and then breaks off
/// or stalls.
fn half(mut response: Response<Bytes>, breaks_off: bool) -> Response<Body> {
    let length = response.body().len();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response.map(|whole| {
        let first = whole.slice(..length.div_ceil(2));
        let second = async move {
            if !breaks_off {
                std::future::pending::<()>().await;
            }
            // A reset stream drops the data that hyper has not sent.
            tokio::time::sleep(TIME_TO_SEND_HALF).await;
            Err("a fault breaks off the body".into())
        };
        body::streamed(stream::iter([Ok(Frame::data(first))]).chain(stream::once(second)))
    })
}

/// How many bytes of the head leave before a cut: in HTTP/1.1 the status line and a little more, in
/// HTTP/2 a frame and a half.
const CUT_HEAD_BYTES: usize = 24;
/// How long hyper has to send the first half of a body.
const TIME_TO_SEND_HALF: Duration = Duration::from_millis(20);
