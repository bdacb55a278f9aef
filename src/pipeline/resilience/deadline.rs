//! One deadline for the whole call: until the head of the answer, and on to its last byte; and a
//! limit for each piece of the answer's body.

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
    pipeline::request::Resolved,
};

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// All attempts together, up to the last byte of the answer.
    pub whole: Duration,
    /// The next piece of the answer's body.
    pub piece: Duration,
}

/// Ends a call that takes too long, counted from where it leaves the gateway's own work.
pub fn deadline(limits: Deadlines) -> DeadlineLayer {
    DeadlineLayer { limits }
}

/// See [`deadline`].
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer {
    limits: Deadlines,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, limits: self.limits }
    }
}

/// See [`deadline`].
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    limits: Deadlines,
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
        let ends = Instant::now() + self.limits.whole;
        DeadlineFuture {
            inner: self.inner.call(resolved),
            sleep: sleep_until(ends),
            ends,
            piece: self.limits.piece,
        }
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
        piece: Duration,
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
            let (ends, piece) = (*this.ends, *this.piece);
            return Poll::Ready(
                result.map(|response| response.map(|body| until(body, ends, piece))),
            );
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

fn stalled() -> Error {
    Error::new(
        Kind::UpstreamStalled,
        "no further piece of the answer within the time limit (`timeouts.upstream_read`)",
    )
}

/// A body that ends with an error when the deadline passes, or when it stops.
fn until(body: Body, ends: Instant, piece: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::wrap(DeadlineBody { body, sleep: None, waiting: false, ends, piece })
}

struct DeadlineBody {
    body: Body,
    /// Made only when a read has to wait.
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    ends: Instant,
    piece: Duration,
}

impl HttpBody for DeadlineBody {
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
        // The whole call's limit may be the nearer one.
        let ends = self.ends.min(Instant::now() + self.piece);
        let again = !std::mem::replace(&mut self.waiting, true);
        let call_ends = self.ends;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(ends)));
        if again {
            sleep.as_mut().reset(ends);
        }
        sleep.as_mut().poll(cx).map(|()| {
            let error = if Instant::now() < call_ends { stalled() } else { too_slow() };
            Some(Err(error.into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
