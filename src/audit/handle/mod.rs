//! [`Trail`], the handle that the request path and the administration hold.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use super::{
    checkpoint::{Checkpoint, CheckpointPlan, Latest, Publisher},
    clock::{ClockDoubt, ClockWatch, Reading},
    directory::{TrailDirectory, TrailDirectoryError, TrailSegment},
    emptied::emptied,
    encode::{Encoder, Notice, ObjectNaming},
    entry::Entry,
    export::{ExportError, ExportProgress, TrailExporter},
    keys::{KeyError, ObjectKey, PublicKey, SigningKey},
    mismatch::Mismatch,
    observer::RecordObserver,
    queue::{Item, LineNumber, RecordQueue, Unwritable},
    readers::Readers,
    record::{AdminAction, ConfigurationChange, CredentialsChange, Intent, NoticesTaken, Record},
    recover::{RecoverError, Recovered, Repair, last_time, recover},
    retention::{Blocked, PendingRemoval, Retention, RetentionRules, RetentionTask},
    settings::{Durability, OnFailure, Settings},
    storage::{FileStorage, Storage},
    tlog::{HeadPublisher, Names, PublisherError, TrailEnd, TreeLog, WitnessStats},
    writer::Writer,
};
use crate::{domain::VerifierKey, fleet::TrailHead};

/// The open trail. Clones are cheap and share it.
#[derive(Clone, Debug)]
pub struct Trail(Arc<TrailInner>);

#[derive(Debug)]
struct TrailInner {
    queue: Arc<RecordQueue>,
    durability: Durability,
    directory: PathBuf,
    writer: Mutex<Option<JoinHandle<Result<u64, Unwritable>>>>,
    retention: Mutex<Option<Retention>>,
    exporter: Mutex<Option<TrailExporter>>,
    heads: Mutex<Option<HeadPublisher>>,
    found: OnceLock<Found>,
    checkpoint_interval: Duration,
    /// Everything is written, and the last checkpoint signs it.
    is_closed: AtomicBool,
}

/// What the gateway knew when it opened the trail.
#[derive(Debug)]
struct Found {
    key: PublicKey,
    mismatch: Option<Mismatch>,
    chain: String,
    instance: Arc<str>,
    log_key: VerifierKey,
}

/// Checks the keys of a trail, as far as they are there.
pub fn check_keys(settings: &Settings) -> Result<(), KeyError> {
    let signing_key = settings.signing_key_path();
    if signing_key.exists() {
        SigningKey::read(&signing_key)?;
    }
    let object_key = settings.object_key_path();
    if settings.hashes() && object_key.exists() {
        ObjectKey::read(&object_key)?;
    }
    Ok(())
}

