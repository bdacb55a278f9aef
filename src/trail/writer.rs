//! The trail's own thread: takes batches from the queue and puts them on the disk.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use super::{
    encode::Encoder,
    settings::Settings,
    shared::{Batch, Item, Shared, Unwritable, Waiter, answer},
    storage::Storage,
};

/// Everything the thread owns.
#[derive(Debug)]
pub(super) struct Writer<S> {
    shared: Arc<Shared>,
    storage: S,
    encoder: Encoder,
    /// How much of the encoder's lines is written already.
    written: usize,
    /// When the first line was written that may not be in stable storage yet.
    dirty_since: Option<Instant>,
    gather: Duration,
    sync_interval: Duration,
    retry_interval: Duration,
    failing: bool,
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
            gather: settings.gather,
            sync_interval: settings.sync_interval,
            retry_interval: settings.retry_interval,
            failing: false,
        }
    }

    /// Writes until the end, and says what could not be written.
    pub(super) fn run(mut self) -> Result<u64, Unwritable> {
        let mut batch = Batch::default();
        loop {
            let sync_due = self.dirty_since.map(|since| since + self.sync_interval);
            self.shared.take(self.gather, sync_due, &mut batch);
            let closing = batch.closing;
            self.encode(&mut batch);
            if closing {
                self.encoder.stop(SystemTime::now());
            }
            let waiters = std::mem::take(&mut batch.waiters);
            let outcome = self.put(waiters, closing);
            if closing {
                return outcome.map(|()| self.encoder.tip().seq);
            }
        }
    }

    fn encode(&mut self, batch: &mut Batch) {
        for item in batch.items.drain(..) {
            match item {
                Item::Call(record) => self.encoder.call(&record),
                Item::Intent(intent) => self.encoder.intent(&intent),
            }
        }
        let lost = std::mem::take(&mut batch.lost);
        if lost > 0 {
            tracing::warn!(lost, "audit records found no room and are counted in a gap marker");
            self.encoder.gap(SystemTime::now(), lost);
        }
    }

    /// Writes what is encoded, and syncs if someone waits for it or it is time. Where the disk says
    /// no, this keeps trying until it says yes or the end has come.
    fn put(&mut self, waiters: Vec<Waiter>, mut closing: bool) -> Result<(), Unwritable> {
        let sync = closing || !waiters.is_empty();
        let mut waiters = Some(waiters);
        loop {
            match self.attempt(sync) {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the audit trail is written again");
                        self.shared.recovered();
                    }
                    answer(waiters.take().into_iter().flatten(), &Ok(()));
                    return Ok(());
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
    }

    fn attempt(&mut self, sync: bool) -> io::Result<()> {
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
        let due = self.dirty_since.is_some_and(|since| since.elapsed() >= self.sync_interval);
        if sync || due {
            self.storage.check()?;
            self.storage.sync()?;
            self.dirty_since = None;
            self.shared.synced_seq.store(seq, Ordering::Relaxed);
        }
        Ok(())
    }
}
