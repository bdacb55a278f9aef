//! The body of a request.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::Body;

/// The body of a request with these fields.
pub(super) fn request_body(stream: RecvStream, headers: &HeaderMap) -> Body {
    if stream.is_end_stream() {
        return Body::empty();
    }
    // h2 holds the body to its length. A length that is none is refused by a later stage.
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    Body::wrap(RequestBody { stream, left: length, is_data_over: false })
}

struct RequestBody {
    stream: RecvStream,
    /// The bytes that follow, if the head states the length.
    left: Option<u64>,
    is_data_over: bool,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        if !this.is_data_over {
            if let Some(data) = ready!(this.stream.poll_data(cx)) {
                let data = data?;
                // The caller may send as much again.
                this.stream.flow_control().release_capacity(data.len())?;
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.is_data_over = true;
        }
        Poll::Ready(
            ready!(this.stream.poll_trailers(cx)).map(|end| end.map(Frame::trailers)).transpose(),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
