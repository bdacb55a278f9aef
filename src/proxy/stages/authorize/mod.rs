//! Decides whether the caller may make the call.
//!
//! The request is matched to an operation by its method and canonical path, and the caller's rule is
//! asked about that operation. Nothing is allowed by omission: with callers named, whoever is not
//! named is refused, and a request that matches no operation is refused unless the policy forwards
//! such requests.
//!
//! With `mode = "report"` a refusal is only written down, so that a policy can be tried before
//! callers depend on it. Limits hold in either mode: they protect the others.

mod limit;
mod policy;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::Response;
use tower::{Layer, Service};

pub use limit::Limits;
pub use policy::{Access, Decision, Mode, Policy, Refusal, Unmatched};

use crate::{
    body::Body,
    error::Error,
    proxy::call::{Authorized, Identified},
};

/// Refuses what the policy does not allow.
pub fn authorize(policy: Arc<Policy>) -> AuthorizeLayer {
    AuthorizeLayer { policy }
}

/// See [`authorize`].
#[derive(Clone, Debug)]
pub struct AuthorizeLayer {
    policy: Arc<Policy>,
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, policy: Arc::clone(&self.policy) }
    }
}

/// See [`authorize`].
#[derive(Clone, Debug)]
pub struct Authorize<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> Service<Identified> for Authorize<S>
where
    S: Service<Authorized, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, identified: Identified) -> Self::Future {
        let Identified { received, caller } = identified;
        let head = &received.head;
        let decision = self.policy.decide(&caller, &head.method, head.target.path());
        let operation = decision.operation().cloned();
        head.draft.note(|facts| facts.operation.clone_from(&operation));
        if let Decision::Refuse { refusal, .. } = decision {
            let error = refusal.into_error();
            if self.policy.mode == Mode::Enforce {
                return Either::Right(ready(Err(error)));
            }
            head.draft.note(|facts| facts.would_refuse = Some(error.kind()));
        }
        match self.policy.limits.admit(&caller) {
            Ok(None) => {}
            Ok(place) => head.draft.note(|facts| facts.caller_place = place),
            Err(error) => return Either::Right(ready(Err(error))),
        }
        Either::Left(self.inner.call(Authorized { received, operation }))
    }
}
