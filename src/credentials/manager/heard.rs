//! What was heard from other gateways of the fleet of one set, and when its source is read for that.

use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::VersionOfSet;

/// What was heard of a set.
#[derive(Default)]
pub(super) struct Heard {
    /// The newest version that another gateway has found.
    pub(super) found: Option<VersionOfSet>,
    pub(super) accepted: Option<VersionOfSet>,
    pub(super) rejected: Option<VersionOfSet>,
    pub(super) nudge: Nudge,
}

/// When the source is read because another gateway has told of a version.
///
/// A read that does not find the version is repeated, after twice the time, until that is the usual interval. So whoever
/// tells of versions that there are not has the source read a few times more, and then no more than twice as often.
pub(super) struct Nudge {
    /// When the source is read.
    due: Option<Instant>,
    /// No read for what is told comes before.
    not_before: Option<Instant>,
    gap: Duration,
}

impl Default for Nudge {
    fn default() -> Self {
        Self { due: None, not_before: None, gap: FIRST_GAP }
    }
}

impl Nudge {
    /// When the source is to be read.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Has the source read soon. Not all gateways do so at once.
    pub(super) fn plan(&mut self, now: Instant) {
        let soon = now + SPREAD.mul_f64(fastrand::f64());
        let at = self.not_before.map_or(soon, |not_before| not_before.max(soon));
        self.due.get_or_insert(at);
    }

    /// The source was read, and there is nothing left to look for, or it has not brought what was told of.
    pub(super) fn read(&mut self, is_content: bool, interval: Duration, now: Instant) {
        let is_told = self.due.is_some_and(|due| due <= now);
        if is_content {
            self.due = None;
            self.gap = FIRST_GAP;
            self.not_before = self.not_before.map(|at| at.min(now + FIRST_GAP));
        } else if is_told {
            self.gap = self.gap.saturating_mul(2);
            self.due = Some(now + self.gap).filter(|_| self.gap < interval);
        }
        self.gap = self.gap.min(interval.max(FIRST_GAP));
        if is_told {
            self.not_before = Some(now + self.gap);
        }
    }
}

impl Heard {
    /// Whether another gateway has told of that version.
    pub(super) fn is_told(&self, version: &VersionOfSet) -> bool {
        let mut told = [&self.found, &self.accepted, &self.rejected].into_iter().flatten();
        told.any(|told| told.fingerprint == version.fingerprint)
    }
}

/// The time within which all gateways read: with a hub that reads every two seconds, all have a new version in five.
const SPREAD: Duration = Duration::from_millis(2_500);
/// The time between two reads for what was told.
const FIRST_GAP: Duration = Duration::from_secs(5);
