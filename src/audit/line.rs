//! Parses lines of the trail.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

/// The fields that every line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineHead<'a> {
    /// `call`, or the kind of the marker.
    pub kind: &'a str,
    /// The number of the line in the trail.
    pub seq: u64,
    /// The time, as text.
    pub time: &'a str,
}

/// Parses the first fields of a line, which are always in this order. `None` for anything else.
pub fn line_head(line: &[u8]) -> Option<LineHead<'_>> {
    let rest = line.strip_prefix(b"{\"kind\":\"")?;
    let (kind, rest) = split(rest, b"\",\"schema\":")?;
    let (_schema, rest) = split(rest, b",\"seq\":")?;
    let (seq, rest) = split(rest, b",\"time\":\"")?;
    let (time, _) = split(rest, b"\"")?;
    Some(LineHead {
        kind: std::str::from_utf8(kind).ok()?,
        seq: std::str::from_utf8(seq).ok()?.parse().ok()?,
        time: std::str::from_utf8(time).ok()?,
    })
}

fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = memmem::find(text.get(..MAX_HEAD.min(text.len()))?, at)?;
    Some((text.get(..found)?, text.get(found + at.len()..)?))
}

/// The most bytes that kind, schema, number and time take together.
const MAX_HEAD: usize = 128;

/// `from` and `to` of a line that is about a range of lines.
pub(super) fn range(line: &[u8]) -> Option<(u64, u64)> {
    #[derive(Deserialize)]
    struct RangeFields {
        from: u64,
        to: u64,
    }
    let RangeFields { from, to } = serde_json::from_slice(line).ok()?;
    Some((from, to))
}

/// Kind and `request_id` of a line that has a `request_id`.
pub(super) fn request(line: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    #[derive(Deserialize)]
    struct RequestFields<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        request_id: Cow<'a, str>,
    }
    let RequestFields { kind, request_id } = serde_json::from_slice(line).ok()?;
    Some((kind, request_id))
}

/// The fields of markers that `verify` and [`Coverage`](super::Coverage) read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MarkerFields {
    /// `gap`: the number of dropped records.
    pub(super) lost: u64,
    /// `damaged`: the number of records that begin in the bytes; older lines do not say.
    pub(super) records: u64,
    /// `doubt`: why the last checkpoint did not fit.
    pub(super) reason: String,
    /// `start`: the number of lines after which the gateway signs; older lines do not say.
    pub(super) checkpoint_records: Option<u64>,
    /// `start`: the time after which the gateway signs, in milliseconds.
    pub(super) checkpoint_interval_ms: u64,
    /// `start`: the `seq` of the last checkpoint before it.
    pub(super) last_checkpoint: Option<u64>,
    /// `cut`, `retention`: the first line.
    pub(super) from: u64,
    /// `cut`, `retention`: the last line.
    pub(super) to: u64,
    /// `retention`: the hash of the last deleted line.
    pub(super) last_hash: String,
    /// `damaged`, `restored`: the file.
    pub(super) file: String,
    /// `checkpoint`: the name of the key.
    pub(super) key: String,
    /// `checkpoint`: the signature.
    pub(super) signature: String,
    /// `start`, `checkpoint`: the chain.
    pub(super) chain: Option<String>,
    /// `start`: the first line of the chain.
    pub(super) chain_first_seq: Option<u64>,
    /// `start`, `checkpoint`: what the gateway is called.
    pub(super) instance: Option<String>,
    /// `checkpoint`: the head of the chain's tree, as a note.
    pub(super) note: Option<String>,
}

/// Parses the fields of a marker; absent fields get their default.
pub(super) fn marker(line: &[u8]) -> MarkerFields {
    serde_json::from_slice(line).unwrap_or_default()
}

/// The fields of a call that the `audit` commands show; [`super`] documents them.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are documented once, in the module documentation")]
pub struct CallLine<'a> {
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    pub seq: u64,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow)]
    pub request_id: Cow<'a, str>,
    /// Absent in lines of earlier versions, like the other fields with a default.
    #[serde(borrow, default)]
    pub cause: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub caused_by: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub listener: Cow<'a, str>,
    #[serde(borrow)]
    pub caller: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub peer: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub caller_proof: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub profile: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    #[serde(borrow)]
    pub path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub object_id: Option<Cow<'a, str>>,
    /// Only of lists, with `audit.list_ids`.
    #[serde(borrow, default)]
    pub list_ids: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    pub list_ids_complete: Option<bool>,
    pub status: Option<u16>,
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub cache: Option<Cow<'a, str>>,
    pub upstream_status: Option<u16>,
    pub attempts: u32,
    #[serde(borrow)]
    pub credential_version: Option<Cow<'a, str>>,
    pub duration_us: u64,
    pub upstream_us: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    #[serde(borrow)]
    pub error: Option<Cow<'a, str>>,
}

/// Parses a line of kind `call`; `None` for anything else.
pub fn call_line(line: &[u8]) -> Option<CallLine<'_>> {
    if !line.starts_with(b"{\"kind\":\"call\"") {
        return None;
    }
    serde_json::from_slice(line).ok()
}
