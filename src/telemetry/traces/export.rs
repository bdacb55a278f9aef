//! Sends spans to the collector, in batches.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{SpanKind, Trace, TraceSpan};
use crate::{
    error::Chain,
    outbound::{
        Collector, CollectorSettings,
        otlp::{Signal, attribute, nanoseconds, request, text},
    },
};

/// Sends the spans of a [`Tracer`](super::Tracer).
#[derive(Debug)]
pub struct TraceExporter {
    collector: CollectorSettings,
    traces: mpsc::Receiver<Trace>,
}

impl TraceExporter {
    pub(super) fn new(collector: CollectorSettings, traces: mpsc::Receiver<Trace>) -> Self {
        Self { collector, traces }
    }

    /// Sends until `stop`, and then the traces that still wait.
    pub async fn run(mut self, stop: CancellationToken) {
        let collector = match Collector::new(&self.collector, Signal::Traces, BATCH_TIMEOUT) {
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
                let spans = batch.iter().flat_map(encode).collect::<Vec<_>>();
                let sent = collector
                    .send(request(Signal::Traces, "pigello-gateway", Vec::new(), &spans))
                    .await;
                match sent {
                    Ok(_) => failing = false,
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
fn encode(trace: &Trace) -> impl Iterator<Item = Value> {
    trace.spans.iter().map(|span| {
        let TraceSpan { id, parent, name, kind, began, ended, attributes, error } = span;
        let attributes = attributes.iter().map(|(key, value)| attribute(key, &text(value)));
        let attributes = attributes.chain(error.map(|error| attribute("error.type", &text(error))));
        json!({
            "traceId": format!("{:032x}", trace.trace_id),
            "spanId": format!("{id:016x}"),
            "parentSpanId": parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
            "name": &**name,
            "kind": match kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
            "startTimeUnixNano": nanoseconds(*began),
            "endTimeUnixNano": nanoseconds(*ended),
            "attributes": attributes.collect::<Vec<_>>(),
            "status": if error.is_some() { json!({ "code": 2 }) } else { json!({}) },
        })
    })
}

/// The traces of one request.
const BATCH: usize = 256;
const BATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How long the collector may take over one batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(2);
