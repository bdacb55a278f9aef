//! The writer thread: takes batches from the queue, encodes them and writes the lines to the current
//! file. The [`syncer`](super::syncer) makes them durable.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    checkpoint::{Publication, Publisher},
    encode::{Encoder, Notice},
    keys::SigningKey,
    queue::{Batch, Item, RecordQueue, SyncWaiter, Unwritable, notify},
    settings::Settings,
    storage::{Storage, Syncable},
    syncer::{SyncJob, Syncer},
    tlog::TreeLog,
};

/// The state of the writer thread.
#[derive(Debug)]
pub(super) struct Writer<S> {
    queue: Arc<RecordQueue>,
    storage: S,
    encoder: Encoder,
    /// How many bytes of the encoder's lines are written.
    written: usize,
    /// When the oldest line was written that no sync job covers.
    dirty_since: Option<Instant>,
    /// Files that ended since the last sync job.
    ended: Vec<Arc<dyn Syncable>>,
    schedule: Option<CheckpointSchedule>,
    /// The last checkpoint, until a sync job takes it.
    checkpoint: Option<Publication>,
    publisher: Option<Publisher>,
    batch_delay: Duration,
    sync_interval: Duration,
    retry_interval: Duration,
    failing: bool,
}

/// What is signed with which key, and when next.
#[derive(Debug)]
struct CheckpointSchedule {
    key: SigningKey,
    log: TreeLog,
    records: u64,
    interval: Duration,
    last_seq: u64,
    last: Instant,
    /// The time of `last` by the clock that lines show, which also goes on while the machine sleeps.
    last_time: SystemTime,
}

impl CheckpointSchedule {
    /// Also without a new line: a checkpoint tells that the gateway lives.
    fn due_at(&self) -> Option<Instant> {
        self.last.checked_add(self.interval)
    }

    fn is_full(&self, seq: u64) -> bool {
        seq.saturating_sub(self.last_seq) >= self.records
    }

    fn is_due(&self, seq: u64) -> bool {
        let waited = self.last_time.elapsed().unwrap_or_default();
        self.is_full(seq)
            || waited >= self.interval
            || self.due_at().is_some_and(|due| due <= Instant::now())
    }
}

impl<S: Storage> Writer<S> {
    pub(super) fn new(
        queue: Arc<RecordQueue>,
        storage: S,
        encoder: Encoder,
        settings: &Settings,
    ) -> Self {
        Self {
            queue,
            storage,
            encoder,
            written: 0,
            dirty_since: None,
            ended: Vec::new(),
            schedule: None,
            checkpoint: None,
            publisher: None,
            batch_delay: settings.batch_delay,
            sync_interval: settings.sync_interval,
            retry_interval: settings.retry_interval,
            failing: false,
        }
    }

    /// Signs checkpoints and publishes them.
    pub(super) fn with_checkpoints(
        mut self,
        key: SigningKey,
        log: TreeLog,
        publisher: Publisher,
        settings: &Settings,
    ) -> Self {
        self.schedule = Some(CheckpointSchedule {
            key,
            log,
            records: settings.checkpoint_records.max(1).into(),
            interval: *settings.checkpoint_interval,
            last_seq: 0,
            last: Instant::now(),
            last_time: SystemTime::now(),
        });
        self.publisher = Some(publisher);
        self
    }

    /// Writes until the queue is closed, and returns the last line's `seq`.
    pub(super) fn run(mut self) -> Result<u64, Unwritable> {
        let (jobs, receiver) = channel();
        let publisher = self.publisher.take();
        let syncer = Syncer::new(Arc::clone(&self.queue), publisher, self.retry_interval);
        let syncer = thread::Builder::new()
            .name("audit-sync".to_owned())
            .spawn(move || syncer.run(&receiver))
            .map_err(|error| Unwritable::new(error.to_string()));
        let outcome = match &syncer {
            Ok(_) => self.write_batches(&jobs),
            Err(unwritable) => {
                self.queue.failed(unwritable);
                Err(unwritable.clone())
            }
        };
        drop(jobs);
        let synced = syncer.and_then(|syncer| {
            syncer.join().unwrap_or_else(|_| Err(Unwritable::new("the sync thread failed")))
        });
        outcome.and_then(|seq| synced.map(|()| seq))
    }

