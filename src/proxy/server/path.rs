//! The service that a listener calls with each request.

use std::convert::Infallible;

use bytes::Bytes;
use http::Response;

use crate::{error::BoxError, proxy::call::Arrival};

/// The path of one listener's requests, as the server needs it.
pub trait Path:
    tower::Service<
        Arrival,
        Response = Response<Self::Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type Body: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static;
}

impl<P, B> Path for P
where
    P: tower::Service<Arrival, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    type Body = B;
}
