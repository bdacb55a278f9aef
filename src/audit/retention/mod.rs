//! The retention thread: deletes the oldest files if the settings say so, and compresses ended ones. It also
//! watches what a deletion follows: the clock, and the room on the disk.
//!
//! Deletion comes before compression, which needs room for a copy. While the trail cannot be written, perhaps
//! because the disk is full, the thread tries every second to make room, and says what stands in its way.

mod compress;
mod due;
mod removal;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;

pub use self::due::Blocked;
pub(super) use self::{
    due::RetentionRules,
    removal::{PendingRemoval, Removals},
};
use super::{
    beginning::Beginnings,
    clock::{ClockChange, ClockDoubt, ClockWatch, Reading},
    encode::Notice,
    queue::RecordQueue,
    readers::Readers,
    space::{Space, SpaceWatch},
};

/// What the thread works on.
#[derive(Debug)]
pub(super) struct RetentionTask {
    pub(super) directory: PathBuf,
    pub(super) readers: Readers,
    pub(super) rules: RetentionRules,
    pub(super) queue: Arc<RecordQueue>,
    /// The clock, and what its first look has shown.
    pub(super) clock: (ClockWatch, Option<ClockChange>),
    /// Deletions that the last process began.
    pub(super) pending: Vec<PendingRemoval>,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Retention {
    stop: Sender<()>,
    thread: thread::JoinHandle<Removals>,
    state: Arc<RetentionState>,
}

/// What the thread has found, for the metrics.
#[derive(Debug, Default)]
pub(super) struct RetentionState {
    pub(super) blocked: Mutex<Option<Blocked>>,
    pub(super) clock_is_doubted: AtomicBool,
    pub(super) space: Mutex<Space>,
}

impl Retention {
    pub(super) fn start(task: RetentionTask) -> io::Result<Self> {
        let state = Arc::new(RetentionState::default());
        let mut keeper = Keeper::new(task, Arc::clone(&state));
        let (stop, stopped) = channel();
        let thread =
            thread::Builder::new().name("audit-retention".to_owned()).spawn(move || {
                keeper.run(&stopped);
                keeper.removals
            })?;
        Ok(Self { stop, thread, state })
    }

    pub(super) fn state(&self) -> &Arc<RetentionState> {
        &self.state
    }

