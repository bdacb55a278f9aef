//! The context of one call: its identifiers, its clock, the facts for its record, and its permits.
//!
//! The audit guard and the request share it. Stages add facts; when the call is over the guard takes
//! them out and makes the [`Record`]. The last byte of a response leaves long after the stages have
//! returned, and a fetch of the cache can outlive its caller, so neither side owns the context alone.
//! The record of a call stays open as long as anybody acts for the call: see [`KeepOpen`].

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::{CallPermit, CallerPermit, Interim, InterimQueue};
use crate::{
    audit::{
        CacheResult, CallCause, ListObjects, Outcome, OwnCall, Record, RefusedCertificate, Target,
        UpstreamTls,
    },
    credentials::Lease,
    domain::{
        Caller, ListenerName, Operation, Peer, PolicyId, ProfileName, RequestId, TraceContext,
    },
    error::{Error, Kind},
    telemetry::{ProfileCalls, Stages},
};

/// A handle to the context of one call.
#[derive(Clone)]
pub struct CallContext(Arc<ContextData>);

struct ContextData {
    id: RequestId,
    trace: TraceContext,
    began: Instant,
    time: SystemTime,
    own: Option<OwnCall>,
    request_bytes: AtomicU64,
    /// Zero until credentials are sent. It is not a fact: a fetch that outlives its caller reads it
    /// after the record has closed.
    sent_generation: AtomicU64,
    /// What a caller's call is counted in, once its profile serves it. It takes no lock.
    counted_in: OnceLock<Arc<ProfileCalls>>,
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
    /// How many [`KeepOpen`] there are.
    keepers: u32,
    /// Closes the record when the last of them is dropped.
    close: Option<CloseRecord>,
}

type CloseRecord = Box<dyn FnOnce(&CallContext) + Send>;

/// Keeps the record of a call open for a task that may act for the call when its caller has left. So the
/// record also tells what happened then.
pub struct KeepOpen(CallContext);

/// The facts for the record of a call. Stages write them; only the record reads them.
#[derive(Debug, Default)]
pub struct CallFacts {
    /// The caller, once it is identified.
    pub caller: Option<Arc<Caller>>,
    /// The profile, once it is chosen.
    pub profile: Option<ProfileName>,
    /// The operation, once the request matched one.
    pub operation: Option<Arc<Operation>>,
    /// What the cache did.
    pub cache: Option<CacheResult>,
    /// The call that fetched the response, if the cache answered.
    pub source_request_id: Option<RequestId>,
    /// The chain of the trail that has that call, if it is another gateway's.
    pub source_chain: Option<Arc<str>>,
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
    /// The objects of a list.
    pub list_ids: Option<Box<ListObjects>>,
}

impl CallContext {
    /// The context of a call that arrived at `time`.
    pub(in crate::proxy) fn begin(
        time: SystemTime,
        id: RequestId,
        trace: TraceContext,
        traced: bool,
    ) -> Self {
        Self::new(time, id, trace, traced, None)
    }

    /// The context of a call that the gateway makes by itself because of this one. It belongs to the same
    /// trace. Its record opens with the first request to the upstream.
    pub(in crate::proxy) fn begin_own(&self, cause: CallCause) -> Self {
        let traceparent = self.trace().traceparent();
        Self::new_own(OwnCall { cause, caused_by: Some(self.id()) }, Some(&traceparent))
    }

    /// The context of a call that the gateway makes by itself, because of no other call.
    pub(in crate::proxy) fn own(cause: CallCause) -> Self {
        Self::new_own(OwnCall { cause, caused_by: None }, None)
    }

    fn new_own(own: OwnCall, traceparent: Option<&[u8]>) -> Self {
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let trace = TraceContext::continue_or_begin(traceparent, id);
        Self::new(time, id, trace, false, Some(own))
    }

