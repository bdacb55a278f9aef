//! Before each attempt, checks the circuit breaker and the upstream's rate limit. After it, teaches them
//! the result.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::{Either, Ready, ready};
use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    body::Body,
    error::Error,
    proxy::{
        call::{Head, Resolved},
        profile::AttemptPermit,
    },
};

/// Refuses attempts while the upstream keeps failing or has asked for a pause.
pub fn admit<S>() -> impl Layer<S, Service = AdmitAttempt<S>> + Clone {
    layer_fn(|inner| AdmitAttempt { inner })
}

/// See [`admit`].
#[derive(Clone, Debug)]
pub struct AdmitAttempt<S> {
    inner: S,
}

impl<S> Service<Resolved> for AdmitAttempt<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<AttemptFuture<S::Future>, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let head = &resolved.head;
        let (caller, operation) = (head.caller.name(), head.operation.as_deref());
        match head.profile.health.admit(head.method.is_idempotent(), caller, operation) {
            Ok(permit) => {
                let head = Arc::clone(&resolved.head);
                let inner = self.inner.call(resolved);
                Either::Left(AttemptFuture { inner, permit: Some(permit), head })
            }
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

pin_project! {
    /// The future of [`AdmitAttempt`].
    pub struct AttemptFuture<F> {
        #[pin]
        inner: F,
        permit: Option<AttemptPermit>,
        head: Arc<Head>,
    }
}

impl<F> Future for AttemptFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let Some(permit) = this.permit.take() {
            let head = &**this.head;
            head.profile.health.learn(permit, head.operation.as_deref(), &result);
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for AttemptFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptFuture")
    }
}
