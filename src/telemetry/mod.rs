//! Metrics, logs and traces.

mod activity;
pub mod chart;
mod exposition;
mod logs;
mod metrics;
mod profiles;
mod series;
mod table;
mod traces;

pub use activity::{
    Activity, Answers, Cause, Counts, Pair, Period, Stretch, Summary, Times, Trouble,
};
pub use exposition::TextFormat;
pub use logs::{
    LogFormat, LogSettings, dropped_lines as dropped_log_lines, flush as flush_log,
    format as log_format, init as init_logs, recent_lines as recent_log_lines,
};
pub use metrics::{ConnectionMetrics, Metrics};
pub use profiles::{OTHER, ProfileCalls, ProfileMetrics};
pub use table::{Described, METRICS, meaning, metrics_page};
pub use traces::{
    ATTEMPT, AttributeValue, SpanKind, Stages, Trace, TraceExporter, TraceSpan, Tracer,
};
