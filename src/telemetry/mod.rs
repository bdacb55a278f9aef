//! What the gateway tells about itself: metrics and logs.

mod logs;
mod metrics;

pub use logs::{LogFormat, LogSettings, init as init_logs};
pub use metrics::Metrics;
