//! Follows the cache: opens the records of the gateway's own calls, and on a synced trail stores the intent
//! before a credential is used.
//!
//! Whatever goes to the upstream passes here. A call that no caller waits for, such as a revalidation in the
//! background, is no call before that, and its record closes when its fetch is over.
//!
//! A secret that has left the process is on the trail even if the process dies in the next moment: the
//! next start finds an intent without a record and reports the outcome of that call as unknown. A cache
//! hit uses no secret and needs no intent. On a batched trail the stage only calls the next one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::Response;
use tower::{Layer, Service, layer::layer_fn};

use super::{listener::ListenerContext, unavailable};
use crate::{
    audit::{Durability, Intent, Target},
    body::Body,
    error::{Error, Kind},
    proxy::call::{CallEnd, Fetch, Head, Intended, SharedService},
};

/// Opens the records of the gateway's own calls. Stores the intent to use a credential, and waits for stable
/// storage if the trail is synced.
pub fn intend<S>(listener: ListenerContext) -> impl Layer<S, Service = Intend<S>> + Clone {
    let listener = Arc::new(listener);
    layer_fn(move |inner| Intend {
        inner: SharedService::new(inner),
        listener: Arc::clone(&listener),
    })
}

/// See [`intend`].
#[derive(Clone, Debug)]
pub struct Intend<S> {
    inner: SharedService<S>,
    listener: Arc<ListenerContext>,
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
        if head.context.is_own() {
            self.open_own(&head);
        }
        match self.listener.trail.durability() {
            Durability::Batched => Either::Left(self.inner.call(Intended { head, body })),
            Durability::Synced => {
                let (inner, trail) = (self.inner.clone(), self.listener.trail.clone());
                let intent = Self::intent(&head);
                Either::Right(Box::pin(async move {
                    trail.intent(intent).await.map_err(unavailable)?;
                    inner.call(Intended { head, body }).await
                }))
            }
        }
    }
}

impl<S> Intend<S> {
    /// Has the record of the gateway's own call closed when the fetch is over.
    fn open_own(&self, head: &Head) {
        head.context.note(|facts| {
            facts.caller = Some(Arc::clone(&head.caller));
            facts.profile = Some(head.profile.name.clone());
            facts.operation.clone_from(&head.operation);
        });
        let listener = Arc::clone(&self.listener);
        let method = head.method.clone();
        let target = Some(Target::from(head.target.path_and_query()));
        head.context.close_with(move |context| {
            context.note(|facts| {
                if facts.upstream_status.is_none() {
                    facts.error.get_or_insert(Kind::Stopping);
                }
            });
            let end = CallEnd { target, ..listener.call_end(method) };
            listener.trail.submit(listener.record(context, end));
        });
    }

    fn intent(head: &Head) -> Intent {
        Intent {
            time: head.context.time(),
            request_id: head.context.id(),
            caller: head.caller.name().cloned(),
            profile: head.profile.name.clone(),
            operation: head.operation.as_ref().map(|operation| operation.label().clone()),
            method: head.method.clone(),
            target: Some(Target::from(head.target.path_and_query())),
        }
    }
}
