//! What the gateway tells about itself: metrics, logs and traces.

mod logs;
mod metrics;
mod table;
mod traces;

pub use logs::{LogFormat, LogSettings, init as init_logs};
pub use metrics::Metrics;
pub use table::{Described, METRICS, metrics_page};
pub use traces::{ATTEMPT, Exporter, Span, SpanKind, Stages, Trace, Tracer};
