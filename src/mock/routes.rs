//! One request to the mock: recorded, delayed, answered, and made to fail where it is told to.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;

use crate::{
    body::{Body, CollectError, collect_limited},
    error::BoxError,
};

use super::{
    Shared, control,
    faults::{Echo, FAULT_HEADER, Fault, FaultError, Mishap},
    operations,
    record::Recorded,
    reply,
    server::Connection,
};

/// The largest request body the mock reads.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

pub(super) async fn answer(
    shared: &Shared,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    if request.uri().path().starts_with(control::PREFIX) {
        return control::answer(shared, request).await;
    }
    let (head, body) = request.into_parts();
    let fault = fault_for(shared, &head);
    let mut recorded = Recorded::new(&head, connection.number, connection.sni.clone());
    let authorization = shared.accepted.load().check(&head.headers);
    recorded.authorized = authorization.is_ok();
    let early = matches!(&fault, Ok(Some(fault)) if fault.early);
    let read = if early { Ok(Bytes::new()) } else { collect_limited(body, MAX_BODY_BYTES).await };
    match &read {
        Ok(body) => recorded.body = body.clone(),
        Err(_) => recorded.complete = false,
    }
    recorded.complete &= !early;
    let recorded = Arc::new(recorded);
    shared.records.add(Arc::clone(&recorded));

    let fault = match fault {
        Ok(fault) => fault.unwrap_or_default(),
        Err(error) => return reply::refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    pause(shared.latency + fault.delay).await;
    let mut response = match (told(&fault, &recorded), authorization, read) {
        (Some(response), _, _) => response,
        (None, Err(reason), _) => reply::refusal(StatusCode::UNAUTHORIZED, &reason),
        (None, Ok(()), Err(CollectError::TooLarge)) => {
            reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, "The body is over 8 MiB.")
        }
        (None, Ok(()), Err(CollectError::Broken(_))) => {
            reply::refusal(StatusCode::BAD_REQUEST, "The body broke off.")
        }
        (None, Ok(()), Ok(body)) => operations::perform(shared, &head, &body),
    };
    decorate(&mut response, &fault);
    if head.method == Method::HEAD {
        response = without_body(response);
    }
    tracing::debug!(
        method = %head.method,
        path = head.uri.path(),
        status = response.status().as_u16(),
        authorized = recorded.authorized,
        mishap = fault.mishap.map(Mishap::as_str),
        "the mock answered"
    );
    fail(response, fault.mishap, connection).await
}

/// The fault the request carries, or the first that waits for a request like this.
fn fault_for(shared: &Shared, head: &http::request::Parts) -> Result<Option<Fault>, FaultError> {
    match head.headers.get(FAULT_HEADER) {
        Some(text) => String::from_utf8_lossy(text.as_bytes()).parse().map(Some),
        None => Ok(shared.faults.lock().take(&head.method, head.uri.path())),
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The answer a fault names, if it names one.
fn told(fault: &Fault, recorded: &Recorded) -> Option<Response<Body>> {
    let status = fault.status.unwrap_or(StatusCode::OK);
    if let Some(body) = &fault.body {
        return Some(reply::typed(status, "text/plain; charset=utf-8", body.clone()));
    }
    if let Some(echo) = fault.echo {
        return Some(reply::json(status, &recorded.to_json(echo == Echo::Everything)));
    }
    fault.status.map(|status| match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => reply::empty(status),
        _ => reply::refusal(status, &format!("The mock was told to answer {}.", status.as_u16())),
    })
}

fn decorate(response: &mut Response<Body>, fault: &Fault) {
    let headers = response.headers_mut();
    for (name, _) in &fault.headers {
        headers.remove(name);
    }
    for (name, value) in &fault.headers {
        headers.append(name.clone(), value.clone());
    }
}

/// What `HEAD` gets: the header fields of `GET`, its length among them (RFC 9110 §9.3.2).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(body) = response.body().in_memory() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    response.map(|_| Body::empty())
}

async fn fail(
    response: Response<Body>,
    mishap: Option<Mishap>,
    connection: &Connection,
) -> Response<Body> {
    let body = response.body().in_memory().unwrap_or_default();
    match mishap {
        None => response,
        Some(Mishap::StallHead) => std::future::pending().await,
        Some(Mishap::CloseUnanswered) => {
            connection.cut.after(0);
            response
        }
        Some(Mishap::CutBody) if !body.is_empty() => half(response, &body, true),
        Some(Mishap::StallBody) if !body.is_empty() => half(response, &body, false),
        Some(Mishap::CutHead | Mishap::CutBody | Mishap::StallBody) => {
            connection.cut.after(HEAD_BYTES_BEFORE_CUT);
            response
        }
    }
}

/// An answer that announces its whole length and sends half of it.
fn half(response: Response<Body>, whole: &Bytes, breaks: bool) -> Response<Body> {
    let first = whole.slice(..whole.len().div_ceil(2));
    let behind = async move {
        if breaks {
            // Time for the first half to leave: a reset stream drops what still waits to be sent.
            tokio::time::sleep(BEFORE_BREAK).await;
            return Err::<Frame<Bytes>, BoxError>("the mock was told to break off".into());
        }
        std::future::pending().await
    };
    let frames = stream::iter([Ok(Frame::data(first))]).chain(stream::once(behind));
    let (mut head, _) = response.into_parts();
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    Response::from_parts(head, Body::wrap(StreamBody::new(frames)))
}

/// As much of the head as is sent before a cut: the status line and a little more in HTTP/1.1, a
/// frame and a half in HTTP/2.
const HEAD_BYTES_BEFORE_CUT: usize = 24;
/// How long the first half of a body has to leave.
const BEFORE_BREAK: Duration = Duration::from_millis(20);
