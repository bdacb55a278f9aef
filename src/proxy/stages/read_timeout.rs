//! A limit for each piece of an answer's body. It stands inside whatever reads bodies, so that nobody
//! waits for an upstream that stopped in the middle.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
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

/// Ends an answer whose next piece takes longer than `limit`.
pub fn read_timeout(limit: Duration) -> ReadTimeoutLayer {
    ReadTimeoutLayer { limit }
}

/// See [`read_timeout`].
#[derive(Clone, Copy, Debug)]
pub struct ReadTimeoutLayer {
    limit: Duration,
}

impl<S> Layer<S> for ReadTimeoutLayer {
    type Service = ReadTimeout<S>;

    fn layer(&self, inner: S) -> ReadTimeout<S> {
        ReadTimeout { inner, limit: self.limit }
    }
}

/// See [`read_timeout`].
#[derive(Clone, Debug)]
pub struct ReadTimeout<S> {
    inner: S,
    limit: Duration,
}

impl<S> Service<Resolved> for ReadTimeout<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = ReadTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        ReadTimeoutFuture { inner: self.inner.call(resolved), limit: self.limit }
    }
}

pin_project! {
    /// The future of [`ReadTimeout`].
    pub struct ReadTimeoutFuture<F> {
        #[pin]
        inner: F,
        limit: Duration,
    }
}

impl<F> Future for ReadTimeoutFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let limit = *this.limit;
        let response = ready!(this.inner.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| watched(body, limit))))
    }
}

impl<F> fmt::Debug for ReadTimeoutFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StallFuture")
    }
}

fn watched(body: Body, limit: Duration) -> Body {
    if body.in_memory().is_some() {
        return body;
    }
    Body::wrap(Watched { body, limit, timer: None, waiting: false })
}

struct Watched {
    body: Body,
    limit: Duration,
    /// Made only when a read has to wait.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = false;
            return Poll::Ready(frame);
        }
        let limit = self.limit;
        let begins = !std::mem::replace(&mut self.waiting, true);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        if begins {
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx).map(|()| Some(Err(stalled().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn stalled() -> Error {
    Error::new(
        Kind::UpstreamStalled,
        "no further piece of the answer within the time limit (`timeouts.upstream_read`)",
    )
}