impl Trail {
    /// Opens the trail in the directory of the settings, or begins a new one.
    ///
    /// Blocks while it reads the end of the last file, and after a crash also the files of the last
    /// minutes.
    pub fn open(settings: &Settings) -> Result<Self, TrailOpenError> {
        let at = |source| TrailOpenError::File { path: settings.directory.clone(), source };
        let readers = Readers::named(settings.group.as_deref()).map_err(TrailOpenError::Group)?;
        let directory = TrailDirectory::lock(&settings.directory, readers)?;
        let signing_key = SigningKey::open(&settings.signing_key_path(), directory.path())?;
        directory.admit_readers()?;
        let naming = ObjectNaming::of(settings)?;
        let doubted = ClockDoubt::of(directory.path()).read();
        let clock = ClockWatch::new(Reading::now(), last_time(directory.path()), doubted);
        let recovered = recover(&directory, signing_key.public())?;
        let last_seq = recovered.tip.seq;
        let mut encoder = Encoder::new(recovered.tip, naming);
        write_recovery_markers(&recovered, &mut encoder);
        let instance = settings.instance_name();
        let names = Names { origin: &settings.origin, instance: &instance, log: settings.log };
        let next_seq = encoder.tip().seq + 1;
        let is_cut = matches!(recovered.mismatch, Some(Mismatch::Cut { .. } | Mismatch::Rewritten));
        let end = TrailEnd { last_seq, next_seq, is_cut };
        let log = TreeLog::open(directory.path(), end, &names, &signing_key);
        let log = log.map_err(at)?;
        if log.chain().first_seq == next_seq {
            // The markers before the first line of a chain are not in its tree.
            drop(encoder.take_hashes());
        }
        let plan = CheckpointPlan {
            key: signing_key.id(),
            records: settings.checkpoint_records,
            interval: *settings.checkpoint_interval,
            last: recovered.checkpoint.as_ref(),
            chain: log.chain(),
            instance: log.instance(),
        };
        encoder.start(SystemTime::now(), &plan, settings.configuration);

        let pending = begun_deletions(&settings.directory, &recovered, &mut encoder).map_err(at)?;
        let found = Found {
            key: signing_key.public().clone(),
            mismatch: recovered.mismatch,
            chain: log.chain().name.clone(),
            instance: Arc::clone(log.instance()),
            log_key: signing_key.public().verifier_key(&settings.origin.of(&log.chain().name)),
        };
        let (publisher, heads) =
            HeadPublisher::start(directory.path(), log.durable(), &settings.witnesses)?;
        let checkpoints = Publisher::new(settings.log, directory.path(), readers, heads);
        if last_seq == 0 && recovered.checkpoint.is_none() {
            let nothing = Checkpoint::of_nothing(&signing_key, SystemTime::now());
            checkpoints.write(&nothing).map_err(at)?;
        }
        let segment = match recovered.segment {
            Some(segment) => segment,
            None => directory.create_segment(last_seq + 1).map_err(at)?,
        };
        let files = FileStorage::open(directory, segment, settings.segment_bytes.0).map_err(at)?;
        let queue = Arc::new(RecordQueue::new(settings, last_seq));
        let writer = Writer::new(Arc::clone(&queue), files, encoder, settings).with_checkpoints(
            signing_key,
            log,
            checkpoints,
            settings,
        );
        let trail = Self::start(settings, queue, writer).map_err(TrailOpenError::Thread)?;
        *trail.0.heads.lock() = Some(publisher);
        trail.0.found.get_or_init(|| found);
        let exported = trail.start_exporter(settings, readers)?;
        let task = RetentionTask {
            directory: settings.directory.clone(),
            readers,
            rules: RetentionRules { exported, ..RetentionRules::from(settings) },
            queue: Arc::clone(&trail.0.queue),
            clock,
            pending,
        };
        let retention = Retention::start(task).map_err(TrailOpenError::Thread)?;
        *trail.0.retention.lock() = Some(retention);
        Ok(trail)
    }

