//! The log, for operators. Calls are on the audit trail instead.

use std::io::IsTerminal as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object in each line.
    Json,
    /// For people, with colours on a terminal.
    Pretty,
}

/// Level and format of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format of lines.
    pub format: LogFormat,
    /// A level, or directives like `info,pigello_gateway=debug`.
    pub level: String,
}

/// Starts logging to standard error, for the life of the process. A second call has no effect.
pub fn init(settings: &LogSettings) {
    let registry = tracing_subscriber::registry().with(filter(&settings.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let result = match settings.format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Pretty => {
            registry.with(lines.compact().with_ansi(std::io::stderr().is_terminal())).try_init()
        }
    };
    if result.is_err() {
        tracing::debug!("logging was started before");
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::INFO.into())
        .parse_lossy(QUIET.to_owned() + level)
}

/// h2 warns of each `PING` acknowledgement that it did not ask for, so a caller could fill the log.
const QUIET: &str = "h2::proto::ping_pong=error,";

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn a_caller_cannot_fill_the_log_with_pings() {
        for level in ["info", "warn", "debug", "info,pigello_gateway=debug"] {
            let lines = tracing_subscriber::registry().with(filter(level));
            tracing::subscriber::with_default(lines, || {
                assert!(!enabled!(target: "h2::proto::ping_pong", Level::WARN), "{level}");
                assert!(enabled!(target: "h2::proto::ping_pong", Level::ERROR), "{level}");
                assert!(enabled!(target: "h2::proto::streams", Level::WARN), "{level}");
            });
        }
    }
}
