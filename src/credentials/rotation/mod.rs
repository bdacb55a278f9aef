//! The life of one credential set: a state machine that is told what happened and when, and says
//! which version a request should use.
//!
//! | state | means | leaves it by |
//! | --- | --- | --- |
//! | empty | never read | a read |
//! | fresh | one version, confirmed by the last read | a newer version; a failed read; a refusal |
//! | probation | a newer version, with the one before it kept | the newer one proven, and the overlap over |
//! | stale | the last read failed; what is held stays in use | a read; `max_stale`, or the grace after a withdrawal |
//! | rejected | Pigello refuses it, and the source has no other | a newer version; an answer that accepts it |
//! | expired | nothing may be used, and why is known | a read; after a rejection, an accepted trial |
//!
//! Time comes in as an argument, and nothing here waits, locks or does I/O.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{CredentialSet, Lease, RefreshOutcome, RefreshSettings, State, source::Cause};

/// After a hunt for a newer version failed, the next one must wait. Without it, an upstream that
/// refuses every other call would have the source read all the time.
const HUNT_GAP: Duration = Duration::from_secs(1);

/// One credential set through its versions.
#[derive(Debug)]
pub(super) struct RotationState {
    limits: RefreshSettings,
    held: Option<Held>,
    loss: UnavailableReason,
    rotations: u64,
    rejections: u64,
}

/// What is held, and how it stands.
#[derive(Debug)]
struct Held {
    current: Member,
    previous: Option<Member>,
    /// Whether requests use the previous version, because the current one was refused.
    prefers_previous: bool,
    /// Whether Pigello accepted the previous version after it refused the current one.
    previous_took_over: bool,
    /// When the previous version is forgotten; known once the current one is proven.
    overlap_ends: Option<Instant>,
    confirmed: Instant,
    trouble: Option<Trouble>,
    rejected: Option<Rejected>,
    hunted: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    lease: Arc<Lease>,
    /// Pigello accepted it at least once.
    proven: bool,
    /// Pigello refused it, and has not accepted it since.
    refused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Trouble {
    cause: Cause,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Rejected {
    since: Instant,
    /// The limit is over: calls are answered without asking Pigello.
    shut: bool,
}

/// Why there is nothing to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnavailableReason {
    /// Never read.
    NotYet,
    /// The source has been away for longer than `max_stale`.
    Stale,
    /// It was taken away at the source, and the grace is over.
    Withdrawn,
    /// Pigello has refused it for longer than the limit.
    Rejected,
}

/// What a request should use.
#[derive(Clone, Debug)]
pub(super) enum Selection {
    /// This version.
    Use {
        lease: Arc<Lease>,
        /// To be tried now and then, by a call that can be repeated with `lease`.
        trial: Option<Arc<Lease>>,
        /// Whether another accepted answer would change nothing.
        settled: bool,
    },
    /// Nothing.
    Nothing {
        loss: UnavailableReason,
        /// To be tried now and then, because Pigello may have changed its mind.
        trial: Option<Arc<Lease>>,
    },
}

/// What to do with a call that Pigello answered with 401.
#[derive(Clone, Debug)]
pub(super) enum AfterRefusal {
    /// Repeat it with this version.
    Try(Arc<Lease>),
    /// Look whether the source has a newer one.
    Hunt,
    /// There is nothing else, and that is known already.
    Rejected,
}

impl RotationState {
    pub(super) fn new(limits: RefreshSettings) -> Self {
        Self { limits, held: None, loss: UnavailableReason::NotYet, rotations: 0, rejections: 0 }
    }

