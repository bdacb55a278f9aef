//! Reads a small request body to its end before anything is sent.
//!
//! Only the end of a body shows whether it is well framed and complete. A body of up to [`SMALL_BODY`]
//! is read first, so that a broken one never reaches Pigello in part, and a slow caller holds no
//! upstream connection. A larger body is streamed: if it breaks, the upstream gets an incomplete
//! message on a connection that ends.
//!
//! The stage follows the permission, so it reads nothing for a caller that is refused.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    body::{Body, SMALL_BODY, hint_after},
    error::{BoxError, Error, Kind, find_kind},
    proxy::call::{ConcurrencyLimits, Loaded, SharedService},
};

/// Reads small bodies to their end within `limit`. After that the call counts as complete in
/// `concurrency`.
pub fn buffer_request<S>(
    limit: Duration,
    concurrency: ConcurrencyLimits,
) -> impl Layer<S, Service = BufferRequest<S>> + Clone {
    layer_fn(move |inner| BufferRequest {
        inner: SharedService::new(inner),
        limit,
        concurrency: concurrency.clone(),
    })
}

/// See [`buffer_request`].
#[derive(Clone, Debug)]
pub struct BufferRequest<S> {
    inner: SharedService<S>,
    limit: Duration,
    concurrency: ConcurrencyLimits,
}

impl<S> Service<Loaded> for BufferRequest<S>
where
    S: Service<Loaded, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut loaded: Loaded) -> Self::Future {
        if loaded.received.body.is_end_stream() {
            return Either::Left(self.inner.call(loaded));
        }
        let (inner, limit) = (self.inner.clone(), self.limit);
        let concurrency = self.concurrency.clone();
        Either::Right(Box::pin(async move {
            let body = std::mem::take(&mut loaded.received.body);
            loaded.received.body =
                tokio::time::timeout(limit, read(body)).await.unwrap_or_else(|_| Err(slow()))?;
            loaded.received.context.hold(concurrency.acquire(true)?);
            inner.call(loaded).await
        }))
    }
}

async fn read(mut body: Body) -> Result<Body, Error> {
    let mut start = BytesMut::new();
    let mut first = Bytes::new();
    while first.len().saturating_add(start.len()) <= SMALL_BODY {
        let Some(frame) = body.frame().await else {
            return Ok(Body::full(join(first, &start)));
        };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        // Most bodies are one frame, which is passed on without a copy.
        if first.is_empty() {
            first = data;
        } else {
            start.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            return Ok(Body::full(join(first, &start)));
        }
    }
    Ok(Body::wrap(PartlyRead { start: Some(join(first, &start)), rest: body }))
}

fn join(first: Bytes, rest: &BytesMut) -> Bytes {
    if rest.is_empty() {
        return first;
    }
    let mut whole = BytesMut::with_capacity(first.len().saturating_add(rest.len()));
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
struct PartlyRead {
    start: Option<Bytes>,
    rest: Body,
}

impl HttpBody for PartlyRead {
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
        hint_after(start, self.rest.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    fn frames(frames: Vec<Result<Bytes, &'static str>>) -> Body {
        let frames = frames.into_iter().map(|frame| frame.map(Frame::data).map_err(BoxError::from));
        Body::wrap(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_small_body_is_in_memory() {
        let body = read(frames(vec![Ok("ab".into()), Ok("cd".into()), Ok("e".into())])).await;
        assert_eq!(body.unwrap().in_memory().unwrap(), "abcde");
    }

    #[tokio::test]
    async fn a_large_body_is_streamed_from_its_beginning() {
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
