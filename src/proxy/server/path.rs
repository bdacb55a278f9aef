//! The service that a listener calls with each request.

use std::convert::Infallible;

use http::Response;

use crate::{body::Outgoing, proxy::call::Arrival};

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
    type Body: Outgoing + Send + 'static;
}

impl<P, B> Path for P
where
    P: tower::Service<Arrival, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
    B: Outgoing + Send + 'static,
{
    type Body = B;
}