    /// The source was read.
    pub(super) fn loaded(&mut self, set: CredentialSet, now: Instant) -> RefreshOutcome {
        let version = set.version().clone();
        let Some(held) = &mut self.held else {
            self.held = Some(Held::new(Member::new(set), None, now));
            return RefreshOutcome::Replaced { from: None, to: version };
        };
        let lease = &held.current.lease;
        if lease.version() == &version && lease.same_values(&set) {
            held.confirmed = now;
            held.trouble = None;
            return RefreshOutcome::Unchanged { version };
        }
        let from = Some(lease.version().clone());
        self.rotations += 1;
        if let Some(held) = self.held.take() {
            let previous = match held.previous {
                // Two versions in a row that nobody has used: fall back to one that worked.
                Some(older) if !held.current.proven => older,
                _ => held.current,
            };
            self.held = Some(Held::new(Member::new(set), Some(previous), now));
        }
        RefreshOutcome::Replaced { from, to: version }
    }

    /// The source could not be read.
    pub(super) fn failed(&mut self, cause: Cause, now: Instant) {
        let Some(held) = &mut self.held else { return };
        match held.trouble {
            Some(trouble) if trouble.cause == cause => {}
            // What was taken away stays so until the source says otherwise.
            Some(Trouble { cause: Cause::Withdrawn, .. }) => {}
            _ => held.trouble = Some(Trouble { cause, since: now }),
        }
        self.tick(now);
    }

    /// Pigello answered, and not with 401.
    pub(super) fn accepted(&mut self, generation: u64, now: Instant) {
        let Some(held) = &mut self.held else { return };
        if held.current.lease.generation() == generation {
            held.current.proven = true;
            held.current.refused = false;
            held.prefers_previous = false;
            held.rejected = None;
            if held.previous.is_some() && held.overlap_ends.is_none() {
                held.overlap_ends = now.checked_add(self.limits.overlap);
            }
        } else if let Some(previous) = &mut held.previous
            && previous.lease.generation() == generation
        {
            previous.refused = false;
            if held.current.refused {
                held.prefers_previous = true;
                held.previous_took_over = true;
                held.rejected = None;
            }
        }
    }

    /// Pigello answered with 401.
    pub(super) fn refused(&mut self, generation: u64, now: Instant) -> AfterRefusal {
        let Some(held) = &mut self.held else { return AfterRefusal::Rejected };
        let previous = held.previous.as_mut();
        if held.current.lease.generation() == generation {
            held.current.refused = true;
            // A version that worked and does no longer was revoked, and the one before it long
            // since: a newer one is the better guess. One that never worked may be too new.
            if let Some(previous) = previous.filter(|p| !p.refused)
                && !held.current.proven
            {
                held.prefers_previous = true;
                return AfterRefusal::Try(Arc::clone(&previous.lease));
            }
        } else if let Some(previous) = previous.filter(|p| p.lease.generation() == generation) {
            previous.refused = true;
            held.prefers_previous = false;
            // It worked until now, so Pigello has changed over: what it refused then, it may take.
            if std::mem::take(&mut held.previous_took_over) {
                held.current.refused = false;
            }
            if !held.current.refused {
                return AfterRefusal::Try(Arc::clone(&held.current.lease));
            }
        } else {
            // The call was older than both.
            let preferred = held.preferred();
            if !preferred.refused {
                return AfterRefusal::Try(Arc::clone(&preferred.lease));
            }
        }
        let just_hunted = held.hunted.is_some_and(|over| now < over + HUNT_GAP);
        if held.rejected.is_some() || just_hunted {
            return AfterRefusal::Rejected;
        }
        AfterRefusal::Hunt
    }

