//! Stretches of equal length, the newest in the place of the oldest.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Answers, Counts, MOST_GROUPS, Pair, Stretch, Summary, ordinal};
use crate::{domain::ProfileName, trail::Record};

/// What happened in one stretch.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Which one it is, counted from 1970.
    pub(super) at: u64,
    total: Counts,
    pairs: BTreeMap<Pair, Counts>,
    upstreams: BTreeMap<ProfileName, Answers>,
}

impl Slot {
    pub(super) fn at(at: u64) -> Self {
        Self { at, ..Self::default() }
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.total.add(record);
        let pair = Pair {
            caller: record.caller.as_ref().map(Arc::clone),
            operation: record.operation.as_ref().map(Arc::clone),
        };
        if let Some(counts) = self.pair(pair) {
            counts.add(record);
        }
        if record.attempts > 0 {
            match self.upstreams.get_mut(&record.profile) {
                Some(answers) => answers.add(record),
                None => self.upstreams.entry(record.profile.clone()).or_default().add(record),
            }
        }
    }

    /// The counts of a pair, if there is room for it.
    fn pair(&mut self, pair: Pair) -> Option<&mut Counts> {
        if self.pairs.len() >= MOST_GROUPS {
            return self.pairs.get_mut(&pair);
        }
        Some(self.pairs.entry(pair).or_default())
    }

    fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        for (pair, counts) in &other.pairs {
            if let Some(mine) = self.pair(pair.clone()) {
                mine.merge(counts);
            }
        }
        for (profile, answers) in &other.upstreams {
            self.upstreams.entry(profile.clone()).or_default().merge(answers);
        }
    }
}

/// So many stretches.
#[derive(Debug)]
pub(super) struct Ring<const SLOTS: usize>(Vec<Slot>);

impl<const SLOTS: usize> Default for Ring<SLOTS> {
    fn default() -> Self {
        Self(std::iter::repeat_with(Slot::default).take(SLOTS).collect())
    }
}

impl<const SLOTS: usize> Ring<SLOTS> {
    /// Adds to the stretch of that number, which takes the place of whichever was there.
    pub(super) fn merge(&mut self, at: u64, slot: &Slot) {
        let place = usize::try_from(at % SLOTS as u64).unwrap_or_default();
        if let Some(there) = self.0.get_mut(place) {
            if there.at != at {
                *there = Slot::at(at);
            }
            there.merge(slot);
        }
    }

    /// What happened in all stretches up to now; `current` is a minute that is not in the ring yet.
    pub(super) fn summary(&self, length: Duration, current: &Slot, now: SystemTime) -> Summary {
        let last = ordinal(now, length);
        let first = (last + 1).saturating_sub(SLOTS as u64);
        let current_at = current.at * super::MINUTE.as_secs() / length.as_secs();
        let mut sum = Slot::default();
        let mut stretches = Vec::with_capacity(SLOTS);
        for at in first..=last {
            let mut counts = Counts::default();
            let kept = self.0.iter().filter(|slot| slot.at == at);
            for slot in kept.chain((current_at == at).then_some(current)) {
                counts.merge(&slot.total);
                sum.merge(slot);
            }
            let began = UNIX_EPOCH + length * u32::try_from(at).unwrap_or(u32::MAX);
            stretches.push(Stretch { began, counts });
        }
        Summary { stretches, total: sum.total, pairs: sum.pairs, upstreams: sum.upstreams }
    }
}
