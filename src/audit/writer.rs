//! The trail's own thread: takes batches from the queue, makes lines of them and hands them to the
//! kernel. What makes them last is the [`syncer`](super::syncer).

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
    checkpoint::{Checkpoint, Publisher},
    encode::Encoder,
    keys::SigningKey,
    queue::{Batch, Item, Shared, Unwritable, Waiter, answer},
    settings::Settings,
    storage::{Stable, Storage},
    syncer::{Job, Syncer},
};

/// Everything the thread owns.
#[derive(Debug)]
pub(super) struct Writer<S> {
    shared: Arc<Shared>,
    storage: S,
    encoder: Encoder,
    /// How much of the encoder's lines is written already.
    written: usize,
    /// When the first line was written that the syncer was not told of.
    dirty_since: Option<Instant>,
    /// Files that ended since the syncer was last told.
    ended: Vec<Arc<dyn Stable>>,
    checkpoints: Option<Checkpoints>,
    checkpoint: Option<Checkpoint>,
    publisher: Option<Publisher>,
    gather: Duration,
    sync_interval: Duration,
    retry_interval: Duration,
    failing: bool,
}

/// When to sign, and with what.
#[derive(Debug)]
struct Checkpoints {
    key: SigningKey,
    records: u64,
    interval: Duration,
    last_seq: u64,
    last: Instant,
}

impl Checkpoints {
    fn due_at(&self, seq: u64) -> Option<Instant> {
        self.last.checked_add(self.interval).filter(|_| seq > self.last_seq)
    }

    fn is_due(&self, seq: u64) -> bool {
        seq.saturating_sub(self.last_seq) >= self.records
            || self.due_at(seq).is_some_and(|due| due <= Instant::now())
    }
}