    fn write_batches(&mut self, jobs: &Sender<SyncJob>) -> Result<u64, Unwritable> {
        let mut batch = Batch::default();
        // The `start` line, and the markers of the recovery: signed at once, so that no crash leaves what
        // an earlier process wrote without a signature.
        self.sign();
        self.write(Vec::new(), jobs, true)?;
        loop {
            self.queue.take(self.batch_delay, self.next_due(), &mut batch);
            let closing = batch.closing;
            let next_seq = self.encoder.tip().seq + 1;
            self.ended.extend(self.storage.rotate(next_seq, SystemTime::now()));
            self.encode(&mut batch);
            if closing {
                self.encoder.stop(SystemTime::now(), self.queue.stop_reason.get().copied());
            }
            if closing || self.is_due(CheckpointSchedule::is_due) {
                self.sign();
            }
            self.write(std::mem::take(&mut batch.waiters), jobs, closing)?;
            if closing {
                return Ok(self.encoder.tip().seq);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let sync = self.dirty_since.map(|since| since + self.sync_interval);
        let sign = self.schedule.as_ref().and_then(CheckpointSchedule::due_at);
        match (sync, sign) {
            (Some(sync), Some(sign)) => Some(sync.min(sign)),
            (sync, sign) => sync.or(sign),
        }
    }

    fn encode(&mut self, batch: &mut Batch) {
        for item in batch.items.drain(..) {
            match item {
                Item::Call(record) => self.encoder.call(&record),
                Item::Intent(intent) => self.encoder.intent(&intent),
                Item::Admin(action) => self.encoder.admin(&action),
                Item::Configuration(change) => self.encoder.configuration(&change),
                Item::Credentials(change) => self.encoder.credentials(&change),
                Item::Notices(taken) => self.encoder.notices(&taken),
                Item::Entry(entry) => self.encoder.entry(SystemTime::now(), &entry),
                Item::Notice(notice, number) => {
                    self.encoder.notice(SystemTime::now(), &notice);
                    number.set(self.encoder.tip().seq);
                    if matches!(notice, Notice::Removal(_)) {
                        // The file goes next: its deletion must be signed by then.
                        self.sign();
                    }
                }
            }
            if self.is_due(CheckpointSchedule::is_full) {
                self.sign();
            }
        }
        let lost = std::mem::take(&mut batch.lost);
        if lost > 0 {
            tracing::warn!(lost, "audit records were dropped and are counted in a gap marker");
            self.encoder.gap(SystemTime::now(), lost);
        }
    }

    fn is_due(&self, by: impl Fn(&CheckpointSchedule, u64) -> bool) -> bool {
        let seq = self.encoder.tip().seq;
        self.schedule.as_ref().is_some_and(|schedule| by(schedule, seq))
    }

    /// Adds a checkpoint.
    fn sign(&mut self) {
        let Some(schedule) = &mut self.schedule else { return };
        let now = SystemTime::now();
        schedule.log.extend(self.encoder.take_hashes());
        self.checkpoint = Some(self.encoder.checkpoint(now, &schedule.key, &schedule.log));
        schedule.last_seq = self.encoder.tip().seq;
        schedule.last = Instant::now();
        schedule.last_time = now;
    }

    /// Writes the encoded lines, and sends a sync job if a caller waits for it or it is due. Retries a
    /// failed write until it succeeds or the queue is closed.
    fn write(
        &mut self,
        waiters: Vec<SyncWaiter>,
        jobs: &Sender<SyncJob>,
        mut urgent: bool,
    ) -> Result<(), Unwritable> {
        urgent |= !waiters.is_empty();
        let mut waiters = Some(waiters);
        let mut closing = false;
        loop {
            match self.try_write(urgent) {
                Ok(None) => break,
                Ok(Some(mut job)) => {
                    job.waiters = waiters.take().unwrap_or_default();
                    // If the syncer has gone, the drop of the job tells the waiters.
                    drop(jobs.send(job));
                    break;
                }
                Err(error) => {
                    let unwritable = Unwritable::new(error.to_string());
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!(reason = %error, "the audit trail cannot be written");
                    }
                    self.queue.failed(&unwritable);
                    notify(waiters.take().into_iter().flatten(), &Err(unwritable.clone()));
                    if closing {
                        return Err(unwritable);
                    }
                }
            }
            closing = self.queue.pause(Instant::now() + self.retry_interval);
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("the audit trail is written again");
            self.queue.recovered();
        }
        Ok(())
    }

    /// Returns a job if it is time to sync.
    fn try_write(&mut self, urgent: bool) -> io::Result<Option<SyncJob>> {
        if self.failing {
            // Another disk may be mounted in the place of the one that failed.
            self.restore_file()?;
        }
        self.append()?;
        let due = self.dirty_since.is_some_and(|since| since.elapsed() >= self.sync_interval);
        if !urgent && !due {
            return Ok(None);
        }
        self.restore_file()?;
        self.append()?;
        self.dirty_since = None;
        let mut files = std::mem::take(&mut self.ended);
        files.push(self.storage.syncable());
        Ok(Some(SyncJob {
            files,
            seq: self.encoder.tip().seq,
            waiters: Vec::new(),
            checkpoint: self.checkpoint.take(),
        }))
    }

    /// Restores the current file if it was removed or replaced, and adds a `restored` line.
    fn restore_file(&mut self) -> io::Result<()> {
        if let Some(file) = self.storage.restore_if_missing()? {
            self.encoder.restored(SystemTime::now(), &file);
        }
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        while let Some(rest) = self.encoder.lines().get(self.written..).filter(|r| !r.is_empty()) {
            match self.storage.append(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.written += taken;
                    self.dirty_since.get_or_insert_with(Instant::now);
                    self.queue.bytes.fetch_add(taken as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.log.extend(self.encoder.take_hashes());
            schedule.log.write_tiles()?;
        }
        self.encoder.clear();
        self.written = 0;
        let seq = self.encoder.tip().seq;
        let before = self.queue.last_seq.swap(seq, Ordering::Relaxed);
        self.queue.written.fetch_add(seq - before, Ordering::Relaxed);
        Ok(())
    }
}
