//! What the path's threads and the writer's thread share: a bounded queue and a few figures.
//!
//! The common case costs a submitter one short lock and no wake-up: only the first record of an
//! empty queue wakes the writer, which then waits a few milliseconds for others to join.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{
    encode::Removal,
    observer::Watch,
    record::{Intent, Record},
    settings::{OnFailure, Settings},
};

/// The trail cannot be written, and calls that would not be on it are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written: {reason}")]
pub struct Unwritable {
    /// What the system said.
    pub reason: Arc<str>,
}

/// One thing to write.
#[expect(clippy::large_enum_variant, reason = "calls are the rule, and a box would cost each one")]
#[derive(Debug)]
pub(super) enum Item {
    Call(Record),
    Intent(Intent),
    Retention(Removal),
}

impl Batch {
    /// Shows the watcher what it has not seen yet.
    fn show(&mut self, watcher: &dyn Watch) {
        let unseen = self.items.iter().skip(self.seen).filter_map(|item| match item {
            Item::Call(record) => Some(record),
            Item::Intent(_) | Item::Retention(_) => None,
        });
        let mut unseen = unseen.peekable();
        if unseen.peek().is_some() {
            watcher.saw(&mut unseen);
        }
        self.seen = self.items.len();
    }
}

/// Someone who waits for what was queued before to be in stable storage.
pub(super) type Waiter = oneshot::Sender<Result<(), Unwritable>>;

/// What the writer takes at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// How many of them the watcher has seen.
    seen: usize,
    pub(super) waiters: Vec<Waiter>,
    /// Records that found no room since the last batch.
    pub(super) lost: u64,
    pub(super) closing: bool,
}

#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    /// When the oldest item came.
    since: Option<Instant>,
    /// Why lines cannot be handed to the kernel.
    write_failed: Option<Unwritable>,
    /// Why what the kernel has cannot be made to last.
    sync_failed: Option<Unwritable>,
}

impl Queue {
    fn unwritable(&self) -> Option<&Unwritable> {
        self.write_failed.as_ref().or(self.sync_failed.as_ref())
    }
}

