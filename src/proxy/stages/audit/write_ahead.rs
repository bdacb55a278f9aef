//! SharedService the permission, before anything is answered: the trail must be able to take the record.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::Response;
use tower::{Layer, Service};

use super::unavailable;
use crate::{
    audit::Trail,
    body::Body,
    error::Error,
    proxy::call::{Authorized, Head, Received, Recorded},
};

/// Refuses calls while the trail cannot be written, if the trail is set to refuse.
pub fn write_ahead(trail: Trail) -> WriteAheadLayer {
    WriteAheadLayer { trail }
}

/// See [`write_ahead`].
#[derive(Clone, Debug)]
pub struct WriteAheadLayer {
    trail: Trail,
}

impl<S> Layer<S> for WriteAheadLayer {
    type Service = WriteAhead<S>;

    fn layer(&self, inner: S) -> WriteAhead<S> {
        WriteAhead { inner, trail: self.trail.clone() }
    }
}

/// See [`write_ahead`].
#[derive(Clone, Debug)]
pub struct WriteAhead<S> {
    inner: S,
    trail: Trail,
}

impl<S> Service<Authorized> for WriteAhead<S>
where
    S: Service<Recorded, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, authorized: Authorized) -> Self::Future {
        if let Err(unwritable) = self.trail.admit() {
            return Either::Right(ready(Err(unavailable(unwritable))));
        }
        let Authorized { received, caller, operation } = authorized;
        let Received { method, target, headers, body, connection, context } = received;
        let head = Head { method, target, headers, connection, caller, operation, context };
        Either::Left(self.inner.call(Recorded { head: Arc::new(head), body }))
    }
}
