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

/// A call, as far as the commands show it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are documented once, in the module documentation")]
pub struct Call<'a> {
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    pub seq: u64,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow)]
    pub request_id: Cow<'a, str>,
    #[serde(borrow)]
    pub caller: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    #[serde(borrow)]
    pub path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub object_id: Option<Cow<'a, str>>,
    pub status: Option<u16>,
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub cache: Option<Cow<'a, str>>,
    pub duration_us: u64,
    pub upstream_us: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    #[serde(borrow)]
    pub error: Option<Cow<'a, str>>,
}

/// Reads a line that is a call; `None` for markers and what is no line of a trail.
pub fn call(line: &[u8]) -> Option<Call<'_>> {
    serde_json::from_slice(line).ok().filter(|call: &Call<'_>| call.kind == "call")
}
