//! Takes the credential set a request is sent with.

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::Response;
use tower::{Layer, Service};

use crate::{
    body::Body,
    credentials::CredentialManager,
    error::Error,
    proxy::call::{Intended, Resolved},
};

/// Takes one credential set for a request, or fails: never six values of seven.
pub fn resolve(manager: CredentialManager) -> ResolveLayer {
    ResolveLayer { manager }
}

/// See [`resolve`].
#[derive(Clone, Debug)]
pub struct ResolveLayer {
    manager: CredentialManager,
}

impl<S> Layer<S> for ResolveLayer {
    type Service = Resolve<S>;

    fn layer(&self, inner: S) -> Resolve<S> {
        Resolve { inner, manager: self.manager.clone() }
    }
}

/// See [`resolve`].
#[derive(Clone, Debug)]
pub struct Resolve<S> {
    inner: S,
    manager: CredentialManager,
}

impl<S> Service<Intended> for Resolve<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, intended: Intended) -> Self::Future {
        // A call that can be sent again may find out whether a version is taken by now.
        let lease = match intended.body.in_memory() {
            Some(_) => self.manager.snapshot_to_try(),
            None => self.manager.snapshot(),
        };
        match lease {
            Ok(lease) => {
                let Intended { head, body } = intended;
                head.context.sends_with(&lease);
                Either::Left(self.inner.call(Resolved { head, body, lease }))
            }
            Err(unavailable) => Either::Right(ready(Err(unavailable.into()))),
        }
    }
}
