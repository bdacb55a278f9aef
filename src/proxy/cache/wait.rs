//! Calls that wait: for their own fetch, for another call's, or for a POST.

use std::sync::Arc;

use http::{Response, header};
use tokio::time::Instant;
use tower::Service;

use super::{
    coalesce::FlightWaiter,
    fetch::FetchJob,
    invalidate::{self, Invalidation},
    outcome::{CallResult, FetchOutcome},
    policy::{directives::ResponseDirectives, freshness::ResponseTimes, reuse::Reuse},
    status::{COHERENT, ForwardedStatus},
    storage::response::{Provenance, StoredResponse},
};
use crate::{
    audit::CacheResult,
    body::Body,
    error::{Error, Kind},
    proxy::call::{Fetch, Head, SharedService},
};

/// Waits for another call's fetch, if there is one, and fetches if its outcome does not suit.
pub(super) async fn fetch<S>(
    service: SharedService<S>,
    body: Body,
    job: Box<FetchJob>,
    waiter: Option<FlightWaiter<FetchOutcome>>,
) -> CallResult
where
    S: Service<Fetch, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    if let Some(waiter) = waiter
        && let Some(outcome) = waiter.outcome(job.cache.settings().collapse_wait).await
        && let Some(result) = collapsed(outcome, &job)
    {
        return result;
    }
    job.spawn(service, body).await.unwrap_or_else(|_| Err(lost()))
}

/// The answer from another call's fetch, if its outcome suits this call.
fn collapsed(outcome: FetchOutcome, job: &FetchJob) -> Option<CallResult> {
    let (request, now) = (&job.request, Instant::now());
    let suits = |stored: &StoredResponse| stored.variant.answers(&request.head.headers);
    match outcome {
        FetchOutcome::Stored(stored) if suits(&stored) => {
            let validity = stored.provenance.mark.validity(now);
            let (left, detail) = match stored.reuse(&request.directives, validity, now) {
                Reuse::Fresh(left) => (left, None),
                Reuse::Coherent(left) => (left, Some(COHERENT)),
                _ => return None,
            };
            request.note(CacheResult::Collapsed, &stored.provenance);
            let status = ForwardedStatus {
                collapsed: true,
                ttl: Some(left),
                detail,
                ..ForwardedStatus::new(job.reason)
            };
            Some(Ok(request.answer(&stored, status, now)))
        }
        FetchOutcome::Stale(stored, failure) if suits(&stored) => {
            Some(if stored.policy.serves_on_error(&request.directives, now) {
                Ok(request.stale_answer(&stored, now))
            } else {
                Err(failure.into())
            })
        }
        // Nobody gets a connection.
        FetchOutcome::Failed(failure) if failure.is_before_sending() => {
            request.head.context.note(|facts| facts.cache = Some(CacheResult::Collapsed));
            Some(Err(failure.into()))
        }
        // A failure may be that call's own trouble.
        FetchOutcome::Failed(_)
        | FetchOutcome::Stored(_)
        | FetchOutcome::Stale(..)
        | FetchOutcome::NotShared => None,
    }
}

/// Sends a POST and invalidates what it changed. Stores its response if `Content-Location` names the
/// target, so that the response is what a GET would get (RFC 9110 §9.3.3).
pub(super) async fn post<S>(
    service: SharedService<S>,
    head: Arc<Head>,
    body: Body,
    job: FetchJob,
    mut invalidation: Invalidation,
) -> CallResult
where
    S: Service<Fetch, Response = Response<Body>, Error = Error>,
{
    let target = head.target.clone();
    let request = Instant::now();
    let result = service.call(Fetch { head, body }).await;
    let is_success = invalidation.finish(&result);
    if is_success {
        invalidation.told().await;
    }
    let response = result?;
    let named = invalidation.target_in(response.headers(), &header::CONTENT_LOCATION);
    let names_target = named.as_deref() == Some(target.as_str());
    if !is_success || !names_target || !states_freshness(&response) {
        return Ok(response);
    }
    let times = ResponseTimes { request, response: Instant::now(), wall: job.cache.wall() };
    // The response is newer than the write, so it gets a new stamp.
    let stamp = invalidate::stamp(&job.cache, &job.request.head, None);
    let mark = job.provenance.mark.renewed();
    let provenance = Provenance { stamp, mark, ..job.provenance.clone() };
    let job = Box::new(FetchJob { provenance, ..job });
    job.spawn_received(response, times).await.unwrap_or_else(|_| Err(lost()))
}

fn states_freshness(response: &Response<Body>) -> bool {
    let directives = ResponseDirectives::read(response.headers());
    directives.max_age.is_some()
        || directives.s_maxage.is_some()
        || response.headers().contains_key(header::EXPIRES)
}

fn lost() -> Error {
    Error::new(Kind::Internal, "the task that asked the upstream has ended without an answer")
}
