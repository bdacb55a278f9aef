//! Reads lines of the trail.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

/// A line's place in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// `call`, or what kind of marker it is.
    pub kind: &'a str,
    /// Its number.
    pub seq: u64,
    /// Its moment, as text.
    pub time: &'a str,
}

/// Reads a line's place off its first fields, which always stand in this order. `None` where it is no
/// line of a trail.
pub fn place(line: &[u8]) -> Option<Place<'_>> {
    let rest = line.strip_prefix(b"{\"kind\":\"")?;
    let (kind, rest) = split(rest, b"\",\"schema\":")?;
    let (_schema, rest) = split(rest, b",\"seq\":")?;
    let (seq, rest) = split(rest, b",\"time\":\"")?;
    let (time, _) = split(rest, b"\"")?;
    Some(Place {
        kind: std::str::from_utf8(kind).ok()?,
        seq: std::str::from_utf8(seq).ok()?.parse().ok()?,
        time: std::str::from_utf8(time).ok()?,
    })
}

fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = memmem::find(text.get(..LONGEST_HEAD.min(text.len()))?, at)?;
    Some((text.get(..found)?, text.get(found + at.len()..)?))
}

/// Kind, schema, number and moment take no more than this.
const LONGEST_HEAD: usize = 128;

/// Kind and `request_id` of a line that is about a request.
pub(super) fn request(line: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        request_id: Cow<'a, str>,
    }
    let Request { kind, request_id } = serde_json::from_slice(line).ok()?;
    Some((kind, request_id))
}

/// What the check needs of a marker.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Marker {
    /// Of a gap: how many records.
    pub(super) lost: u64,
    /// Of a cut or a retention: from which number.
    pub(super) from: u64,
    /// To which number.
    pub(super) to: u64,
    /// Of a retention: the last deleted line's hash.
    pub(super) last_hash: String,
    /// Of a damaged or restored file.
    pub(super) file: String,
    /// Of a checkpoint.
    pub(super) key: String,
    /// Of a checkpoint.
    pub(super) signature: String,
}

/// Reads a marker's fields, as far as they are there.
pub(super) fn marker(line: &[u8]) -> Marker {
    serde_json::from_slice(line).unwrap_or_default()
}

/// A call, as far as the commands show it. The fields are those of the module documentation.
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
    pub listener: Cow<'a, str>,
    #[serde(borrow)]
    pub caller: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub caller_proof: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub profile: Cow<'a, str>,
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
    if !line.starts_with(b"{\"kind\":\"call\"") {
        return None;
    }
    serde_json::from_slice(line).ok()
}
