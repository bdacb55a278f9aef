//! The bounded queue between the request path and the writer thread, and the trail's counters.
//!
//! A submission usually costs one short lock and no wake-up: only the first record of an empty queue
//! wakes the writer, which then waits a few milliseconds for more.

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
    encode::Notice,
    entry::Entry,
    observer::RecordObserver,
    record::{AdminAction, ConfigurationChange, CredentialsChange, Intent, NoticesTaken, Record},
    settings::{OnFailure, Settings},
};

/// The trail is not writable. Calls are refused, because they would have no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written: {reason}")]
pub struct Unwritable {
    /// The error of the operating system, or the trail's own reason.
    pub reason: Arc<str>,
}

impl Unwritable {
    pub(super) fn new(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into() }
    }
}

/// One thing to write.
#[expect(
    clippy::large_enum_variant,
    reason = "most items are calls, and a box would cost each one"
)]
#[derive(Debug)]
pub(super) enum Item {
    Call(Record),
    Intent(Intent),
    Notice(Notice, LineNumber),
    Admin(AdminAction),
    Configuration(Box<ConfigurationChange>),
    Credentials(CredentialsChange),
    Notices(NoticesTaken),
    Entry(Box<Entry>),
}

impl Item {
    /// How many usual records it is as long as.
    fn weight(&self) -> usize {
        match self {
            Self::Call(Record { list_ids: Some(list), .. }) => 1 + list.ids.len() / IDS_A_RECORD,
            _ => 1,
        }
    }
}

/// The objects of a list that are as long as a record without one.
const IDS_A_RECORD: usize = 32;

/// The number of a queued line, once the line is made.
#[derive(Clone, Debug, Default)]
pub(super) struct LineNumber(Arc<OnceLock<u64>>);

impl LineNumber {
    /// The number of a line that is made.
    pub(super) fn of(seq: u64) -> Self {
        Self(Arc::new(seq.into()))
    }

    pub(super) fn set(&self, seq: u64) {
        // A line is made once.
        self.0.get_or_init(|| seq);
    }
}

/// Gets the result of the sync that covers everything queued before it.
pub(super) type SyncWaiter = oneshot::Sender<Result<(), Unwritable>>;

/// The queued items that the writer takes at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// How many records they are as long as: some hold a long list.
    weight: usize,
    /// How many items the observer has seen.
    seen: usize,
    pub(super) waiters: Vec<SyncWaiter>,
    /// Records that were dropped since the last batch.
    pub(super) lost: u64,
    pub(super) closing: bool,
}

impl Batch {
    /// Shows the observer the records that it has not seen.
    fn show(&mut self, observer: &dyn RecordObserver) {
        let unseen = self.items.iter().skip(self.seen).filter_map(|item| match item {
            Item::Call(record) => Some(record),
            Item::Intent(_)
            | Item::Notice(..)
            | Item::Admin(_)
            | Item::Configuration(_)
            | Item::Credentials(_)
            | Item::Notices(_)
            | Item::Entry(_) => None,
        });
        let mut unseen = unseen.peekable();
        if unseen.peek().is_some() {
            observer.observe(&mut unseen);
        }
        self.seen = self.items.len();
    }
}

#[derive(Debug, Default)]
struct QueueState {
    batch: Batch,
    /// When the oldest item was queued.
    since: Option<Instant>,
    /// Why the last write failed.
    write_failed: Option<Unwritable>,
    /// Why the last sync failed.
    sync_failed: Option<Unwritable>,
}

impl QueueState {
    fn unwritable(&self) -> Option<&Unwritable> {
        self.write_failed.as_ref().or(self.sync_failed.as_ref())
    }
}

