//! Activity of the last hour and the last day, for the status page: who called what, with which
//! result, and which calls were refused.
//!
//! The audit trail's thread feeds it with the batches it writes, so the path of a call does no work
//! for it. It is in memory and starts empty; the trail is what lasts. Memory is bounded:
//! [`MINUTES`] slots of a minute and [`QUARTERS`] of a quarter of an hour, each with at most
//! [`MOST_GROUPS`] pairs of caller and operation and as many profiles, and [`MOST_TROUBLES`] refusals. Calls of
//! further pairs count in the totals only. A profile with a table of its own always has room.

mod counts;
mod ring;
mod times;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::Deserialize;

pub use counts::{Answers, Counts};
pub use times::Times;
pub use trouble::{Cause, Trouble};

use self::{
    ring::{Ring, Slot},
    trouble::Troubles,
};
use crate::{
    audit::{Record, RecordObserver},
    domain::{LabelValue, ProfileName},
};

/// Activity of the last hour and the last day.
#[derive(Default)]
pub struct Activity(Mutex<Inner>);

struct Inner {
    /// The current minute.
    now: Slot,
    minutes: Ring,
    quarters: Ring,
    troubles: Troubles,
    /// The profiles that always have room.
    tables: Tables,
}

/// Profiles with tables of their own, of which there are few.
type Tables = Arc<BTreeSet<ProfileName>>;

/// The period to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// An hour, by the minute.
    #[default]
    Hour,
    /// A day, by the quarter of an hour.
    Day,
}

/// A pair of caller and operation; `None` is an unidentified caller, or no operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The caller's name.
    pub caller: Option<LabelValue>,
    /// The operation.
    pub operation: Option<LabelValue>,
}

/// Activity of a period.
#[derive(Debug, Default)]
pub struct Summary {
    /// Slots of equal length, the oldest first, empty ones included.
    pub stretches: Vec<Stretch>,
    /// All calls.
    pub total: Counts,
    /// By caller and operation, for pairs that had room.
    pub pairs: BTreeMap<Pair, Counts>,
    /// Responses of each profile's upstream.
    pub upstreams: BTreeMap<ProfileName, Answers>,
}

/// One slot.
#[derive(Debug)]
pub struct Stretch {
    /// Its start.
    pub began: SystemTime,
    /// Its calls.
    pub counts: Counts,
}

impl Activity {
    /// An empty slot.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The activity of the period that ends now.
    pub fn summary(&self, period: Period, now: SystemTime) -> Summary {
        // Sums up a copy: calls wait for the trail's thread, and that thread waits for this lock.
        let (ring, current, tables) = self.copy(period);
        ring.summary(&current, now, &tables)
    }

    /// The responses to one profile in the period that ends now, and whether these are all of them: a member of a
    /// template is not counted in slots that had no room for it.
    pub fn answers_of(
        &self,
        profile: &ProfileName,
        period: Period,
        now: SystemTime,
    ) -> (Answers, bool) {
        let (ring, current, _) = self.copy(period);
        ring.answers_of(profile, &current, now)
    }

    /// Always has room for these profiles from now on.
    pub fn always_count(&self, profiles: BTreeSet<ProfileName>) {
        self.0.lock().tables = Arc::new(profiles);
    }

    fn copy(&self, period: Period) -> (Ring, Slot, Tables) {
        let inner = self.0.lock();
        let ring = match period {
            Period::Hour => &inner.minutes,
            Period::Day => &inner.quarters,
        };
        (ring.clone(), inner.now.clone(), Arc::clone(&inner.tables))
    }

    /// The last calls that were refused or failed, the latest first; equal ones are merged.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.lock().troubles.latest_first()
    }

    /// Counts calls that have just ended.
    pub fn add(&self, records: &mut dyn Iterator<Item = &Record>, now: SystemTime) {
        let minute = ordinal(now, MINUTE);
        let mut inner = self.0.lock();
        if inner.now.at != minute {
            inner.begin(minute);
        }
        let tables = Arc::clone(&inner.tables);
        for record in records {
            inner.now.add(record, &tables);
            inner.troubles.add(record);
        }
    }
}

impl Inner {
    /// Files the finished minute in the rings. The clock may have been set back.
    fn begin(&mut self, minute: u64) {
        let ended = std::mem::replace(&mut self.now, Slot::at(minute));
        self.quarters.merge(&ended, &self.tables);
        self.minutes.merge(&ended, &self.tables);
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            now: Slot::default(),
            minutes: Ring::new(MINUTE, MINUTES),
            quarters: Ring::new(QUARTER, QUARTERS),
            troubles: Troubles::default(),
            tables: Tables::default(),
        }
    }
}

impl RecordObserver for Activity {
    fn observe(&self, records: &mut dyn Iterator<Item = &Record>) {
        // Calls count as ended when their batch is written, a few milliseconds later.
        self.add(records, SystemTime::now());
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activity")
    }
}

/// Slots of this length since 1970.
fn ordinal(time: SystemTime, length: Duration) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / length.as_secs()
}

const MINUTE: Duration = Duration::from_mins(1);
const QUARTER: Duration = Duration::from_mins(15);
/// One hour.
const MINUTES: usize = 60;
/// One day.
const QUARTERS: usize = 96;
/// Pairs of caller and operation in one slot: a dozen callers with a dozen operations each. So many members of
/// templates as well.
const MOST_GROUPS: usize = 144;
/// Refusals and failures that are kept.
const MOST_TROUBLES: usize = 40;

#[cfg(test)]
mod tests;
