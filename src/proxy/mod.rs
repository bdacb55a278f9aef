//! THE PATH: every stage of a request, in the order it passes them.
//!
//! ```text
//! caller ─ listener ─ audit ─ respond ─ receive ─ identify ─ authorize ─ buffer_request ─ audit ─ cache ─┐
//!                    (opens)                                                 (admits)           │
//!                                                                ┌─ resolve ─ audit ─ detach ───┘
//!                                                                │           (intends)
//!             Pigello ─ upstream ─ apply ─ gate ─ retry ─ read_timeout ─ guard ─ rotate ─ deadline
//! ```
//!
//! The stages are one `tower` stack. Each takes the type that the one before it makes
//! ([`call`]), so the order is checked by the compiler: a swapped line does not compile.
//!
//! ```
//! # use pigello_gateway::proxy::call::{Authorized, Received};
//! # use pigello_gateway::{body::Body, error::Error, proxy::{stages::{authorize, identify}, Parts}};
//! # use tower::{Service, ServiceBuilder};
//! fn in_order(parts: Parts) -> impl Service<Received> {
//!     ServiceBuilder::new()
//!         .layer(identify::identify(parts.schemes))
//!         .layer(authorize::authorize(parts.policy))
//!         .service_fn(|_: Authorized| async { Ok::<_, Error>(http::Response::new(Body::empty())) })
//! }
//! ```
//!
//! The same with the two lines swapped:
//!
//! ```compile_fail
//! # use pigello_gateway::proxy::call::{Authorized, Received};
//! # use pigello_gateway::{body::Body, error::Error, proxy::{stages::{authorize, identify}, Parts}};
//! # use tower::{Service, ServiceBuilder};
//! fn swapped(parts: Parts) -> impl Service<Received> {
//!     ServiceBuilder::new()
//!         .layer(authorize::authorize(parts.policy))
//!         .layer(identify::identify(parts.schemes))
//!         .service_fn(|_: Authorized| async { Ok::<_, Error>(http::Response::new(Body::empty())) })
//! }
//! ```

pub mod server;
pub mod stages;
pub mod cache;
pub mod client;
pub mod call;
pub mod http_policy;
pub mod batched_io;

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::Response;
use tower::{Service, ServiceBuilder};

use self::{
    call::Arrival,
    stages::{
        audit::{self, ListenerContext, RecordedBody},
        authorize, buffer_request, circuit_breaker, deadline, detach, identify, inject,
        read_timeout, receive, respond, response_guard, retry, trace,
        upstream_health::UpstreamHealth,
    },
};
use crate::{credentials::CredentialManager, telemetry::ATTEMPT};

/// Everything one listener's path is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where records go, and what they have in common.
    pub edges: ListenerContext,
    /// What the listener takes.
    pub rules: receive::Rules,
    /// How callers are identified.
    pub schemes: identify::Schemes,
    /// Who may do what.
    pub policy: Arc<authorize::Policy>,
    /// What is remembered, for all listeners.
    pub store: cache::Store,
    /// Whose memory this listener may use.
    pub scope: cache::Scope,
    /// The credentials of the listener's profile.
    pub manager: CredentialManager,
    /// How long one call may take, all attempts together, to the last byte.
    pub request_timeout: Duration,
    /// How long the next piece of an answer may take.
    pub upstream_read: Duration,
    /// How attempts are made.
    pub retry: retry::RetrySettings,
    /// What is known of the profile's upstream.
    pub health: Arc<UpstreamHealth>,
    /// The profile's upstream.
    pub upstream: client::Upstream,
}

/// Puts the path of one listener together.
pub fn build(
    parts: Parts,
) -> impl Service<
    Arrival,
    Response = Response<RecordedBody>,
    Error = Infallible,
    Future: Future<Output = Result<Response<RecordedBody>, Infallible>> + Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    let (trail, profile) = (parts.edges.trail.clone(), parts.edges.profile.clone());
    let places = parts.rules.concurrency.clone();
    let problem_base = parts.edges.problem_base.clone();
    ServiceBuilder::new()
        // First and last: whatever happens further in, the call is on the trail exactly once.
        .layer(audit::open(parts.edges, respond::refusal))
        // Errors and panics become responses here and nowhere else; the record sees both.
        .layer(respond::respond(problem_base))
        // Before anything looks at the request: it must have one reading, and be meant for us.
        .layer(trace::stage("receive"))
        .layer(receive::receive(parts.rules))
        // By what the connection proves, so no header can have a say.
        .layer(trace::stage("identify"))
        .layer(identify::identify(parts.schemes))
        // On the canonical path, which is byte for byte the one that is sent.
        .layer(trace::stage("authorize"))
        .layer(authorize::authorize(parts.policy))
        // SharedService the permission, before anything is sent: a small body is whole or refused.
        .layer(trace::stage("gather"))
        .layer(buffer_request::buffer_request(parts.request_timeout, places))
        // SharedService the permission, before any answer: no call is served that the trail cannot keep.
        .layer(trace::stage("write_ahead"))
        .layer(audit::write_ahead(trail.clone()))
        // Before the credentials: a hit never touches a secret.
        .layer(trace::stage("cache"))
        .layer(cache::cache(parts.store, parts.scope))
        // SharedService the cache: what memory answers is over before its connection reads on.
        .layer(detach::detach())
        // SharedService the cache, before the credentials: a secret that leaves is on a synced trail first.
        .layer(trace::stage("intend"))
        .layer(audit::intend(trail, profile))
        // One credential set for all attempts of the call.
        .layer(trace::stage("resolve"))
        .layer(inject::resolve(parts.manager.clone()))
        // Outside the attempts: one deadline bounds them all.
        .layer(trace::stage("attempts"))
        .layer(deadline::deadline(parts.request_timeout))
        // Outside the attempts, too: a 401 is an answer, and the call begins anew with another set.
        .layer(inject::rotate(parts.manager))
        // With the set that is sent, and before the cache: nothing is stored that was not looked at.
        .layer(trace::stage("guard"))
        .layer(response_guard::guard())
        // Inside whatever reads answers: nobody waits for one that stopped in the middle.
        .layer(read_timeout::read_timeout(parts.upstream_read))
        // Outside the injection: no copy that waits for another attempt holds a secret.
        .layer(retry::retry(parts.retry, Arc::clone(&parts.health)))
        // On each attempt: an upstream that fails, or has asked for a pause, is left alone.
        .layer(trace::stage(ATTEMPT))
        .layer(circuit_breaker::gate(parts.health))
        // Last before the wire, on each attempt: nothing behind it can change the seven values.
        .layer(inject::apply())
        .service(parts.upstream)
}
