//! What passes between the bus and the rest of the gateway: changes to tell, changes that were heard, and whether
//! any may have been missed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    budget::Feed,
    change::{CHANGING, Change, KINDS},
    horizon::{Horizon, Position, Round},
    outbox::{Batch, Outbox},
    record::{Describe, Record},
};

/// Hears of the changes that others tell.
pub trait Hearing: Send + Sync {
    /// Drops what has changed, with a notice at that position.
    fn hear(&self, at: Position, changes: Vec<Change>);

    /// Nothing is heard from here on, until the bus is joined again. What is missed is then heard after all, or
    /// [`Self::missed`].
    fn silent(&self);

    /// Changes may have been missed.
    fn missed(&self);

    /// What may be used of the shared cache, if there is one.
    fn horizon(&self) -> Option<Arc<Horizon>> {
        None
    }
}

/// Why changes may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The last message that was heard is no longer in the store: it restarted empty, lost its end when a replica
    /// took over, or this member was away for too long.
    Position,
    /// A publisher's message was kept back.
    Gap,
    /// A message cannot be read: its publisher has another key, or it is forged.
    Unreadable,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Position, Self::Gap, Self::Unreadable];

    /// The value of the label `why`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Gap => "gap",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How many changes there were of each of the [`KINDS`].
type Counts = [AtomicU64; KINDS.len()];

/// See the module.
pub(super) struct Exchange {
    pub(super) outbox: Outbox,
    hearing: Mutex<Option<Arc<dyn Hearing>>>,
    describe: Mutex<Option<Describe>>,
    /// Whether every message is heard now.
    is_joined: AtomicBool,
    /// The position of the last message that was heard.
    position: AtomicU64,
    pub(super) messages: AtomicU64,
    /// The records in the store, as of this member's last one.
    members: AtomicU64,
    /// Shares a budget by that number, also when it is no longer told.
    feed: Arc<Feed>,
    /// When the stream was read to its end the last time, or else the start.
    all_read: Mutex<Instant>,
    told: Counts,
    heard: Counts,
    breaks: [AtomicU64; Break::ALL.len()],
}

impl Exchange {
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        Self {
            feed,
            outbox: Outbox::new(),
            hearing: Mutex::default(),
            describe: Mutex::default(),
            is_joined: AtomicBool::new(false),
            position: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            members: AtomicU64::new(0),
            all_read: Mutex::new(Instant::now()),
            told: Default::default(),
            heard: Default::default(),
            breaks: Default::default(),
        }
    }

    /// Has that one hear from here on.
    pub(super) fn hear_for(&self, hearing: Arc<dyn Hearing>) {
        *self.hearing.lock() = Some(hearing);
    }

    /// Has that say what this member is from here on.
    pub(super) fn describe_by(&self, describe: Describe) {
        *self.describe.lock() = Some(describe);
    }

    /// What this member is now.
    pub(super) fn record(&self) -> Option<Record> {
        let describe = self.describe.lock().clone()?;
        Some(describe())
    }

    /// So many members are there.
    pub(super) fn know_members(&self, members: u64) {
        self.members.store(members, Ordering::Relaxed);
        self.feed.know_members(members);
    }

    /// The members that are there; 0 while that is not known.
    pub(super) fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    /// Passes on what others told.
    pub(super) fn hear(&self, at: Position, changes: Vec<Change>) {
        count(&self.heard, &changes);
        if let Some(hearing) = self.hearing() {
            hearing.hear(at, changes);
        }
    }

    /// Everything up to that position is heard.
    pub(super) fn heard_to(&self, at: Position) {
        self.position.store(at.bits(), Ordering::SeqCst);
    }

    /// How far everything is heard, while it is.
    pub(super) fn position(&self) -> Option<Position> {
        let at = Position::from_bits(self.position.load(Ordering::SeqCst));
        self.is_joined().then_some(at)
    }

    /// What may be used of the shared cache, if there is one.
    pub(super) fn horizon(&self) -> Option<Arc<Horizon>> {
        self.hearing()?.horizon()
    }

    /// Begins a round, before its command is sent.
    pub(super) fn round(&self) -> Option<Round> {
        Some(self.horizon()?.round())
    }

    /// The store has those changes.
    pub(super) fn has_told(&self, batch: &Batch) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        count(&self.told, &batch.changes);
        self.outbox.told(batch.upto);
    }

    /// The stream was read to its end by a question of that time.
    pub(super) fn read_to_end(&self, asked: Instant) {
        *self.all_read.lock() = asked;
    }

    /// How long ago that was.
    pub(super) fn lag(&self) -> Duration {
        self.all_read.lock().elapsed()
    }

    /// Every message is heard from here on.
    pub(super) fn join(&self) {
        self.is_joined.store(true, Ordering::SeqCst);
    }

    /// No message is heard from here on.
    pub(super) fn leave(&self) {
        self.members.store(0, Ordering::Relaxed);
        // In this order: who has seen the old value proves nothing after `silent`.
        if self.is_joined.swap(false, Ordering::SeqCst)
            && let Some(hearing) = self.hearing()
        {
            hearing.silent();
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.is_joined.load(Ordering::SeqCst)
    }

    /// Notes that changes may have been missed, up to that position. The first time a member joins that is nobody's
    /// fault.
    pub(super) fn missed(&self, why: Option<Break>, upto: Position) {
        if let Some(horizon) = self.horizon() {
            horizon.everything_changed(Some(upto));
        }
        if let Some(hearing) = self.hearing() {
            hearing.missed();
        }
        let Some(why) = why else { return };
        let at = Break::ALL.iter().position(|known| *known == why).unwrap_or_default();
        if let Some(count) = self.breaks.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        tracing::warn!(
            reason = why.label(),
            "changes of the fleet may have been missed: what is in memory lives for `ttl`"
        );
    }

    fn hearing(&self) -> Option<Arc<dyn Hearing>> {
        self.hearing.lock().clone()
    }

    /// How many changes of others were heard, but for what changes nothing, such as ticks.
    pub(super) fn heard(&self) -> u64 {
        self.heard.iter().take(CHANGING).map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How many changes of each kind were told, and heard.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&'static str, [u64; 2])> {
        let counts = self.told.iter().zip(&self.heard);
        let counts = counts.map(|(told, heard)| [told, heard].map(|it| it.load(Ordering::Relaxed)));
        KINDS.into_iter().zip(counts)
    }

    pub(super) fn breaks(&self) -> impl Iterator<Item = (Break, u64)> {
        let counts = self.breaks.iter().map(|count| count.load(Ordering::Relaxed));
        Break::ALL.into_iter().zip(counts)
    }
}

fn count(counts: &Counts, changes: &[Change]) {
    for change in changes {
        if let Some(count) = counts.get(change.kind()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}
