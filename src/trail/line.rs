//! Reads lines of the trail.

use std::borrow::Cow;

use serde::Deserialize;

/// A line's place in the trail.
#[derive(Clone, Debug, Deserialize)]
pub struct Place<'a> {
    /// `call`, or what kind of marker it is.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Its number.
    pub seq: u64,
}

/// Reads a line's place. `None` where it is no line of a trail.
pub fn place(line: &[u8]) -> Option<Place<'_>> {
    serde_json::from_slice(line).ok()
}

/// How many records a gap marker says are lost.
pub(super) fn lost(line: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Gap {
        lost: u64,
    }
    serde_json::from_slice(line).map_or(0, |gap: Gap| gap.lost)
}
