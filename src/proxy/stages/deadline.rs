//! One deadline for all attempts of a call, up to the last byte of the response.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service, layer::layer_fn};

use super::shared::read_timer::{ReadLimit, limit_reads};
use crate::{
    body::Body,
    error::{Error, Kind},
    proxy::call::Resolved,
};

/// Ends a call that takes longer than `limit`, counted from when its credentials are resolved.
pub fn enforce<S>(limit: Duration) -> impl Layer<S, Service = Deadline<S>> + Clone {
    layer_fn(move |inner| Deadline { inner, limit })
}

/// See [`enforce`].
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
        DeadlineFuture { inner: self.inner.call(resolved), timer: sleep_until(ends), ends }
    }
}

pin_project! {
    /// The future of [`Deadline`].
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: F,
        #[pin]
        timer: Sleep,
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
        let Poll::Ready(result) = this.inner.poll(cx) else {
            return this.timer.poll(cx).map(|()| Err(expired()));
        };
        let limit = ReadLimit::Until(*this.ends);
        Poll::Ready(result.map(|response| response.map(|body| limit_reads(body, limit, expired))))
    }
}

impl<F> fmt::Debug for DeadlineFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadlineFuture({:?})", self.ends)
    }
}

fn expired() -> Error {
    Error::new(
        Kind::UpstreamTimeout,
        "no complete answer within the time limit (`timeouts.request`)",
    )
}
