//! First on the path: opens the record of a call.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Method, Response, uri::PathAndQuery};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::guard::{Guard, RecordedBody};
use crate::{
    body::Body,
    domain::{ListenerName, ProfileName, RequestId, TraceContext},
    error::Kind,
    pipeline::{
        connection::ActiveCall,
        draft::{Draft, Edge},
        request::{Arrival, Opened},
    },
    telemetry::Metrics,
    trail::Trail,
};

/// What the records of one listener have in common, and where they go.
#[derive(Clone, Debug)]
pub struct Edges {
    /// The listener's name.
    pub listener: ListenerName,
    /// The profile its calls lead to.
    pub profile: ProfileName,
    /// The trail.
    pub trail: Trail,
    /// The metrics, which count the same records.
    pub metrics: Arc<Metrics>,
}

impl Edges {
    /// Writes down a connection that was refused before there was a request on it.
    pub fn refused(&self, kind: Kind) {
        let id = RequestId::fresh();
        let draft = Draft::begin(id, TraceContext::continue_or_begin(None, id));
        draft.note(|facts| facts.error = Some(kind));
        let record = draft.close(Edge {
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

/// Opens a record for every request.
pub fn open(edges: Edges) -> OpenLayer {
    OpenLayer { edges: Arc::new(edges) }
}

/// See [`open`].
#[derive(Clone, Debug)]
pub struct OpenLayer {
    edges: Arc<Edges>,
}

impl<S> Layer<S> for OpenLayer {
    type Service = Open<S>;

    fn layer(&self, inner: S) -> Open<S> {
        Open { inner, edges: Arc::clone(&self.edges) }
    }
}

/// See [`open`].
#[derive(Clone, Debug)]
pub struct Open<S> {
    inner: S,
    edges: Arc<Edges>,
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
        let id = RequestId::fresh();
        let traceparent = request.headers().get("traceparent").map(http::HeaderValue::as_bytes);
        let draft = Draft::begin(id, TraceContext::continue_or_begin(traceparent, id));
        let guard = Guard {
            draft: draft.clone(),
            edges: Arc::clone(&self.edges),
            method: request.method().clone(),
            target: request.uri().path_and_query().and_then(copied),
            status: None,
            response_bytes: 0,
            complete: false,
            _active: ActiveCall::begin(Arc::clone(&connection)),
        };
        let request = request.map(Body::from);
        OpenFuture {
            inner: self.inner.call(Opened { request, connection, draft }),
            guard: Some(guard),
        }
    }
}

/// A copy of its own: a record lives longer than its request, and a part of hyper's read buffer that
/// stays in use would cost the connection a new buffer for every request.
fn copied(target: &PathAndQuery) -> Option<PathAndQuery> {
    PathAndQuery::try_from(target.as_str()).ok()
}

pin_project! {
    /// The future of [`Open`]. Dropping it before it is ready closes the record.
    pub struct OpenFuture<F> {
        #[pin]
        inner: F,
        guard: Option<Guard>,
    }
}

impl<F> Future for OpenFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<RecordedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(cx));
        let Some(mut guard) = this.guard.take() else { return Poll::Pending };
        guard.status = Some(response.status());
        Poll::Ready(Ok(response.map(|body| RecordedBody::new(body, guard))))
    }
}

impl<F> std::fmt::Debug for OpenFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenFuture")
    }
}
