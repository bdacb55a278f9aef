//! What the gateway tells about itself: metrics and logs.

mod logs;
mod metrics;
mod table;

pub use logs::{LogFormat, LogSettings, init as init_logs};
pub use metrics::Metrics;
pub use table::{Described, METRICS, metrics_page};
