//! Bodies: a request's is read into memory, a response's is in memory or streamed.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{
    BodyExt as _, Collected, Full, Limited, StreamBody, combinators::UnsyncBoxBody,
};
use hyper::body::{Body as HttpBody, Frame};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a response on its way to the HTTP library.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub(crate) fn streamed<S>(frames: S) -> Body
where
    S: Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static,
{
    StreamBody::new(frames).boxed_unsync()
}

/// Reads a whole body. Over the limit the error is a [`LengthLimitError`].
///
/// [`LengthLimitError`]: http_body_util::LengthLimitError
#[expect(clippy::disallowed_methods, reason = "`Limited` is the bound")]
pub(crate) async fn read<B>(body: B, limit: usize) -> Result<Bytes, BoxError>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    Limited::new(body, limit).collect().await.map(Collected::to_bytes)
}
