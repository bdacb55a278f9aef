//! Makes the answer from a stored response: all of it, a range, or 304.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use super::{
    policy::{
        fields::RequestFieldSet,
        range::{RequestedRange, content_range},
        validation::DESCRIBES_BODY,
    },
    status::{self, CACHE_STATUS},
    storage::response::StoredResponse,
};
use crate::body::Body;

impl StoredResponse {
    pub(super) fn answer(
        &self,
        (request, fields): (&HeaderMap, RequestFieldSet),
        is_head: bool,
        cache_status: HeaderValue,
        now: Instant,
    ) -> Response<Body> {
        let (status, bytes, content_range) = self.content(request, fields, is_head);
        let mut headers = self.headers.clone();
        // The stored header has both fields already, so this moves nothing in the map.
        headers.insert(header::AGE, status::age(self.policy.freshness.age(now)));
        headers.insert(CACHE_STATUS, cache_status);
        if let Some(content_range) = content_range {
            headers.insert(header::CONTENT_LENGTH, bytes.len().into());
            headers.insert(header::CONTENT_RANGE, content_range);
        }
        if status == StatusCode::NOT_MODIFIED {
            // RFC 9110 §15.4.5.
            let content = [header::CONTENT_TYPE, header::CONTENT_LANGUAGE];
            for name in DESCRIBES_BODY.iter().chain(&content) {
                headers.remove(name);
            }
        }
        let mut response = Response::new(if is_head { Body::empty() } else { Body::full(bytes) });
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Status, body and, unless the stored one is right, `Content-Range`.
    fn content(
        &self,
        request: &HeaderMap,
        fields: RequestFieldSet,
        is_head: bool,
    ) -> (StatusCode, Bytes, Option<HeaderValue>) {
        let length = self.body.len();
        if self.status.is_success() && fields.has_condition() {
            if self.validators.not_modified_for(request) {
                return (StatusCode::NOT_MODIFIED, Bytes::new(), None);
            }
        } else if self.status == StatusCode::OK
            && fields.has_range()
            && !is_head
            && self.validators.allow_range(request)
        {
            match RequestedRange::of(request, length) {
                RequestedRange::Whole => {}
                RequestedRange::Bytes(range) => {
                    let content_range = content_range(Some(&range), length);
                    return (StatusCode::PARTIAL_CONTENT, self.body.slice(range), content_range);
                }
                RequestedRange::Unsatisfiable => {
                    let content_range = content_range(None, length);
                    return (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), content_range);
                }
            }
        }
        (self.status, self.body.clone(), None)
    }
}
