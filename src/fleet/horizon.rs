//! How old an entry of the shared cache may be.
//!
//! An entry carries the position in the stream of notices at which its fetch began (`asof`): everything up to there had
//! been heard by the member that fetched. A change has the position of its notice. So an entry with a later `asof` was
//! fetched after the change, whoever stored it and whenever:
//!
//! ```text
//! stream   ──●────────●───────────────●──────────▶
//!            │        │               │
//!            │        notice of a     asof of an entry: fetched after the notice
//!            │        change
//!            asof of another entry: refused by all who have heard the notice
//! ```
//!
//! Objects are kept in slots, and many share one. That costs a fetch and is never wrong.
//!
//! A change that is first known here, such as a write through this member, has no position yet. Until it has one, its
//! slot refuses every entry. Any answer of the store to a command that was *sent after the change* gives one: whatever
//! stands in the stream behind it was published after the change. Such a command is a [`Round`].
//!
//! If no notice follows, no fetch can have a later `asof`. Then a member publishes an empty message
//! ([`Horizon::is_ahead_of`]).

use std::{
    collections::HashSet,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// A position in the stream of notices: the time of the store, and a number. It travels in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position of a message with that time, in milliseconds, and number.
    pub(super) const fn new(millis: u64, number: u64) -> Self {
        let number = if number < MOST_NUMBER { number } else { MOST_NUMBER };
        // Times of the next five centuries.
        let millis = if millis < LAST_MILLIS { millis } else { LAST_MILLIS };
        Self(millis << NUMBER_BITS | number)
    }

    /// The first one behind it.
    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// As it is written.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// From how it is written.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// What this member has heard of each slot. A cache has one, as long as it lives.
pub struct Horizon {
    /// The position of the last change of each slot; [`UNKNOWN`] while it has none.
    last: Box<[AtomicU64]>,
    /// The same for everything.
    floor: AtomicU64,
    /// The highest position that was given to a change.
    highest: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// The changes without a position.
#[derive(Debug, Default)]
struct Waiting {
    slots: HashSet<u32>,
    everything: bool,
    /// Nothing has been heard, and nothing has changed.
    is_new: bool,
}

/// A command to the store that gives a position to the changes before it. Dropped without an answer, it gives none.
pub(super) struct Round {
    horizon: Arc<Horizon>,
    slots: HashSet<u32>,
    everything: bool,
}

impl Horizon {
    /// Refuses everything until the first round.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            last: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            floor: AtomicU64::new(UNKNOWN),
            highest: AtomicU64::new(0),
            waiting: Mutex::new(Waiting { everything: true, is_new: true, ..Waiting::default() }),
        })
    }

    /// The slot of what has that hash.
    pub fn slot(hash: u64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is a hash")]
        let hash = hash as u32;
        hash & (SLOTS - 1)
    }

    /// What is in a slot has changed: with a notice at that position, or just now.
    pub fn changed(&self, slot: u32, at: Option<Position>) {
        let Some(last) = self.last.get(slot as usize) else { return };
        let mut waiting = self.waiting.lock();
        if note(last, at) {
            waiting.slots.insert(slot);
        }
    }

    /// Everything may have changed.
    pub fn everything_changed(&self, at: Option<Position>) {
        let mut waiting = self.waiting.lock();
        if note(&self.floor, at) {
            waiting.everything = true;
        }
        waiting.is_new &= at.is_some();
    }

    /// The least `asof` of an entry about what is in those slots; `None` while there is none.
    pub fn least(&self, slots: impl IntoIterator<Item = u32>) -> Option<Position> {
        let last = |slot: u32| self.last.get(slot as usize).map_or(UNKNOWN, load);
        let least = slots.into_iter().map(last).fold(load(&self.floor), u64::max);
        (least != UNKNOWN).then_some(Position(least))
    }

    /// Whether nothing has touched those slots since a fetch that began at that position. What is known here alone has
    /// touched them after every position.
    pub fn is_untouched(&self, slots: impl IntoIterator<Item = u32>, asof: Position) -> bool {
        self.least(slots).is_some_and(|least| asof >= least)
    }

    /// Whether nothing has been heard yet.
    pub fn is_new(&self) -> bool {
        self.waiting.lock().is_new
    }

    /// Everything from that position on is heard, and nothing was stored before.
    pub(super) fn begin(&self, first: Position) {
        let mut waiting = self.waiting.lock();
        if mem::take(&mut waiting.is_new) {
            waiting.everything = false;
            self.floor.store(first.0, Ordering::Release);
        }
    }

    /// Begins a round: before its command is sent.
    pub(super) fn round(self: &Arc<Self>) -> Round {
        let mut waiting = self.waiting.lock();
        let slots = mem::take(&mut waiting.slots);
        let everything = mem::take(&mut waiting.everything);
        Round { horizon: Arc::clone(self), slots, everything }
    }

    /// Whether an entry would need a later `asof` than any fetch can have now.
    pub(super) fn is_ahead_of(&self, position: Position) -> bool {
        load(&self.highest) > position.0
    }
}

