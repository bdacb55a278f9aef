//! One deadline for the whole call: until the head of the answer, and on to its last byte.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use crate::{
    body::Body,
    error::{BoxError, Error, Kind},
    proxy::call::Resolved,
};

/// Ends a call that takes longer than `limit`, counted from where it leaves the gateway's own work.
pub fn deadline(limit: Duration) -> DeadlineLayer {
    DeadlineLayer { limit }
}

/// See [`deadline`].
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer {
    limit: Duration,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, limit: self.limit }
    }
}

/// See [`deadline`].
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl<S> Service<Resolved> for Deadline<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let ends = Instant::now() + self.limit;
        DeadlineFuture { inner: self.inner.call(resolved), sleep: sleep_until(ends), ends }
    }
}

pin_project! {
    /// The future of [`Deadline`].
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: F,
        #[pin]
        sleep: Sleep,
        ends: Instant,
    }
}

impl<F> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(cx) {
            let ends = *this.ends;
            return Poll::Ready(result.map(|response| response.map(|body| until(body, ends))));
        }
        this.sleep.poll(cx).map(|()| Err(too_slow()))
    }
}

impl<F> fmt::Debug for DeadlineFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadlineFuture({:?})", self.ends)
    }
}

fn too_slow() -> Error {
    Error::new(
        Kind::UpstreamTimeout,
        "no complete answer within the time limit (`timeouts.request`)",
    )
}

/// A body that ends with an error when the deadline passes.
fn until(body: Body, ends: Instant) -> Body {
    if body.in_memory().is_some() {
        return body;
    }
    Body::wrap(DeadlineBody { body, sleep: None, ends })
}

struct DeadlineBody {
    body: Body,
    /// Made only when a read has to wait.
    sleep: Option<Pin<Box<Sleep>>>,
    ends: Instant,
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let ends = self.ends;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(ends)));
        sleep.as_mut().poll(cx).map(|()| Some(Err(too_slow().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