    fn new(
        time: SystemTime,
        id: RequestId,
        trace: TraceContext,
        traced: bool,
        own: Option<OwnCall>,
    ) -> Self {
        Self(Arc::new(ContextData {
            id,
            trace,
            began: Instant::now(),
            time,
            own,
            request_bytes: AtomicU64::new(0),
            sent_generation: AtomicU64::new(0),
            counted_in: OnceLock::new(),
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

    /// Whether no caller waits for it: the gateway makes the call by itself.
    pub(in crate::proxy) fn is_own(&self) -> bool {
        self.0.own.is_some()
    }

    /// Whether the calls of callers come first.
    pub(in crate::proxy) fn yields(&self) -> bool {
        self.0.own.is_some_and(|own| own.cause == CallCause::EventLog)
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

    /// Has the call counted among those of its profile when its record closes.
    pub(in crate::proxy) fn count_in(&self, calls: &Arc<ProfileCalls>) {
        let _once = self.0.counted_in.set(Arc::clone(calls));
    }

    /// Counts bytes of the request body.
    pub fn count_request_bytes(&self, bytes: usize) {
        self.0.request_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Makes the record of the call, and counts it among those of its profile.
    pub(in crate::proxy) fn close(&self, end: CallEnd) -> Record {
        let facts = std::mem::take(&mut self.0.open.lock().facts);
        let outcome = outcome(&facts, self.is_own());
        let record = Record {
            time: self.0.time,
            request_id: self.0.id,
            trace_id: self.0.trace.trace_id(),
            own: self.0.own,
            peer: end.peer,
            listener: end.listener,
            caller: facts.caller.as_ref().and_then(|caller| caller.name().cloned()),
            caller_proof: facts.caller.as_ref().map(|caller| caller.proof().clone()),
            refused_certificate: end.refused_certificate,
            policy: end.policy,
            profile: facts.profile.or(end.profile),
            operation: facts.operation.map(|operation| operation.label().clone()),
            method: end.method,
            target: end.target,
            status: end.status,
            outcome,
            cache: facts.cache,
            source_request_id: facts.source_request_id,
            source_chain: facts.source_chain,
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
            list_ids: facts.list_ids,
        };
        if let Some(calls) = self.0.counted_in.get() {
            calls.count(&record);
        }
        record
    }

    /// Has the record closed by `close`: now, or when nobody keeps it open any more.
    pub(in crate::proxy) fn close_with(&self, close: impl FnOnce(&Self) + Send + 'static) {
        let mut open = self.0.open.lock();
        if open.keepers > 0 {
            open.close = Some(Box::new(close));
            return;
        }
        drop(open);
        close(self);
    }

    /// Keeps the record open until the result is dropped.
    pub(in crate::proxy) fn keep_open(&self) -> KeepOpen {
        let mut open = self.0.open.lock();
        open.keepers = open.keepers.saturating_add(1);
        drop(open);
        KeepOpen(self.clone())
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

impl Drop for KeepOpen {
    fn drop(&mut self) {
        let mut open = self.0.0.open.lock();
        open.keepers = open.keepers.saturating_sub(1);
        let close = if open.keepers == 0 { open.close.take() } else { None };
        drop(open);
        if let Some(close) = close {
            close(&self.0);
        }
    }
}

impl fmt::Debug for KeepOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeepOpen({})", self.0.0.id)
    }
}

/// The part of a record that only the audit stages know.
pub(in crate::proxy) struct CallEnd {
    pub(in crate::proxy) listener: ListenerName,
    /// The profile of the listener, for calls that did not come far enough to have one.
    pub(in crate::proxy) profile: Option<ProfileName>,
    pub(in crate::proxy) policy: PolicyId,
    pub(in crate::proxy) peer: Option<Peer>,
    pub(in crate::proxy) refused_certificate: Option<Box<RefusedCertificate>>,
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) target: Option<Target>,
    pub(in crate::proxy) status: Option<StatusCode>,
    pub(in crate::proxy) response_bytes: u64,
}

/// The outcome of a call in one word. Which errors are refusals is told by [`Kind::is_refusal`].
fn outcome(facts: &CallFacts, is_own: bool) -> Outcome {
    match (facts.error, facts.cache) {
        (Some(kind), _) if kind.is_refusal() => Outcome::Refused,
        (Some(_), _) => Outcome::Failed,
        (None, _) if is_own => Outcome::Forwarded,
        (
            None,
            Some(
                CacheResult::Hit
                | CacheResult::Stale
                | CacheResult::Collapsed
                | CacheResult::Shared,
            ),
        ) => Outcome::Cached,
        // The gateway answered by itself, without an error (`OPTIONS *`).
        (None, _) if facts.attempts == 0 => Outcome::Refused,
        (None, _) => Outcome::Forwarded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_closes_when_the_last_keeper_has_gone() {
        let id = RequestId::fresh();
        let trace = TraceContext::continue_or_begin(None, id);
        let context = CallContext::begin(SystemTime::now(), id, trace, false);
        let closed = Arc::new(AtomicU64::new(0));
        let close = || {
            let closed = Arc::clone(&closed);
            move |_: &CallContext| {
                closed.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (first, second) = (context.keep_open(), context.keep_open());
        context.close_with(close());
        drop(first);
        assert_eq!(closed.load(Ordering::Relaxed), 0);
        drop(second);
        assert_eq!(closed.load(Ordering::Relaxed), 1);
        context.close_with(close());
        assert_eq!(closed.load(Ordering::Relaxed), 2, "nobody keeps it open");
        drop(context.keep_open());
        assert_eq!(closed.load(Ordering::Relaxed), 2, "there is nothing to close");
    }

    #[test]
    fn the_outcome_of_an_error_does_not_depend_on_how_far_the_call_came() {
        for attempts in [0, 1] {
            let of = |error| {
                let facts = CallFacts { error: Some(error), attempts, ..CallFacts::default() };
                outcome(&facts, false)
            };
            assert_eq!(of(Kind::BodyTooLarge), Outcome::Refused);
            assert_eq!(of(Kind::CallerGone), Outcome::Failed);
            assert_eq!(of(Kind::CredentialsUnavailable), Outcome::Failed);
        }
        let cache = Some(CacheResult::Stale);
        let stale = CallFacts { attempts: 1, cache, ..CallFacts::default() };
        assert_eq!(outcome(&stale, false), Outcome::Cached);
        assert_eq!(outcome(&stale, true), Outcome::Forwarded);
    }
}
