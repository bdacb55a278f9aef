//! THE PATH: all stages of a request, in the order in which it passes them.
//!
//! ```text
//! caller ─ server ─ audit ─ respond ─ identify ─ receive ─ profile ─ authorize ─ profile ─ buffer_request ─┐
//!                  (opens)                              (selects)             (loads)                     │
//!                                                   ┌─ resolve ─ audit ─ cache ─ audit ───────────────────┘
//!                                                   │          (intends)       (admits)
//!             Pigello ─ client ─ apply ─ circuit_breaker ─ retry ─ read_timeout ─ guard ─ rotate ─ deadline
//! ```
//!
//! | folder | what it has |
//! | --- | --- |
//! | [`server`] | callers' connections: sockets, TLS, HTTP |
//! | [`stages`] | the stages, one file or folder each |
//! | [`profile`] | the profiles, and what belongs to each of them alone |
//! | [`cache`] | the cache, the largest stage |
//! | [`client`] | connections to the upstream |
//! | [`call`] | what belongs to one call: connection, context, permits, request states |
//! | [`http_policy`] | rules about requests and fields that stages and tools share |
//! | [`batched_io`] | connections whose writes leave together |
//! | [`preview`](mod@preview) | the stages that decide, for `explain` |
//!
//! The stages are one `tower` stack. Each takes the request state that the stage before it makes
//! ([`call`]), so the compiler checks the order: two swapped lines do not compile.
//!
//! ```
//! # use pigello_gateway::proxy::call::{Authorized, Opened};
//! # use pigello_gateway::{body::Body, error::Error, proxy::{stages::{authorize, identify, profile, receive}, PathParts}};
//! # use tower::{Service, ServiceBuilder};
//! fn in_order(parts: PathParts) -> impl Service<Opened> {
//!     ServiceBuilder::new()
//!         .layer(identify::identify(parts.schemes))
//!         .layer(receive::receive(parts.rules))
//!         .layer(profile::select(parts.profiles, parts.profile))
//!         .layer(authorize::authorize(parts.policy, parts.concurrency))
//!         .service_fn(|_: Authorized| async { Ok::<_, Error>(http::Response::new(Body::empty())) })
//! }
//! ```
//!
//! The same with the two lines swapped:
//!
//! ```compile_fail
//! # use pigello_gateway::proxy::call::{Authorized, Opened};
//! # use pigello_gateway::{body::Body, error::Error, proxy::{stages::{authorize, identify, profile, receive}, PathParts}};
//! # use tower::{Service, ServiceBuilder};
//! fn swapped(parts: PathParts) -> impl Service<Opened> {
//!     ServiceBuilder::new()
//!         .layer(identify::identify(parts.schemes))
//!         .layer(receive::receive(parts.rules))
//!         .layer(authorize::authorize(parts.policy, parts.concurrency))
//!         .layer(profile::select(parts.profiles, parts.profile))
//!         .service_fn(|_: Authorized| async { Ok::<_, Error>(http::Response::new(Body::empty())) })
//! }
//! ```

// Peers choose most numbers here, and one that overflows would panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod server;
pub mod stages;
pub mod profile;
pub mod cache;
pub mod client;
pub mod call;
pub mod http_policy;
pub mod batched_io;
pub mod preview;

use std::{sync::Arc, time::Duration};

use tower::ServiceBuilder;

use self::{
    call::ConcurrencyLimits,
    stages::{
        audit::{self, ListenerContext},
        authorize, buffer_request, circuit_breaker, deadline, identify, inject, read_timeout,
        receive, respond, response_guard, retry,
        trace::span,
    },
};
use crate::{domain::ProfileName, telemetry::ATTEMPT};

/// The parts of one listener's path.
#[derive(Debug)]
pub struct PathParts {
    /// The common part of its records, and where they go.
    pub listener: ListenerContext,
    /// The requests that it accepts.
    pub rules: receive::ListenerRules,
    /// How it identifies callers.
    pub schemes: identify::Schemes,
    /// What each caller may do.
    pub policy: Arc<authorize::Policy>,
    /// The limits of calls in flight.
    pub concurrency: ConcurrencyLimits,
    /// Whether the records of lists have the objects.
    pub note_list_ids: bool,
    /// The profiles.
    pub profiles: Arc<profile::Profiles>,
    /// The profile of all its calls, if it has one.
    pub profile: Option<ProfileName>,
    /// The cache of all listeners.
    pub cache: cache::Cache,
    /// The time limit of a call: all attempts, up to the last byte.
    pub request_timeout: Duration,
    /// The time limit for each read of a response body.
    pub upstream_read: Duration,
    /// The settings of attempts.
    pub retry: retry::RetrySettings,
    /// The worker's connections to upstreams.
    pub upstreams: client::Upstreams,
}

/// Builds the path of one listener.
pub fn build(parts: PathParts) -> impl server::Path {
    let listener = parts.listener.clone();
    let concurrency = parts.concurrency;
    let problem_base = parts.listener.problem_base.clone();
    ServiceBuilder::new()
        // First: whatever an inner stage does, the call has exactly one record.
        .layer(audit::open(parts.listener, respond::refusal))
        // Errors and panics become responses here alone, where the record sees them.
        .layer(respond::respond(problem_base, concurrency.clone()))
        // The connection proves the caller. No header field counts, so even what cannot be read has a caller.
        .layer(span("identify", identify::identify(parts.schemes)))
        // Before any stage uses the request: it must be unambiguous and addressed to us.
        .layer(span("receive", receive::receive(parts.rules)))
        // With the caller and the host, before the permission, which depends on it.
        .layer(span("select", stages::profile::select(parts.profiles, parts.profile)))
        // On the canonical path, which is byte for byte the one that is sent.
        .layer(span("authorize", authorize::authorize(parts.policy, concurrency.clone())))
        // After the permission: nobody who is refused has a source of credentials asked.
        .layer(span("load", stages::profile::load()))
        // After the permission, before a byte is sent: a small body is complete or refused.
        .layer(span("gather", buffer_request::buffer_request(parts.request_timeout, concurrency)))
        // Before any response: no call is served whose record the trail cannot take.
        .layer(span("write_ahead", audit::admit(listener.trail.clone())))
        // Outside the cache: its lists are noted too.
        .layer(audit::note_list_ids(parts.note_list_ids))
        // Before the credentials: a hit uses no secret.
        .layer(span("cache", cache::cache(parts.cache)))
        // Before the credentials: what no caller waits for has a record of its own, and on a synced trail the
        // intent is stored before a secret leaves.
        .layer(span("intend", audit::intend(listener)))
        // Outside the attempts: all of them use one credential set.
        .layer(span("resolve", inject::resolve()))
        // Outside the attempts: one deadline for all of them.
        .layer(span("attempts", deadline::enforce(parts.request_timeout)))
        // Outside the attempts: a 401 is a response, after which the call starts with another set.
        .layer(inject::rotate())
        // With the set that is sent, and inside the cache: only inspected responses are stored.
        .layer(span("guard", response_guard::inspect()))
        // Inside all stages that read bodies: none of them waits for a stalled upstream.
        .layer(read_timeout::enforce(parts.upstream_read))
        // Outside the injection: no request that waits for a retry has a secret.
        .layer(retry::retry(parts.retry))
        // For each attempt: an upstream that fails or asked for a pause is left alone.
        .layer(span(ATTEMPT, circuit_breaker::admit()))
        // Last, for each attempt: no stage can change the seven values.
        .layer(inject::apply())
        .service(parts.upstreams)
}
