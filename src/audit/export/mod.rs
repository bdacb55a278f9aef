//! Exports the audit log to an OpenTelemetry collector (OTLP over HTTP).
//!
//! The exporter reads the log's files like any other reader. It sends in order what is in stable
//! storage, and writes its position to disk when the collector has taken a batch. So every line arrives
//! at least once, no call waits for a collector, and one that is away delays the export only. A file is
//! not deleted before the collector has had it: what it has taken counts at once, also where the disk has no
//! room for the position.
//!
//! Only what may pass is repeated. What the collector refuses for good is marked on the trail, and the export
//! goes on with the lines behind it; [`resend`] sends such lines again.
//!
//! The body of a log record is the line itself, so that the receiver can check the chain.

mod delivery;
mod log_record;
mod position;
mod reader;
mod rejections;
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

use parking_lot::Mutex;
use tokio::sync::watch;

use self::{
    delivery::{BATCH, Delivery},
    position::Position,
    reader::{BatchReader, StableLine},
    rejections::Rejections,
    source::LineSource,
};
use super::{
    encode::{Notice, Rejection},
    lines::TrailReadError,
    queue::RecordQueue,
    readers::Readers,
};
use crate::{
    error::Chain,
    outbound::{Backoff, ClientSetupError, Collector, CollectorError, CollectorSettings},
};

/// How far the export has come.
#[derive(Debug)]
pub(super) struct ExportProgress {
    /// The last line that the collector took, or refused for good.
    seq: AtomicU64,
    failing: AtomicBool,
    rejected: AtomicU64,
    /// When the collector had all there was.
    up_to: Mutex<Instant>,
}

impl ExportProgress {
    pub(super) fn new(seq: u64) -> Self {
        Self {
            seq: seq.into(),
            failing: AtomicBool::new(false),
            rejected: AtomicU64::new(0),
            up_to: Mutex::new(Instant::now()),
        }
    }

