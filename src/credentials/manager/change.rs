//! A change of the version that calls use, as the audit trail tells it.

use std::sync::Arc;

use crate::credentials::rotation::{RotationState, Selection, SetState, UnavailableReason};

/// Calls use another version of a credential set, or none; or Pigello refuses every version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionChange {
    /// The version before; `None` if there was none.
    pub from: Option<Arc<str>>,
    /// The version that calls use now; `None` if they get none.
    pub to: Option<Arc<str>>,
    /// The state of the set.
    pub state: SetState,
    /// Why.
    pub cause: ChangeCause,
}

/// Sees each change. It must not block.
pub(super) type ChangeObserver = Arc<dyn Fn(VersionChange) + Send + Sync>;

/// Why calls use another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeCause {
    /// The source has another version.
    Read,
    /// The source was read for an operator.
    Admin,
    /// Pigello answered 401.
    Rejected,
    /// Pigello accepted a version.
    Accepted,
    /// The version was withdrawn at the source.
    Withdrawn,
    /// The source has been away for longer than `max_stale`.
    Stale,
    /// The copy that was kept of the source is used.
    Restored,
    /// The time of the version before is over.
    Overlap,
    /// Pigello accepted it from another gateway of the fleet.
    Proven,
    /// No gateway of the fleet has told how Pigello judges it, for as long as `adopt_after`.
    Unheard,
}

impl ChangeCause {
    /// The value on the trail.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Rejected => "rejected",
            Self::Accepted => "accepted",
            Self::Withdrawn => "withdrawn",
            Self::Stale => "stale",
            Self::Restored => "restored",
            Self::Overlap => "overlap",
            Self::Proven => "proven",
            Self::Unheard => "adopt_after",
        }
    }
}

/// What was told last.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Told {
    generation: Option<u64>,
    version: Option<Arc<str>>,
    is_rejected: bool,
}

impl Told {
    /// The change since the last one that was told, if there is any. A cause of `None` is that of the limits
    /// that were applied.
    pub(super) fn change(
        &mut self,
        rotation: &RotationState,
        cause: Option<ChangeCause>,
    ) -> Option<VersionChange> {
        let state = rotation.state();
        let (lease, limit) = match rotation.select() {
            Selection::Use { lease, .. } => (Some(lease), ChangeCause::Overlap),
            Selection::Nothing { reason, .. } => (None, limit(reason)),
        };
        let now = Self {
            generation: lease.as_ref().map(|lease| lease.generation()),
            version: lease.map(|lease| Arc::clone(lease.version().shared())),
            is_rejected: state == SetState::Rejected,
        };
        if now == *self {
            return None;
        }
        let to = now.version.clone();
        let from = std::mem::replace(self, now).version;
        Some(VersionChange { from, to, state, cause: cause.unwrap_or(limit) })
    }
}

/// The limit that took a set out of use.
fn limit(reason: UnavailableReason) -> ChangeCause {
    match reason {
        UnavailableReason::Withdrawn => ChangeCause::Withdrawn,
        UnavailableReason::Rejected => ChangeCause::Rejected,
        UnavailableReason::NotYet | UnavailableReason::Stale => ChangeCause::Stale,
    }
}
