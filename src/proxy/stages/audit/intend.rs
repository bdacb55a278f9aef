//! Follows the cache: on a synced trail, stores the intent before a credential is used.
//!
//! A secret that has left the process is on the trail even if the process dies in the next moment: the
//! next start finds an intent without a record and reports the outcome of that call as unknown. A cache
//! hit uses no secret and needs no intent. On a batched trail the stage only calls the next one.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::Response;
use tower::{Layer, Service, layer::layer_fn};

use super::unavailable;
use crate::{
    audit::{Durability, Intent, Target, Trail},
    body::Body,
    domain::ProfileName,
    error::Error,
    proxy::call::{Fetch, Head, Intended, SharedService},
};

/// Stores the intent to use a credential, and waits for stable storage if the trail is synced.
pub fn intend<S>(trail: Trail, profile: ProfileName) -> impl Layer<S, Service = Intend<S>> + Clone {
    layer_fn(move |inner| Intend {
        inner: SharedService::new(inner),
        trail: trail.clone(),
        profile: profile.clone(),
    })
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

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Fetch { head, body }: Fetch) -> Self::Future {
        match self.trail.durability() {
            Durability::Batched => Either::Left(self.inner.call(Intended { head, body })),
            Durability::Synced => {
                let (inner, trail) = (self.inner.clone(), self.trail.clone());
                let intent = self.intent(&head);
                Either::Right(Box::pin(async move {
                    trail.intent(intent).await.map_err(unavailable)?;
                    inner.call(Intended { head, body }).await
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
