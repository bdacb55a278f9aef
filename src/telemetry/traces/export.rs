//! Sends spans to the collector, in batches.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{AttributeValue, SpanKind, Trace, TraceSpan};
use crate::{
    error::Chain,
    outbound::{
        Collector, CollectorSettings,
        otlp::{AnyKind, AnyValue, KeyValue, Span, Status, nanoseconds, request},
    },
};

/// Sends the spans of a [`Tracer`](super::Tracer).
#[derive(Debug)]
pub struct TraceExporter {
    collector: CollectorSettings,
    /// The name of this gateway.
    instance: String,
    traces: mpsc::Receiver<Trace>,
}

impl TraceExporter {
    pub(super) fn new(
        collector: CollectorSettings,
        instance: String,
        traces: mpsc::Receiver<Trace>,
    ) -> Self {
        Self { collector, instance, traces }
    }

    /// Sends until `stop`, and then the traces that still wait.
    pub async fn run(mut self, stop: CancellationToken) {
        let collector = match Collector::new(&self.collector, BATCH_TIMEOUT) {
            Ok(collector) => collector,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "traces cannot be sent");
                return;
            }
        };
        let mut failing = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            let stopping = tokio::select! {
                taken = self.traces.recv_many(&mut batch, BATCH) => taken == 0,
                () = stop.cancelled() => {
                    while batch.len() < BATCH && let Ok(trace) = self.traces.try_recv() {
                        batch.push(trace);
                    }
                    true
                }
            };
            if !batch.is_empty() {
                let spans = batch.iter().flat_map(encode).collect();
                let instance = AnyValue::text(self.instance.as_str());
                let source = vec![KeyValue::new("service.instance.id", instance)];
                match collector.send(&request("pigello-gateway", source, spans)).await {
                    Ok(left_out) if left_out.rejected > 0 && !failing => {
                        failing = true;
                        tracing::warn!(
                            rejected = left_out.rejected,
                            "the collector did not take all spans of a request"
                        );
                    }
                    Ok(left_out) => failing &= left_out.rejected > 0,
                    // Logged once a series of failures: a log is not a counter.
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(error = %Chain(&error), "traces cannot be sent");
                    }
                    Err(_) => {}
                }
            }
            if stopping {
                return;
            }
            // Waits for more traces, because a larger batch costs less.
            tokio::select! {
                () = tokio::time::sleep(BATCH_INTERVAL) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// The spans of a call as OTLP has them.
fn encode(trace: &Trace) -> impl Iterator<Item = Span> {
    trace.spans.iter().map(|span| {
        let TraceSpan { id, parent, name, kind, began, ended, attributes, error } = span;
        let error_type = error.map(|error| KeyValue::new("error.type", AnyValue::text(error)));
        let attributes = attributes.iter().map(|(key, value)| {
            let value = match value {
                AttributeValue::Text(text) => AnyValue::text(text.as_str()),
                AttributeValue::Number(number) => AnyKind::Integer(*number).into(),
            };
            KeyValue::new(*key, value)
        });
        Span {
            trace_id: trace.trace_id.to_be_bytes().to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
            name: name.to_string(),
            kind: match kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
            start_time_unix_nano: nanoseconds(*began),
            end_time_unix_nano: nanoseconds(*ended),
            attributes: attributes.chain(error_type).collect(),
            status: error.is_some().then_some(Status { code: 2 }),
        }
    })
}

/// The traces of one request.
const BATCH: usize = 256;
const BATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How long the collector may take over one batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(2);