/// Shared between the handles and the writer.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    /// Whether calls may be served. Read on the path of every call.
    admitting: AtomicBool,
    on_failure: OnFailure,
    capacity: usize,
    watcher: OnceLock<Arc<dyn Watch>>,
    pub(super) written: AtomicU64,
    pub(super) synced_seq: AtomicU64,
    pub(super) last_seq: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Shared {
    pub(super) fn new(settings: &Settings, last_seq: u64) -> Self {
        Self {
            queue: Mutex::default(),
            work: Condvar::new(),
            admitting: AtomicBool::new(true),
            on_failure: settings.on_failure,
            capacity: settings.queue_records.max(1),
            watcher: OnceLock::new(),
            written: AtomicU64::new(0),
            synced_seq: AtomicU64::new(last_seq),
            last_seq: AtomicU64::new(last_seq),
            lost: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    // ===== the path's side =====

    pub(super) fn admit(&self) -> Result<(), Unwritable> {
        if self.admitting.load(Ordering::Relaxed) { Ok(()) } else { Err(self.refusal()) }
    }

    pub(super) fn push(&self, item: Item) {
        self.push_locked(&mut self.queue.lock(), item);
    }

    /// Says whether there was room.
    fn push_locked(&self, queue: &mut Queue, item: Item) -> bool {
        let waiting = queue.batch.items.len();
        if waiting >= self.capacity || queue.batch.closing {
            queue.batch.lost += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.batch.items.push(item);
        if waiting == 0 {
            queue.since = Some(Instant::now());
            self.work.notify_one();
        } else if waiting + 1 == self.high_water() {
            // The calls that are under way still have the other half of the queue.
            self.admit_or_not(queue);
            self.work.notify_one();
        }
        true
    }

    /// Queues something and someone who waits for it to be in stable storage.
    pub(super) fn push_synced(
        &self,
        item: Item,
    ) -> Result<oneshot::Receiver<Result<(), Unwritable>>, Unwritable> {
        let mut queue = self.queue.lock();
        if !self.push_locked(&mut queue, item) {
            return Err(Unwritable { reason: "the queue is full".into() });
        }
        if let Some(unwritable) = queue.unwritable() {
            return Err(unwritable.clone());
        }
        let (sender, receiver) = oneshot::channel();
        queue.batch.waiters.push(sender);
        self.work.notify_one();
        Ok(receiver)
    }

    /// Shows every record to this watcher from now on; only the first one counts.
    pub(super) fn watch(&self, watcher: Arc<dyn Watch>) {
        // Whoever opened the trail has set one, or nobody does.
        let _there_is_one = self.watcher.set(watcher);
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    pub(super) fn unwritable(&self) -> Option<Unwritable> {
        self.queue.lock().unwritable().cloned()
    }

    /// How many items wait, and for how long the oldest has.
    pub(super) fn queued(&self) -> (usize, Duration) {
        let queue = self.queue.lock();
        (queue.batch.items.len(), queue.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Tells the writer to finish. Nothing is queued after that.
    pub(super) fn close(&self) {
        self.queue.lock().batch.closing = true;
        self.work.notify_one();
    }

    fn refusal(&self) -> Unwritable {
        self.unwritable().unwrap_or_else(|| Unwritable { reason: "the queue is full".into() })
    }

    fn high_water(&self) -> usize {
        (self.capacity / 2).max(1)
    }

    // ===== the writer's side =====

    /// Waits for something to do, at most until `deadline`: a batch that had its time to gather,
    /// a waiter, or the end.
    pub(super) fn take(&self, gather: Duration, deadline: Option<Instant>, batch: &mut Batch) {
        let mut queue = self.queue.lock();
        loop {
            let urgent = queue.batch.closing
                || !queue.batch.waiters.is_empty()
                || queue.batch.items.len() >= self.high_water();
            let ready = queue.since.map(|since| since + gather);
            let until = match (urgent, ready, deadline) {
                (true, ..) => break,
                (false, Some(ready), Some(deadline)) => Some(ready.min(deadline)),
                (false, ready, deadline) => ready.or(deadline),
            };
            match until {
                Some(until) if until <= Instant::now() => break,
                Some(until) => {
                    self.work.wait_until(&mut queue, until);
                }
                None => self.work.wait(&mut queue),
            }
        }
        batch.seen = 0;
        std::mem::swap(&mut queue.batch, batch);
        queue.batch.closing = batch.closing;
        queue.since = None;
        self.admit_or_not(&queue);
        drop(queue);
        if let Some(watcher) = self.watcher.get() {
            batch.show(&**watcher);
        }
    }

    /// Waits until a moment or the end, and says whether it is the end. What the disk does not take
    /// is still seen: that is when someone looks.
    pub(super) fn pause(&self, until: Instant) -> bool {
        let mut queue = self.queue.lock();
        if let Some(watcher) = self.watcher.get() {
            queue.batch.show(&**watcher);
        }
        while !queue.batch.closing && Instant::now() < until {
            self.work.wait_until(&mut queue, until);
        }
        queue.batch.closing
    }

    /// The disk said no: from here on calls are refused, if that is the setting, and nobody waits.
    pub(super) fn failed(&self, unwritable: &Unwritable) {
        let mut queue = self.queue.lock();
        queue.write_failed = Some(unwritable.clone());
        self.admit_or_not(&queue);
        answer(queue.batch.waiters.drain(..), &Err(unwritable.clone()));
    }

    /// The disk takes lines again.
    pub(super) fn recovered(&self) {
        let mut queue = self.queue.lock();
        queue.write_failed = None;
        self.admit_or_not(&queue);
    }

    /// What was written cannot be made to last, or can again.
    pub(super) fn sync_failed(&self, unwritable: Option<&Unwritable>) {
        let mut queue = self.queue.lock();
        queue.sync_failed = unwritable.cloned();
        self.admit_or_not(&queue);
    }

    fn admit_or_not(&self, queue: &Queue) {
        let well = queue.unwritable().is_none() && queue.batch.items.len() < self.high_water();
        self.admitting.store(well || self.on_failure == OnFailure::Continue, Ordering::Relaxed);
    }
}

/// Answers those who wait. One that has left is not missed.
pub(super) fn answer(waiters: impl IntoIterator<Item = Waiter>, result: &Result<(), Unwritable>) {
    for waiter in waiters {
        drop(waiter.send(result.clone()));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("last_seq", &self.last_seq).finish_non_exhaustive()
    }
}
