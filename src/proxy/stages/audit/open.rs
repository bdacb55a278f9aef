//! The first stage: opens the record of a call, and closes the record of a write when its answer is
//! decided. On a synced trail it holds a response in memory back
//! until the record is in stable storage.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use futures_util::future::Either;
use http::{Method, Response, StatusCode, header};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use super::{
    body::RecordedBody,
    guard::{RecordGuard, Stored},
    listener::ListenerContext,
    unavailable,
};
use crate::{
    audit::{Target, Unwritable},
    body::Body,
    domain::{ProblemBase, RequestId, TraceContext},
    error::{Error, Kind},
    proxy::call::{Arrival, CallContext, Opened},
};

/// Makes the response for an error, and logs its cause.
pub type MakeRefusal = fn(&Error, RequestId, &ProblemBase) -> Response<Body>;

/// Opens a record for each request. `refusal` replaces a response whose record cannot be kept.
pub fn open<S>(
    listener: ListenerContext,
    refusal: MakeRefusal,
) -> impl Layer<S, Service = OpenRecord<S>> + Clone {
    let listener = Arc::new(listener);
    layer_fn(move |inner| OpenRecord { inner, listener: Arc::clone(&listener), refusal })
}

/// See [`open`].
#[derive(Clone, Debug)]
pub struct OpenRecord<S> {
    inner: S,
    listener: Arc<ListenerContext>,
    refusal: MakeRefusal,
}

impl<S> Service<Arrival> for OpenRecord<S>
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
        let Arrival { request, connection, interim } = arrival;
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let (method, target, traceparent) = match &request {
            Ok(request) => (
                request.method().clone(),
                request.uri().path_and_query().map(Target::from),
                request.headers().get("traceparent").map(http::HeaderValue::as_bytes),
            ),
            Err(unreadable) => (unreadable.method.clone(), unreadable.target.clone(), None),
        };
        let trace = TraceContext::continue_or_begin(traceparent, id);
        let is_traced = self.listener.tracer.is_on() && trace.sampled();
        let context = CallContext::begin(time, id, trace, is_traced);
        if let Some(queue) = interim {
            context.pass_interim_to(queue);
        }
        let guard = RecordGuard {
            context: context.clone(),
            listener: Arc::clone(&self.listener),
            method,
            target,
            peer: connection.peer(),
            status: None,
            response_bytes: 0,
            complete: false,
            closed: false,
        };
        OpenFuture {
            inner: self.inner.call(Opened { request, connection, context }),
            guard: Some(guard),
            refusal: self.refusal,
            held_back: None,
        }
    }
}

pin_project! {
    /// The future of [`OpenRecord`]. Dropping it before it completes closes the record.
    pub struct OpenFuture<F> {
        #[pin]
        inner: F,
        guard: Option<RecordGuard>,
        refusal: MakeRefusal,
        held_back: Option<Box<HeldBack>>,
    }
}

impl<F> Future for OpenFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<RecordedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.held_back.is_none() {
            let Ok(response) = ready!(this.inner.poll(cx));
            let Some(mut guard) = this.guard.take() else { return Poll::Pending };
            guard.status = Some(response.status());
            if !guard.is_synced() {
                // Whether a write was carried out must not depend on a caller that reads.
                if !guard.method.is_safe()
                    && let Some(length) = length_in_memory(&response, &guard.method)
                {
                    guard.response_bytes = length;
                    guard.submit();
                }
                return Poll::Ready(Ok(response.map(|body| RecordedBody::new(body, guard))));
            }
            match hold_back(response, guard, *this.refusal) {
                Either::Left(response) => return Poll::Ready(Ok(response)),
                Either::Right(held_back) => *this.held_back = Some(Box::new(held_back)),
            }
        }
        let Some(held_back) = this.held_back else { return Poll::Pending };
        let stored = ready!(held_back.stored.as_mut().poll(cx));
        let Some(held_back) = this.held_back.take() else { return Poll::Pending };
        let HeldBack { mut response, guard, .. } = *held_back;
        if let Err(unwritable) = stored {
            response = in_place_of(&response, unwritable, &guard, *this.refusal);
        }
        Poll::Ready(Ok(response.map(|body| RecordedBody::new(body, guard))))
    }
}

/// A complete response that waits for its record.
struct HeldBack {
    response: Response<Body>,
    guard: RecordGuard,
    stored: Stored,
}

/// Holds a response in memory back. A streamed response goes on, and its body holds back its end.
fn hold_back(
    response: Response<Body>,
    mut guard: RecordGuard,
    refusal: MakeRefusal,
) -> Either<Response<RecordedBody>, HeldBack> {
    if let Err(unwritable) = guard.listener.trail.admit() {
        let response = in_place_of(&response, unwritable, &guard, refusal);
        guard.fail(Kind::AuditUnavailable);
        guard.status = Some(response.status());
        return Either::Left(response.map(|body| RecordedBody::new(body, guard)));
    }
    if let Some(length) = length_in_memory(&response, &guard.method) {
        guard.response_bytes = length;
        let stored = guard.commit();
        return Either::Right(HeldBack { response, guard, stored });
    }
    let length = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    Either::Left(response.map(|body| RecordedBody::synced(body, guard, length)))
}

/// The length of a body that is in memory.
fn length_in_memory(response: &Response<Body>, method: &Method) -> Option<u64> {
    let has_no_body = *method == Method::HEAD
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || response.body().is_end_stream();
    if has_no_body {
        return Some(0);
    }
    response.body().in_memory().map(|bytes| bytes.len() as u64)
}

/// The response in place of one whose record cannot be kept.
fn in_place_of(
    response: &Response<Body>,
    unwritable: Unwritable,
    guard: &RecordGuard,
    refusal: MakeRefusal,
) -> Response<Body> {
    let mut instead =
        refusal(&unavailable(unwritable), guard.context.id(), &guard.listener.problem_base);
    // If the original response had to close the connection, this one has to.
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