    fn start<S: Storage + 'static>(
        settings: &Settings,
        queue: Arc<RecordQueue>,
        writer: Writer<S>,
    ) -> io::Result<Self> {
        let writer =
            std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self(Arc::new(TrailInner {
            queue,
            durability: settings.durability,
            directory: settings.directory.clone(),
            writer: Mutex::new(Some(writer)),
            retention: Mutex::default(),
            exporter: Mutex::default(),
            heads: Mutex::default(),
            found: OnceLock::new(),
            checkpoint_interval: *settings.checkpoint_interval,
            is_closed: AtomicBool::new(false),
        })))
    }

    fn start_exporter(
        &self,
        settings: &Settings,
        readers: Readers,
    ) -> Result<Option<Arc<ExportProgress>>, TrailOpenError> {
        let Some(collector) = &settings.export_to else { return Ok(None) };
        let queue = Arc::clone(&self.0.queue);
        let exporter = TrailExporter::start(&settings.directory, readers, collector, queue)?;
        let progress = Arc::clone(exporter.progress());
        *self.0.exporter.lock() = Some(exporter);
        Ok(Some(progress))
    }

    #[cfg(test)]
    pub(super) fn queue(&self) -> &Arc<RecordQueue> {
        &self.0.queue
    }

    /// Fails if the trail is not writable and the setting is to refuse calls. One atomic load.
    pub fn admit(&self) -> Result<(), Unwritable> {
        self.0.queue.admit()
    }

    /// The durability that the trail was opened with.
    pub fn durability(&self) -> Durability {
        self.0.durability
    }

    /// The directory of the trail.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// The public half of the key that signs checkpoints.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.0.found.get().map(|found| found.key.clone())
    }

    /// Queues the record of a finished call. Never waits for the disk.
    pub fn submit(&self, record: Record) {
        self.0.queue.push(Item::Call(record));
    }

    /// Queues the marker of an operator's action. Never waits for the disk.
    pub fn admin(&self, action: AdminAction) {
        self.0.queue.push(Item::Admin(action));
    }

    /// Queues the marker of an operator's action, and returns when it is in stable storage.
    pub async fn admin_synced(&self, action: AdminAction) -> Result<(), Unwritable> {
        self.submit_item_synced(Item::Admin(action)).await
    }

    /// Queues the marker of another configuration. Never waits for the disk.
    pub fn configuration(&self, change: ConfigurationChange) {
        self.0.queue.push(Item::Configuration(Box::new(change)));
    }

    /// Queues the marker of another version of credentials. Never waits for the disk.
    pub fn credentials(&self, change: CredentialsChange) {
        self.0.queue.push(Item::Credentials(change));
    }

    /// Queues the marker of notices that were taken. Never waits for the disk.
    pub fn notices(&self, taken: NoticesTaken) {
        self.0.queue.push(Item::Notices(taken));
    }

    /// Tells the `stop` line why the gateway stops. The first reason stays.
    pub fn stops_because(&self, reason: &'static str) {
        let _known = self.0.queue.stop_reason.set(reason);
    }

    /// Queues the intent of a call to use a credential, and returns when it is in stable storage.
    ///
    /// Fails if the trail is not writable and the setting is to refuse calls; the call must not
    /// continue then. The intent itself stays queued, and the record will tell how the call ended.
    pub async fn intent(&self, intent: Intent) -> Result<(), Unwritable> {
        self.submit_item_synced(Item::Intent(intent)).await
    }

    /// Queues the record of a finished call, and returns when it is in stable storage.
    ///
    /// The record stays queued if this fails, and if the future is dropped.
    pub fn submit_synced(
        &self,
        record: Record,
    ) -> impl Future<Output = Result<(), Unwritable>> + Send + 'static + use<> {
        self.submit_item_synced(Item::Call(record))
    }

    fn submit_item_synced(
        &self,
        item: Item,
    ) -> impl Future<Output = Result<(), Unwritable>> + Send + 'static + use<> {
        let queued = self.0.queue.push_synced(item);
        let on_failure = self.0.queue.on_failure();
        async move {
            let outcome = match queued {
                Ok(synced) => synced
                    .await
                    .unwrap_or_else(|_| Err(Unwritable::new("the audit trail is closed"))),
                Err(unwritable) => Err(unwritable),
            };
            match on_failure {
                OnFailure::Refuse => outcome,
                OnFailure::Continue => Ok(()),
            }
        }
    }

    /// Shows every record to this observer from now on. A trail has one observer: later ones are
    /// ignored.
    pub fn set_observer(&self, observer: Arc<dyn RecordObserver>) {
        self.0.queue.set_observer(observer);
    }

    /// The last published checkpoint that signs a line, if there is one. Reads a small file.
    pub fn last_checkpoint(&self) -> Option<Checkpoint> {
        match Latest::read(&self.0.directory) {
            Latest::Found(checkpoint) => Some(checkpoint).filter(|found| found.seq > 0),
            Latest::Missing | Latest::Unreadable => None,
        }
    }

    /// The head of the chain that it has last published, for whoever keeps heads elsewhere. Reads a small file.
    pub fn head(&self) -> Option<TrailHead> {
        let found = self.0.found.get()?;
        let Checkpoint { seq, prev, chain, note, .. } = self.last_checkpoint()?;
        let is_last = seq == self.0.queue.last_seq.load(Ordering::Relaxed);
        Some(TrailHead {
            chain,
            seq: seq.checked_sub(1)?,
            hash: prev,
            note,
            key: Some(found.log_key.to_string()),
            interval_ms: millis(self.0.checkpoint_interval),
            ended: is_last && self.0.is_closed.load(Ordering::Acquire),
        })
    }

    /// Queues a line of the fleet log. Never waits for the disk.
    pub(super) fn enter(&self, entry: Entry) {
        self.0.queue.push(Item::Entry(Box::new(entry)));
    }

    /// The state and the counters of the trail.
    pub fn stats(&self) -> TrailStats {
        let queue = &self.0.queue;
        let (queued, lag) = queue.queued();
        let unwritable = queue.unwritable();
        let exported = self.0.exporter.lock().as_ref().map(|e| Arc::clone(e.progress()));
        let state = self.0.retention.lock().as_ref().map(|retention| Arc::clone(retention.state()));
        let space = state.as_ref().map(|state| *state.space.lock()).unwrap_or_default();
        let last_seq = queue.last_seq.load(Ordering::Relaxed);
        let found = self.0.found.get();
        let heads = self.0.heads.lock();
        TrailStats {
            writable: unwritable.is_none(),
            reason: unwritable.map(|unwritable| unwritable.reason.to_string()),
            queued,
            lag_ms: millis(lag),
            written: queue.written.load(Ordering::Relaxed),
            lost: queue.lost.load(Ordering::Relaxed),
            last_seq,
            synced_seq: queue.synced_seq.load(Ordering::Relaxed),
            bytes: queue.bytes.load(Ordering::Relaxed),
            chain: found.map(|found| found.chain.clone()),
            instance: found.map(|found| Arc::clone(&found.instance)),
            witnesses: heads.as_ref().map(HeadPublisher::witnesses).unwrap_or_default(),
            exported_seq: exported.as_ref().map(|progress| progress.seq()),
            export_lag_ms: exported.as_ref().map(|progress| millis(progress.lag(last_seq))),
            export_rejected: exported.as_ref().map(|progress| progress.rejected()),
            export_failing: exported.is_some_and(|progress| progress.is_failing()),
            retention_blocked: state
                .as_ref()
                .and_then(|state| *state.blocked.lock())
                .map(Blocked::label),
            clock_in_doubt: state
                .as_ref()
                .is_some_and(|state| state.clock_is_doubted.load(Ordering::Relaxed)),
            disk_free_bytes: space.free,
            disk_full_in_seconds: space.full_in.map(|time| time.as_secs()),
            mismatch: found.and_then(|found| found.mismatch).map(Mismatch::label),
        }
    }

    /// Writes and syncs everything that is queued, adds a `stop` line, and returns the last line's
    /// `seq`. Witnesses get two seconds for the last head, and a collector that keeps up two seconds for the
    /// last lines.
    ///
    /// Blocks. Records that other handles submit afterwards are dropped and counted as lost.
    pub fn close(self) -> Result<u64, Unwritable> {
        let retention = self.0.retention.lock().take();
        let removals = retention.and_then(Retention::stop);
        self.0.queue.close();
        let writer = self.0.writer.lock().take();
        let outcome = match writer.map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(Unwritable::new("the audit thread failed")),
            None => Ok(self.0.queue.last_seq.load(Ordering::Relaxed)),
        };
        self.0.is_closed.store(outcome.is_ok(), Ordering::Release);
        if let Some(mut removals) = removals {
            removals.finish();
        }
        if let Some(heads) = self.0.heads.lock().take() {
            heads.finish();
        }
        if let (Some(exporter), Ok(last)) = (self.0.exporter.lock().take(), &outcome) {
            exporter.finish(*last);
        }
        outcome
    }
}

