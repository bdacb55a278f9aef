//! SharedService the cache, before a credential is taken: on a synced trail, the intent comes first.
//!
//! A secret that has left the process is on the trail even if the process dies the next moment: the
//! next start finds the intent without a record and says that the call's outcome is unknown. A hit
//! uses no secret and so needs no intent. On a batched trail the stage hands the call on and is gone.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::Response;
use tower::{Layer, Service};

use super::unavailable;
use crate::{
    audit::{Durability, Intent, Target, Trail},
    body::Body,
    domain::ProfileName,
    error::Error,
    proxy::{
        call::{Fetch, Head, Intended},
        stages::shared::SharedService,
    },
};

/// Writes down that a credential is about to be used, and waits until that lasts, where the trail
/// is synced.
pub fn intend(trail: Trail, profile: ProfileName) -> IntendLayer {
    IntendLayer { trail, profile }
}

/// See [`intend`].
#[derive(Clone, Debug)]
pub struct IntendLayer {
    trail: Trail,
    profile: ProfileName,
}

impl<S> Layer<S> for IntendLayer {
    type Service = Intend<S>;

    fn layer(&self, inner: S) -> Intend<S> {
        Intend {
            inner: SharedService::new(inner),
            trail: self.trail.clone(),
            profile: self.profile.clone(),
        }
    }
}

/// See [`intend`].
#[derive(Clone, Debug)]
pub struct Intend<S> {
    inner: SharedService<S>,
    trail: Trail,
    profile: ProfileName,
}

impl<S> Service<Fetch> for Intend<S>
where
    S: Service<Intended, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, Fetch { head, body }: Fetch) -> Self::Future {
        match self.trail.durability() {
            Durability::Batched => Either::Left(self.inner.forward(Intended { head, body })),
            Durability::Synced => {
                let (inner, trail) = (self.inner.clone(), self.trail.clone());
                let intent = self.intent(&head);
                Either::Right(Box::pin(async move {
                    trail.intent(intent).await.map_err(unavailable)?;
                    inner.forward(Intended { head, body }).await
                }))
            }
        }
    }
}

impl<S> Intend<S> {
    fn intent(&self, head: &Head) -> Intent {
        Intent {
            time: head.context.time(),
            request_id: head.context.id(),
            caller: head.caller.name().cloned(),
            profile: self.profile.clone(),
            operation: head.operation.as_ref().map(|operation| operation.label().clone()),
            method: head.method.clone(),
            target: Some(Target::from(head.target.path_and_query())),
        }
    }
}
