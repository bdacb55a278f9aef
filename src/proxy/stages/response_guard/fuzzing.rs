//! Passes a body through the guard. Only the fuzzer's build and the unit tests have it.

use std::{sync::OnceLock, task::Waker};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;
use crate::error::BoxError;

/// The made-up secret. It begins with no digit, which what comes before it could take for its own.
pub const SECRET: &str = "q~made/up+secret";

/// What of a body in pieces of that many bytes is passed on, and whether all of it.
pub fn pass(coding: &'static str, body: &[u8], piece: usize) -> (Vec<u8>, bool) {
    static LEASE: OnceLock<Arc<Lease>> = OnceLock::new();
    let lease = Arc::clone(LEASE.get_or_init(|| Arc::new(Lease::made_up(SECRET))));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    let Ok(coding) = Coding::of(&headers) else { return (Vec::new(), false) };
    let frames: Vec<Result<_, BoxError>> = body
        .chunks(piece.max(1))
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let body = Body::wrap(StreamBody::new(stream::iter(frames)));
    let Ok(inspected) = InspectedBody::new(body, coding, lease) else { return (Vec::new(), false) };
    let (mut inspected, mut passed) = (std::pin::pin!(inspected), Vec::new());
    loop {
        // It waits for nothing but its turn.
        match inspected.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {}
            Poll::Ready(None) => return (passed, true),
            Poll::Ready(Some(Err(_))) => return (passed, false),
            Poll::Ready(Some(Ok(frame))) => {
                passed.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            }
        }
    }
}
