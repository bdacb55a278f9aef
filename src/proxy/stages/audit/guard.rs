//! Closes the record of a call exactly once.

use std::{pin::Pin, sync::Arc};

use http::{Method, StatusCode};

use super::listener::ListenerContext;
use crate::{
    audit::{Durability, Record, Target, Unwritable},
    domain::TraceContext,
    error::Kind,
    proxy::call::{CallContext, CallEnd},
    telemetry::{SpanKind, Trace, TraceSpan},
};

/// An open record. Dropping the guard closes the record, if it is still open, and releases the permits
/// of the call.
pub(super) struct RecordGuard {
    pub(super) context: CallContext,
    pub(super) listener: Arc<ListenerContext>,
    pub(super) method: Method,
    pub(super) target: Option<Target>,
    pub(super) status: Option<StatusCode>,
    pub(super) response_bytes: u64,
    pub(super) complete: bool,
    pub(super) closed: bool,
}

/// Completes when a record is in stable storage, or cannot be stored.
pub(super) type Stored = Pin<Box<dyn Future<Output = Result<(), Unwritable>> + Send>>;

impl RecordGuard {
    /// Whether responses wait for their records.
    pub(super) fn is_synced(&self) -> bool {
        self.listener.trail.durability() == Durability::Synced
    }

    /// Notes why the call failed. The first reason stays.
    pub(super) fn fail(&self, kind: Kind) {
        self.context.note(|facts| {
            facts.error.get_or_insert(kind);
        });
    }

    /// Closes the record of a complete response. The record is queued when this returns, whether or not
    /// the future is polled.
    pub(super) fn commit(&mut self) -> Stored {
        self.complete = true;
        let record = self.close();
        Box::pin(self.listener.trail.submit_synced(record))
    }

    /// Closes the record of a decided response, which the caller may never read.
    pub(super) fn submit(&mut self) {
        self.complete = true;
        let record = self.close();
        self.listener.trail.submit(record);
    }

    fn close(&mut self) -> Record {
        self.closed = true;
        let record = self.context.close(CallEnd {
            listener: self.listener.listener.clone(),
            profile: self.listener.profile.clone(),
            method: std::mem::take(&mut self.method),
            target: self.target.take(),
            status: self.status,
            response_bytes: self.response_bytes,
        });
        if let Some(spans) = self.context.spans() {
            let spans = spans.lock().take();
            self.listener.tracer.submit(trace(self.context.trace(), &record, spans));
        }
        self.listener.metrics.observe(&record);
        record
    }
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        self.context.release();
        if self.closed {
            return;
        }
        if !self.complete {
            // The caller left, unless there is an earlier reason.
            self.fail(Kind::CallerGone);
        }
        let record = self.close();
        self.listener.trail.submit(record);
    }
}

/// The trace of a call: its own span, which says what the record says, and the spans of its stages.
fn trace(context: TraceContext, record: &Record, stages: Vec<TraceSpan>) -> Trace {
    let mut attributes = vec![
        ("http.request.method", record.method.to_string()),
        ("pigello.request_id", record.request_id.to_string()),
        ("pigello.listener", record.listener.to_string()),
        ("pigello.profile", record.profile.to_string()),
        ("pigello.outcome", record.outcome.label().to_owned()),
        ("pigello.attempts", record.attempts.to_string()),
    ];
    attributes.extend(
        record.status.map(|status| ("http.response.status_code", status.as_str().to_owned())),
    );
    attributes.extend(record.caller.as_ref().map(|caller| ("pigello.caller", caller.to_string())));
    attributes.extend(record.cache.map(|cache| ("pigello.cache", cache.label().to_owned())));
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
