//! Makes responses of errors and panics, as no other place does.
//!
//! A response of the gateway itself is a problem document (RFC 9457) with a `Proxy-Status` (RFC 9209),
//! so that a caller can tell it from Pigello's. The caller gets the kind and one sentence; the cause
//! goes to the log. A panic in an inner stage fails its call alone, and the call has a record.

use std::{
    any::Any,
    convert::Infallible,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use pin_project_lite::pin_project;
use serde::Serialize;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    body::Body,
    domain::{ProblemBase, RequestId},
    error::{Chain, Error, Fault, Kind},
    proxy::{
        call::{CallContext, Opened, REQUEST_ID},
        http_policy::PROXIED_METHODS,
    },
};

/// Makes responses of errors and panics.
pub fn respond<S>(problem_base: ProblemBase) -> impl Layer<S, Service = Respond<S>> + Clone {
    layer_fn(move |inner| Respond { inner, problem_base: problem_base.clone() })
}

/// See [`respond`].
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
    problem_base: ProblemBase,
}

impl<S> Service<Opened> for Respond<S>
where
    S: Service<Opened, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The inner stages are always ready. A limit refuses a call instead of waiting here, so that
        // the refusal has a response and a record.
        let ready = ready!(self.inner.poll_ready(cx));
        debug_assert!(ready.is_ok(), "a stage fails only when it is called");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, opened: Opened) -> Self::Future {
        let (context, problem_base) = (opened.context.clone(), self.problem_base.clone());
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(opened))) {
            Ok(inner) => {
                RespondFuture { inner: Some(inner), panicked: None, context, problem_base }
            }
            Err(panic) => {
                let panicked = Some(panicked(panic.as_ref()));
                RespondFuture { inner: None, panicked, context, problem_base }
            }
        }
    }
}

pin_project! {
    /// The future of [`Respond`].
    pub struct RespondFuture<F> {
        #[pin]
        inner: Option<F>,
        panicked: Option<Error>,
        context: CallContext,
        problem_base: ProblemBase,
    }
}

impl<F> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match (this.inner.as_pin_mut(), this.panicked.take()) {
            (_, Some(error)) => Err(error),
            (Some(inner), None) => match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(poll) => ready!(poll),
                Err(panic) => Err(panicked(panic.as_ref())),
            },
            (None, None) => return Poll::Pending,
        };
        let id = this.context.id();
        let response = match result {
            Ok(mut response) => {
                set_request_id(response.headers_mut(), id);
                response
            }
            Err(error) => {
                this.context.note(|facts| facts.error = Some(error.kind()));
                refusal(&error, id, this.problem_base)
            }
        };
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for RespondFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RespondFuture({:?})", self.context)
    }
}

/// The error for a panic. Its message can have data of the call, so the error does not repeat it.
fn panicked(_panic: &(dyn Any + Send)) -> Error {
    Error::new(Kind::Internal, "the gateway met a defect of its own while it handled this request")
}

fn log(error: &Error, id: RequestId) {
    let (kind, chain) = (error.kind().label(), Chain(error));
    match error.kind().fault() {
        Fault::Caller => tracing::debug!(request_id = %id, kind, error = %chain, "call refused"),
        Fault::Gateway => tracing::warn!(request_id = %id, kind, error = %chain, "call failed"),
        Fault::Upstream => {
            tracing::warn!(request_id = %id, kind, error = %chain, "upstream failed");
        }
    }
}

/// The response for an error, whose cause goes to the log.
pub(in crate::proxy) fn refusal(
    error: &Error,
    id: RequestId,
    base: &ProblemBase,
) -> Response<Body> {
    log(error, id);
    let mut response = problem(error, id, base);
    set_request_id(response.headers_mut(), id);
    response
}

/// The problem document for an error.
fn problem(error: &Error, id: RequestId, base: &ProblemBase) -> Response<Body> {
    let kind = error.kind();
    let mut buffer = [0; 36];
    let body = ProblemDocument {
        kind: base.type_of(kind.label()),
        title: kind.title(),
        status: kind.status().as_u16(),
        detail: error.detail(),
        request_id: id.encode(&mut buffer),
    };
    let mut response = Response::new(Body::full(serde_json::to_vec(&body).unwrap_or_default()));
    *response.status_mut() = kind.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status =
        format!("pigello-gateway; error={}; details=\"{}\"", kind.proxy_error(), kind.label());
    if let Ok(status) = HeaderValue::from_str(&status) {
        headers.insert(PROXY_STATUS, status);
    }
    if let Some(after) = error.retry_after_hint() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    match kind {
        Kind::MethodRefused => {
            headers.insert(header::ALLOW, HeaderValue::from_static(PROXIED_METHODS));
        }
        // The next message on the connection may begin anywhere.
        Kind::Malformed
        | Kind::BodyBroken
        | Kind::BodyTooLarge
        | Kind::BodyTimeout
        | Kind::NotImplemented
        | Kind::VersionUnsupported
        | Kind::TargetTooLong
        | Kind::HeadersTooLarge
        | Kind::ExpectationFailed => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Sets the identifier of the call, also in place of one from the upstream.
fn set_request_id(headers: &mut HeaderMap, id: RequestId) {
    let mut buffer = [0; 36];
    if let Ok(value) = HeaderValue::from_str(id.encode(&mut buffer)) {
        headers.insert(REQUEST_ID, value);
    }
}

/// The members of a problem document (RFC 9457 §3.1).
#[derive(Serialize)]
struct ProblemDocument<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
