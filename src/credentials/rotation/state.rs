//! The state of a credential set in one word, and the reason why it may not be used.

use serde::Serialize;

/// The state of a credential set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SetState {
    /// Never read successfully.
    Empty,
    /// In use, and confirmed by the last read.
    Fresh,
    /// A new version is in use, and the one before it is kept.
    Probation,
    /// In use, though the last read failed.
    Stale,
    /// In use, though Pigello refuses it.
    Rejected,
    /// No longer in use: stale, withdrawn or rejected for too long.
    Expired,
}

impl SetState {
    /// All states, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Empty, Self::Fresh, Self::Probation, Self::Stale, Self::Rejected, Self::Expired];

    /// The name in `/status` and in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Fresh => "fresh",
            Self::Probation => "probation",
            Self::Stale => "stale",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

/// Why no version may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::credentials) enum UnavailableReason {
    /// Never read.
    NotYet,
    /// The source has been away for longer than `max_stale`.
    Stale,
    /// It was withdrawn at the source, and the grace is over.
    Withdrawn,
    /// Pigello has refused it for longer than the limit.
    Rejected,
}
