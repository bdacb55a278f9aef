//! What happened in the last hour and the last day, for the page for people: who called what, how it
//! went, and which calls were refused.
//!
//! It is fed with the records that the audit trail's thread has in its hands anyway, a batch at a
//! time, so the path of a call does nothing for it. It is kept in memory and begins empty: the trail
//! is what lasts, this is what one looks at. Memory is bounded: [`MINUTES`] slots of a minute and
//! [`QUARTERS`] of a quarter of an hour, each with at most [`MOST_GROUPS`] pairs of caller and
//! operation, and [`MOST_TROUBLES`] refusals. A pair that finds no room is counted in the totals.

mod counts;
mod ring;
mod times;
mod trouble;

use std::{
    collections::BTreeMap,
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
    domain::ProfileName,
};

/// What the trail's records say of the last hour and the last day.
#[derive(Default)]
pub struct Activity(Mutex<Inner>);

struct Inner {
    /// The minute that is under way.
    now: Slot,
    minutes: Ring,
    quarters: Ring,
    troubles: Troubles,
}

/// How far to look back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// An hour, by the minute.
    #[default]
    Hour,
    /// A day, by the quarter of an hour.
    Day,
}

/// Who called what; `None` is nobody in particular, or no operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The caller's name.
    pub caller: Option<Arc<str>>,
    /// The operation.
    pub operation: Option<Arc<str>>,
}

/// What happened in a period.
#[derive(Debug, Default)]
pub struct Summary {
    /// Stretches of equal length, the oldest first, also those in which nothing happened.
    pub stretches: Vec<Stretch>,
    /// All calls.
    pub total: Counts,
    /// By caller and operation, as far as there was room for them.
    pub pairs: BTreeMap<Pair, Counts>,
    /// Answers of each profile's upstream.
    pub upstreams: BTreeMap<ProfileName, Answers>,
}

/// One stretch of time.
#[derive(Debug)]
pub struct Stretch {
    /// When it began.
    pub began: SystemTime,
    /// Its calls.
    pub counts: Counts,
}

impl Activity {
    /// Nothing happened yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What happened in the period that ends now.
    pub fn summary(&self, period: Period, now: SystemTime) -> Summary {
        // Added up from a copy: the trail's thread waits for the lock, and calls wait for that thread.
        let (ring, current) = {
            let inner = self.0.lock();
            let ring = match period {
                Period::Hour => &inner.minutes,
                Period::Day => &inner.quarters,
            };
            (ring.clone(), inner.now.clone())
        };
        ring.summary(&current, now)
    }

    /// The last calls that were refused or failed, the latest first. Those that are alike are one.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.lock().troubles.latest_first()
    }

    /// Counts calls that have ended just now.
    pub fn add(&self, records: &mut dyn Iterator<Item = &Record>, now: SystemTime) {
        let minute = ordinal(now, MINUTE);
        let mut inner = self.0.lock();
        if inner.now.at != minute {
            inner.begin(minute);
        }
        for record in records {
            inner.now.add(record);
            inner.troubles.add(record);
        }
    }
}

impl Inner {
    /// Puts the minute that was under way where it belongs. The clock may have gone back.
    fn begin(&mut self, minute: u64) {
        let ended = std::mem::replace(&mut self.now, Slot::at(minute));
        self.quarters.merge(&ended);
        self.minutes.merge(&ended);
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            now: Slot::default(),
            minutes: Ring::new(MINUTE, MINUTES),
            quarters: Ring::new(QUARTER, QUARTERS),
            troubles: Troubles::default(),
        }
    }
}

impl RecordObserver for Activity {
    fn observe(&self, records: &mut dyn Iterator<Item = &Record>) {
        // Calls count as ended when their batch is written: a few milliseconds later.
        self.add(records, SystemTime::now());
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activity")
    }
}

/// How many stretches of that length had begun since 1970.
fn ordinal(time: SystemTime, length: Duration) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / length.as_secs()
}

const MINUTE: Duration = Duration::from_mins(1);
const QUARTER: Duration = Duration::from_mins(15);
/// An hour of minutes.
const MINUTES: usize = 60;
/// A day of quarters of an hour.
const QUARTERS: usize = 96;
/// Pairs of caller and operation in one stretch: a dozen callers that use a dozen operations each.
const MOST_GROUPS: usize = 144;
/// Refusals and failures that are kept: as many as one reads.
const MOST_TROUBLES: usize = 40;

#[cfg(test)]
mod tests;
