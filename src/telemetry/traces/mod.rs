//! Distributed traces: one span for a call and one for each stage that it passed, sent to an
//! OpenTelemetry collector (OTLP over HTTP).
//!
//! Only calls whose caller sets the `sampled` flag (W3C Trace Context §3.2.2.5) are traced; all others
//! cost one comparison. While a collector is away or slow, spans are dropped, and no call waits.

mod export;

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::sync::mpsc;

pub use export::TraceExporter;

use crate::outbound::CollectorSettings;

/// Where spans go; by default nowhere.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    spans: Option<mpsc::Sender<Trace>>,
}

/// The spans of one call.
#[derive(Debug)]
pub struct Trace {
    /// The trace's number.
    pub trace_id: u128,
    /// The call's own span first.
    pub spans: Vec<TraceSpan>,
}

/// One part of a call.
#[derive(Clone, Debug)]
pub struct TraceSpan {
    /// Its number; never 0.
    pub id: u64,
    /// The span it is part of.
    pub parent: Option<u64>,
    /// The stage, or the operation.
    pub name: Arc<str>,
    /// Whom it faces.
    pub kind: SpanKind,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// Attributes, named by the semantic conventions.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// Why it failed: the label in the audit record's `error`.
    pub error: Option<&'static str>,
}

/// The value of an attribute. The semantic conventions say which type each has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for AttributeValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

/// Whom a span faces (OTLP `SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Nobody: work inside the gateway.
    Internal,
    /// The caller.
    Server,
    /// Pigello.
    Client,
}

impl Tracer {
    /// A tracer, and the exporter that sends its spans to that collector, as from `instance`.
    pub fn to(collector: CollectorSettings, instance: String) -> (Self, TraceExporter) {
        let (sender, receiver) = mpsc::channel(WAITING_TRACES);
        (Self { spans: Some(sender) }, TraceExporter::new(collector, instance, receiver))
    }

    /// Whether spans go anywhere.
    pub fn is_on(&self) -> bool {
        self.spans.is_some()
    }

    /// Queues the spans of a call. Never waits: drops them if the queue is full.
    pub fn submit(&self, trace: Trace) {
        if let Some(spans) = &self.spans
            && spans.try_send(trace).is_err()
        {
            tracing::debug!("the spans of a call are dropped: the collector is too slow");
        }
    }
}

/// The spans of a call in progress.
#[derive(Debug)]
pub struct Stages {
    began: Instant,
    time: SystemTime,
    root: u64,
    open: Vec<u64>,
    done: Vec<TraceSpan>,
}

impl Stages {
    /// The stages of a call that begins now; `root` is the call's own span.
    pub fn begin(root: u64) -> Self {
        let (began, time) = (Instant::now(), SystemTime::now());
        Self { began, time, root, open: Vec::new(), done: Vec::new() }
    }

    /// Enters a stage. Returns the number of its span.
    pub fn enter(&mut self) -> u64 {
        let id = fastrand::u64(1..);
        self.open.push(id);
        id
    }

    /// Leaves a stage that was entered at `began`, and all stages inside it.
    pub fn leave(
        &mut self,
        id: u64,
        stage: &'static str,
        began: Instant,
        error: Option<&'static str>,
    ) {
        if let Some(at) = self.open.iter().position(|open| *open == id) {
            self.open.truncate(at);
        }
        let kind = if stage == ATTEMPT { SpanKind::Client } else { SpanKind::Internal };
        self.done.push(TraceSpan {
            id,
            parent: Some(self.open.last().copied().unwrap_or(self.root)),
            name: stage.into(),
            kind,
            began: self.time + began.saturating_duration_since(self.began),
            ended: self.time + self.began.elapsed(),
            attributes: Vec::new(),
            error,
        });
    }

    /// The spans of the stages that were left.
    pub fn take(&mut self) -> Vec<TraceSpan> {
        std::mem::take(&mut self.done)
    }
}

/// The stage whose span faces Pigello.
pub const ATTEMPT: &str = "attempt";
/// The length of the queue, in calls.
const WAITING_TRACES: usize = 1024;
