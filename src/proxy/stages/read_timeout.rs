//! A time limit for each read of a response body.
//!
//! It stands inside every stage that reads bodies, so none of them waits for an upstream that stopped
//! in the middle of a response. The `retry` stage limits the wait for the head.

use std::time::Duration;

use http::Response;
use tower::util::MapResponseLayer;

use super::shared::read_timer::{ReadLimit, limit_reads};
use crate::{
    body::Body,
    error::{Error, Kind},
};

/// Ends a response whose next frame takes longer than `limit`.
pub fn enforce(
    limit: Duration,
) -> MapResponseLayer<impl Fn(Response<Body>) -> Response<Body> + Clone> {
    MapResponseLayer::new(move |response: Response<Body>| {
        response.map(|body| limit_reads(body, ReadLimit::Each(limit), stalled))
    })
}

fn stalled() -> Error {
    Error::new(
        Kind::UpstreamStalled,
        "no further piece of the answer within the time limit (`timeouts.upstream_read`)",
    )
}
