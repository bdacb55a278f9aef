//! The life cycle of one credential set: a state machine that learns what happened and when, and selects
//! the version for a request.
//!
//! | state | meaning | left by |
//! | --- | --- | --- |
//! | empty | never read | a read |
//! | fresh | one version, confirmed by the last read | a newer version; a failed read; a refusal |
//! | probation | a newer version, and the one before it is kept | the end of the overlap, after Pigello accepted the newer one |
//! | stale | the last read failed; the set stays in use | a read; `max_stale`, or the grace after a withdrawal |
//! | rejected | Pigello refuses the set, and its source has no other | a newer version; an answer that accepts it |
//! | expired | nothing may be used | a read; after a rejection, an accepted trial |
//!
//! With [`Adoption::Proven`] a newer version waits beside the one in use, until Pigello has accepted it: from
//! another gateway of the fleet, or from this one if it is one of those that try it. When Pigello refuses the one
//! in use, the wait is over.
//!
//! Time is an argument, and nothing here waits, locks or does I/O.

mod lease;
mod outcome;
mod state;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

pub use self::{lease::Lease, outcome::RefreshOutcome, state::SetState};
pub(super) use self::{
    outcome::{AfterRefusal, Selection},
    state::UnavailableReason,
};
use super::{
    set::{CredentialSet, SetVersion},
    settings::{Adoption, RefreshSettings},
    sources::SourceFailure,
};

/// The time between two refreshes on a 401, after one that found no newer version. Without it, an
/// upstream that refuses every other call would have the source read all the time.
const REFRESH_GAP: Duration = Duration::from_secs(1);

/// One credential set with its versions.
#[derive(Debug)]
pub(super) struct RotationState {
    limits: RefreshSettings,
    held: Option<HeldVersions>,
    reason: UnavailableReason,
    rotations: u64,
    rejections: u64,
}

/// The versions that are held, and their condition.
#[derive(Debug)]
struct HeldVersions {
    current: HeldVersion,
    previous: Option<HeldVersion>,
    /// Whether requests use the previous version, because Pigello refused the current one, or it waits.
    prefers_previous: bool,
    /// Whether the current version waits for another gateway's word; none if it was accepted or refused.
    unproven: Option<Unproven>,
    /// Whether Pigello accepted the previous version after it refused the current one.
    previous_took_over: bool,
    /// When the previous version is dropped; known once Pigello accepted the current one.
    overlap_ends: Option<Instant>,
    confirmed: Instant,
    failing: Option<FailingSource>,
    rejection: Option<Rejection>,
    /// When the last refresh on a 401 found no newer version.
    refreshed: Option<Instant>,
}

#[derive(Debug)]
struct HeldVersion {
    lease: Arc<Lease>,
    /// Pigello accepted it at least once.
    proven: bool,
    /// Pigello refused it, and has not accepted it since.
    refused: bool,
    /// Pigello accepted it from another gateway of the fleet.
    vouched: bool,
}

/// A version of which nobody knows whether Pigello accepts it.
#[derive(Clone, Copy, Debug)]
struct Unproven {
    since: Instant,
    /// Whether this gateway tries it.
    is_canary: bool,
    /// Whether Pigello has refused it at another gateway.
    is_rejected: bool,
}

#[derive(Clone, Copy, Debug)]
struct FailingSource {
    failure: SourceFailure,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Rejection {
    since: Instant,
    /// The limit is over: calls are answered without Pigello.
    closed: bool,
}

impl RotationState {
    pub(super) fn new(limits: RefreshSettings) -> Self {
        Self { limits, held: None, reason: UnavailableReason::NotYet, rotations: 0, rejections: 0 }
    }

