//! Before each attempt: whether the upstream may be asked now; behind it: what its answer teaches.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::{Either, Ready, ready};
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

mod breaker;
mod rate_limit;

use self::breaker::Pass;
pub use self::{
    breaker::{CircuitBreaker, CircuitBreakerSettings, CircuitBreakerState},
    rate_limit::UpstreamRateLimit,
};
use super::upstream_health::UpstreamHealth;
use crate::{
    body::Body,
    error::{Error, Fault, Kind},
    proxy::call::Resolved,
};

/// Holds attempts back while the upstream is failing or has asked for a pause.
pub fn gate(health: Arc<UpstreamHealth>) -> UpstreamGateLayer {
    UpstreamGateLayer { health }
}

/// See [`gate`].
#[derive(Clone, Debug)]
pub struct UpstreamGateLayer {
    health: Arc<UpstreamHealth>,
}

impl<S> Layer<S> for UpstreamGateLayer {
    type Service = UpstreamGate<S>;

    fn layer(&self, inner: S) -> UpstreamGate<S> {
        UpstreamGate { inner, health: Arc::clone(&self.health) }
    }
}

/// See [`gate`].
#[derive(Clone, Debug)]
pub struct UpstreamGate<S> {
    inner: S,
    health: Arc<UpstreamHealth>,
}

impl<S> Service<Resolved> for UpstreamGate<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<UpstreamGateFuture<S::Future>, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        match self.health.admit(&resolved) {
            Ok(pass) => {
                let health = Arc::clone(&self.health);
                let inner = self.inner.call(resolved);
                Either::Left(UpstreamGateFuture { inner, pass: Some(pass), health })
            }
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

impl UpstreamHealth {
    fn admit(self: &Arc<Self>, resolved: &Resolved) -> Result<Pass, Error> {
        let pass = self.breaker.admit().map_err(|wait| {
            let detail = "the upstream kept failing and is left alone for a moment";
            Error::new(Kind::UpstreamSuspended, detail).retry_after(wait)
        })?;
        self.quota.admit(resolved.head.caller.name())?;
        Ok(pass)
    }
}

pin_project! {
    /// The future of [`UpstreamGate`].
    pub struct UpstreamGateFuture<F> {
        #[pin]
        inner: F,
        pass: Option<Pass>,
        health: Arc<UpstreamHealth>,
    }
}

impl<F> Future for UpstreamGateFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let Ok(response) = &result {
            this.health.quota.learn(response.status(), response.headers());
        }
        if let (Some(pass), Some(failed)) = (this.pass.take(), failed(&result)) {
            pass.tell(failed);
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for UpstreamGateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GateFuture")
    }
}

/// Whether an attempt speaks against the upstream; `None` where it says nothing of it.
fn failed(result: &Result<Response<Body>, Error>) -> Option<bool> {
    match result {
        Ok(response) => Some(matches!(
            response.status(),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        )),
        Err(error) => (error.kind().fault() == Fault::Upstream).then_some(true),
    }
}