/// Shared between the handles, the writer and the syncer.
pub(super) struct RecordQueue {
    state: Mutex<QueueState>,
    work: Condvar,
    /// Whether calls may be served. Every call reads it.
    admitting: AtomicBool,
    on_failure: OnFailure,
    capacity: usize,
    observer: OnceLock<Arc<dyn RecordObserver>>,
    /// Why the gateway stops.
    pub(super) stop_reason: OnceLock<&'static str>,
    pub(super) written: AtomicU64,
    pub(super) synced_seq: AtomicU64,
    pub(super) last_seq: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl RecordQueue {
    pub(super) fn new(settings: &Settings, last_seq: u64) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            admitting: AtomicBool::new(true),
            on_failure: settings.on_failure,
            capacity: settings.queue_records.max(1),
            observer: OnceLock::new(),
            stop_reason: OnceLock::new(),
            written: AtomicU64::new(0),
            synced_seq: AtomicU64::new(last_seq),
            last_seq: AtomicU64::new(last_seq),
            lost: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    // ===== the request path's side =====

    pub(super) fn admit(&self) -> Result<(), Unwritable> {
        if self.admitting.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(self.unwritable().unwrap_or_else(|| Unwritable::new(QUEUE_FULL)))
    }

    pub(super) fn push(&self, item: Item) {
        self.push_locked(&mut self.state.lock(), item);
    }

    /// Returns whether the item was queued; drops it if not.
    fn push_locked(&self, state: &mut QueueState, item: Item) -> bool {
        let weight = item.weight();
        let waiting = state.batch.weight;
        if waiting >= self.capacity || state.batch.closing {
            state.batch.lost += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        state.batch.items.push(item);
        state.batch.weight = waiting.saturating_add(weight);
        let is_half_full = state.batch.weight >= self.high_water();
        if waiting == 0 {
            state.since = Some(Instant::now());
            self.work.notify_one();
        } else if is_half_full && waiting < self.high_water() {
            // The other half of the queue is for the calls in progress.
            self.update_admission(state);
            self.work.notify_one();
        }
        true
    }

    /// Queues an item and returns the receiver of the sync's result.
    pub(super) fn push_synced(
        &self,
        item: Item,
    ) -> Result<oneshot::Receiver<Result<(), Unwritable>>, Unwritable> {
        let mut state = self.state.lock();
        if !self.push_locked(&mut state, item) {
            return Err(Unwritable::new(QUEUE_FULL));
        }
        if let Some(unwritable) = state.unwritable() {
            return Err(unwritable.clone());
        }
        let (sender, receiver) = oneshot::channel();
        state.batch.waiters.push(sender);
        self.work.notify_one();
        Ok(receiver)
    }

    /// Queues a line of the trail's own, and returns what tells when it is in stable storage. The line is
    /// written as soon as the disk takes lines. There are few such lines, so they always find room.
    pub(super) fn announce(
        &self,
        notice: Notice,
    ) -> (LineNumber, oneshot::Receiver<Result<(), Unwritable>>) {
        let line = LineNumber::default();
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if !state.batch.closing {
            state.batch.items.push(Item::Notice(notice, line.clone()));
            state.batch.weight = state.batch.weight.saturating_add(1);
            state.since.get_or_insert_with(Instant::now);
            state.batch.waiters.push(sender);
            self.work.notify_one();
        }
        (line, receiver)
    }

    /// Whether an announced line is in stable storage.
    pub(super) fn is_stable(&self, line: &LineNumber) -> bool {
        line.0.get().is_some_and(|seq| *seq <= self.synced_seq.load(Ordering::Acquire))
    }

    /// Sets the observer, unless there is one.
    pub(super) fn set_observer(&self, observer: Arc<dyn RecordObserver>) {
        let _already_set = self.observer.set(observer);
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    pub(super) fn unwritable(&self) -> Option<Unwritable> {
        self.state.lock().unwritable().cloned()
    }

    /// The number of waiting items, and the age of the oldest.
    pub(super) fn queued(&self) -> (usize, Duration) {
        let state = self.state.lock();
        (state.batch.items.len(), state.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Tells the writer to finish. The queue takes no more items.
    pub(super) fn close(&self) {
        self.state.lock().batch.closing = true;
        self.work.notify_one();
    }

    fn high_water(&self) -> usize {
        (self.capacity / 2).max(1)
    }

    // ===== the writer's side =====

    /// Takes the queued batch. Blocks until a batch has waited for `delay`, a sync is asked for, the
    /// queue is half full or closed, or `deadline` has passed.
    pub(super) fn take(&self, delay: Duration, deadline: Option<Instant>, batch: &mut Batch) {
        let mut state = self.state.lock();
        loop {
            let urgent = state.batch.closing
                || !state.batch.waiters.is_empty()
                || state.batch.weight >= self.high_water();
            let ready = state.since.map(|since| since + delay);
            let until = match (urgent, ready, deadline) {
                (true, ..) => break,
                (false, Some(ready), Some(deadline)) => Some(ready.min(deadline)),
                (false, ready, deadline) => ready.or(deadline),
            };
            match until {
                Some(until) if until <= Instant::now() => break,
                Some(until) => {
                    self.work.wait_until(&mut state, until);
                }
                None => self.work.wait(&mut state),
            }
        }
        (batch.seen, batch.weight) = (0, 0);
        std::mem::swap(&mut state.batch, batch);
        state.batch.closing = batch.closing;
        state.since = None;
        self.update_admission(&state);
        drop(state);
        if let Some(observer) = self.observer.get() {
            batch.show(&**observer);
        }
    }

    /// Waits until `until` or the close, and returns whether the queue is closed. The observer also
    /// sees the records that the disk does not take.
    pub(super) fn pause(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        if let Some(observer) = self.observer.get() {
            state.batch.show(&**observer);
        }
        while !state.batch.closing && Instant::now() < until {
            self.work.wait_until(&mut state, until);
        }
        state.batch.closing
    }

    /// A write failed: calls are refused, if the setting says so, and all waiters get the error.
    pub(super) fn failed(&self, unwritable: &Unwritable) {
        let mut state = self.state.lock();
        state.write_failed = Some(unwritable.clone());
        self.update_admission(&state);
        notify(state.batch.waiters.drain(..), &Err(unwritable.clone()));
    }

    /// A write succeeded again.
    pub(super) fn recovered(&self) {
        let mut state = self.state.lock();
        state.write_failed = None;
        self.update_admission(&state);
    }

    /// A sync failed, or succeeded again.
    pub(super) fn sync_failed(&self, unwritable: Option<&Unwritable>) {
        let mut state = self.state.lock();
        state.sync_failed = unwritable.cloned();
        self.update_admission(&state);
    }

    fn update_admission(&self, state: &QueueState) {
        let admit = state.unwritable().is_none() && state.batch.weight < self.high_water();
        self.admitting.store(admit || self.on_failure == OnFailure::Continue, Ordering::Relaxed);
    }
}

const QUEUE_FULL: &str = "the queue is full";

/// Sends the result to all waiters, except those that have been dropped.
pub(super) fn notify(
    waiters: impl IntoIterator<Item = SyncWaiter>,
    result: &Result<(), Unwritable>,
) {
    for waiter in waiters {
        drop(waiter.send(result.clone()));
    }
}

impl fmt::Debug for RecordQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordQueue").field("last_seq", &self.last_seq).finish_non_exhaustive()
    }
}
