//! The stage: decides which requests the cache handles, and passes all others through.

use std::task::{Context, Poll};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either, Ready, ready},
};
use http::{Method, Response};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{
    eligibility::is_read,
    handle::Cache,
    invalidate::Invalidation,
    lookup::{CacheableRequest, Lookup, not_cached},
    outcome::CallResult,
    status::{CACHE_STATUS, ForwardReason, ForwardedStatus},
    wait,
};
use crate::{
    audit::CacheResult,
    body::Body,
    error::Error,
    proxy::call::{Fetch, Recorded, SharedService},
};

/// The cache stage.
pub fn cache(cache: Cache) -> CacheLayer {
    CacheLayer(cache)
}

/// See [`cache`].
#[derive(Clone, Debug)]
pub struct CacheLayer(Cache);

impl<S> Layer<S> for CacheLayer {
    type Service = Cached<S>;

    fn layer(&self, inner: S) -> Cached<S> {
        Cached { inner: SharedService::new(inner), cache: self.0.clone() }
    }
}

/// See [`cache`].
#[derive(Debug)]
pub struct Cached<S> {
    inner: SharedService<S>,
    cache: Cache,
}

impl<S> Clone for Cached<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), cache: self.cache.clone() }
    }
}

impl<S> Service<Recorded> for Cached<S>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = CacheFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, recorded: Recorded) -> CacheFuture {
        let Recorded { head, body } = recorded;
        let operation = head.operation.clone();
        let inner = &self.inner;
        if !self.cache.settings().enabled {
            return later(inner.call(Fetch { head, body }));
        }
        let is_read = is_read(&head.method);
        // The response to a POST may be stored for later reads (RFC 9110 §9.3.3). Pigello's own
        // operations never have such a response.
        let may_store = is_read || (head.method == Method::POST && operation.is_none());
        let request =
            may_store.then(|| CacheableRequest::new(&self.cache, operation.as_ref(), &head));
        match request.flatten() {
            Some(request) if is_read => match request.lookup(&body) {
                Lookup::Hit(response) => now(Ok(response)),
                Lookup::StaleWhileRevalidate(response, job) => {
                    // Nobody waits for it.
                    drop(job.spawn(inner.clone(), body));
                    now(Ok(response))
                }
                Lookup::OnlyIfCached => now(Err(not_cached())),
                Lookup::Fetch(job) => later(wait::fetch(inner.clone(), body, job, None)),
                Lookup::Collapse(job, waiter) => {
                    later(wait::fetch(inner.clone(), body, job, Some(waiter)))
                }
                Lookup::FreshenByHead(mut job) => {
                    let asked = Instant::now();
                    later(inner.call(Fetch { head, body }).map(move |mut result| {
                        job.freshen(asked, &mut result);
                        result
                    }))
                }
                Lookup::PassThrough(reason) => {
                    let context = head.context.clone();
                    later(inner.call(Fetch { head, body }).map(move |mut result| {
                        context.note(|facts| facts.cache = Some(pass_through_result(reason)));
                        if let Ok(response) = &mut result {
                            let status = ForwardedStatus::new(reason).value();
                            response.headers_mut().append(CACHE_STATUS, status);
                        }
                        result
                    }))
                }
            },
            None if head.method.is_safe() => later(inner.call(Fetch { head, body })),
            request => {
                let job = request.and_then(|request| request.job_for_post());
                let mut invalidation = Invalidation::begin(&self.cache, &head, operation);
                if let Some(job) = job {
                    return later(wait::post(inner.clone(), head, body, job, invalidation));
                }
                let written = inner.call(Fetch { head, body });
                later(async move {
                    let result = written.await;
                    if invalidation.finish(&result) {
                        invalidation.told().await;
                    }
                    result
                })
            }
        }
    }
}

/// The future of [`Cached`].
pub type CacheFuture = Either<Ready<CallResult>, BoxFuture<'static, CallResult>>;

fn now(result: CallResult) -> CacheFuture {
    Either::Left(ready(result))
}

/// Boxes the future of an upstream request. It is large, and every call would move its size, hits too.
fn later(future: impl Future<Output = CallResult> + Send + 'static) -> CacheFuture {
    Either::Right(Box::pin(future))
}

fn pass_through_result(reason: ForwardReason) -> CacheResult {
    if reason == ForwardReason::Bypass { CacheResult::Bypass } else { CacheResult::Miss }
}