    /// The last line that the collector took, or refused for good.
    pub(super) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// Whether the last attempt failed, and is repeated.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// How many lines the collector has refused for good.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// How old the oldest line is that the collector has not had, at most.
    pub(super) fn lag(&self, last_seq: u64) -> Duration {
        if self.seq() >= last_seq { Duration::ZERO } else { self.up_to.lock().elapsed() }
    }
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
        readers: Readers,
        collector: &CollectorSettings,
        queue: Arc<RecordQueue>,
    ) -> Result<Self, ExportError> {
        let position = Position::open(directory, readers).map_err(ExportError::Position)?;
        let progress = Arc::new(ExportProgress::new(position.seq()));
        let mut export = Export {
            reader: BatchReader::new(directory, position.seq()),
            delivery: Delivery::new(
                Collector::new(collector, BATCH_TIMEOUT)?,
                position.source().clone(),
            ),
            position,
            queue,
            progress: Arc::clone(&progress),
            rejections: Rejections::default(),
            position_failed: false,
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
        let progress = &self.progress;
        while progress.seq() < last && !progress.is_failing() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn progress(&self) -> &Arc<ExportProgress> {
        &self.progress
    }
}

struct Export {
    reader: BatchReader,
    position: Position,
    delivery: Delivery,
    queue: Arc<RecordQueue>,
    progress: Arc<ExportProgress>,
    rejections: Rejections,
    position_failed: bool,
    backoff: Backoff,
}

impl Export {
    async fn run(&mut self) {
        loop {
            let looked = Instant::now();
            let stable = self.queue.synced_seq.load(Ordering::Relaxed);
            let pause = match self.reader.next(BATCH, stable) {
                Ok(lines) => {
                    self.deliver(&lines).await;
                    if lines.len() == BATCH {
                        continue;
                    }
                    *self.progress.up_to.lock() = looked;
                    POLL_INTERVAL
                }
                Err(error) => self.failed(&error),
            };
            let due = self.rejections.due(Instant::now());
            self.mark(due);
            self.keep_position(self.progress.seq());
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends the lines until the collector has taken each, or refused it for good.
    async fn deliver(&mut self, mut lines: &[StableLine]) {
        while !lines.is_empty() {
            match self.delivery.send(lines).await {
                Ok((count, rejection)) => {
                    let (done, rest) = lines.split_at(count);
                    self.done(done, rejection);
                    lines = rest;
                }
                Err(error) => {
                    let asked = error.retry_after().min(LONGEST_RETRY_AFTER);
                    tokio::time::sleep(self.failed(&error).max(asked)).await;
                }
            }
        }
    }

    /// The collector has had these lines.
    fn done(&mut self, lines: &[StableLine], rejection: Option<Rejection>) {
        self.backoff.reset();
        if self.progress.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the collector answers again");
        }
        let rejected = rejection.as_ref().map_or(0, |rejection| rejection.records);
        self.progress.rejected.fetch_add(rejected, Ordering::Relaxed);
        let marker = self.rejections.note(lines, rejection, Instant::now());
        self.mark(marker);
        if let Some(last) = lines.last() {
            // In this order, because a gateway that ends waits for the progress only.
            self.keep_position(last.seq);
            self.progress.seq.store(last.seq, Ordering::Relaxed);
        }
    }

    /// Marks refused lines on the trail. Nobody waits for the marker.
    fn mark(&self, rejection: Option<Rejection>) {
        if let Some(rejection) = rejection {
            drop(self.queue.announce(Notice::Rejection(rejection)));
        }
    }

    /// Writes the position, up to what no marker tells of yet. A restart sends what is behind it once more.
    fn keep_position(&mut self, seq: u64) {
        let told = self.rejections.first_untold().map_or(u64::MAX, |untold| untold - 1);
        let seq = seq.min(told);
        if seq <= self.position.seq() {
            return;
        }
        let source = self.delivery.source();
        match self.position.write(seq, source) {
            Ok(()) => self.position_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.position_failed, true) {
                    tracing::warn!(%error, "the export's position cannot be kept; the export goes on");
                }
            }
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

/// Sends the lines from `from` on once more, up to the last one that is there now, and tells of what became of
/// each request. It reads the trail only: a running gateway's export goes on as it is, with the lines behind that.
///
/// Blocks. Repeats what may pass, a few times.
pub fn resend(
    directory: &Path,
    collector: &CollectorSettings,
    from: u64,
) -> Result<Resent, ResendError> {
    let last = reader::last_seq(directory)?;
    let mut reader = BatchReader::new(directory, from.saturating_sub(1));
    let source = LineSource::of(directory, from)?;
    let mut delivery = Delivery::new(Collector::new(collector, BATCH_TIMEOUT)?, source);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ResendError::Start)?;
    let mut resent = Resent::default();
    loop {
        let batch = reader.next(BATCH, last)?;
        let mut lines = batch.as_slice();
        if lines.is_empty() {
            return Ok(resent);
        }
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut attempts = RESEND_ATTEMPTS;
        while let Some(first) = lines.first() {
            match runtime.block_on(delivery.send(lines)) {
                Ok((count, rejection)) => {
                    attempts = RESEND_ATTEMPTS;
                    let (_, rest) = lines.split_at(count);
                    resent.lines += count as u64;
                    if let Some(rejection) = rejection {
                        resent.rejected += rejection.records;
                        resent.status = Some(rejection.status.as_u16());
                    }
                    lines = rest;
                }
                Err(source) => {
                    attempts -= 1;
                    if attempts == 0 {
                        return Err(ResendError::Collector { seq: first.seq, source });
                    }
                    let asked = source.retry_after().min(LONGEST_RETRY_AFTER);
                    thread::sleep(backoff.pause().max(asked));
                }
            }
        }
    }
}

/// What became of lines that were sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resent {
    /// How many were sent.
    pub lines: u64,
    /// How many of them the collector has refused for good.
    pub rejected: u64,
    /// The status of its last refusal; 200 if it has taken the other lines of the request.
    pub status: Option<u16>,
}

/// Why lines cannot be sent again.
#[derive(Debug, thiserror::Error)]
pub enum ResendError {
    /// The trail cannot be read.
    #[error(transparent)]
    Read(#[from] TrailReadError),
    /// The collector cannot be called.
    #[error("the collector cannot be called")]
    Client(#[from] ClientSetupError),
    /// There is no runtime for the connection.
    #[error("the connection cannot be started")]
    Start(#[source] io::Error),
    /// The collector does not take a request, although it was repeated.
    #[error("the collector has not taken the lines from {seq} on; they can be sent again")]
    Collector {
        /// The first line that it has not had.
        seq: u64,
        /// Its last answer.
        #[source]
        source: CollectorError,
    },
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

/// The pause between two reads once everything is exported.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long the collector may take over one batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a gateway that ends waits for the collector. The next process sends the rest.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause that a collector may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// How often a command sends a request before it gives up.
const RESEND_ATTEMPTS: u32 = 5;

#[cfg(test)]
mod tests;