impl Round {
    /// The store has answered: what stands in the stream at that position, or behind it, was published after the
    /// command was sent.
    pub(super) fn end(mut self, at: Position) {
        let (slots, everything) = (mem::take(&mut self.slots), mem::take(&mut self.everything));
        if slots.is_empty() && !everything {
            return;
        }
        let horizon = &self.horizon;
        let mut waiting = horizon.waiting.lock();
        // What has changed again waits for the next round.
        for slot in slots.difference(&waiting.slots) {
            if let Some(last) = horizon.last.get(*slot as usize) {
                last.store(at.0, Ordering::Release);
            }
        }
        if everything && !waiting.everything {
            horizon.floor.store(at.0, Ordering::Release);
            waiting.is_new = false;
        }
        horizon.highest.fetch_max(at.0, Ordering::AcqRel);
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let mut waiting = self.horizon.waiting.lock();
        waiting.slots.extend(self.slots.drain());
        waiting.everything |= self.everything;
    }
}

/// Notes a change, and returns whether it waits for a position.
fn note(last: &AtomicU64, at: Option<Position>) -> bool {
    if let Some(Position(at)) = at {
        // Behind a change that waits: the next round is behind both.
        return last.fetch_max(at, Ordering::AcqRel) == UNKNOWN;
    }
    last.store(UNKNOWN, Ordering::Release);
    true
}

fn load(position: &AtomicU64) -> u64 {
    position.load(Ordering::Acquire)
}

impl fmt::Debug for Horizon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Horizon")
    }
}

/// No position is as high.
const UNKNOWN: u64 = u64::MAX;
/// The slots take 2 MiB. With five changes a second and a life of ten minutes, one entry in twenty is refused without
/// need.
const SLOTS: u32 = 1 << 18;
const _: () = assert!(SLOTS.is_power_of_two());
const NUMBER_BITS: u32 = 20;
const MOST_NUMBER: u64 = (1 << NUMBER_BITS) - 1;
const LAST_MILLIS: u64 = (1 << (64 - NUMBER_BITS - 1)) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Position {
        Position::new(1_800_000_000_000, number)
    }

    fn begun() -> Arc<Horizon> {
        let horizon = Horizon::new();
        assert_eq!(horizon.least([0]), None, "nothing is known yet");
        horizon.begin(at(1));
        assert_eq!(horizon.least([0]), Some(at(1)));
        horizon
    }

    #[test]
    fn positions_follow_each_other_as_the_ids_of_the_store() {
        let ids = [(0, 0), (0, 1), (5, 0), (5, 9), (1_800_000_000_000, 0), (1_800_000_000_001, 0)];
        let positions = ids.map(|(millis, number)| Position::new(millis, number));
        assert!(positions.is_sorted_by(|one, two| one < two));
        assert!(positions.iter().all(|position| *position < position.next()));
        assert!(Position::new(u64::MAX, u64::MAX).next().bits() < UNKNOWN);
        assert_eq!(Position::from_bits(at(3).bits()), at(3));
    }

    #[test]
    fn a_notice_raises_its_slot_and_never_lowers_it() {
        let horizon = begun();
        horizon.changed(7, Some(at(5)));
        horizon.changed(7, Some(at(3)));
        assert_eq!(horizon.least([7]), Some(at(5)));
        assert!(horizon.is_untouched([7], at(5)) && !horizon.is_untouched([7, 8], at(4)));
        assert_eq!(horizon.least([8]), Some(at(1)));
        assert_eq!(horizon.least([8, 7]), Some(at(5)), "the highest of its slots");
        horizon.everything_changed(Some(at(6)));
        assert_eq!(horizon.least([7]), Some(at(6)));
    }

    #[test]
    fn a_change_without_a_position_refuses_all_until_the_next_round_has_ended() {
        let horizon = begun();
        let early = horizon.round();
        horizon.changed(7, None);
        early.end(at(9));
        assert_eq!(horizon.least([7]), None, "that command was sent before");
        assert!(!horizon.is_untouched([7], at(20)));
        drop(horizon.round());
        assert_eq!(horizon.least([7]), None, "that one was not answered");
        let round = horizon.round();
        horizon.changed(8, None);
        round.end(at(10));
        assert_eq!((horizon.least([7]), horizon.least([8])), (Some(at(10)), None));
        assert!(horizon.is_ahead_of(at(9)) && !horizon.is_ahead_of(at(10)));
    }

    #[test]
    fn a_change_during_a_round_waits_for_the_next_one() {
        let horizon = begun();
        horizon.changed(7, None);
        let round = horizon.round();
        horizon.changed(7, Some(at(12)));
        round.end(at(10));
        assert_eq!(horizon.least([7]), None, "a notice behind it");
        horizon.round().end(at(13));
        assert_eq!(horizon.least([7]), Some(at(13)));
    }

    #[test]
    fn a_purge_before_the_first_reading_is_none_of_the_beginning() {
        let horizon = Horizon::new();
        horizon.everything_changed(None);
        horizon.begin(at(1));
        assert_eq!(horizon.least([0]), None, "the purge waits");
        horizon.round().end(at(4));
        assert_eq!(horizon.least([0]), Some(at(4)));
        horizon.begin(at(1));
        assert_eq!(horizon.least([0]), Some(at(4)), "it has begun");
    }
}