    /// The source was read.
    pub(super) fn loaded(&mut self, set: CredentialSet, now: Instant) -> RefreshOutcome {
        let version = set.version().clone();
        let Some(held) = &mut self.held else {
            self.held = Some(HeldVersions::new(HeldVersion::new(set), None, now));
            return RefreshOutcome::Replaced { from: None, to: version };
        };
        let lease = &held.current.lease;
        if lease.version() == &version && lease.same_values(&set) {
            held.confirmed = now;
            held.failing = None;
            return RefreshOutcome::Unchanged { version };
        }
        let from = Some(lease.version().clone());
        self.rotations += 1;
        if let Some(held) = self.held.take() {
            let previous = match held.previous {
                // Pigello never accepted the current version: keep one that it accepted.
                Some(older) if !held.current.proven && !held.current.vouched => older,
                _ => held.current,
            };
            let needs_proof = matches!(self.limits.adoption, Adoption::Proven { .. })
                && held.rejection.is_none()
                && !previous.refused
                && !previous.lease.same_values(&set);
            let held = HeldVersions::new(HeldVersion::new(set), Some(previous), now);
            let unproven = needs_proof.then_some(Unproven::since(now));
            self.held = Some(HeldVersions { prefers_previous: needs_proof, unproven, ..held });
        }
        RefreshOutcome::Replaced { from, to: version }
    }

    /// Sets of an earlier process, the oldest first, and when their source confirmed the newest.
    pub(super) fn restored(&mut self, sets: Vec<CredentialSet>, confirmed: Instant) {
        for set in sets {
            self.loaded(set, confirmed);
        }
        self.rotations = 0;
    }

    /// The source could not be read.
    pub(super) fn failed(&mut self, failure: SourceFailure, now: Instant) {
        let Some(held) = &mut self.held else { return };
        match held.failing {
            Some(failing) if failing.failure == failure => {}
            // A withdrawn set stays withdrawn until it is read again.
            Some(FailingSource { failure: SourceFailure::Withdrawn, .. }) => {}
            _ => held.failing = Some(FailingSource { failure, since: now }),
        }
        self.tick(now);
    }

    /// Pigello accepted a version. True if that proves a version that nobody has vouched for.
    pub(super) fn accepted(&mut self, generation: u64, now: Instant) -> bool {
        let Some(held) = &mut self.held else { return false };
        if held.current.lease.generation() == generation {
            let is_news = !held.current.proven && !held.current.vouched && held.previous.is_some();
            held.unproven = None;
            held.current.proven = true;
            held.current.refused = false;
            held.prefers_previous = false;
            held.rejection = None;
            if held.previous.is_some() && held.overlap_ends.is_none() {
                held.overlap_ends = now.checked_add(self.limits.overlap);
            }
            return is_news;
        }
        if let Some(previous) = &mut held.previous
            && previous.lease.generation() == generation
        {
            previous.refused = false;
            if held.current.refused {
                held.prefers_previous = true;
                held.previous_took_over = true;
                held.rejection = None;
            }
        }
        false
    }

    /// Whether a newer version waits for proof.
    pub(super) fn waits(&self) -> bool {
        self.unproven().is_some()
    }

    /// Whether that is a version that nobody knows Pigello to accept.
    pub(super) fn is_unproven(&self, generation: u64) -> bool {
        self.held.as_ref().is_some_and(|held| {
            held.unproven.is_some() && held.current.lease.generation() == generation
        })
    }

    /// The version that waits for proof, and whether Pigello has refused it at another gateway.
    pub(super) fn waiting_version(&self) -> Option<(&SetVersion, bool)> {
        let unproven = self.unproven()?;
        Some((self.versions().0?.version(), unproven.is_rejected))
    }

    fn unproven(&self) -> Option<Unproven> {
        self.held.as_ref().filter(|held| held.prefers_previous)?.unproven
    }

    fn waiting(&mut self) -> Option<&mut HeldVersions> {
        let held = self.held.as_mut()?;
        (held.prefers_previous && held.unproven.is_some()).then_some(held)
    }

    /// This gateway is one of those that try a version that waits.
    pub(super) fn try_out(&mut self) {
        if let Some(unproven) = self.waiting().and_then(|held| held.unproven.as_mut()) {
            unproven.is_canary = true;
        }
    }

    /// Pigello has accepted the version that waits, from another gateway.
    pub(super) fn vouched(&mut self) {
        if let Some(held) = self.waiting() {
            held.current.vouched = true;
            held.adopt();
        }
    }

    /// Pigello has refused the version that waits, at another gateway.
    pub(super) fn rejected_elsewhere(&mut self) -> bool {
        let unproven = self.waiting().and_then(|held| held.unproven.as_mut());
        unproven.is_some_and(|unproven| !std::mem::replace(&mut unproven.is_rejected, true))
    }