impl<S: Storage> Writer<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        storage: S,
        encoder: Encoder,
        settings: &Settings,
    ) -> Self {
        Self {
            shared,
            storage,
            encoder,
            written: 0,
            dirty_since: None,
            ended: Vec::new(),
            checkpoints: None,
            checkpoint: None,
            publisher: None,
            gather: settings.gather,
            sync_interval: settings.sync_interval,
            retry_interval: settings.retry_interval,
            failing: false,
        }
    }

    /// Signs checkpoints and publishes them.
    pub(super) fn with_checkpoints(
        mut self,
        key: SigningKey,
        publisher: Publisher,
        settings: &Settings,
    ) -> Self {
        self.checkpoints = Some(Checkpoints {
            key,
            records: settings.checkpoint_records.max(1).into(),
            interval: *settings.checkpoint_interval,
            last_seq: 0,
            last: Instant::now(),
        });
        self.publisher = Some(publisher);
        self
    }

    /// Writes until the end, and returns the last line's number.
    pub(super) fn run(mut self) -> Result<u64, Unwritable> {
        let (jobs, receiver) = channel();
        let publisher = self.publisher.take();
        let syncer = Syncer::new(Arc::clone(&self.shared), publisher, self.retry_interval);
        let syncer = thread::Builder::new()
            .name("audit-sync".to_owned())
            .spawn(move || syncer.run(&receiver))
            .map_err(|error| Unwritable { reason: error.to_string().into() });
        let outcome = match &syncer {
            Ok(_) => self.work(&jobs),
            Err(unwritable) => {
                self.shared.failed(unwritable);
                Err(unwritable.clone())
            }
        };
        drop(jobs);
        let synced = syncer.and_then(|syncer| {
            syncer
                .join()
                .unwrap_or_else(|_| Err(Unwritable { reason: "the sync thread failed".into() }))
        });
        outcome.and_then(|seq| synced.map(|()| seq))
    }

    fn work(&mut self, jobs: &Sender<Job>) -> Result<u64, Unwritable> {
        let mut batch = Batch::default();
        // What was encoded before the thread began: the start of the trail, and what was found there.
        self.put(Vec::new(), jobs, true)?;
        loop {
            self.shared.take(self.gather, self.next_due(), &mut batch);
            let closing = batch.closing;
            let next_seq = self.encoder.tip().seq + 1;
            self.ended.extend(self.storage.rotate(next_seq, SystemTime::now()));
            self.encode(&mut batch);
            if closing {
                self.encoder.stop(SystemTime::now());
            }
            self.sign_if_due(closing);
            self.put(std::mem::take(&mut batch.waiters), jobs, closing)?;
            if closing {
                return Ok(self.encoder.tip().seq);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let sync = self.dirty_since.map(|since| since + self.sync_interval);
        let seq = self.encoder.tip().seq;
        let sign = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.due_at(seq));
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
                Item::Retention(removal) => self.encoder.retention(SystemTime::now(), &removal),
            }
        }
        let lost = std::mem::take(&mut batch.lost);
        if lost > 0 {
            tracing::warn!(lost, "audit records found no room and are counted in a gap marker");
            self.encoder.gap(SystemTime::now(), lost);
        }
    }

    fn sign_if_due(&mut self, closing: bool) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        if closing || checkpoints.is_due(self.encoder.tip().seq) {
            self.checkpoint = Some(self.encoder.checkpoint(SystemTime::now(), &checkpoints.key));
            checkpoints.last_seq = self.encoder.tip().seq;
            checkpoints.last = Instant::now();
        }
    }

    /// Writes what is encoded, and has it synced if someone waits for it or it is time. Where the
    /// disk says no, this keeps trying until it says yes or the end has come.
    fn put(
        &mut self,
        waiters: Vec<Waiter>,
        jobs: &Sender<Job>,
        mut urgent: bool,
    ) -> Result<(), Unwritable> {
        urgent |= !waiters.is_empty();
        let mut waiters = Some(waiters);
        let mut closing = false;
        loop {
            match self.attempt(urgent) {
                Ok(None) => break,
                Ok(Some(mut job)) => {
                    job.waiters = waiters.take().unwrap_or_default();
                    // Without a syncer nothing can be promised, and dropping the job says so.
                    drop(jobs.send(job));
                    break;
                }
                Err(error) => {
                    let unwritable = Unwritable { reason: error.to_string().into() };
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!(reason = %error, "the audit trail cannot be written");
                    }
                    self.shared.failed(&unwritable);
                    answer(waiters.take().into_iter().flatten(), &Err(unwritable.clone()));
                    if closing {
                        return Err(unwritable);
                    }
                }
            }
            closing = self.shared.pause(Instant::now() + self.retry_interval);
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("the audit trail is written again");
            self.shared.recovered();
        }
        Ok(())
    }

    fn attempt(&mut self, urgent: bool) -> io::Result<Option<Job>> {
        if self.failing {
            // The disk may be gone for good, and another one in its place.
            self.look()?;
        }
        self.append()?;
        let due = self.dirty_since.is_some_and(|since| since.elapsed() >= self.sync_interval);
        if !urgent && !due {
            return Ok(None);
        }
        self.look()?;
        self.append()?;
        self.dirty_since = None;
        let mut files = std::mem::take(&mut self.ended);
        files.push(self.storage.stable());
        Ok(Some(Job {
            files,
            seq: self.encoder.tip().seq,
            waiters: Vec::new(),
            checkpoint: self.checkpoint.take(),
        }))
    }

    /// Sees that the file is where those who read the trail look for it, and says so on the trail
    /// if it had to be put back.
    fn look(&mut self) -> io::Result<()> {
        if let Some(file) = self.storage.check()? {
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
                    self.shared.bytes.fetch_add(taken as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.encoder.clear();
        self.written = 0;
        let seq = self.encoder.tip().seq;
        let before = self.shared.last_seq.swap(seq, Ordering::Relaxed);
        self.shared.written.fetch_add(seq - before, Ordering::Relaxed);
        Ok(())
    }
}
