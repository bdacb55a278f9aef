//! Exports the audit log to an OpenTelemetry collector (OTLP over HTTP, JSON).
//!
//! The exporter reads the log's files like any other reader. It sends in order what is in stable
//! storage, and writes its position to disk when the collector has taken a batch. So every line arrives
//! at least once, no call waits for a collector, and one that is away delays the export only. A file is
//! not deleted before it is exported.
//!
//! The body of a log record is the line itself, so that the receiver can check the chain.

mod log_record;
mod position;
mod reader;
mod source;

use std::{
    error::Error as StdError,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use self::{position::Position, reader::BatchReader, source::LineSource};
use super::{queue::RecordQueue, read::TrailReadError};
use crate::{
    error::Chain,
    outbound::{
        Backoff, ClientSetupError, Collector, CollectorSettings,
        otlp::{Signal, request},
    },
};

/// How far the export has come.
#[derive(Debug, Default)]
pub(super) struct ExportProgress {
    /// The last line that the collector took.
    pub(super) seq: AtomicU64,
    pub(super) failing: AtomicBool,
}

/// The exporter's thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct TrailExporter {
    #[expect(dead_code, reason = "its end is the signal")]
    end: watch::Sender<()>,
    progress: Arc<ExportProgress>,
}

impl TrailExporter {
    pub(super) fn start(
        directory: &Path,
        collector: &CollectorSettings,
        shared: Arc<RecordQueue>,
    ) -> Result<Self, ExportError> {
        let position = Position::open(directory).map_err(ExportError::Position)?;
        let progress = Arc::new(ExportProgress::default());
        progress.seq.store(position.seq(), Ordering::Relaxed);
        let mut export = Export {
            reader: BatchReader::new(directory, position.seq()),
            source: position.source().clone(),
            position,
            collector: Collector::new(collector, Signal::Logs, BATCH_TIMEOUT)?,
            shared,
            progress: Arc::clone(&progress),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        };
        let (end, mut ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ExportError::Start)?;
        thread::Builder::new()
            .name("audit-export".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        // The sender is only ever dropped.
                        _ = ended.changed() => {}
                        () = export.run() => {}
                    }
                });
            })
            .map_err(ExportError::Start)?;
        Ok(Self { end, progress })
    }

    /// Ends the export once the collector has everything up to a line. Does not wait for a collector
    /// that fails or is too slow.
    pub(super) fn finish(self, last: u64) {
        let end = Instant::now() + FINISH_TIMEOUT;
        let behind = || self.progress.seq.load(Ordering::Relaxed) < last;
        let failing = || self.progress.failing.load(Ordering::Relaxed);
        while behind() && !failing() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn progress(&self) -> &Arc<ExportProgress> {
        &self.progress
    }
}

struct Export {
    reader: BatchReader,
    source: LineSource,
    position: Position,
    collector: Collector,
    shared: Arc<RecordQueue>,
    progress: Arc<ExportProgress>,
    backoff: Backoff,
}

impl Export {
    async fn run(&mut self) {
        loop {
            let stable = self.shared.synced_seq.load(Ordering::Relaxed);
            let pause = match self.reader.next(BATCH, stable) {
                Ok(lines) if lines.is_empty() => POLL_INTERVAL,
                Ok(lines) => {
                    // A request is of one source, and a `start` may begin another.
                    let is_of_one =
                        |_: &Vec<u8>, next: &Vec<u8>| LineSource::begins_at(next).is_none();
                    for lines in lines.chunk_by(is_of_one) {
                        self.send(lines).await;
                    }
                    self.delivered();
                    continue;
                }
                Err(error) => self.failed(&error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends lines of one source.
    async fn send(&mut self, lines: &[Vec<u8>]) {
        if let Some(source) = lines.first().and_then(|line| LineSource::begins_at(line)) {
            self.source = source;
        }
        let records: Vec<_> = lines.iter().filter_map(|line| log_record::encode(line)).collect();
        let (scope, source) = ("pigello-gateway.audit", self.source.attributes());
        self.deliver(request(Signal::Logs, scope, source, &records)).await;
    }

    /// Sends one batch until the collector has taken it.
    async fn deliver(&mut self, batch: Bytes) {
        loop {
            match self.collector.send(batch.clone()).await {
                Ok(0) => return,
                Ok(rejected) => {
                    tracing::error!(
                        rejected,
                        "the collector took a batch but not all of its records"
                    );
                    return;
                }
                Err(error) => {
                    let pause = self.failed(&error).max(error.retry_after().min(LONGEST_PAUSE));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The collector has everything that was read.
    fn delivered(&mut self) {
        self.backoff.reset();
        if self.progress.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit trail is exported again");
        }
        let seq = self.reader.last_seq();
        match self.position.write(seq, &self.source) {
            Ok(()) => self.progress.seq.store(seq, Ordering::Relaxed),
            // Some lines will arrive twice, which "at least once" allows.
            Err(error) => tracing::warn!(%error, "the export's position cannot be kept"),
        }
    }

    /// Logs the first failure of a series, and returns the pause before the next attempt.
    fn failed(&mut self, error: &(dyn StdError + 'static)) -> Duration {
        if !self.progress.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                reason = %Chain(error),
                "the audit trail cannot be exported; it is tried again"
            );
        }
        self.backoff.pause()
    }
}

/// Why an export cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its position cannot be read.
    #[error("the position of the audit export cannot be read")]
    Position(#[source] io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] TrailReadError),
    /// The collector cannot be called.
    #[error("the collector cannot be called")]
    Client(#[from] ClientSetupError),
    /// Its thread cannot be started.
    #[error("the audit export cannot be started")]
    Start(#[source] io::Error),
}

/// The lines of one request: some 600 KiB.
const BATCH: usize = 512;
/// The pause between two reads once everything is exported.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long the collector may take over one batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a gateway that ends waits for the collector. The next process sends the rest.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
