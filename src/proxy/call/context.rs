//! The context of one call: its identifiers, its clock, the facts for its record, and its permits.
//!
//! The audit guard and the request share it. Stages add facts; when the call is over the guard takes
//! them out and makes the [`Record`]. The last byte of a response leaves long after the stages have
//! returned, and a fetch of the cache can outlive its caller, so neither side owns the context alone.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::{CallPermit, CallerPermit, Interim, InterimQueue};
use crate::{
    audit::{CacheResult, Outcome, Record, Target, UpstreamTls},
    credentials::Lease,
    domain::{Caller, ListenerName, Operation, ProfileName, RequestId, TraceContext},
    error::{Error, Fault, Kind},
    telemetry::Stages,
};

/// A handle to the context of one call.
#[derive(Clone)]
pub struct CallContext(Arc<ContextData>);

struct ContextData {
    id: RequestId,
    trace: TraceContext,
    began: Instant,
    time: SystemTime,
    request_bytes: AtomicU64,
    /// Zero until credentials are sent. It is not a fact: a fetch that outlives its caller reads it
    /// after the record has closed.
    sent_generation: AtomicU64,
    open: Mutex<OpenCall>,
    /// The spans of a traced call.
    spans: Option<Mutex<Stages>>,
}

/// The part of a call that ends before its context.
#[derive(Default)]
struct OpenCall {
    facts: CallFacts,
    call_permit: Option<CallPermit>,
    caller_permit: Option<CallerPermit>,
    interim: Option<InterimQueue>,
}

/// The facts for the record of a call. Stages write them; only the record reads them.
#[derive(Debug, Default)]
pub struct CallFacts {
    /// The caller, once it is identified.
    pub caller: Option<Arc<Caller>>,
    /// The operation, once the request matched one.
    pub operation: Option<Arc<Operation>>,
    /// What the cache did.
    pub cache: Option<CacheResult>,
    /// The call that fetched the response, if the cache answered.
    pub source_request_id: Option<RequestId>,
    /// The upstream's status.
    pub upstream_status: Option<StatusCode>,
    /// The TLS session with the upstream.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// The number of attempts.
    pub attempts: u32,
    /// Why each attempt but the last failed.
    pub retries: Vec<&'static str>,
    /// The version of the credentials that were sent.
    pub credential_version: Option<Arc<str>>,
    /// How long requests waited to be sent, because the worker was saturated.
    pub queue_time: Duration,
    /// From the first attempt to the head of the upstream's response.
    pub upstream_time: Option<Duration>,
    /// Why a policy that only reports would have refused the call.
    pub would_refuse: Option<Kind>,
    /// Why the call failed or was refused.
    pub error: Option<Kind>,
    /// Why the request body could not be read to its end: the kind, and the sentence for the caller.
    pub body_error: Option<(Kind, Cow<'static, str>)>,
    /// The number of response fields that were removed because Pigello's own names are reserved.
    pub masked_fields: u32,
}

impl CallContext {
    /// The context of a call that arrived at `time`.
    pub(in crate::proxy) fn begin(
        time: SystemTime,
        id: RequestId,
        trace: TraceContext,
        traced: bool,
    ) -> Self {
        Self(Arc::new(ContextData {
            id,
            trace,
            began: Instant::now(),
            time,
            request_bytes: AtomicU64::new(0),
            sent_generation: AtomicU64::new(0),
            open: Mutex::default(),
            spans: traced.then(|| Mutex::new(Stages::begin(trace.span_id()))),
        }))
    }

    /// The identifier of the call.
    pub fn id(&self) -> RequestId {
        self.0.id
    }

    /// The trace that the call belongs to.
    pub fn trace(&self) -> TraceContext {
        self.0.trace
    }

    /// The spans of its stages, if the call is traced.
    pub(in crate::proxy) fn spans(&self) -> Option<&Mutex<Stages>> {
        self.0.spans.as_ref()
    }

    /// When the call arrived.
    pub fn time(&self) -> SystemTime {
        self.0.time
    }

    /// When the call arrived, on the monotonic clock.
    pub fn began(&self) -> Instant {
        self.0.began
    }

    /// Reads the facts.
    pub fn facts<R>(&self, read: impl FnOnce(&CallFacts) -> R) -> R {
        read(&self.0.open.lock().facts)
    }

    /// Adds to the facts.
    pub fn note(&self, note: impl FnOnce(&mut CallFacts)) {
        note(&mut self.0.open.lock().facts);
    }

    /// Holds a permit until the answer has left, and releases the one it replaces.
    pub(in crate::proxy) fn hold(&self, permit: CallPermit) {
        self.0.open.lock().call_permit = Some(permit);
    }

    /// Whether it holds a permit of the gateway's limits.
    pub(in crate::proxy) fn holds_permit(&self) -> bool {
        self.0.open.lock().call_permit.is_some()
    }