    /// Stops the thread and waits for it. A file that it was compressing stays uncompressed. Returns the
    /// deletions to finish when the last line is written; none if the thread panicked.
    pub(super) fn stop(self) -> Option<Removals> {
        drop(self.stop);
        self.thread.join().ok()
    }
}

/// The state of the thread.
#[derive(Debug)]
struct Keeper {
    directory: PathBuf,
    readers: Readers,
    rules: RetentionRules,
    queue: Arc<RecordQueue>,
    beginnings: Beginnings,
    clock: ClockWatch,
    doubt: ClockDoubt,
    removals: Removals,
    space: SpaceWatch,
    state: Arc<RetentionState>,
    /// The last error, so that each is logged once.
    error: Option<String>,
}

impl Keeper {
    fn new(task: RetentionTask, state: Arc<RetentionState>) -> Self {
        let RetentionTask { directory, readers, rules, queue, clock, pending } = task;
        let (clock, change) = clock;
        let mut keeper = Self {
            doubt: ClockDoubt::of(&directory),
            removals: Removals::new(Arc::clone(&queue), pending),
            space: SpaceWatch::default(),
            beginnings: Beginnings::default(),
            error: None,
            directory,
            readers,
            rules,
            queue,
            clock,
            state,
        };
        keeper.tell_of_clock(change);
        keeper
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        let mut next_round = Instant::now();
        loop {
            let now = Reading::now();
            let change = self.clock.look(now);
            self.tell_of_clock(change);
            self.removals.finish();
            let is_due = Instant::now() >= next_round;
            if is_due || self.queue.unwritable().is_some() {
                self.round(now.wall, stopped);
            }
            if is_due {
                *self.state.space.lock() = self.space.look(&self.directory, Instant::now());
                next_round = Instant::now() + INTERVAL;
            }
            if stopped.recv_timeout(LOOK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Deletes and compresses what is due.
    fn round(&mut self, now: Timestamp, stopped: &Receiver<()>) {
        let is_stopped = || stopped.try_recv() == Err(TryRecvError::Disconnected);
        let blocked = self.delete_due(now, is_stopped);
        let is_writable = self.queue.unwritable().is_none();
        let done = blocked.and_then(|blocked| {
            if is_writable {
                self.compress_ended(now, is_stopped)?;
            }
            Ok(blocked)
        });
        let blocked = match done {
            Ok(blocked) => {
                self.error = None;
                blocked
            }
            Err(error) => {
                let error = error.to_string();
                if self.error.as_ref() != Some(&error) {
                    tracing::warn!(%error, "old audit files could not be compressed or deleted; they stay as they are");
                    self.error = Some(error);
                }
                Some(Blocked::Error)
            }
        };
        let before = std::mem::replace(&mut *self.state.blocked.lock(), blocked);
        match blocked.filter(|_| blocked != before) {
            Some(Blocked::Export) => tracing::warn!(
                "old audit files are due for deletion, and stay until the collector has had their lines"
            ),
            Some(Blocked::Clock) => tracing::warn!(
                "old audit files are due for deletion by a clock that is in doubt, and stay for now"
            ),
            Some(Blocked::NothingDue) => tracing::error!(
                "the audit trail cannot be written, and no old file is due for deletion; if the disk is full, make room on it"
            ),
            Some(Blocked::Error) | None => {}
        }
    }

    fn delete_due(
        &mut self,
        now: Timestamp,
        is_stopped: impl Fn() -> bool,
    ) -> io::Result<Option<Blocked>> {
        compress::remove_unfinished(&self.directory)?;
        let (due, blocked) = {
            let Self { directory, rules, clock, beginnings, .. } = self;
            due::due(directory, rules, now, clock.is_doubted(), beginnings)?
        };
        let nothing_due = due.is_empty() && self.queue.unwritable().is_some();
        for file in due {
            // While the trail cannot be written, one file may be room enough.
            if !self.removals.remove(&file)? || is_stopped() {
                break;
            }
        }
        Ok(blocked.or(nothing_due.then_some(Blocked::NothingDue)))
    }

    fn compress_ended(&mut self, now: Timestamp, is_stopped: impl Fn() -> bool) -> io::Result<()> {
        let Some(after) = self.rules.compress_after else { return Ok(()) };
        if self.clock.is_doubted() {
            return Ok(());
        }
        for ended in due::ended(&self.directory, now, &mut self.beginnings)? {
            if is_stopped() {
                return Ok(());
            }
            if !ended.segment.compressed && ended.is_past(after, now) {
                compress::compress(&ended.segment, self.readers, &is_stopped)?;
            }
        }
        Ok(())
    }

    /// Says that the clock is in doubt, or believed again: in the log, on the trail, and for a restart.
    fn tell_of_clock(&mut self, change: Option<ClockChange>) {
        let Some(change) = change else { return };
        let kept = match change {
            ClockChange::Doubted { step } => {
                tracing::warn!(
                    step_seconds = step.as_secs(),
                    "the clock has jumped; audit files are not compressed or deleted by their age until it is back, or has stood for a day"
                );
                self.doubt.keep(self.clock.believed())
            }
            ClockChange::Believed => {
                tracing::info!("the clock is believed again");
                self.doubt.forget()
            }
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "a restart will not know whether the clock is in doubt");
        }
        self.state.clock_is_doubted.store(self.clock.is_doubted(), Ordering::Relaxed);
        // Nobody waits for the line.
        drop(self.queue.announce(Notice::Clock(change)));
    }
}

/// How often the thread deletes and compresses.
const INTERVAL: Duration = Duration::from_secs(30);
/// How often it looks at the clock, and whether the trail can be written.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
