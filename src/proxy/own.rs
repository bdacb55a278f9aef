//! Calls that the gateway makes by itself, on the same path below the cache as everybody's: with the
//! credentials of a profile, its breaker, its rate limit and its time limits, and with a record on the trail.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tower::util::BoxService;

use super::{
    UpstreamParts,
    call::{CallContext, Fetch, Head, SharedService},
    profile::Profile,
    upstream,
};
use crate::{
    audit::{CallCause, Trail},
    body::{Body, collect_limited},
    domain::{Caller, CanonicalTarget, Proof, RequestId},
    error::{Chain, Error},
};

/// Makes calls to the upstreams of all profiles, as one caller, on the runtime that it is made on.
pub struct OwnCalls {
    service: SharedService<BoxService<Fetch, Response<Body>, Error>>,
    trail: Trail,
    caller: Arc<Caller>,
    cause: CallCause,
}

/// A complete answer.
#[derive(Debug)]
pub struct OwnAnswer {
    /// The call.
    pub request_id: RequestId,
    /// The upstream's status.
    pub status: StatusCode,
    /// The upstream's fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl OwnCalls {
    /// Calls of that cause, under that name.
    pub fn new(parts: UpstreamParts, caller: &'static str, cause: CallCause) -> Self {
        let trail = parts.listener.trail.clone();
        let service = SharedService::new(BoxService::new(upstream(parts)));
        let caller = Caller::Known { rule: None, name: caller.into(), proof: Proof::Gateway };
        Self { service, trail, caller: Arc::new(caller), cause }
    }

    /// Gets a target. `None` if there is no whole answer; the record says why. No call is made whose record the
    /// trail cannot take.
    pub async fn get(&self, profile: &Arc<Profile>, target: &str) -> Option<OwnAnswer> {
        self.trail.admit().ok()?;
        let context = CallContext::own(self.cause);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let head = Head {
            method: Method::GET,
            target: target.parse::<CanonicalTarget>().ok()?,
            headers,
            caller: Arc::clone(&self.caller),
            profile: Arc::clone(profile),
            operation: None,
            context: context.clone(),
        };
        // The record closes with the body.
        let _open = context.keep_open();
        let called = self.service.call(Fetch { head: Arc::new(head), body: Body::empty() }).await;
        let response = match called {
            Ok(response) => response,
            Err(error) => {
                context.note(|facts| facts.error = Some(error.kind()));
                tracing::debug!(cause = self.cause.label(), error = %Chain(&error), "a call failed");
                return None;
            }
        };
        let (parts, body) = response.into_parts();
        let body = collect_limited(body, MAX_BODY).await.ok()?;
        let (status, headers) = (parts.status, parts.headers);
        Some(OwnAnswer { request_id: context.id(), status, headers, body })
    }
}

impl fmt::Debug for OwnCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnCalls({})", self.cause.label())
    }
}

/// Pages of lists are smaller.
const MAX_BODY: usize = 4 * 1024 * 1024;
