//! What can be told about a credential set without showing a value.

use jiff::Timestamp;
use serde::Serialize;

/// The state of one credential set, for `/status` and for metrics.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The name of its table in the configuration.
    pub name: String,
    /// The kind of its source.
    pub source: &'static str,
    /// How it stands.
    pub state: State,
    /// The version in use.
    pub version: Option<String>,
    /// The version kept beside it: the one before, or a newer one that Pigello does not take yet.
    pub other_version: Option<String>,
    /// The generation in use.
    pub generation: Option<u64>,
    /// When the version in use was first read.
    pub loaded_at: Option<Timestamp>,
    /// Seconds since then.
    pub age_seconds: Option<u64>,
    /// When the source last confirmed it.
    pub confirmed_at: Option<Timestamp>,
    /// Seconds since then.
    pub unconfirmed_seconds: Option<u64>,
    /// When Pigello last accepted the version in use.
    pub accepted_at: Option<Timestamp>,
    /// Seconds since then.
    pub unaccepted_seconds: Option<u64>,
    /// How often another version took the place of one.
    pub rotations: u64,
    /// How often Pigello refused all that there was.
    pub rejections: u64,
    /// How often the source was read without success.
    pub failures: u64,
    /// Why the last read failed, if it did.
    pub last_error: Option<String>,
}

/// How a credential set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Never read with success.
    Empty,
    /// In use, and confirmed by the last read.
    Fresh,
    /// In use since not long ago, with the version before it kept.
    Probation,
    /// In use, though the last read failed.
    Stale,
    /// In use, though Pigello refuses it.
    Rejected,
    /// No longer in use: stale, withdrawn or rejected for too long.
    Expired,
}

impl State {
    /// The states, for metrics.
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
