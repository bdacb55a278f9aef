//! Reads a request's body before anything is sent, if it is small.
//!
//! Whether a body is well framed and complete is known only at its end. A body of up to
//! [`SMALL_BODY`] is read whole first, so that a broken one never reaches Pigello, not even in part,
//! and a caller that sends slowly holds no connection to it. What is larger is streamed from there
//! on: if that breaks, the upstream sees an unfinished message on a connection that ends.
//!
//! It stands behind the permission: nothing is read for a caller that is refused anyway.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower::{Layer, Service};

use super::shared::SharedService;
use crate::{
    body::{Body, SMALL_BODY},
    error::{BoxError, Error, Kind, find_kind},
    proxy::{
        call::{Authorized, ConcurrencyLimits},
        server::wake_filter::filtered,
    },
};

/// Reads small bodies whole; `limit` is how long that may take. A call whose body has arrived takes
/// its place among `places`.
pub fn buffer_request(limit: Duration, places: ConcurrencyLimits) -> BufferRequestLayer {
    BufferRequestLayer { limit, places }
}

/// See [`buffer_request`].
#[derive(Clone, Debug)]
pub struct BufferRequestLayer {
    limit: Duration,
    places: ConcurrencyLimits,
}

impl<S> Layer<S> for BufferRequestLayer {
    type Service = BufferRequest<S>;

    fn layer(&self, inner: S) -> BufferRequest<S> {
        BufferRequest {
            inner: SharedService::new(inner),
            limit: self.limit,
            places: self.places.clone(),
        }
    }
}

/// See [`buffer_request`].
#[derive(Clone, Debug)]
pub struct BufferRequest<S> {
    inner: SharedService<S>,
    limit: Duration,
    places: ConcurrencyLimits,
}

impl<S> Service<Authorized> for BufferRequest<S>
where
    S: Service<Authorized, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut authorized: Authorized) -> Self::Future {
        if authorized.received.body.is_end_stream() {
            return Either::Left(self.inner.forward(authorized));
        }
        let (inner, limit, places) = (self.inner.clone(), self.limit, self.places.clone());
        Either::Right(Box::pin(async move {
            let body = std::mem::take(&mut authorized.received.body);
            authorized.received.body =
                tokio::time::timeout(limit, read(body)).await.unwrap_or_else(|_| Err(slow()))?;
            authorized.received.context.hold(places.acquire(true)?);
            inner.forward(authorized).await
        }))
    }
}

async fn read(mut body: Body) -> Result<Body, Error> {
    let mut start = BytesMut::new();
    let mut first = Bytes::new();
    while first.len() + start.len() <= SMALL_BODY {
        let Some(frame) = poll_fn(|cx| poll_frame(&mut body, cx)).await else {
            return Ok(Body::full(join(first, &start)));
        };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        // Most bodies are one frame: those are handed on without a copy.
        if first.is_empty() {
            first = data;
        } else {
            start.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            return Ok(Body::full(join(first, &start)));
        }
    }
    Ok(Body::wrap(Started { start: Some(join(first, &start)), rest: body }))
}

/// Has the connection that a body comes over woken if there is more of it.
fn poll_frame(
    body: &mut Body,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    let (frame, was_woken) = filtered(|| Pin::new(&mut *body).poll_frame(cx));
    if was_woken && (frame.is_pending() || !body.is_end_stream()) {
        cx.waker().wake_by_ref();
    }
    frame
}

