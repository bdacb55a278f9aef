//! Distributed traces: one span for a call and one for each stage it passed, sent to an OpenTelemetry
//! collector (OTLP over HTTP, JSON).
//!
//! Only calls whose caller asked for it are traced (the `sampled` flag of W3C Trace Context §3.2.2.5),
//! so whoever begins a trace decides what is kept, and all others cost one comparison. A collector that
//! is away or slow costs spans, never a call.

mod export;
mod otlp;

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::sync::mpsc;

pub use export::Exporter;

use crate::domain::Origin;

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
    pub spans: Vec<Span>,
}

/// What one part of a call took.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its number; never 0.
    pub id: u64,
    /// The span it is part of.
    pub parent: Option<u64>,
    /// The stage, or the operation.
    pub name: Arc<str>,
    /// Which way it looks.
    pub kind: SpanKind,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What is known of it, by the names of the semantic conventions.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed: the label that the audit trail has in `error`.
    pub error: Option<&'static str>,
}

/// Which way a span looks (OTLP `SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Inside the gateway.
    Internal,
    /// Towards the caller.
    Server,
    /// Towards Pigello.
    Client,
}

impl Tracer {
    /// A tracer, and what sends its spans to that collector once it runs.
    pub fn to(collector: Origin) -> (Self, Exporter) {
        let (sender, receiver) = mpsc::channel(WAITING_TRACES);
        (Self { spans: Some(sender) }, Exporter::new(collector, receiver))
    }

    /// Whether spans go anywhere.
    pub fn is_on(&self) -> bool {
        self.spans.is_some()
    }

    /// Hands over the spans of a call. Never waits: where there is no room, they are dropped.
    pub fn submit(&self, trace: Trace) {
        if let Some(spans) = &self.spans
            && spans.try_send(trace).is_err()
        {
            tracing::debug!("the spans of a call are dropped: the collector is too slow");
        }
    }
}

/// The spans of a call that is under way.
#[derive(Debug)]
pub struct Stages {
    began: Instant,
    time: SystemTime,
    root: u64,
    open: Vec<u64>,
    done: Vec<Span>,
}

impl Stages {
    /// Of a call with that span, which begins now.
    pub fn begin(root: u64) -> Self {
        let (began, time) = (Instant::now(), SystemTime::now());
        Self { began, time, root, open: Vec::new(), done: Vec::new() }
    }

    /// Enters a stage: the number of its span.
    pub fn enter(&mut self) -> u64 {
        let id = fastrand::u64(1..);
        self.open.push(id);
        id
    }

    /// Leaves a stage that was entered at `began`. Stages are nested, so whatever was entered after it
    /// has been left.
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
        self.done.push(Span {
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

    /// What was left, to be sent together with the call's own span.
    pub fn take(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.done)
    }
}

/// The stage that looks towards Pigello.
pub const ATTEMPT: &str = "attempt";
/// Calls whose spans wait for the collector; more are dropped.
const WAITING_TRACES: usize = 1024;
