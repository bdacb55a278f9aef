//! The content of an entry: `length of the head 4 | head, JSON | fields | body`. A field is `name:value` and a line feed,
//! which no name and no value has.

use std::{
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
    Response(Box<SharedResponse>),
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
    /// When that ends, by the store's clock, in milliseconds.
    pub(super) ends_in_store: u64,
    /// When that ends, by the clock of the member that fetched it.
    pub(super) ends: SystemTime,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head<'a> {
    Response {
        status: u16,
        request_id: String,
        chain: Option<&'a str>,
        life_ms: u64,
        ends_in_store_ms: u64,
        ends_ms: u64,
        /// How many bytes of fields there are.
        fields: usize,
    },
    NotShared,
}

impl Content {
    /// Writes a response. `chain` is that of this member's trail.
    pub(super) fn write(
        stored: &StoredResponse,
        chain: Option<&str>,
        life: Duration,
        ends_in_store_ms: u64,
    ) -> Vec<u8> {
        let mut fields = Vec::with_capacity(512);
        for (name, value) in &stored.headers {
            if !SET_BY_ANSWER.contains(name) {
                fields.extend([name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"].concat());
            }
        }
        let provenance = &stored.provenance;
        let left = stored.policy.freshness.resident(tokio::time::Instant::now());
        let ends = SystemTime::now().checked_add(life.saturating_sub(left)).unwrap_or(UNIX_EPOCH);
        let head = Head::Response {
            status: stored.status.as_u16(),
            request_id: provenance.request_id.to_string(),
            chain: provenance.chain.as_deref().or(chain),
            life_ms: millis(life),
            ends_in_store_ms,
            ends_ms: millis(ends.duration_since(UNIX_EPOCH).unwrap_or_default()),
            fields: fields.len(),
        };
        head.followed_by(&fields, &stored.body)
    }

    /// Writes that a response cannot be shared.
    pub(super) fn not_shared() -> Vec<u8> {
        Head::NotShared.followed_by(&[], &[])
    }

    /// Reads what a member with the same key has written; a newer member may have written something else.
    pub(super) fn read(content: &Bytes) -> Option<Self> {
        let (length, rest) = content.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (head, rest) = rest.split_at_checked(length)?;
        let head = serde_json::from_slice(head).ok()?;
        let Head::Response {
            status,
            request_id,
            chain,
            life_ms,
            ends_in_store_ms,
            ends_ms,
            fields,
        } = head
        else {
            return Some(Self::NotShared);
        };
        let (fields, body) = rest.split_at_checked(fields)?;
        let mut headers = HeaderMap::with_capacity(16);
        let lines = fields.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let (name, value) = (parts.next()?, parts.next()?);
            let value = HeaderValue::from_maybe_shared(content.slice_ref(value)).ok()?;
            headers.try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
        }
        Some(Self::Response(Box::new(SharedResponse {
            status: StatusCode::from_u16(status).ok()?,
            headers,
            body: content.slice_ref(body),
            request_id: request_id.parse().ok()?,
            chain: chain.filter(|chain| is_chain(chain)).map(Into::into),
            life: Duration::from_millis(life_ms),
            ends_in_store: ends_in_store_ms,
            ends: UNIX_EPOCH.checked_add(Duration::from_millis(ends_ms))?,
        })))
    }
}

impl Head<'_> {
    fn followed_by(&self, fields: &[u8], body: &[u8]) -> Vec<u8> {
        // It has only strings as keys.
        let head = serde_json::to_vec(self).unwrap_or_default();
        let length = u32::try_from(head.len()).unwrap_or_default();
        [&length.to_be_bytes()[..], &head, fields, body].concat()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &[u8], body: &[u8]) -> Vec<u8> {
        let head = Head::Response {
            status: 203,
            request_id: "01939f2e-7c5a-7d3e-8a4b-1c2d3e4f5a6b".to_owned(),
            chain: Some("made0up"),
            life_ms: 1_500,
            ends_in_store_ms: 1_800_000_000_001,
            ends_ms: 1_800_000_000_000,
            fields: fields.len(),
        };
        head.followed_by(fields, body)
    }

    fn read(content: &[u8]) -> Option<SharedResponse> {
        match Content::read(&Bytes::copy_from_slice(content))? {
            Content::Response(response) => Some(*response),
            Content::NotShared => None,
        }
    }

    #[test]
    fn fields_come_back_as_the_bytes_that_they_were() {
        let fields = b"etag:\"a:b\"\nvary:accept\nvary:\nx-name:\xe5ngstr\xf6m\n";
        let response = read(&written(fields, b"a body\n")).unwrap();
        let all = |name: &str| -> Vec<&[u8]> {
            response.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
        };
        assert_eq!(all("etag"), [b"\"a:b\""]);
        assert_eq!(all("vary"), [&b"accept"[..], b""]);
        assert_eq!(all("x-name"), [b"\xe5ngstr\xf6m"]);
        assert_eq!((response.status.as_u16(), &response.body[..]), (203, &b"a body\n"[..]));
        assert_eq!(response.chain.as_deref(), Some("made0up"));
        assert_eq!(response.life, Duration::from_millis(1_500));
    }

    #[test]
    fn what_is_no_content_is_not_read() {
        let whole = written(b"vary:accept\n", b"");
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_none(), "{at} bytes");
        }
        for fields in [&b"vary\n"[..], b":accept\n", b"a b:c\n", b"vary:\x00\n"] {
            assert!(read(&written(fields, b"")).is_none(), "{fields:?}");
        }
    }

    #[test]
    fn a_response_that_cannot_be_shared_says_no_more() {
        let content = Content::read(&Content::not_shared().into());
        assert!(matches!(content, Some(Content::NotShared)));
    }
}
