//! The handle the path holds.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::SystemTime,
};

use parking_lot::Mutex;

use super::{
    checkpoint::{self, Checkpoint, Publisher},
    directory::{Directory, DirectoryError},
    encode::Encoder,
    export::{AuditExporter, ExportError, ExportProgress},
    keys::{KeyError, OBJECT_KEY, ObjectKey, SIGNING_KEY, SigningKey},
    observer::Watch,
    queue::{Item, Shared, Unwritable},
    record::{Intent, Record},
    recover::{RecoverError, Recovered, Repair, recover},
    retention::{Retention, Rules},
    settings::{Durability, ObjectIds, OnFailure, Settings},
    storage::{Files, Storage},
    writer::Writer,
};

/// The open trail. Cheap to clone; all clones are one trail.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    durability: Durability,
    directory: PathBuf,
    thread: Mutex<Option<JoinHandle<Result<u64, Unwritable>>>>,
    retention: Mutex<Option<Retention>>,
    exporter: Mutex<Option<AuditExporter>>,
}

impl Trail {
    /// Opens the trail in the directory of the settings, or goes on with the one that is there.
    ///
    /// Blocks while it reads the end of the last file, and after a crash the files of the last
    /// minutes.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let directory = Directory::lock(&settings.directory)?;
        let place = |named: &Option<PathBuf>, name| {
            named.clone().unwrap_or_else(|| settings.directory.join(name))
        };
        let signing =
            SigningKey::open(&place(&settings.signing_key, SIGNING_KEY), directory.path())?;
        let objects = match settings.object_ids {
            ObjectIds::Plain => None,
            ObjectIds::Hashed => Some(ObjectKey::open(&place(&settings.object_key, OBJECT_KEY))?),
        };
        let recovered = recover(&directory)?;
        let last_seq = recovered.tip.seq;
        let mut encoder = Encoder::new(recovered.tip, objects);
        report_found(&recovered, &mut encoder);
        encoder.start(SystemTime::now());

        let at = |source| OpenError::File { path: settings.directory.clone(), source };
        let segment = match recovered.segment {
            Some(segment) => segment,
            None => directory.create_segment(last_seq + 1).map_err(at)?,
        };
        let publisher = Publisher::new(directory.path());
        let files = Files::open(directory, segment, settings.segment_bytes).map_err(at)?;
        let shared = Arc::new(Shared::new(settings, last_seq));
        let writer = Writer::new(Arc::clone(&shared), files, encoder, settings)
            .with_checkpoints(signing, publisher, settings);
        let trail = Self::start(settings, shared, writer).map_err(OpenError::Thread)?;
        let exported = trail.export(settings)?;
        trail.keep(settings, exported).map_err(OpenError::Thread)?;
        Ok(trail)
    }

    fn start<S: Storage + 'static>(
        settings: &Settings,
        shared: Arc<Shared>,
        writer: Writer<S>,
    ) -> io::Result<Self> {
        let thread =
            std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self(Arc::new(Inner {
            shared,
            durability: settings.durability,
            directory: settings.directory.clone(),
            thread: Mutex::new(Some(thread)),
            retention: Mutex::default(),
            exporter: Mutex::default(),
        })))
    }

    fn export(&self, settings: &Settings) -> Result<Option<Arc<ExportProgress>>, OpenError> {
        let Some(collector) = &settings.export_to else { return Ok(None) };
        let shared = Arc::clone(&self.0.shared);
        let exporter = AuditExporter::start(&settings.directory, collector, shared)?;
        let progress = Arc::clone(exporter.progress());
        *self.0.exporter.lock() = Some(exporter);
        Ok(Some(progress))
    }

    fn keep(&self, settings: &Settings, exported: Option<Arc<ExportProgress>>) -> io::Result<()> {
        let shared = Arc::clone(&self.0.shared);
        let announce = move |removal| match shared.push_synced(Item::Retention(removal)) {
            Ok(lasts) => matches!(lasts.blocking_recv(), Ok(Ok(()))),
            Err(_) => false,
        };
        let rules = Rules { exported, ..Rules::from(settings) };
        let retention = Retention::start(&settings.directory, rules, announce)?;
        *self.0.retention.lock() = Some(retention);
        Ok(())
    }

    /// Whether a call may be served: fails while the trail cannot be written and the setting is to
    /// refuse. One atomic load.
    pub fn admit(&self) -> Result<(), Unwritable> {
        self.0.shared.admit()
    }

    /// Which durability the trail was opened with.
    pub fn durability(&self) -> Durability {
        self.0.durability
    }

    /// Where the trail is.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Hands over the record of a finished call. Never waits for the disk.
    pub fn submit(&self, record: Record) {
        self.0.shared.push(Item::Call(record));
    }

    /// Writes down that a call is about to use a credential, and returns when that is in stable
    /// storage.
    ///
    /// Fails while the trail cannot be written and the setting is to refuse: the call must not go
    /// on. The intent itself stays queued, and the call's record will say what became of it.
    pub async fn intent(&self, intent: Intent) -> Result<(), Unwritable> {
        self.synced(Item::Intent(intent)).await
    }

    /// Hands over the record of a finished call, and returns when it is in stable storage.
    ///
    /// The record stays queued whatever this returns, also if the future is dropped.
    pub fn submit_synced(
        &self,
        record: Record,
    ) -> impl Future<Output = Result<(), Unwritable>> + Send + 'static + use<> {
        let queued = self.0.shared.push_synced(Item::Call(record));
        let on_failure = self.0.shared.on_failure();
        async move { outcome(queued, on_failure).await }
    }

    async fn synced(&self, item: Item) -> Result<(), Unwritable> {
        let on_failure = self.0.shared.on_failure();
        outcome(self.0.shared.push_synced(item), on_failure).await
    }

    /// Shows every record to this watcher from now on, beside writing it. A trail has one watcher: a
    /// second one sees nothing.
    pub fn watch(&self, watcher: Arc<dyn Watch>) {
        self.0.shared.watch(watcher);
    }

    /// The last checkpoint that was published, if there is one. Reads a small file.
    pub fn last_checkpoint(&self) -> Option<Checkpoint> {
        checkpoint::latest(&self.0.directory)
    }

    /// How the trail is doing.
    pub fn stats(&self) -> Stats {
        let shared = &self.0.shared;
        let (queued, lag) = shared.queued();
        let unwritable = shared.unwritable();
        let exported = self.0.exporter.lock().as_ref().map(|e| Arc::clone(e.progress()));
        Stats {
            writable: unwritable.is_none(),
            reason: unwritable.map(|unwritable| unwritable.reason.to_string()),
            queued,
            lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
            written: shared.written.load(Ordering::Relaxed),
            lost: shared.lost.load(Ordering::Relaxed),
            last_seq: shared.last_seq.load(Ordering::Relaxed),
            synced_seq: shared.synced_seq.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            exported_seq: exported.as_ref().map(|progress| progress.seq.load(Ordering::Relaxed)),
            export_failing: exported.is_some_and(|p| p.failing.load(Ordering::Relaxed)),
        }
    }

    /// Writes everything that is queued, syncs it, marks the end, and says the last line's number.
    /// A collector that keeps up gets two seconds for the last lines.
    ///
    /// Blocks. What other handles submit afterwards is counted as lost.
    pub fn close(self) -> Result<u64, Unwritable> {
        let retention = self.0.retention.lock().take();
        if let Some(retention) = retention {
            retention.stop();
        }
        self.0.shared.close();
        let thread = self.0.thread.lock().take();
        let outcome = match thread.map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(Unwritable { reason: "the audit thread failed".into() }),
            None => Ok(self.0.shared.last_seq.load(Ordering::Relaxed)),
        };
        if let (Some(exporter), Ok(last)) = (self.0.exporter.lock().take(), &outcome) {
            exporter.finish(*last);
        }
        outcome
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread writes what is left; nobody waits for it here.
        self.shared.close();
    }
}

