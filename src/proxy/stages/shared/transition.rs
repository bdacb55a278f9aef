//! A stage that makes the next state of a request, or refuses it, without waiting.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::Response;
use tower::{Layer, Service};

use crate::{body::Body, error::Error};

/// Makes the next state of a request.
pub trait Transition<R> {
    /// The next state.
    type Next;

    /// The next state, or why the call is refused.
    fn advance(&self, request: R) -> Result<Self::Next, Error>;
}

impl<R, T: Transition<R>> Transition<R> for Arc<T> {
    type Next = T::Next;

    fn advance(&self, request: R) -> Result<T::Next, Error> {
        (**self).advance(request)
    }
}

/// Puts a transition in front of the inner stages.
#[derive(Clone, Copy, Debug)]
pub struct TransitionLayer<T>(pub(in super::super) T);

impl<S, T: Clone> Layer<S> for TransitionLayer<T> {
    type Service = TransitionService<S, T>;

    fn layer(&self, inner: S) -> TransitionService<S, T> {
        TransitionService { inner, transition: self.0.clone() }
    }
}

/// See [`TransitionLayer`].
#[derive(Clone, Debug)]
pub struct TransitionService<S, T> {
    inner: S,
    transition: T,
}

impl<S, T, R> Service<R> for TransitionService<S, T>
where
    T: Transition<R>,
    S: Service<T::Next, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.transition.advance(request) {
            Ok(next) => Either::Left(self.inner.call(next)),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}
