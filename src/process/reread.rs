//! Files that are read again while the gateway runs.

use std::{
    error::Error as StdError,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::error::Chain;

/// Calls a function that reads files, on a thread where it may block, at intervals, until it is dropped.
pub async fn at_intervals(read: impl Fn() + Clone + Send + 'static) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        // One that panics is called again.
        let _ended = tokio::task::spawn_blocking(read.clone()).await;
    }
}

/// Logs what comes of reading a file again: each change, and the first of several failures.
#[derive(Debug)]
pub struct RereadLog {
    what: &'static str,
    file: PathBuf,
    is_failing: AtomicBool,
}

impl RereadLog {
    /// For that file. `what` it holds begins a sentence.
    pub fn new(what: &'static str, file: &Path) -> Self {
        Self { what, file: file.to_owned(), is_failing: AtomicBool::new(false) }
    }

    /// Notes an outcome: whether the file changed, or why what is in it cannot be used.
    pub fn note<E: StdError + 'static>(&self, outcome: &Result<bool, E>) {
        let was_failing = self.is_failing.swap(outcome.is_err(), Ordering::Relaxed);
        let (what, file) = (self.what, self.file.display());
        match outcome {
            Ok(true) => tracing::info!(%file, "{what} are read again"),
            Err(error) if !was_failing => {
                tracing::warn!(%file, error = %Chain(error), "{what} cannot be used; the old ones stay");
            }
            Ok(false) | Err(_) => {}
        }
    }
}

/// A renewed certificate can wait for days, a removed authority or a revoked certificate only for seconds.
const INTERVAL: Duration = Duration::from_secs(5);