impl Drop for TrailInner {
    fn drop(&mut self) {
        // The writer thread writes what is queued; this does not wait for it.
        self.queue.close();
    }
}

/// Logs what the recovery found, and encodes its markers.
fn write_recovery_markers(recovered: &Recovered, encoder: &mut Encoder) {
    let now = SystemTime::now();
    match &recovered.repair {
        None => {}
        Some(Repair::Torn(fragment)) => {
            tracing::warn!(
                bytes = fragment.len(),
                "the last process left half a line in the audit trail; it is closed with a marker"
            );
            encoder.torn(now, fragment);
        }
        Some(Repair::Damaged { bytes, records, sha256, file }) => {
            tracing::error!(
                bytes,
                records,
                file,
                "the end of the audit trail was damaged and is moved aside; examine it with `audit verify`"
            );
            encoder.damaged(now, *bytes, *records, *sha256, file);
        }
    }
    match recovered.mismatch {
        None => {}
        Some(Mismatch::Cut { to }) => {
            tracing::error!(
                from = recovered.tip.seq + 1,
                to,
                "the audit trail is shorter than its last checkpoint; examine it with `audit verify`"
            );
            encoder.cut(now, to);
        }
        Some(mismatch) => {
            let reason = mismatch.label();
            tracing::warn!(
                reason,
                "the audit trail does not fit its last checkpoint; examine it with `audit verify`"
            );
            encoder.doubt(now, reason);
        }
    }
    if !recovered.unknown.is_empty() {
        tracing::warn!(
            calls = recovered.unknown.len(),
            "the last process was killed during calls; the audit trail marks their outcome as unknown"
        );
    }
    for request_id in &recovered.unknown {
        encoder.unknown(now, request_id);
    }
}