    /// Uses a version that has waited for too long, and of which nothing was heard.
    pub(super) fn adopt_unheard(&mut self, now: Instant) {
        if self.patience_ends().is_some_and(|end| end <= now)
            && let Some(held) = self.waiting()
        {
            held.adopt();
        }
    }

    fn patience_ends(&self) -> Option<Instant> {
        let unproven = self.unproven().filter(|unproven| !unproven.is_rejected)?;
        match self.limits.adoption {
            Adoption::AtOnce => None,
            Adoption::Proven { patience, .. } => unproven.since.checked_add(patience),
        }
    }

    /// Pigello answered a version with 401.
    pub(super) fn refused(&mut self, generation: u64, now: Instant) -> AfterRefusal {
        let Some(held) = &mut self.held else { return AfterRefusal::GiveUp };
        let previous = held.previous.as_mut();
        if held.current.lease.generation() == generation {
            held.current.refused = true;
            // The one before it has worked.
            held.prefers_previous |= held.unproven.take().is_some();
            // A version that never worked may be too new, so the previous one is tried. One that worked
            // was revoked, and the previous one before it, so the source is read for a newer one.
            if let Some(previous) = previous.filter(|p| !p.refused)
                && !held.current.proven
            {
                held.prefers_previous = true;
                return AfterRefusal::Try(Arc::clone(&previous.lease));
            }
        } else if let Some(previous) = previous.filter(|p| p.lease.generation() == generation) {
            previous.refused = true;
            held.prefers_previous = false;
            // It worked until now, so Pigello may accept the current version by now.
            if std::mem::take(&mut held.previous_took_over) {
                held.current.refused = false;
            }
            if !held.current.refused {
                return AfterRefusal::Try(Arc::clone(&held.current.lease));
            }
        } else {
            // The call used a version that is no longer held.
            let preferred = held.preferred();
            if !preferred.refused {
                return AfterRefusal::Try(Arc::clone(&preferred.lease));
            }
        }
        let just_refreshed = held.refreshed.is_some_and(|over| now < over + REFRESH_GAP);
        if held.rejection.is_some() || just_refreshed {
            return AfterRefusal::GiveUp;
        }
        AfterRefusal::Refresh
    }

