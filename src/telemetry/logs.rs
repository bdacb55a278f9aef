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
    let filter = EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::INFO.into())
        .parse_lossy(QUIET.to_owned() + &settings.level);
    let registry = tracing_subscriber::registry().with(filter);
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

/// h2 warns of each `PING` acknowledgement that it did not ask for, so a caller could fill the log.
const QUIET: &str = "h2::proto::ping_pong=error,";