/// The deletions that the last process began. A file that it emptied gets its line now, unless it has one; one
/// that has a line and is still whole goes.
fn begun_deletions(
    directory: &Path,
    recovered: &Recovered,
    encoder: &mut Encoder,
) -> io::Result<Vec<PendingRemoval>> {
    let mut pending = Vec::new();
    for (path, removal) in emptied(directory)? {
        let is_announced = recovered.announced.contains(&(removal.from, removal.to));
        if !is_announced {
            encoder.notice(SystemTime::now(), &Notice::Removal(removal));
        }
        pending.push(PendingRemoval { path, line: LineNumber::of(encoder.tip().seq) });
    }
    for [segment, next] in TrailSegment::list(directory)?.array_windows() {
        if recovered.announced.contains(&(segment.first_seq, next.first_seq.saturating_sub(1))) {
            let (path, line) = (segment.path.clone(), LineNumber::of(encoder.tip().seq));
            pending.push(PendingRemoval { path, line });
        }
    }
    Ok(pending)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The state and the counters of a trail.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TrailStats {
    /// Whether the last write and the last sync succeeded.
    pub writable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// How many records wait to be written.
    pub queued: usize,
    /// How long the oldest of them has waited, in milliseconds.
    pub lag_ms: u64,
    /// How many lines this process has written.
    pub written: u64,
    /// How many records this process has dropped.
    pub lost: u64,
    /// The last line that the kernel has.
    pub last_seq: u64,
    /// The last line that is in stable storage.
    pub synced_seq: u64,
    /// How many bytes this process has written.
    pub bytes: u64,
    /// The chain that the lines belong to.
    pub chain: Option<String>,
    /// What the gateway is called in the trail.
    pub instance: Option<Arc<str>>,
    /// How the witnesses stand.
    pub witnesses: Vec<WitnessStats>,
    /// The last line that the collector has accepted, or refused for good, if there is a collector.
    pub exported_seq: Option<u64>,
    /// For how long the collector has not had all that there is, in milliseconds.
    pub export_lag_ms: Option<u64>,
    /// How many lines the collector has refused for good since the start.
    pub export_rejected: Option<u64>,
    /// Whether the last export failed.
    pub export_failing: bool,
    /// Why old files are not deleted: a label of [`Blocked`].
    pub retention_blocked: Option<&'static str>,
    /// Whether the wall clock has jumped and is not believed.
    pub clock_in_doubt: bool,
    /// How many bytes the disk has left.
    pub disk_free_bytes: Option<u64>,
    /// In how many seconds the disk is full, if the room goes on to shrink as in the last day.
    pub disk_full_in_seconds: Option<u64>,
    /// Why the last checkpoint did not fit the trail when this process opened it, if so: `cut`,
    /// `rewritten`, `missing`, `unreadable`, `other_key` or `forged`.
    pub mismatch: Option<&'static str>,
}

/// Why a trail cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TrailOpenError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] TrailDirectoryError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The group that may read the trail is not known.
    #[error("the group of `audit.group` is not known")]
    Group(#[source] io::Error),
    /// The export cannot start.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Heads cannot be published.
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    /// The existing trail cannot be continued.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A file cannot be created.
    #[error("the audit directory {} cannot be written", path.display())]
    File {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("the audit trail's thread cannot be started")]
    Thread(#[source] io::Error),
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod tests;
