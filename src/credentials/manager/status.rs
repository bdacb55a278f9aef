//! The status of a credential set, without its values.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::credentials::rotation::SetState;

/// The few facts of a status that tell whether a set is well. Thousands of sets can be asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetHealth {
    /// Its state.
    pub state: SetState,
    /// Whether its source was read once, with or without success.
    pub was_read: bool,
    /// Whether Pigello refuses the new version, while the one before it stays in use.
    pub refuses_new: bool,
    /// How long ago the source confirmed the version in use.
    pub unconfirmed: Option<Duration>,
    /// Whether the last read failed because the source itself cannot be used.
    pub source_fails: bool,
}

/// The status of one credential set, for `/status` and for metrics.
#[derive(Clone, Debug, Serialize)]
pub struct SetStatus {
    /// The name of its table in the configuration.
    pub name: String,
    /// The kind of its source.
    pub source: &'static str,
    /// Its state.
    pub state: SetState,
    /// The version in use.
    pub version: Option<String>,
    /// The version that is kept beside it: the one before, or a newer one that Pigello still refuses or that waits.
    pub other_version: Option<String>,
    /// The new version that Pigello refuses, while the one before it stays in use.
    pub refused_version: Option<String>,
    /// With `adopt = "proven"`: the new version that waits until Pigello has accepted it from a gateway of the fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_version: Option<String>,
    /// That version, if Pigello has refused it at another gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_version: Option<String>,
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
    /// When the set was last written to `keep`.
    pub kept_at: Option<Timestamp>,
    /// When Pigello last accepted the version in use.
    pub accepted_at: Option<Timestamp>,
    /// Seconds since then.
    pub unaccepted_seconds: Option<u64>,
    /// How often a version replaced another.
    pub rotations: u64,
    /// How often Pigello refused every version.
    pub rejections: u64,
    /// How often a read of the source failed.
    pub failures: u64,
    /// Why the last read failed, if it did.
    pub last_error: Option<String>,
}
