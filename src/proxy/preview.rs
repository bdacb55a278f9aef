//! Takes one request through the stages that decide about it, and stops before anything is read, stored or
//! sent.
//!
//! `explain` and the commands for rules as code are made of it. The head is parsed as the server parses it, and passes the same stages in the
//! same order as on the path ([`build`](super::build)); so what `explain` says is what the gateway does.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::SystemTime,
};

use futures_util::FutureExt as _;
use http::Response;
use http_body::Body as _;
use parking_lot::Mutex;
use tower::{Service as _, ServiceBuilder, service_fn};

use super::{
    cache::{Bypass, Cache, Rule},
    call::{Authorized, CallContext, ConcurrencyLimits, Connection, Opened},
    profile::{Chosen, Profiles},
    server::{self, http1},
    stages::{authorize, identify, profile, receive},
};
use crate::{
    body::Body,
    domain::{Caller, Operation, ProfileName, RequestId, TraceContext},
    error::Error,
};

/// The parts of a listener's path that decide about a request.
#[derive(Debug)]
pub struct PreviewParts {
    /// How heads are read.
    pub server: server::Settings,
    /// The requests that the listener accepts.
    pub rules: Arc<receive::ListenerRules>,
    /// How it identifies callers.
    pub schemes: Arc<identify::Schemes>,
    /// The profiles.
    pub profiles: Arc<Profiles>,
    /// The profile of the listener.
    pub profile: Option<ProfileName>,
    /// What each caller may do.
    pub policy: Arc<authorize::Policy>,
    /// The limits of calls in flight.
    pub concurrency: ConcurrencyLimits,
    /// The cache.
    pub cache: Cache,
}

/// What would become of a request.
#[derive(Debug)]
pub struct Preview {
    /// The caller, if the request came far enough to have one.
    pub caller: Option<Arc<Caller>>,
    /// The operation, if it has one.
    pub operation: Option<Arc<Operation>>,
    /// The profile, if the request came far enough to have one.
    pub profile: Option<ProfileName>,
    /// The end.
    pub end: PreviewEnd,
}

/// How far a request would come.
#[derive(Debug)]
pub enum PreviewEnd {
    /// It is refused.
    Refused(Error),
    /// The gateway answers it itself (`OPTIONS *`).
    Answered,
    /// It is allowed.
    Allowed {
        /// Why a policy that only reports would have refused it.
        would_refuse: Option<Error>,
        /// The rule under which the cache may answer it and store its response.
        cache: Result<Rule, Bypass>,
    },
}

/// Previews the call of a request head, sent over HTTP/1.1 on that connection. A body that the head
/// announces counts as its size.
pub fn preview(parts: &PreviewParts, connection: Arc<Connection>, head: &[u8]) -> Preview {
    let PreviewParts { server, rules, schemes, profiles, profile, policy, concurrency, cache } =
        parts;
    let time = SystemTime::now();
    let id = RequestId::at(time);
    let context = CallContext::begin(time, id, TraceContext::continue_or_begin(None, id), false);
    let reached: Mutex<Option<Authorized>> = Mutex::default();
    let mut path = ServiceBuilder::new()
        .layer(identify::identify(Arc::clone(schemes)))
        .layer(receive::receive(Arc::clone(rules)))
        .layer(profile::select(Arc::clone(profiles), profile.clone()))
        .layer(authorize::authorize(Arc::clone(policy), concurrency.clone()))
        .service(service_fn(|authorized| -> Ready<Result<_, Error>> {
            *reached.lock() = Some(authorized);
            ready(Ok(Response::new(Body::empty())))
        }));
    let request = http1::read_head(head, server.head_bytes, server.header_count);
    let answer = path.call(Opened { request, connection, context: context.clone() });
    // None of these stages waits.
    let result = answer.now_or_never();
    drop(path);
    let end = match (result, reached.into_inner()) {
        (Some(Err(error)), _) => PreviewEnd::Refused(error),
        (_, Some(authorized)) => allowed(&authorized, policy, cache),
        (_, None) => PreviewEnd::Answered,
    };
    context.facts(|facts| Preview {
        caller: facts.caller.clone(),
        operation: facts.operation.clone(),
        profile: facts.profile.clone(),
        end,
    })
}

fn allowed(authorized: &Authorized, policy: &authorize::Policy, cache: &Cache) -> PreviewEnd {
    let Authorized { received, operation, profile } = authorized;
    // That its source has a member, only a read can tell.
    if let Chosen::Unknown(name) = profile {
        return PreviewEnd::Refused(profile::no_such_profile(name));
    }
    let (method, path) = (&received.method, received.target.path());
    let body_is_empty = received.body.is_end_stream();
    let cache =
        cache.eligible(method, path, operation.as_deref(), &received.headers, body_is_empty);
    PreviewEnd::Allowed {
        would_refuse: policy.refusal(&received.caller, method, path),
        cache: cache.cloned(),
    }
}
