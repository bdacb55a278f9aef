//! The states of a request between two stages.
//!
//! One stage makes each type and the next one takes it. So a stage that is left out or in the wrong
//! place is a type error, and no stage meets a caller, a permission or a secret that is missing:
//!
//! ```text
//! Arrival → Opened → Identified → Received → Selected → Authorized → Loaded → Recorded → Fetch
//! server    audit    identify     receive    profile    authorize    profile  audit      cache
//!         → Intended → Resolved → Outbound
//!           audit      inject     inject
//! ```

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};

use super::{CallContext, Connection, InterimQueue};
use crate::{
    audit::Target,
    body::Body,
    credentials::Lease,
    domain::{Caller, CanonicalTarget, Operation, ProfileName, escaped_target},
    error::Error,
    proxy::profile::{Chosen, Profile},
};

/// A request from the server, and the connection it came on.
#[derive(Debug)]
pub struct Arrival {
    /// The request, or why it cannot be read.
    pub request: Result<http::Request<Body>, Unreadable>,
    /// Its connection.
    pub connection: Arc<Connection>,
    /// Where interim responses go; `None` if the caller's protocol has none.
    pub interim: Option<InterimQueue>,
}

/// A message that is malformed or ambiguous. It takes the path like a request, so that it has a record
/// and an answer like any other refusal.
#[derive(Debug)]
pub struct Unreadable {
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) target: Option<Target>,
    pub(in crate::proxy) error: Error,
}

impl Unreadable {
    /// A message with its method and the bytes of its target, as far as they can be told.
    pub fn new(method: Option<Method>, target: Option<&[u8]>, error: Error) -> Self {
        Self {
            method: method.or_else(|| Method::from_bytes(b"-").ok()).unwrap_or_default(),
            target: target.and_then(escaped_target).as_ref().map(Target::from),
            error,
        }
    }

    /// Why it is refused.
    pub fn into_error(self) -> Error {
        self.error
    }
}

/// A request whose audit record is open.
#[derive(Debug)]
pub struct Opened {
    pub(in crate::proxy) request: Result<http::Request<Body>, Unreadable>,
    pub(in crate::proxy) connection: Arc<Connection>,
    pub(in crate::proxy) context: CallContext,
}

/// A request with its caller, whom the connection proves.
#[derive(Debug)]
pub struct Identified {
    pub(in crate::proxy) request: Result<http::Request<Body>, Unreadable>,
    pub(in crate::proxy) connection: Arc<Connection>,
    pub(in crate::proxy) context: CallContext,
    pub(in crate::proxy) caller: Arc<Caller>,
}

/// A request that is well formed, addressed to this gateway and not from a browser. It has end-to-end
/// fields only.
#[derive(Debug)]
pub struct Received {
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) target: CanonicalTarget,
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) body: Body,
    pub(in crate::proxy) connection: Arc<Connection>,
    pub(in crate::proxy) context: CallContext,
    pub(in crate::proxy) caller: Arc<Caller>,
    /// The profile that the request itself names.
    pub(in crate::proxy) asked: Option<ProfileName>,
}

/// A request that says which profile it is for.
#[derive(Debug)]
pub struct Selected {
    pub(in crate::proxy) received: Received,
    pub(in crate::proxy) profile: Chosen,
    pub(in crate::proxy) by: ChosenBy,
}

/// What names the profile of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// The listener.
    Listener,
    /// The caller's entry.
    Caller,
    /// The request.
    Request,
}

/// A request that the policy allows to its caller.
#[derive(Debug)]
pub struct Authorized {
    pub(in crate::proxy) received: Received,
    /// `None` only if the policy forwards requests that match no operation.
    pub(in crate::proxy) operation: Option<Arc<Operation>>,
    pub(in crate::proxy) profile: Chosen,
}

/// A request whose profile is ready.
#[derive(Debug)]
pub struct Loaded {
    pub(in crate::proxy) received: Received,
    pub(in crate::proxy) operation: Option<Arc<Operation>>,
    pub(in crate::proxy) profile: Arc<Profile>,
}

/// A request that may be served, because the audit trail can take its record.
#[derive(Debug)]
pub struct Recorded {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
}

/// What is known of a request without its body. It is shared, because each attempt needs it.
#[derive(Clone, Debug)]
pub struct Head {
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) target: CanonicalTarget,
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) caller: Arc<Caller>,
    pub(in crate::proxy) operation: Option<Arc<Operation>>,
    pub(in crate::proxy) profile: Arc<Profile>,
    pub(in crate::proxy) context: CallContext,
}

/// A request that the cache could not answer.
#[derive(Debug)]
pub struct Fetch {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
}

/// A request that may use a secret: if the trail is synced, it has the intent to do so.
#[derive(Debug)]
pub struct Intended {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
}

/// A request with the one credential set for all its attempts.
#[derive(Debug)]
pub struct Resolved {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
    pub(in crate::proxy) lease: Arc<Lease>,
}

/// A request with the seven values injected, as the client sends it.
#[derive(Debug)]
pub struct Outbound {
    pub(in crate::proxy) request: http::Request<Body>,
    /// The `[profiles.…]` table that says where it goes.
    pub(in crate::proxy) table: ProfileName,
    pub(in crate::proxy) lease: Arc<Lease>,
    pub(in crate::proxy) context: CallContext,
}

/// The header field that carries a call's identifier in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
