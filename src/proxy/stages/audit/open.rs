//! First on the path: opens the record of a call, and on a synced trail holds the answer back until
//! its record is in stable storage.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use http::{Method, Response, StatusCode, header};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    body::RecordedBody,
    guard::{Committing, Guard},
    unavailable,
};
use crate::{
    audit::{Target, Trail, Unwritable},
    body::Body,
    domain::{ListenerName, ProblemBase, ProfileName, RequestId, TraceContext},
    error::{Error, Kind},
    proxy::call::{ActiveCall, Arrival, CallContext, CallEnd, Opened},
    telemetry::{Metrics, Tracer},
};

/// What the records of one listener have in common, and where they go.
#[derive(Clone, Debug)]
pub struct ListenerContext {
    /// The listener's name.
    pub listener: ListenerName,
    /// The profile its calls lead to.
    pub profile: ProfileName,
    /// What callers are told of errors begins with this.
    pub problem_base: ProblemBase,
    /// The trail.
    pub trail: Trail,
    /// Where spans of traced calls go.
    pub tracer: Tracer,
    /// The metrics, which count the same records.
    pub metrics: Arc<Metrics>,
}

impl ListenerContext {
    /// Writes down a connection that was refused before there was a request on it.
    pub fn refused(&self, kind: Kind) {
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let context =
            CallContext::begin(time, id, TraceContext::continue_or_begin(None, id), false);
        context.note(|facts| facts.error = Some(kind));
        let record = context.close(CallEnd {
            listener: self.listener.clone(),
            profile: self.profile.clone(),
            // There is no request to have one.
            method: Method::from_bytes(b"-").unwrap_or_default(),
            target: None,
            status: None,
            response_bytes: 0,
        });
        self.metrics.observe(&record);
        self.trail.submit(record);
    }
}

/// How a caller is told that its call failed, and the log why.
pub type Refusal = fn(&Error, RequestId, &ProblemBase) -> Response<Body>;

/// Opens a record for every request. `refusal` makes what takes the place of an answer whose record
/// cannot be kept.
pub fn open(edges: ListenerContext, refusal: Refusal) -> OpenLayer {
    OpenLayer { edges: Arc::new(edges), refusal }
}

/// See [`open`].
#[derive(Clone, Debug)]
pub struct OpenLayer {
    edges: Arc<ListenerContext>,
    refusal: Refusal,
}

impl<S> Layer<S> for OpenLayer {
    type Service = Open<S>;

    fn layer(&self, inner: S) -> Open<S> {
        Open { inner, edges: Arc::clone(&self.edges), refusal: self.refusal }
    }
}

/// See [`open`].
#[derive(Clone, Debug)]
pub struct Open<S> {
    inner: S,
    edges: Arc<ListenerContext>,
    refusal: Refusal,
}

impl<S> Service<Arrival> for Open<S>
where
    S: Service<Opened, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<RecordedBody>;
    type Error = Infallible;
    type Future = OpenFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let Arrival { request, connection } = arrival;
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let traceparent = request.headers().get("traceparent").map(http::HeaderValue::as_bytes);
        let trace = TraceContext::continue_or_begin(traceparent, id);
        let context =
            CallContext::begin(time, id, trace, self.edges.tracer.is_on() && trace.sampled());
        let guard = Guard {
            context: context.clone(),
            edges: Arc::clone(&self.edges),
            method: request.method().clone(),
            target: request.uri().path_and_query().map(Target::from),
            status: None,
            response_bytes: 0,
            complete: false,
            closed: false,
            _active: ActiveCall::begin(Arc::clone(&connection)),
        };
        let request = request.map(Body::from);
        OpenFuture {
            inner: self.inner.call(Opened { request, connection, context }),
            guard: Some(guard),
            refusal: self.refusal,
            waiting: None,
        }
    }
}

pin_project! {
    /// The future of [`Open`]. Dropping it before it is ready closes the record.
    pub struct OpenFuture<F> {
        #[pin]
        inner: F,
        guard: Option<Guard>,
        refusal: Refusal,
        waiting: Option<Box<Waiting>>,
    }
}

impl<F> Future for OpenFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<RecordedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.waiting.is_none() {
            let Ok(response) = ready!(this.inner.poll(cx));
            let Some(mut guard) = this.guard.take() else { return Poll::Pending };
            guard.status = Some(response.status());
            if !guard.is_synced() {
                return Poll::Ready(Ok(response.map(|body| RecordedBody::new(body, guard))));
            }
            match hold_back(response, guard, *this.refusal) {
                Held::Ready(response) => return Poll::Ready(Ok(response)),
                Held::Waits(waiting) => *this.waiting = Some(Box::new(waiting)),
            }
        }
        let Some(waiting) = this.waiting else { return Poll::Pending };
        let outcome = ready!(waiting.committing.as_mut().poll(cx));
        let Some(waiting) = this.waiting.take() else { return Poll::Pending };
        let Waiting { mut response, guard, .. } = *waiting;
        if let Err(unwritable) = outcome {
            response = in_place_of(&response, unwritable, &guard, *this.refusal);
        }
        Poll::Ready(Ok(response.map(|body| RecordedBody::new(body, guard))))
    }
}

/// A whole answer that waits for its record.
struct Waiting {
    response: Response<Body>,
    guard: Guard,
    committing: Committing,
}

enum Held {
    Ready(Response<RecordedBody>),
    Waits(Waiting),
}

/// An answer of a synced trail: one from memory waits as a whole, of others the end will.
fn hold_back(response: Response<Body>, mut guard: Guard, refusal: Refusal) -> Held {
    if let Err(unwritable) = guard.edges.trail.admit() {
        let response = in_place_of(&response, unwritable, &guard, refusal);
        guard.fail(Kind::AuditUnavailable);
        guard.status = Some(response.status());
        return Held::Ready(response.map(|body| RecordedBody::new(body, guard)));
    }
    if let Some(length) = whole_length(&response, &guard.method) {
        guard.response_bytes = length;
        let committing = guard.commit();
        return Held::Waits(Waiting { response, guard, committing });
    }
    let length = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    Held::Ready(response.map(|body| RecordedBody::synced(body, guard, length)))
}

/// How many bytes follow the head, if nothing more has to come for them.
fn whole_length(response: &Response<Body>, method: &Method) -> Option<u64> {
    let has_no_body = *method == Method::HEAD
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || response.body().is_end_stream();
    if has_no_body {
        return Some(0);
    }
    response.body().in_memory().map(|bytes| bytes.len() as u64)
}

/// What the caller gets instead of an answer whose record cannot be kept.
fn in_place_of(
    response: &Response<Body>,
    unwritable: Unwritable,
    guard: &Guard,
    refusal: Refusal,
) -> Response<Body> {
    let mut instead =
        refusal(&unavailable(unwritable), guard.context.id(), &guard.edges.problem_base);
    // An answer that ends the connection has a reason that this one does not take away.
    if let Some(close) = response.headers().get(header::CONNECTION) {
        instead.headers_mut().insert(header::CONNECTION, close.clone());
    }
    instead
}

impl<F> std::fmt::Debug for OpenFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenFuture")
    }
}
