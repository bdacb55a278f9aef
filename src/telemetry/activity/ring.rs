//! A ring of slots of equal length.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Answers, Counts, MINUTE, MOST_GROUPS, Pair, Stretch, Summary, Tables, ordinal};
use crate::{
    audit::Record,
    domain::{LabelValue, ProfileName},
};

/// Counters of one slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// The slot's number since 1970.
    pub(super) at: u64,
    /// Sorted by pair.
    pairs: Vec<(Pair, Counts)>,
    /// Calls of pairs without room.
    others: Counts,
    upstreams: BTreeMap<ProfileName, Answers>,
}

impl Slot {
    pub(super) fn at(at: u64) -> Self {
        Self { at, ..Self::default() }
    }

    pub(super) fn add(&mut self, record: &Record, tables: &Tables) {
        if record.own.is_none() {
            self.counts(record.caller.as_ref(), record.operation.as_ref()).add(record);
        }
        if record.attempts > 0
            && let Some(answers) = self.answers(record.profile.as_ref(), tables)
        {
            answers.add(record);
        }
    }

    /// The answers of a profile's upstream; `None` if there is no room for another profile.
    fn answers(&mut self, profile: Option<&ProfileName>, tables: &Tables) -> Option<&mut Answers> {
        let profile = profile?;
        if !self.upstreams.contains_key(profile) {
            if self.is_full() && !tables.contains(profile) {
                return None;
            }
            self.upstreams.insert(profile.clone(), Answers::default());
        }
        self.upstreams.get_mut(profile)
    }

    fn is_full(&self) -> bool {
        self.upstreams.len() >= MOST_GROUPS
    }

    /// The counters of a pair, or those of all pairs without room. Calls in flight share the names,
    /// so only a new pair copies them.
    fn counts(
        &mut self,
        caller: Option<&LabelValue>,
        operation: Option<&LabelValue>,
    ) -> &mut Counts {
        let place = self.pairs.binary_search_by(|(pair, _)| {
            (pair.caller.as_ref(), pair.operation.as_ref()).cmp(&(caller, operation))
        });
        let place = match place {
            Ok(place) => Some(place),
            Err(_) if self.pairs.len() >= MOST_GROUPS => None,
            Err(place) => {
                let pair = Pair { caller: caller.cloned(), operation: operation.cloned() };
                self.pairs.insert(place, (pair, Counts::default()));
                Some(place)
            }
        };
        let counts = place.and_then(|place| self.pairs.get_mut(place));
        counts.map_or(&mut self.others, |(_, counts)| counts)
    }

    fn merge(&mut self, other: &Self, tables: &Tables) {
        for (pair, counts) in &other.pairs {
            self.counts(pair.caller.as_ref(), pair.operation.as_ref()).merge(counts);
        }
        self.others.merge(&other.others);
        for (profile, answers) in &other.upstreams {
            if let Some(known) = self.answers(Some(profile), tables) {
                known.merge(answers);
            }
        }
    }

    /// The total of the slot.
    fn total(&self) -> Counts {
        let mut total = self.others.clone();
        for (_, counts) in &self.pairs {
            total.merge(counts);
        }
        total
    }
}

/// A ring. A copy is cheap: finished slots are shared.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// Length of a slot.
    length: Duration,
    slots: Vec<Arc<Slot>>,
}

impl Ring {
    pub(super) fn new(length: Duration, slots: usize) -> Self {
        Self { length, slots: std::iter::repeat_with(Arc::default).take(slots).collect() }
    }

    /// Adds a minute to its slot, which replaces an older one in the same place.
    pub(super) fn merge(&mut self, minute: &Slot, tables: &Tables) {
        let at = self.stretch_of(minute);
        let place = usize::try_from(at % self.slots.len() as u64).unwrap_or_default();
        if let Some(there) = self.slots.get_mut(place) {
            if there.at != at {
                *there = Arc::new(Slot::at(at));
            }
            Arc::make_mut(there).merge(minute, tables);
        }
    }

    /// Sums up all slots until now; `current` is the minute that is not in the ring yet.
    pub(super) fn summary(&self, current: &Slot, now: SystemTime, tables: &Tables) -> Summary {
        let (first, last) = self.span(now);
        let current_at = self.stretch_of(current);
        let mut sum = Slot::default();
        let mut stretches = Vec::with_capacity(self.slots.len());
        for at in first..=last {
            let mut counts = Counts::default();
            let kept = self.slots.iter().map(|slot| &**slot).filter(|slot| slot.at == at);
            for slot in kept.chain((current_at == at).then_some(current)) {
                counts.merge(&slot.total());
                sum.merge(slot, tables);
            }
            let began = UNIX_EPOCH + self.length * u32::try_from(at).unwrap_or(u32::MAX);
            stretches.push(Stretch { began, counts });
        }
        Summary {
            stretches,
            total: sum.total(),
            pairs: sum.pairs.into_iter().collect(),
            upstreams: sum.upstreams,
        }
    }

    /// The responses to one profile in all slots until now, and whether none of them lacked the room for it.
    pub(super) fn answers_of(
        &self,
        profile: &ProfileName,
        current: &Slot,
        now: SystemTime,
    ) -> (Answers, bool) {
        let (first, last) = self.span(now);
        let (mut answers, mut is_all) = (Answers::default(), true);
        let current_at = self.stretch_of(current);
        let kept = self.slots.iter().map(|slot| (slot.at, &**slot));
        for (at, slot) in kept.chain([(current_at, current)]) {
            if !(first..=last).contains(&at) {
                continue;
            }
            match slot.upstreams.get(profile) {
                Some(counted) => answers.merge(counted),
                None => is_all &= !slot.is_full(),
            }
        }
        (answers, is_all)
    }

    /// The numbers of the first and the last slot of the period that ends now.
    fn span(&self, now: SystemTime) -> (u64, u64) {
        let last = ordinal(now, self.length);
        ((last + 1).saturating_sub(self.slots.len() as u64), last)
    }

    fn stretch_of(&self, minute: &Slot) -> u64 {
        minute.at * MINUTE.as_secs() / self.length.as_secs()
    }
}
