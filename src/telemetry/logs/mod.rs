//! The log, for operators. Calls are on the audit trail instead.
//!
//! ```text
//! event ─ filter (level) ─ repeats (one line a second and kind) ─ format ─ queue ─ thread `log` ─ standard error
//! ```
//!
//! A thread that logs never waits for the reader of the log. A reader that is too slow loses lines, which are
//! counted and told.

mod format;
mod queue;
mod repeats;

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter,
    filter::LevelFilter,
    fmt,
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use self::{
    format::{EscapedJson, escaped_fields},
    queue::{LineWriter, Queue},
    repeats::Repeats,
};

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object in each line.
    Json,
    /// For people, with colours on a terminal.
    Pretty,
}

impl LogFormat {
    /// The format where none is configured: for people if standard error is a terminal.
    fn of_standard_error() -> Self {
        if io::stderr().is_terminal() { Self::Pretty } else { Self::Json }
    }
}

/// Level and format of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format of lines, if it is configured; else `pretty` on a terminal and `json` elsewhere.
    pub format: Option<LogFormat>,
    /// A level, or directives like `info,pigello_gateway=debug`.
    pub level: String,
}

/// The log of this process.
struct Log {
    format: Option<LogFormat>,
    queue: Arc<Queue>,
    repeats: Arc<Repeats>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts logging to standard error, for the life of the process. A second call has no effect.
pub fn init(settings: &LogSettings) -> io::Result<()> {
    let (queue, repeats) = (Arc::new(Queue::default()), Arc::new(Repeats::default()));
    let registry = tracing_subscriber::registry().with(filter(&settings.level));
    let registry = registry.with(repeats::AsLayer(Arc::clone(&repeats)));
    let writer = LineWriter(Arc::clone(&queue));
    let started: Result<(), TryInitError> =
        match settings.format.unwrap_or_else(LogFormat::of_standard_error) {
            LogFormat::Json => {
                let lines = fmt::layer().json().flatten_event(true);
                registry.with(lines.with_writer(EscapedJson(writer))).try_init()
            }
            LogFormat::Pretty => {
                let lines = fmt::layer().compact().with_ansi(io::stderr().is_terminal());
                let lines = lines.fmt_fields(escaped_fields()).with_writer(writer);
                registry.with(lines).try_init()
            }
        };
    if started.is_err() {
        tracing::debug!("logging was started before");
        return Ok(());
    }
    // A descriptor of its own: a thread that waits in a write to `io::stderr` would hold its lock.
    let out = queue::standard_error()?;
    thread::Builder::new().name("log".to_owned()).spawn({
        let (queue, repeats) = (Arc::clone(&queue), Arc::clone(&repeats));
        move || queue.write_to(out, &repeats)
    })?;
    // It was not set before, because the subscriber was not.
    let _new = LOG.set(Log { format: settings.format, queue, repeats });
    Ok(())
}

/// The format that is configured for the log, once it has been started.
pub fn format() -> Option<LogFormat> {
    LOG.get().and_then(|log| log.format)
}

/// Lines that were dropped since the start, because their reader was too slow or gone.
pub fn dropped_lines() -> u64 {
    LOG.get().map_or(0, |log| log.queue.dropped())
}

/// The newest lines of the log, without colours: some hundred.
pub fn recent_lines() -> String {
    LOG.get().map(|log| log.queue.recent()).unwrap_or_default()
}

/// Waits until all lines are written, for a second at most. Returns false if the reader does not read.
pub fn flush() -> bool {
    let Some(log) = LOG.get() else { return true };
    log.repeats.tell_all();
    log.queue.flush(LONGEST_FLUSH)
}

/// The last lines matter, and the end of the process more.
const LONGEST_FLUSH: Duration = Duration::from_secs(1);

/// A plain `debug` is for the gateway's own lines: those of libraries are about frames and buffers. `trace` has
/// everything, and directives have what they name.
fn filter(level: &str) -> EnvFilter {
    let level = match level.parse() {
        Ok(LevelFilter::DEBUG) => "warn,pigello_gateway=debug",
        _ => level,
    };
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
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

    #[test]
    fn debug_is_for_the_gateways_own_lines_unless_a_library_is_named() {
        let is_on = |level: &str| {
            let lines = tracing_subscriber::registry().with(filter(level));
            tracing::subscriber::with_default(lines, || {
                let libraries = [
                    enabled!(target: "h2::codec::framed_read", Level::DEBUG),
                    enabled!(target: "hyper_util::client", Level::DEBUG),
                    enabled!(target: "rustls::server::hs", Level::DEBUG),
                    enabled!(target: "mio::poll", Level::DEBUG),
                ];
                (enabled!(target: "pigello_gateway::proxy", Level::DEBUG), libraries)
            })
        };
        assert_eq!(is_on("info"), (false, [false; 4]));
        assert_eq!(is_on("debug"), (true, [false; 4]));
        assert_eq!(is_on("DEBUG"), (true, [false; 4]));
        assert_eq!(is_on("debug,mio=info"), (true, [true, true, true, false]));
        assert_eq!(is_on("info,rustls=debug"), (false, [false, false, true, false]));
        assert_eq!(is_on("trace"), (true, [true; 4]));
    }
}