fn join(first: Bytes, rest: &BytesMut) -> Bytes {
    if rest.is_empty() {
        return first;
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(rest);
    whole.freeze()
}

fn broken(error: BoxError) -> Error {
    match (find_kind(error.as_ref()), error.downcast::<Error>()) {
        (_, Ok(ours)) => *ours,
        (kind, Err(error)) => {
            let detail = "the request body broke off or is not well framed";
            Error::new(kind.unwrap_or(Kind::BodyBroken), detail).because(error)
        }
    }
}

fn slow() -> Error {
    Error::new(Kind::BodyTimeout, "the request body did not arrive within `timeouts.request`")
}

/// A body whose first part is in memory.
struct Started {
    start: Option<Bytes>,
    rest: Body,
}

impl HttpBody for Started {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.start.take() {
            Some(start) => Poll::Ready(Some(Ok(Frame::data(start)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let start = self.start.as_ref().map_or(0, |start| start.len() as u64);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + start);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + start);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, pin::pin, sync::Arc, task::Waker};

    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::proxy::server::wake_filter::{Sleeper, WakeFilter};

    fn frames(frames: Vec<Result<Bytes, &'static str>>) -> Body {
        let frames = frames.into_iter().map(|frame| frame.map(Frame::data).map_err(BoxError::from));
        Body::wrap(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_small_body_is_in_memory() {
        let body = read(frames(vec![Ok("ab".into()), Ok("cd".into()), Ok("e".into())])).await;
        assert_eq!(body.unwrap().in_memory().unwrap(), "abcde");
    }

    /// Wakes whoever takes a piece, as hyper does.
    struct Waking(usize);

    impl HttpBody for Waking {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            cx.waker().wake_by_ref();
            self.0 = self.0.saturating_sub(1);
            Poll::Ready(Some(Ok(Frame::data("x".into()))))
        }

        fn is_end_stream(&self) -> bool {
            self.0 == 0
        }
    }

    #[test]
    fn a_connection_is_woken_for_each_piece_but_the_last() {
        for pieces in 1..=3 {
            let connection = Arc::new(Sleeper::default());
            let waker = Waker::from(Arc::clone(&connection));
            let reading = pin!(WakeFilter::new(read(Body::wrap(Waking(pieces)))));
            assert!(reading.poll(&mut Context::from_waker(&waker)).is_ready());
            assert_eq!(connection.woken() + 1, pieces);
        }
    }

    /// How often a connection of hyper's is woken while the body that came with its head is read.
    async fn wakes_of_hyper<R>(read: impl Fn(Body) -> R) -> usize
    where
        R: Future<Output = ()>,
    {
        let (mut caller, stream) = tokio::io::duplex(256);
        let request = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
        caller.write_all(request).await.unwrap();
        let has_read = Cell::new(false);
        let path = service_fn(async |request: http::Request<Incoming>| {
            read(request.into_body().into()).await;
            has_read.set(true);
            std::future::pending::<Result<Response<Body>, BoxError>>().await
        });
        let mut http1 = http1::Builder::new();
        http1.header_read_timeout(None).half_close(true);
        let serving = pin!(WakeFilter::new(http1.serve_connection(TokioIo::new(stream), path)));
        let connection = Arc::new(Sleeper::default());
        let waker = Waker::from(Arc::clone(&connection));
        assert!(serving.poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(has_read.get());
        connection.woken()
    }

    /// hyper does wake it where the body is read otherwise; when it does not any more, nothing has to
    /// be filtered.
    #[tokio::test]
    async fn hyper_does_not_wake_a_connection_whose_body_has_ended() {
        let filtered = wakes_of_hyper(async |body| drop(read(body).await.unwrap())).await;
        let plain = wakes_of_hyper(async |mut body| drop(body.frame().await.unwrap())).await;
        assert_eq!((filtered, plain), (0, 1));
    }

    #[tokio::test]
    async fn a_large_body_goes_on_where_it_was_left() {
        let part = Bytes::from(vec![7; 50_000]);
        let body = read(frames(vec![Ok(part.clone()), Ok(part.clone()), Ok(part)])).await.unwrap();
        assert!(body.in_memory().is_none());
        let whole = crate::body::collect_limited(body, 1 << 20).await.unwrap();
        assert_eq!(whole.len(), 150_000);
    }

    #[tokio::test]
    async fn a_broken_body_is_the_callers_fault() {
        let error = read(frames(vec![Ok("ab".into()), Err("cut off")])).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BodyBroken);
        let too_large = Error::new(Kind::BodyTooLarge, "too large");
        let body = Body::wrap(StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(too_large)])));
        assert_eq!(read(body).await.unwrap_err().kind(), Kind::BodyTooLarge);
    }
}