    /// Whether Pigello has not refused the newest version, or accepted it since.
    pub(super) fn is_renewed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.current.refused)
    }

    /// A version that Pigello has not refused, the newer one first.
    pub(super) fn unrefused(&self) -> Option<&Arc<Lease>> {
        let held = self.held.as_ref()?;
        let mut versions = [Some(&held.current), held.previous.as_ref()].into_iter().flatten();
        versions.find(|version| !version.refused).map(|version| &version.lease)
    }

    /// A refresh on a 401 found no newer version. True if the set is rejected with that; otherwise there
    /// is a version left to try.
    pub(super) fn refresh_found_nothing(&mut self, now: Instant) -> bool {
        let has_other = self.unrefused().is_some();
        let Some(held) = &mut self.held else { return true };
        held.refreshed = Some(now);
        if has_other {
            return false;
        }
        if held.rejection.is_none() {
            held.rejection = Some(Rejection { since: now, closed: false });
            self.rejections += 1;
        }
        true
    }

    /// Applies the limits that are over.
    pub(super) fn tick(&mut self, now: Instant) {
        let limits = self.limits;
        let Some(held) = &mut self.held else { return };
        if held.overlap_ends.is_some_and(|end| end <= now) {
            held.previous = None;
            held.prefers_previous = false;
            held.overlap_ends = None;
        }
        if let Some(rejection) = &mut held.rejection {
            rejection.closed = rejection.since + limits.rejection_limit <= now;
        }
        if held.expires(&limits).is_some_and(|end| end <= now) {
            self.reason = match held.failing {
                Some(FailingSource { failure: SourceFailure::Withdrawn, .. }) => {
                    UnavailableReason::Withdrawn
                }
                _ => UnavailableReason::Stale,
            };
            self.held = None;
        }
    }

    /// When [`Self::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.held.as_ref()?;
        let closes = held
            .rejection
            .filter(|rejection| !rejection.closed)
            .map(|rejection| rejection.since + self.limits.rejection_limit);
        [held.overlap_ends, held.expires(&self.limits), closes, self.patience_ends()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The version for a request.
    pub(super) fn select(&self) -> Selection {
        let Some(held) = &self.held else {
            return Selection::Nothing { reason: self.reason, trial: None };
        };
        let current = Arc::clone(&held.current.lease);
        if held.rejection.is_some_and(|rejection| rejection.closed) {
            return Selection::Nothing {
                reason: UnavailableReason::Rejected,
                trial: Some(current),
            };
        }
        match held.previous.as_ref().filter(|_| held.prefers_previous) {
            Some(previous) => Selection::Use {
                lease: Arc::clone(&previous.lease),
                trial: held.unproven.is_none_or(|unproven| unproven.is_canary).then_some(current),
                settled: (held.unproven.is_some() || held.previous_took_over)
                    && !previous.refused
                    && held.rejection.is_none(),
            },
            None => Selection::Use {
                lease: current,
                trial: None,
                settled: held.current.proven
                    && !held.current.refused
                    && held.previous.is_some() == held.overlap_ends.is_some(),
            },
        }
    }

    /// The state in one word.
    pub(super) fn state(&self) -> SetState {
        match &self.held {
            None if self.reason == UnavailableReason::NotYet => SetState::Empty,
            None => SetState::Expired,
            Some(held) => match held.rejection {
                Some(Rejection { closed: true, .. }) => SetState::Expired,
                Some(_) => SetState::Rejected,
                None if held.failing.is_some() => SetState::Stale,
                None if held.previous.is_some() => SetState::Probation,
                None => SetState::Fresh,
            },
        }
    }

    /// Whether the source should be read again soon, though the last read succeeded.
    pub(super) fn needs_new_version(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.rejection.is_some())
    }

    /// The new version that Pigello refuses, and the one before it, which is used meanwhile.
    pub(super) fn refused_version(&self) -> Option<(&SetVersion, &SetVersion)> {
        let held = self.held.as_ref();
        let held = held.filter(|held| held.prefers_previous && held.unproven.is_none())?;
        Some((held.current.lease.version(), held.previous.as_ref()?.lease.version()))
    }

    /// The current version and the previous one.
    pub(super) fn versions(&self) -> (Option<&Arc<Lease>>, Option<&Arc<Lease>>) {
        let held = self.held.as_ref();
        let current = held.map(|held| &held.current.lease);
        (current, held.and_then(|held| held.previous.as_ref()).map(|previous| &previous.lease))
    }

    /// How often a version replaced another, and how often Pigello refused every version.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.rotations, self.rejections)
    }
}

impl HeldVersions {
    fn new(current: HeldVersion, previous: Option<HeldVersion>, now: Instant) -> Self {
        Self {
            current,
            previous,
            prefers_previous: false,
            unproven: None,
            previous_took_over: false,
            overlap_ends: None,
            confirmed: now,
            failing: None,
            rejection: None,
            refreshed: None,
        }
    }

    /// Uses the current version.
    fn adopt(&mut self) {
        self.unproven = None;
        self.prefers_previous = false;
    }

    fn preferred(&self) -> &HeldVersion {
        self.previous.as_ref().filter(|_| self.prefers_previous).unwrap_or(&self.current)
    }

    /// When the set expires if its source keeps failing.
    fn expires(&self, limits: &RefreshSettings) -> Option<Instant> {
        match self.failing? {
            FailingSource { failure: SourceFailure::Withdrawn, since } => {
                since.checked_add(limits.withdrawal_grace)
            }
            FailingSource { failure: SourceFailure::Unavailable, .. } => {
                limits.max_stale.and_then(|limit| self.confirmed.checked_add(limit))
            }
        }
    }
}

impl HeldVersion {
    fn new(set: CredentialSet) -> Self {
        Self { lease: Arc::new(Lease::new(set)), proven: false, refused: false, vouched: false }
    }
}

impl Unproven {
    fn since(now: Instant) -> Self {
        Self { since: now, is_canary: false, is_rejected: false }
    }
}

#[cfg(test)]
mod tests;
