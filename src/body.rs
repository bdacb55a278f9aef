//! The body type of all stages.
//!
//! A body in memory needs no box, and a body from a connection needs one only if a stage wraps it. It is
//! not an alias of a boxed body, because the compiler does not see that an alias over generic services
//! is `Send` (rust-lang/rust#130596).

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::error::BoxError;

/// The largest body, in bytes, that is buffered whole before any of it is passed on. So an incomplete
/// request never reaches Pigello in part, and a response is inspected before its caller gets any of it.
/// Larger bodies are streamed.
pub const SMALL_BODY: usize = 64 * 1024;

/// A request's or a response's body.
pub struct Body(Content);

enum Content {
    Empty,
    Full(Option<Bytes>),
    Incoming(Incoming),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Content::Empty)
    }

    /// A body in memory.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Content::Full(Some(bytes))) }
    }

    /// Any other body.
    pub fn wrap<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Content::Boxed(Box::pin(body.map_err(Into::into))))
    }

    /// The whole body, if it is in memory.
    pub fn in_memory(&self) -> Option<Bytes> {
        match &self.0 {
            Content::Empty => Some(Bytes::new()),
            Content::Full(bytes) => bytes.clone(),
            Content::Incoming(_) | Content::Boxed(_) => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Content::Empty => "empty",
            Content::Full(_) => "in memory",
            Content::Incoming(_) => "from a connection",
            Content::Boxed(_) => "streamed",
        };
        write!(f, "Body({kind})")
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        if incoming.is_end_stream() { Self::empty() } else { Self(Content::Incoming(incoming)) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Content::Empty => Poll::Ready(None),
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Incoming(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Content::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Full(bytes) => bytes.is_none(),
            Content::Incoming(body) => body.is_end_stream(),
            Content::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Incoming(body) => body.size_hint(),
            Content::Boxed(body) => body.size_hint(),
        }
    }
}

/// The body of an answer, which is told what became of its bytes.
pub trait Outgoing: HttpBody<Data = Bytes, Error = BoxError> {
    /// Notes that the caller left before the last `bytes` of the frames it was given were sent.
    fn unsent(self: Pin<&mut Self>, bytes: u64);
}

impl Outgoing for Body {
    /// Nobody counts them.
    fn unsent(self: Pin<&mut Self>, _bytes: u64) {}
}

/// The size of a body with `prefix` bytes in front of the rest.
pub fn hint_after(prefix: u64, rest: SizeHint) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower() + prefix);
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper + prefix);
    }
    hint
}

/// Reads a whole body into memory, up to a limit in bytes. Trailers are dropped.
pub async fn collect_limited<B>(body: B, limit: usize) -> Result<Bytes, CollectError>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    if body.size_hint().lower() > limit as u64 {
        return Err(CollectError::TooLarge);
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CollectError::Broken(error.into()))?;
        let Ok(mut data) = frame.into_data() else { continue };
        let length = data.remaining();
        if first.as_ref().map_or(rest.len(), Bytes::len) + length > limit {
            return Err(CollectError::TooLarge);
        }
        let data = data.copy_to_bytes(length);
        // Most bodies are one frame, which needs no copy.
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(one) => {
                rest.reserve(one.len() + length);
                rest.extend_from_slice(&one);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// Why a body could not be read into memory.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It is over the limit.
    #[error("the body is over the limit")]
    TooLarge,
    /// It ended early.
    #[error("the body broke off")]
    Broken(#[source] BoxError),
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn chunks(chunks: &'static [&'static str]) -> Body {
        let frames = chunks.iter().map(|chunk| Ok::<_, BoxError>(Frame::data((*chunk).into())));
        Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn collects_up_to_the_limit() {
        let whole = collect_limited(chunks(&["ab", "cd", "e"]), 5).await.unwrap();
        assert_eq!(whole, "abcde");
        let over = collect_limited(chunks(&["ab", "cd", "e"]), 4).await;
        assert!(matches!(over, Err(CollectError::TooLarge)));
        assert!(matches!(collect_limited(Body::full("abc"), 2).await, Err(CollectError::TooLarge)));
        assert!(collect_limited(Body::empty(), 0).await.unwrap().is_empty());
    }
}
