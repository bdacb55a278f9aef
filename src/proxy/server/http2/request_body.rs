//! The body of a request, and what its call leaves of it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::{
    body::Body,
    error::{BoxError, Error, Kind},
    proxy::server::http1::{CLOSE, CLOSE_SILENT},
};

/// The body of a request with these fields, and where it puts what was not read.
pub(super) fn request_body(stream: RecvStream, headers: &HeaderMap) -> (Body, Unread) {
    let unread = Unread::default();
    if stream.is_end_stream() {
        return (Body::empty(), unread);
    }
    // h2 holds the body to its length. A length that is none is refused by a later stage.
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let stream = Some(stream);
    let body = RequestBody { stream, left: length, is_data_over: false, unread: unread.clone() };
    (Body::wrap(body), unread)
}

/// A body that its call did not read to the end.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Option<RecvStream>>>);

impl Unread {
    /// Reads and drops the rest for a while, after the answer. A stream that is reset while its caller
    /// sends can cost some callers the answer, though RFC 9113 §8.1 forbids that.
    pub(super) async fn discard(self) {
        let Some(mut stream) = self.0.lock().take() else { return };
        let discarding = async {
            while let Ok(Some(Ok(data))) = timeout(CLOSE_SILENT, stream.data()).await {
                if stream.flow_control().release_capacity(data.len()).is_err() {
                    break;
                }
            }
        };
        // Then the stream is reset.
        let _too_long = timeout(CLOSE, discarding).await;
    }
}

struct RequestBody {
    /// `None` only while it is dropped.
    stream: Option<RecvStream>,
    unread: Unread,
    /// The bytes that follow, if the head states the length.
    left: Option<u64>,
    is_data_over: bool,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        if !this.is_data_over {
            if let Some(data) = ready!(stream.poll_data(cx)) {
                let data = data.map_err(broken)?;
                // The caller may send as much again.
                stream.flow_control().release_capacity(data.len())?;
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.is_data_over = true;
        }
        Poll::Ready(
            ready!(stream.poll_trailers(cx))
                .map(|end| end.map(Frame::trailers))
                .transpose()
                .map(|end| end.map_err(broken)),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The error of a request body that is not complete.
fn broken(error: h2::Error) -> BoxError {
    if error.is_io() || (error.is_reset() && error.is_remote()) {
        let detail = "the caller ended the stream before the request body was complete";
        return Error::new(Kind::CallerGone, detail).because(error).into();
    }
    error.into()
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        *self.unread.0.lock() = self.stream.take().filter(|stream| !stream.is_end_stream());
    }
}
