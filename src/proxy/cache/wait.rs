//! The ways of a call that has to wait: for its own fetch, for another's, or for a write.

use std::sync::Arc;

use http::{Response, header};
use tokio::{sync::oneshot, time::Instant};
use tower::Service;

use super::{
    coalesce::{FetchOutcome, Waiter},
    fetch::{FetchJob, stale_answer},
    invalidate::{self, Write},
    policy::{directives::ResponseDirectives, freshness::Times},
    status::Forwarded,
    storage::object::{Object, Origin, Reuse},
};
use crate::{
    audit::CacheResult,
    body::Body,
    error::{Error, Kind},
    proxy::call::{Fetch, Head, SharedService},
};

/// Fetches, in a task that survives this caller; or follows another's fetch, and fetches if that one
/// brought nothing for this caller.
pub(super) async fn fetch<S>(
    service: SharedService<S>,
    head: Arc<Head>,
    body: Body,
    job: Box<FetchJob>,
    follower: Option<Waiter>,
) -> Result<Response<Body>, Error>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    if let Some(follower) = follower {
        let landing = follower.landing(job.store.settings().collapse_wait).await;
        if let Some(result) = share(landing, &job) {
            return result;
        }
    }
    let (reply, answer) = oneshot::channel();
    tokio::spawn(job.run(service, head, body, reply));
    answer.await.unwrap_or_else(|_| Err(lost()))
}

/// The answer to a caller who followed, if there is one for it.
fn share(landing: FetchOutcome, job: &FetchJob) -> Option<Result<Response<Body>, Error>> {
    let (caller, now) = (&job.caller, Instant::now());
    let suits = |object: &Object| object.answers(&caller.head.headers, false);
    match landing {
        FetchOutcome::Stored(object) if suits(&object) => {
            let Reuse::Fresh(left) = object.reuse(&caller.ask, caller.fields.are_authorized(), now)
            else {
                return None;
            };
            caller.note(CacheResult::Collapsed, Some(object.source));
            let why = Forwarded::because(job.why);
            let said = Forwarded { collapsed: true, ttl: Some(left), ..why };
            Some(Ok(object.respond(caller.request(), false, said.value(), now)))
        }
        FetchOutcome::Stale(object, failure) if suits(&object) => {
            Some(if object.serves_on_error(&caller.ask, now) {
                Ok(stale_answer(&object, caller, now))
            } else {
                Err(failure.into())
            })
        }
        FetchOutcome::Failed(failure) => {
            caller.note(CacheResult::Collapsed, None);
            Some(Err(failure.into()))
        }
        FetchOutcome::Stored(_) | FetchOutcome::Stale(..) | FetchOutcome::NotShared => None,
    }
}

/// Forwards a POST, makes unreachable what it changed, and keeps its answer if that says with
/// `Content-Location` that it is what a GET would answer (RFC 9110 §9.3.3).
pub(super) async fn post<S>(
    service: SharedService<S>,
    head: Arc<Head>,
    body: Body,
    job: FetchJob,
    mut write: Write,
) -> Result<Response<Body>, Error>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error>,
{
    let target = head.target.clone();
    let asked = Instant::now();
    let result = service.call(Fetch { head, body }).await;
    let response = result.inspect_err(|error| write.failed(error))?;
    if !write.answered(&response) || !states_freshness(&response) {
        return Ok(response);
    }
    let named = write.named(response.headers(), &header::CONTENT_LOCATION);
    if named.as_deref() != Some(target.as_str()) {
        return Ok(response);
    }
    let times = Times { asked, answered: Instant::now(), wall: job.store.wall() };
    // The object is of the time behind this write.
    let collection = invalidate::collection(target.path(), None);
    let stamp = job.store.stamp(target.path(), collection, false);
    let origin = Origin { stamp, ..job.origin.clone() };
    let job = FetchJob { origin, ..job };
    let (reply, answer) = oneshot::channel();
    tokio::spawn(job.answered(response, times, reply));
    answer.await.unwrap_or_else(|_| Err(lost()))
}

fn states_freshness(response: &Response<Body>) -> bool {
    let allow = ResponseDirectives::read(response.headers());
    let says = allow.max_age.is_some() || allow.s_maxage.is_some();
    says || response.headers().contains_key(header::EXPIRES)
}

fn lost() -> Error {
    Error::new(Kind::Internal, "the task that asked the upstream has ended without an answer")
}
