//! What the state machine answers: the effect of a read, the version for a request, and what a 401 leads to.

use std::sync::Arc;

use super::{lease::Lease, state::UnavailableReason};
use crate::credentials::set::SetVersion;

/// The effect of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// None: the source has the version that is held.
    Unchanged {
        /// That version.
        version: SetVersion,
    },
    /// Another version is current now.
    Replaced {
        /// The version before, if there was one.
        from: Option<SetVersion>,
        /// The new version.
        to: SetVersion,
    },
}

/// The version for a request.
#[derive(Clone, Debug)]
pub(in crate::credentials) enum Selection {
    /// This version.
    Use {
        lease: Arc<Lease>,
        /// To try now and then, with a call that can be repeated with `lease`.
        trial: Option<Arc<Lease>>,
        /// Whether another accepted answer would change nothing.
        settled: bool,
    },
    /// Nothing.
    Nothing {
        reason: UnavailableReason,
        /// To try now and then, because Pigello may accept it by now.
        trial: Option<Arc<Lease>>,
    },
}

/// What to do with a call that Pigello answered with 401.
#[derive(Clone, Debug)]
pub(in crate::credentials) enum AfterRefusal {
    /// Repeat it with this version.
    Try(Arc<Lease>),
    /// Read the source for a newer version.
    Refresh,
    /// Give up: every version is refused, and the source was read a moment ago.
    GiveUp,
}