    /// Whether Pigello has not refused the newest version, or has accepted it since.
    pub(super) fn is_renewed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.current.refused)
    }

    /// A version that Pigello has not refused, the newer one first.
    pub(super) fn unrefused(&self) -> Option<&Arc<Lease>> {
        let held = self.held.as_ref()?;
        let mut members = [Some(&held.current), held.previous.as_ref()].into_iter().flatten();
        members.find(|member| !member.refused).map(|member| &member.lease)
    }

    /// A hunt for a newer version is over, and there is none.
    ///
    /// True if with that the set is rejected; otherwise there is a version left to try.
    pub(super) fn hunted_in_vain(&mut self, now: Instant) -> bool {
        let has_other = self.unrefused().is_some();
        let Some(held) = &mut self.held else { return true };
        held.hunted = Some(now);
        if has_other {
            return false;
        }
        if held.rejected.is_none() {
            held.rejected = Some(Rejected { since: now, shut: false });
            self.rejections += 1;
        }
        true
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        let limits = self.limits;
        let Some(held) = &mut self.held else { return };
        if held.overlap_ends.is_some_and(|end| end <= now) {
            held.previous = None;
            held.prefers_previous = false;
            held.overlap_ends = None;
        }
        if let Some(rejected) = &mut held.rejected {
            rejected.shut = rejected.since + limits.rejection_limit <= now;
        }
        if held.expires(&limits).is_some_and(|end| end <= now) {
            self.loss = match held.trouble {
                Some(Trouble { cause: Cause::Withdrawn, .. }) => UnavailableReason::Withdrawn,
                _ => UnavailableReason::Stale,
            };
            self.held = None;
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.held.as_ref()?;
        let shuts = held
            .rejected
            .filter(|rejected| !rejected.shut)
            .map(|rejected| rejected.since + self.limits.rejection_limit);
        [held.overlap_ends, held.expires(&self.limits), shuts].into_iter().flatten().min()
    }

    /// What a request should use.
    pub(super) fn pick(&self) -> Selection {
        let Some(held) = &self.held else {
            return Selection::Nothing { loss: self.loss, trial: None };
        };
        let current = Arc::clone(&held.current.lease);
        if held.rejected.is_some_and(|rejected| rejected.shut) {
            return Selection::Nothing { loss: UnavailableReason::Rejected, trial: Some(current) };
        }
        match held.previous.as_ref().filter(|_| held.prefers_previous) {
            Some(previous) => Selection::Use {
                lease: Arc::clone(&previous.lease),
                trial: Some(current),
                settled: held.previous_took_over && !previous.refused && held.rejected.is_none(),
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

    /// The state, in one word.
    pub(super) fn state(&self) -> State {
        match &self.held {
            None if self.loss == UnavailableReason::NotYet => State::Empty,
            None => State::Expired,
            Some(held) => match held.rejected {
                Some(Rejected { shut: true, .. }) => State::Expired,
                Some(_) => State::Rejected,
                None if held.trouble.is_some() => State::Stale,
                None if held.previous.is_some() => State::Probation,
                None => State::Fresh,
            },
        }
    }

    /// Whether the source should be read again soon, though the last read succeeded.
    pub(super) fn is_wanting(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.rejected.is_some())
    }

    /// The version that is kept beside the one in use, whichever of the two that is.
    pub(super) fn members(&self) -> (Option<&Arc<Lease>>, Option<&Arc<Lease>>) {
        let held = self.held.as_ref();
        let current = held.map(|held| &held.current.lease);
        (current, held.and_then(|held| held.previous.as_ref()).map(|previous| &previous.lease))
    }

    /// How often a version took the place of another, and how often Pigello refused what there
    /// was.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.rotations, self.rejections)
    }
}

impl Held {
    fn new(current: Member, previous: Option<Member>, now: Instant) -> Self {
        Self {
            current,
            previous,
            prefers_previous: false,
            previous_took_over: false,
            overlap_ends: None,
            confirmed: now,
            trouble: None,
            rejected: None,
            hunted: None,
        }
    }

    fn preferred(&self) -> &Member {
        self.previous.as_ref().filter(|_| self.prefers_previous).unwrap_or(&self.current)
    }

    /// When what is held may no longer be used, if the source stays as it is.
    fn expires(&self, limits: &RefreshSettings) -> Option<Instant> {
        match self.trouble? {
            Trouble { cause: Cause::Withdrawn, since } => {
                since.checked_add(limits.withdrawal_grace)
            }
            Trouble { cause: Cause::Trouble, .. } => {
                limits.max_stale.and_then(|limit| self.confirmed.checked_add(limit))
            }
        }
    }
}

impl Member {
    fn new(set: CredentialSet) -> Self {
        Self { lease: Arc::new(Lease::new(set)), proven: false, refused: false }
    }
}

#[cfg(test)]
mod tests;
