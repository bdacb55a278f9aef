//! The record of a call while it is under way.
//!
//! Stages add what they learn; the guard at the edge turns it into a [`Record`] when the call is
//! over. It is shared, because the facts outlive the request: the last byte of the answer is sent
//! long after the stages have returned.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    audit::{CacheResult, Outcome, Record, Target, UpstreamTls},
    credentials::Lease,
    domain::{Caller, ListenerName, Operation, ProfileName, RequestId, TraceContext},
    error::Kind,
    telemetry::Stages,
};

/// A handle to the open record of one call.
#[derive(Clone)]
pub struct Draft(Arc<Shared>);

struct Shared {
    id: RequestId,
    trace: TraceContext,
    began: Instant,
    time: SystemTime,
    request_bytes: AtomicU64,
    /// Zero as long as no credentials were sent. Not among the facts, for a fetch that outlives its
    /// caller needs it when the record is closed.
    sent_generation: AtomicU64,
    facts: Mutex<Facts>,
    /// Of a call that is traced.
    stages: Option<Mutex<Stages>>,
}

/// What the stages have found out so far.
#[derive(Debug, Default)]
pub struct Facts {
    /// Who calls, once it is proved.
    pub caller: Option<Arc<Caller>>,
    /// What the call does, once it is matched.
    pub operation: Option<Arc<Operation>>,
    /// What the cache did.
    pub cache: Option<CacheResult>,
    /// The call whose upstream answer these bytes are, where memory answered.
    pub source_request_id: Option<RequestId>,
    /// The upstream's status.
    pub upstream_status: Option<StatusCode>,
    /// The TLS of the upstream connection that was used.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// How often the upstream was asked.
    pub attempts: u32,
    /// Why each attempt but the last was given up.
    pub retries: Vec<&'static str>,
    /// The version of the credentials that were sent.
    pub credential_version: Option<Arc<str>>,
    /// From the first attempt to the head of the upstream's answer.
    pub upstream_time: Option<Duration>,
    /// Why the call would have been refused, where the policy only watches.
    pub would_refuse: Option<Kind>,
    /// Why the call failed or was refused.
    pub error: Option<Kind>,
    /// Why the caller's body could not be read to its end. HTTP/2 tells it to nobody else.
    pub body_error: Option<Kind>,
    /// How many fields of the upstream's answer were removed, because they could be the seven.
    pub masked_fields: u32,
    /// The call's place among those under way; given back when the record closes.
    pub place: Option<OwnedSemaphorePermit>,
    /// The call's place among those of its caller, where that has a limit.
    pub caller_place: Option<OwnedSemaphorePermit>,
}

impl Draft {
    /// Of a call that came at `time`.
    pub(in crate::proxy) fn begin(
        time: SystemTime,
        id: RequestId,
        trace: TraceContext,
        traced: bool,
    ) -> Self {
        Self(Arc::new(Shared {
            id,
            trace,
            began: Instant::now(),
            time,
            request_bytes: AtomicU64::new(0),
            sent_generation: AtomicU64::new(0),
            facts: Mutex::new(Facts::default()),
            stages: traced.then(|| Mutex::new(Stages::begin(trace.span_id()))),
        }))
    }

    /// The call's identifier.
    pub fn id(&self) -> RequestId {
        self.0.id
    }

    /// The call's place in its trace.
    pub fn trace(&self) -> TraceContext {
        self.0.trace
    }

    /// The spans of the stages it passes, if the call is traced.
    pub(in crate::proxy) fn stages(&self) -> Option<&Mutex<Stages>> {
        self.0.stages.as_ref()
    }

    /// When the call came in.
    pub fn time(&self) -> SystemTime {
        self.0.time
    }

    /// When the call began, on the clock that only goes forward.
    pub fn began(&self) -> Instant {
        self.0.began
    }

    /// Adds to the facts.
    pub fn note(&self, note: impl FnOnce(&mut Facts)) {
        note(&mut self.0.facts.lock());
    }

    /// Why the caller's body could not be read to its end, if so.
    pub fn body_error(&self) -> Option<Kind> {
        self.0.facts.lock().body_error
    }

    /// Notes the credentials that the call is about to be sent with.
    pub fn sends_with(&self, lease: &Lease) {
        self.sends_generation(lease.generation());
        let version = Arc::clone(lease.version().shared());
        self.note(|facts| facts.credential_version = Some(version));
    }

    /// As [`Self::sends_with`], of credentials of which only the number is known.
    pub(in crate::proxy) fn sends_generation(&self, generation: u64) {
        self.0.sent_generation.store(generation, Ordering::Release);
    }

    /// The number of the credentials that the call was last sent with, if it was sent.
    pub fn sent_generation(&self) -> Option<u64> {
        Some(self.0.sent_generation.load(Ordering::Acquire)).filter(|generation| *generation > 0)
    }

    /// Counts bytes of the caller's body.
    pub fn count_request_bytes(&self, bytes: usize) {
        self.0.request_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(in crate::proxy) fn close(&self, edge: CallEnd) -> Record {
        let facts = std::mem::take(&mut *self.0.facts.lock());
        let outcome = outcome(&facts);
        Record {
            time: self.0.time,
            request_id: self.0.id,
            trace_id: self.0.trace.trace_id(),
            listener: edge.listener,
            caller: facts.caller.as_ref().and_then(|caller| caller.name().cloned()),
            caller_proof: facts.caller.as_ref().map(|caller| caller.proof().clone()),
            profile: edge.profile,
            operation: facts.operation.map(|operation| Arc::clone(operation.shared_name())),
            method: edge.method,
            target: edge.target,
            status: edge.status,
            outcome,
            cache: facts.cache,
            source_request_id: facts.source_request_id,
            upstream_status: facts.upstream_status,
            upstream_tls: facts.upstream_tls,
            retries: facts.retries,
            attempts: facts.attempts,
            credential_version: facts.credential_version,
            duration: self.0.began.elapsed(),
            upstream_time: facts.upstream_time,
            request_bytes: self.0.request_bytes.load(Ordering::Relaxed),
            response_bytes: edge.response_bytes,
            would_refuse: facts.would_refuse.map(Kind::label),
            error: facts.error.map(Kind::label),
            masked_fields: facts.masked_fields,
        }
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({})", self.0.id)
    }
}

/// What only the edge knows of a call.
pub(in crate::proxy) struct CallEnd {
    pub(in crate::proxy) listener: ListenerName,
    pub(in crate::proxy) profile: ProfileName,
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) target: Option<Target>,
    pub(in crate::proxy) status: Option<StatusCode>,
    pub(in crate::proxy) response_bytes: u64,
}

/// One word for what became of a call.
fn outcome(facts: &Facts) -> Outcome {
    use crate::error::Fault;
    match (facts.error, facts.cache) {
        (Some(kind), _) => match kind.fault() {
            // A caller that leaves in the middle of Pigello's answer was served, but not to the end.
            Fault::Caller | Fault::Gateway if facts.attempts == 0 => Outcome::Refused,
            Fault::Caller | Fault::Gateway | Fault::Upstream => Outcome::Failed,
        },
        (None, Some(CacheResult::Hit | CacheResult::Stale | CacheResult::Collapsed)) => {
            Outcome::Cached
        }
        // The gateway answered for itself.
        (None, _) if facts.attempts == 0 => Outcome::Refused,
        (None, _) => Outcome::Forwarded,
    }
}
