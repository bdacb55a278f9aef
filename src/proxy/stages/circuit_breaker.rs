//! Before each attempt, checks the circuit breaker and the upstream's rate limit. After it, teaches them
//! the result.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::{Either, Ready, ready};
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use super::upstream_health::{BreakerPermit, UpstreamHealth};
use crate::{
    body::Body,
    error::{Error, Fault, Kind},
    proxy::call::Resolved,
};

/// Refuses attempts while the upstream keeps failing or has asked for a pause.
pub fn admit<S>(health: Arc<UpstreamHealth>) -> impl Layer<S, Service = AdmitAttempt<S>> + Clone {
    layer_fn(move |inner| AdmitAttempt { inner, health: Arc::clone(&health) })
}

/// See [`admit`].
#[derive(Clone, Debug)]
pub struct AdmitAttempt<S> {
    inner: S,
    health: Arc<UpstreamHealth>,
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
        match admit_attempt(&self.health, &resolved) {
            Ok(permit) => {
                let health = Arc::clone(&self.health);
                let inner = self.inner.call(resolved);
                Either::Left(AttemptFuture { inner, permit: Some(permit), health })
            }
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

fn admit_attempt(health: &UpstreamHealth, resolved: &Resolved) -> Result<BreakerPermit, Error> {
    let permit = health.breaker.admit().map_err(|wait| {
        let detail = "the upstream kept failing and is left alone for a moment";
        Error::new(Kind::UpstreamSuspended, detail).retry_after(wait)
    })?;
    health.rate_limit.admit(resolved.head.caller.name())?;
    Ok(permit)
}

pin_project! {
    /// The future of [`AdmitAttempt`].
    pub struct AttemptFuture<F> {
        #[pin]
        inner: F,
        permit: Option<BreakerPermit>,
        health: Arc<UpstreamHealth>,
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
        if let Ok(response) = &result {
            this.health.rate_limit.learn(response.status(), response.headers());
        }
        if let (Some(permit), Some(failed)) = (this.permit.take(), failed(&result)) {
            permit.report(failed);
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for AttemptFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptFuture")
    }
}

/// Whether an attempt counts as a failure of the upstream; `None` if it says nothing about it.
fn failed(result: &Result<Response<Body>, Error>) -> Option<bool> {
    match result {
        Ok(response) => Some(matches!(
            response.status(),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        )),
        Err(error) => {
            let is_told = match error.kind() {
                // One resource has an answer that is too large or odd, or a connection ends in order.
                Kind::UpstreamProtocol | Kind::UpstreamUnprocessed => true,
                kind => kind.fault() != Fault::Upstream || error.is_repeated(),
            };
            (!is_told).then_some(true)
        }
    }
}
