//! The content of an entry: `length of the head 4 | head, JSON | body`.

use std::{
    str::FromStr as _,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::{
    domain::RequestId,
    proxy::{
        cache::{status::CACHE_STATUS, storage::response::StoredResponse},
        call::REQUEST_ID,
    },
};

/// What a member has stored.
pub(super) enum Content {
    Response(SharedResponse),
    /// The response cannot be shared.
    NotShared,
}

/// A response of another member's fetch.
pub(super) struct SharedResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The call that fetched it, and the chain of the trail that has that call.
    pub(super) request_id: RequestId,
    pub(super) chain: Option<Arc<str>>,
    /// How long it is of use, from the beginning of its fetch.
    pub(super) life: Duration,
    /// When that ends, by the clock of the member that fetched it.
    pub(super) ends: SystemTime,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Head {
    Response {
        status: u16,
        /// A value is bytes, each written as the character with its number.
        fields: Vec<(String, String)>,
        request_id: String,
        chain: Option<String>,
        life_ms: u64,
        ends_ms: u64,
    },
    NotShared,
}

impl Content {
    /// Writes a response. `chain` is that of this member's trail.
    pub(super) fn write(stored: &StoredResponse, chain: Option<&str>, life: Duration) -> Vec<u8> {
        let fields = stored.headers.iter().filter(|(name, _)| !SET_BY_ANSWER.contains(name));
        let fields = fields.map(|(name, value)| {
            let value = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
            (name.as_str().to_owned(), value)
        });
        let provenance = &stored.provenance;
        let chain = provenance.chain.as_deref().or(chain);
        let left = stored.policy.freshness.resident(tokio::time::Instant::now());
        let ends = SystemTime::now().checked_add(life.saturating_sub(left)).unwrap_or(UNIX_EPOCH);
        let head = Head::Response {
            status: stored.status.as_u16(),
            fields: fields.collect(),
            request_id: provenance.request_id.to_string(),
            chain: chain.map(str::to_owned),
            life_ms: millis(life),
            ends_ms: millis(ends.duration_since(UNIX_EPOCH).unwrap_or_default()),
        };
        head.followed_by(&stored.body)
    }

    /// Writes that a response cannot be shared.
    pub(super) fn not_shared() -> Vec<u8> {
        Head::NotShared.followed_by(&[])
    }

    /// Reads what a member with the same key has written; a newer member may have written something else.
    pub(super) fn read(content: &Bytes) -> Option<Self> {
        let (length, rest) = content.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (head, body) = rest.split_at_checked(length)?;
        let Head::Response { status, fields, request_id, chain, life_ms, ends_ms } =
            serde_json::from_slice(head).ok()?
        else {
            return Some(Self::NotShared);
        };
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            let value: Option<Vec<u8>> =
                value.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
            let value = HeaderValue::from_maybe_shared(Bytes::from(value?)).ok()?;
            headers.append(HeaderName::from_str(&name).ok()?, value);
        }
        Some(Self::Response(SharedResponse {
            status: StatusCode::from_u16(status).ok()?,
            headers,
            body: content.slice_ref(body),
            request_id: request_id.parse().ok()?,
            chain: chain.filter(|chain| is_chain(chain)).map(Into::into),
            life: Duration::from_millis(life_ms),
            ends: UNIX_EPOCH.checked_add(Duration::from_millis(ends_ms))?,
        }))
    }
}

impl Head {
    fn followed_by(&self, body: &[u8]) -> Vec<u8> {
        // It has only strings as keys.
        let head = serde_json::to_vec(self).unwrap_or_default();
        let length = u32::try_from(head.len()).unwrap_or_default();
        [&length.to_be_bytes()[..], &head, body].concat()
    }
}

/// Whether a text has the form of a chain's name, which goes on the trail.
fn is_chain(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The fields that each answer has of its own.
const SET_BY_ANSWER: [HeaderName; 3] = [header::AGE, CACHE_STATUS, REQUEST_ID];