    /// Holds the permit of the caller's own limit until the answer has left.
    pub(in crate::proxy) fn hold_for_caller(&self, permit: CallerPermit) {
        self.0.open.lock().caller_permit = Some(permit);
    }

    /// Passes interim responses on to that queue until the record closes.
    pub(in crate::proxy) fn pass_interim_to(&self, queue: InterimQueue) {
        self.0.open.lock().interim = Some(queue);
    }

    /// Whether somebody takes interim responses.
    pub(in crate::proxy) fn takes_interim(&self) -> bool {
        self.0.open.lock().interim.is_some()
    }

    /// Passes an interim response on.
    pub(in crate::proxy) fn pass_interim(&self, interim: Interim) {
        if let Some(queue) = &self.0.open.lock().interim {
            queue.push(interim);
        }
    }

    /// Why the request body could not be read to its end. Over HTTP/2 the client's error does not say.
    pub fn body_error(&self) -> Option<Error> {
        let (kind, detail) = self.facts(|facts| facts.body_error.clone())?;
        Some(Error::new(kind, detail))
    }

    /// Notes the credentials that the call is about to be sent with.
    pub fn sends_with(&self, lease: &Lease) {
        self.sends_generation(lease.generation());
        let version = Arc::clone(lease.version().shared());
        self.note(|facts| facts.credential_version = Some(version));
    }

    /// Notes the generation of credentials without a version.
    pub(in crate::proxy) fn sends_generation(&self, generation: u64) {
        self.0.sent_generation.store(generation, Ordering::Release);
    }

    /// The generation of the credentials that were sent last, if any were.
    pub fn sent_generation(&self) -> Option<u64> {
        Some(self.0.sent_generation.load(Ordering::Acquire)).filter(|generation| *generation > 0)
    }

    /// Counts bytes of the request body.
    pub fn count_request_bytes(&self, bytes: usize) {
        self.0.request_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Makes the record of the call.
    pub(in crate::proxy) fn close(&self, end: CallEnd) -> Record {
        let facts = std::mem::take(&mut self.0.open.lock().facts);
        let outcome = outcome(&facts);
        Record {
            time: self.0.time,
            request_id: self.0.id,
            trace_id: self.0.trace.trace_id(),
            listener: end.listener,
            caller: facts.caller.as_ref().and_then(|caller| caller.name().cloned()),
            caller_proof: facts.caller.as_ref().map(|caller| caller.proof().clone()),
            profile: end.profile,
            operation: facts.operation.map(|operation| operation.label().clone()),
            method: end.method,
            target: end.target,
            status: end.status,
            outcome,
            cache: facts.cache,
            source_request_id: facts.source_request_id,
            upstream_status: facts.upstream_status,
            upstream_tls: facts.upstream_tls,
            retries: facts.retries,
            attempts: facts.attempts,
            credential_version: facts.credential_version,
            duration: self.0.began.elapsed(),
            queue_time: facts.queue_time,
            upstream_time: facts.upstream_time,
            request_bytes: self.0.request_bytes.load(Ordering::Relaxed),
            response_bytes: end.response_bytes,
            would_refuse: facts.would_refuse.map(Kind::label),
            error: facts.error.map(Kind::label),
            masked_fields: facts.masked_fields,
        }
    }

    /// Releases the permits of the call: its caller has the answer, or never gets it.
    pub(in crate::proxy) fn release(&self) {
        let mut open = self.0.open.lock();
        drop((open.call_permit.take(), open.caller_permit.take()));
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallContext({})", self.0.id)
    }
}

/// The part of a record that only the audit guard knows.
pub(in crate::proxy) struct CallEnd {
    pub(in crate::proxy) listener: ListenerName,
    pub(in crate::proxy) profile: ProfileName,
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) target: Option<Target>,
    pub(in crate::proxy) status: Option<StatusCode>,
    pub(in crate::proxy) response_bytes: u64,
}

/// The outcome of a call in one word.
fn outcome(facts: &CallFacts) -> Outcome {
    match (facts.error, facts.cache) {
        (Some(kind), _) => match kind.fault() {
            // A caller that leaves in the middle of Pigello's response was served in part.
            Fault::Caller | Fault::Gateway if facts.attempts == 0 => Outcome::Refused,
            Fault::Caller | Fault::Gateway | Fault::Upstream => Outcome::Failed,
        },
        (None, Some(CacheResult::Hit | CacheResult::Stale | CacheResult::Collapsed)) => {
            Outcome::Cached
        }
        // The gateway answered by itself, without an error (`OPTIONS *`).
        (None, _) if facts.attempts == 0 => Outcome::Refused,
        (None, _) => Outcome::Forwarded,
    }
}
