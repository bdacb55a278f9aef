//! What is known of a call between two stages.
//!
//! Each type is made by exactly one stage and taken by the next, so a stage that is left out or
//! swapped is a type error, and nothing that security depends on can be "absent":
//!
//! ```text
//! Arrival → Opened → Received → Identified → Authorized → Recorded → Fetch → Intended → Resolved
//! listener  audit    receive    identify     authorize    audit      cache   audit      inject
//!         → Outbound
//!           inject
//! ```

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};
use hyper::body::Incoming;

use super::{Connection, Draft};
use crate::{
    body::Body,
    credentials::Lease,
    domain::{Caller, CanonicalTarget, Operation, RequestId, TraceContext},
};

/// A request as hyper handed it over, and the connection it came on.
#[derive(Debug)]
pub struct Arrival {
    /// The request.
    pub request: http::Request<Incoming>,
    /// Its connection.
    pub connection: Arc<Connection>,
}

/// A request with its audit record open.
#[derive(Debug)]
pub struct Opened {
    pub(in crate::proxy) request: http::Request<Body>,
    pub(in crate::proxy) connection: Arc<Connection>,
    pub(in crate::proxy) draft: Draft,
}

/// A request that is well formed, meant for this gateway and not a browser's.
#[derive(Debug)]
pub struct Received {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
}

/// The head of a received request: end-to-end fields only. It is shared: stages hand on a pointer,
/// and each further attempt needs it again.
#[derive(Clone, Debug)]
pub struct Head {
    pub(in crate::proxy) id: RequestId,
    pub(in crate::proxy) trace: TraceContext,
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) target: CanonicalTarget,
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) connection: Arc<Connection>,
    pub(in crate::proxy) draft: Draft,
}

/// A request whose caller is known, or known to be nobody in particular.
#[derive(Debug)]
pub struct Identified {
    pub(in crate::proxy) received: Received,
    pub(in crate::proxy) caller: Arc<Caller>,
}

/// A request that its caller may make.
#[derive(Debug)]
pub struct Authorized {
    pub(in crate::proxy) received: Received,
    /// `None` only where the policy forwards what matches no operation.
    pub(in crate::proxy) operation: Option<Arc<Operation>>,
}

/// A request that the audit trail answers for: it may be served.
#[derive(Debug)]
pub struct Recorded {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
    pub(in crate::proxy) operation: Option<Arc<Operation>>,
}

/// A request that memory could not answer.
#[derive(Debug)]
pub struct Fetch {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
}

/// A request that is about to use a secret, and that the trail knows of as well as its durability
/// asks for: from here on a secret may be used.
#[derive(Debug)]
pub struct Intended {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
}

/// A request with the credential set it will be sent with: one set, for all its attempts.
#[derive(Debug)]
pub struct Resolved {
    pub(in crate::proxy) head: Arc<Head>,
    pub(in crate::proxy) body: Body,
    pub(in crate::proxy) lease: Arc<Lease>,
}

/// What is sent: the seven values are in.
#[derive(Debug)]
pub struct Outbound {
    pub(in crate::proxy) request: http::Request<Body>,
    pub(in crate::proxy) draft: Draft,
}

/// The header that carries a call's identifier, up and down.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
