//! Closes a record exactly once.

use std::{pin::Pin, sync::Arc};

use http::{Method, StatusCode};

use super::open::ListenerContext;
use crate::{
    audit::{Durability, Record, Target, Unwritable},
    domain::TraceContext,
    error::Kind,
    proxy::call::{ActiveCall, CallContext, CallEnd},
    telemetry::{Span, SpanKind, Trace},
};

/// Holds a record open; dropping it closes the record, if it is not closed yet.
pub(super) struct Guard {
    pub(super) context: CallContext,
    pub(super) edges: Arc<ListenerContext>,
    pub(super) method: Method,
    pub(super) target: Option<Target>,
    pub(super) status: Option<StatusCode>,
    pub(super) response_bytes: u64,
    pub(super) complete: bool,
    pub(super) closed: bool,
    /// The connection is busy until the answer is handed over.
    pub(super) _active: ActiveCall,
}

/// Ready when a record is in stable storage, or cannot be.
pub(super) type Committing = Pin<Box<dyn Future<Output = Result<(), Unwritable>> + Send>>;

impl Guard {
    /// Whether answers wait for their records.
    pub(super) fn is_synced(&self) -> bool {
        self.edges.trail.durability() == Durability::Synced
    }

    /// Notes what went wrong, if nothing did before.
    pub(super) fn fail(&self, kind: Kind) {
        self.context.note(|facts| {
            facts.error.get_or_insert(kind);
        });
    }

    /// Closes the record of an answer that is whole. It is queued when this returns, whatever
    /// becomes of the future.
    pub(super) fn commit(&mut self) -> Committing {
        self.complete = true;
        let record = self.close();
        Box::pin(self.edges.trail.submit_synced(record))
    }

    fn close(&mut self) -> Record {
        self.closed = true;
        let record = self.context.close(CallEnd {
            listener: self.edges.listener.clone(),
            profile: self.edges.profile.clone(),
            method: std::mem::take(&mut self.method),
            target: self.target.take(),
            status: self.status,
            response_bytes: self.response_bytes,
        });
        if let Some(stages) = self.context.spans() {
            let spans = stages.lock().take();
            self.edges.tracer.submit(trace(self.context.trace(), &record, spans));
        }
        self.edges.metrics.observe(&record);
        record
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if !self.complete {
            // Whatever failed first is the reason; a caller that left is only one if nothing did.
            self.fail(Kind::CallerGone);
        }
        let record = self.close();
        self.edges.trail.submit(record);
    }
}

/// The call's own span, and those of its stages. What it says is what the record says.
fn trace(context: TraceContext, record: &Record, stages: Vec<Span>) -> Trace {
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
    let call = Span {
        id: context.span_id(),
        parent: context.parent_id(),
        name: match &record.operation {
            Some(operation) => Arc::clone(operation.shared()),
            None => "none".into(),
        },
        kind: SpanKind::Server,
        began: record.time,
        ended: record.time + record.duration,
        attributes,
        error: record.error,
    };
    let mut spans = vec![call];
    spans.extend(stages);
    Trace { trace_id: context.trace_id(), spans }
}
