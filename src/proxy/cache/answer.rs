//! From a stored object to an answer: whole, a part of it, or that the caller has it already.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use super::{
    policy::{
        fields::Fields,
        range::{Part, Piece, content_range},
    },
    status::{self, CACHE_STATUS},
    storage::object::{DESCRIBES_BODY, Object},
};
use crate::body::Body;

impl Object {
    /// The answer to a request: whole, a part, or that the caller has it already.
    pub(super) fn respond(
        &self,
        (request, fields): (&HeaderMap, Fields),
        is_head: bool,
        cache_status: HeaderValue,
        now: Instant,
    ) -> Response<Body> {
        if self.status.is_success() && fields.are_conditional() {
            if self.validators.not_modified_for(request) {
                return self.not_modified(cache_status, now);
            }
        } else if let Some(piece) = &self.piece {
            return self.part_of_piece(piece, request, cache_status, now);
        } else if self.status == StatusCode::OK
            && fields.want_part()
            && !is_head
            && request.get(header::IF_RANGE).is_none_or(|tag| self.validators.in_range(tag))
        {
            return self.part(request, cache_status, now);
        }
        let body = if is_head { Body::empty() } else { Body::full(self.body.clone()) };
        self.answer(self.status, body, cache_status, now)
    }

    fn answer(
        &self,
        status: StatusCode,
        body: Body,
        cache_status: HeaderValue,
        now: Instant,
    ) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let mut headers = self.headers.clone();
        // Both have their place already, so this neither grows the map nor moves anything.
        headers.insert(header::AGE, status::age(self.terms.freshness.age(now)));
        headers.insert(CACHE_STATUS, cache_status);
        *response.headers_mut() = headers;
        response
    }

    /// RFC 9110 §15.4.5: what describes the body stays away, as the body does.
    fn not_modified(&self, cache_status: HeaderValue, now: Instant) -> Response<Body> {
        let mut response = self.answer(StatusCode::NOT_MODIFIED, Body::empty(), cache_status, now);
        for name in DESCRIBES_BODY.iter().chain([&header::CONTENT_TYPE, &header::CONTENT_LANGUAGE])
        {
            response.headers_mut().remove(name);
        }
        response
    }

    fn part(&self, request: &HeaderMap, cache_status: HeaderValue, now: Instant) -> Response<Body> {
        let (status, range) = match Part::of(request, self.body.len()) {
            Part::Whole => {
                return self.answer(self.status, Body::full(self.body.clone()), cache_status, now);
            }
            Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
            Part::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        };
        let content_range = content_range(range.as_ref(), self.body.len());
        let bytes = range.map_or_else(Bytes::new, |range| self.body.slice(range));
        self.partial(status, bytes, content_range, cache_status, now)
    }

    fn part_of_piece(
        &self,
        piece: &Piece,
        request: &HeaderMap,
        cache_status: HeaderValue,
        now: Instant,
    ) -> Response<Body> {
        let length = self.body.len();
        let (bytes, content_range) = match piece.bytes_for(request, length) {
            Some((range, at)) if range.len() < length => {
                let content_range = piece.content_range(at, range.len());
                (self.body.slice(range), content_range)
            }
            // What it was stored with says it.
            _ => (self.body.clone(), None),
        };
        self.partial(self.status, bytes, content_range, cache_status, now)
    }

    fn partial(
        &self,
        status: StatusCode,
        bytes: Bytes,
        content_range: Option<HeaderValue>,
        cache_status: HeaderValue,
        now: Instant,
    ) -> Response<Body> {
        let length = bytes.len();
        let mut response = self.answer(status, Body::full(bytes), cache_status, now);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        if let Some(value) = content_range {
            headers.insert(header::CONTENT_RANGE, value);
        }
        response
    }
}
