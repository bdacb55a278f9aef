//! What the records of one listener have in common.

use std::{sync::Arc, time::SystemTime};

use http::Method;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::{CacheResult, Record, Trail},
    domain::{ListenerName, PolicyId, ProblemBase, ProfileName, RequestId, TraceContext},
    error::Kind,
    proxy::call::{CallContext, CallEnd, RefusedConnection},
    telemetry::{AttributeValue, Metrics, SpanKind, Trace, TraceSpan, Tracer},
};

/// The common part of one listener's records, and where they go.
#[derive(Clone, Debug)]
pub struct ListenerContext {
    /// The listener's name.
    pub listener: ListenerName,
    /// The profile of its calls, if it is the same for all.
    pub profile: Option<ProfileName>,
    /// The configuration that it is part of.
    pub policy: PolicyId,
    /// The beginning of each problem type.
    pub problem_base: ProblemBase,
    /// The trail.
    pub trail: Trail,
    /// Takes the spans of traced calls.
    pub tracer: Tracer,
    /// The metrics, which count the same records.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the gateway cuts off the calls that are left at the end of its drain.
    pub cut: CancellationToken,
}

impl ListenerContext {
    /// Records a connection that was refused before it had a request.
    pub fn refused(&self, refused: RefusedConnection) {
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let context =
            CallContext::begin(time, id, TraceContext::continue_or_begin(None, id), false);
        context.note(|facts| facts.error = Some(refused.kind));
        let end = CallEnd {
            peer: Some(refused.peer),
            refused_certificate: refused.certificate,
            // There is no request and so no method.
            ..self.call_end(Method::from_bytes(b"-").unwrap_or_default())
        };
        self.trail.submit(self.record(&context, end));
    }

    /// The end of a call of which no more is known.
    pub(super) fn call_end(&self, method: Method) -> CallEnd {
        CallEnd {
            listener: self.listener.clone(),
            profile: self.profile.clone(),
            policy: self.policy,
            peer: None,
            refused_certificate: None,
            method,
            target: None,
            status: None,
            response_bytes: 0,
        }
    }

    /// Closes the record of a call: counts it, and passes the call's spans on.
    pub(super) fn record(&self, context: &CallContext, end: CallEnd) -> Record {
        let record = context.close(end);
        if let Some(spans) = context.spans() {
            let spans = spans.lock().take();
            self.tracer.submit(trace(context.trace(), &record, spans));
        }
        self.metrics.observe(&record);
        log(&record);
        record
    }

    /// Why a call ended in the middle.
    pub(super) fn interruption(&self) -> Kind {
        if self.cut.is_cancelled() { Kind::Stopping } else { Kind::CallerGone }
    }
}

/// A line for each call, at `debug`. Neither a path nor a query is in it.
fn log(record: &Record) {
    tracing::debug!(
        request_id = %record.request_id,
        listener = %record.listener,
        caller = record.caller.as_deref(),
        profile = record.profile.as_ref().map(ProfileName::as_str),
        operation = record.operation.as_deref(),
        method = %record.method,
        status = record.status.map(|status| status.as_u16()),
        outcome = record.outcome.label(),
        cache = record.cache.map(CacheResult::label),
        kind = record.error,
        attempts = record.attempts,
        duration_us = u64::try_from(record.duration.as_micros()).ok(),
        "call"
    );
}

/// The trace of a call: its own span, which says what the record says, and the spans of its stages.
fn trace(context: TraceContext, record: &Record, stages: Vec<TraceSpan>) -> Trace {
    let mut attributes: Vec<(_, AttributeValue)> = vec![
        ("http.request.method", record.method.as_str().into()),
        ("pigello.request_id", record.request_id.to_string().into()),
        ("pigello.listener", record.listener.as_str().into()),
        ("pigello.outcome", record.outcome.label().into()),
        ("pigello.attempts", record.attempts.into()),
    ];
    let profile = record.profile.as_ref().map(|profile| profile.as_str().into());
    attributes.extend(profile.map(|profile| ("pigello.profile", profile)));
    let status = record.status.map(|status| u32::from(status.as_u16()));
    attributes.extend(status.map(|status| ("http.response.status_code", status.into())));
    attributes.extend(record.caller.as_deref().map(|caller| ("pigello.caller", caller.into())));
    attributes.extend(record.cache.map(|cache| ("pigello.cache", cache.label().into())));
    let call = TraceSpan {
        id: context.span_id(),
        parent: context.parent_id(),
        name: match &record.operation {
            Some(operation) => Arc::clone(operation.shared()),
            None => "none".into(),
        },
        kind: SpanKind::Server,
        began: record.time,
        ended: record.time.checked_add(record.duration).unwrap_or(record.time),
        attributes,
        error: record.error,
    };
    let mut spans = vec![call];
    spans.extend(stages);
    Trace { trace_id: context.trace_id(), spans }
}