type Queued = Result<tokio::sync::oneshot::Receiver<Result<(), Unwritable>>, Unwritable>;

async fn outcome(queued: Queued, on_failure: OnFailure) -> Result<(), Unwritable> {
    let outcome = match queued {
        Ok(waiting) => waiting
            .await
            .unwrap_or_else(|_| Err(Unwritable { reason: "the audit trail is closed".into() })),
        Err(unwritable) => Err(unwritable),
    };
    match on_failure {
        OnFailure::Refuse => outcome,
        OnFailure::Continue => Ok(()),
    }
}

/// Writes down what the last process left behind.
fn report_found(found: &Recovered, encoder: &mut Encoder) {
    let now = SystemTime::now();
    match &found.repair {
        None => {}
        Some(Repair::Torn(fragment)) => {
            tracing::warn!(
                bytes = fragment.len(),
                "the last process left half a line in the audit trail; it is closed with a marker"
            );
            encoder.torn(now, fragment);
        }
        Some(Repair::Damaged { bytes, sha256, file }) => {
            tracing::error!(
                bytes,
                file,
                "the end of the audit trail is damaged and set aside; look at it with `audit verify`"
            );
            encoder.damaged(now, *bytes, *sha256, file);
        }
    }
    if let Some(to) = found.cut_to {
        tracing::error!(
            from = found.tip.seq + 1,
            to,
            "the audit trail is shorter than its last checkpoint; look at it with `audit verify`"
        );
        encoder.cut(now, to);
    }
    if !found.unknown.is_empty() {
        tracing::warn!(
            calls = found.unknown.len(),
            "the last process was cut off during calls; the audit trail says that their outcome is unknown"
        );
    }
    for request_id in &found.unknown {
        encoder.unknown(now, request_id);
    }
}

/// How the trail is doing.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Stats {
    /// Whether it can be written.
    pub writable: bool,
    /// Why not, if not.
    pub reason: Option<String>,
    /// How many records wait to be written.
    pub queued: usize,
    /// How long the oldest of them has waited, in milliseconds.
    pub lag_ms: u64,
    /// How many lines this process has written.
    pub written: u64,
    /// How many records found no room since this process started.
    pub lost: u64,
    /// The number of the last line that is with the kernel.
    pub last_seq: u64,
    /// The number of the last line that is in stable storage.
    pub synced_seq: u64,
    /// How many bytes this process has written.
    pub bytes: u64,
    /// The number of the last line that the collector has, if there is one.
    pub exported_seq: Option<u64>,
    /// Whether the collector cannot be reached, or does not take what it is sent.
    pub export_failing: bool,
}

/// Why a trail cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The export cannot begin.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What is there cannot be gone on with.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// No file can be made.
    #[error("the audit directory {} cannot be written", path.display())]
    File {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("the audit trail's thread cannot be started")]
    Thread(#[source] io::Error),
}

#[cfg(test)]
mod tests;
