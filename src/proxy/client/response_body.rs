//! The body of a response over HTTP/1.1, and what becomes of its connection.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{http1::Http1Conn, pool::Pool};
use crate::{
    body::{Body, SMALL_BODY, hint_after},
    error::BoxError,
};

/// A response body. Read to its end, it gives its connection back to the pool; dropped before that, it
/// closes the connection.
pub(super) struct ResponseBody {
    body: Incoming,
    conn: Option<Box<Http1Conn>>,
    pool: Arc<Pool>,
    /// A frame that came with the head and is not the whole body.
    first: Option<Result<Frame<Bytes>, BoxError>>,
}

impl ResponseBody {
    /// The body of a response. Most are small and arrive with their head: such a body is in memory, and
    /// its connection is back in the pool.
    pub(super) async fn read(body: Incoming, conn: Box<Http1Conn>, pool: &Arc<Pool>) -> Body {
        if body.is_end_stream() {
            pool.put(conn);
            return Body::empty();
        }
        let is_small = body.size_hint().exact().is_some_and(|length| length <= SMALL_BODY as u64);
        let mut response = Self { body, conn: Some(conn), pool: Arc::clone(pool), first: None };
        if is_small {
            let now = poll_fn(|cx| Poll::Ready(Pin::new(&mut response).poll_frame(cx))).await;
            match now {
                Poll::Ready(Some(Ok(frame))) if response.conn.is_none() => {
                    return frame.into_data().map_or_else(|_| Body::empty(), Body::full);
                }
                Poll::Ready(Some(frame)) => response.first = Some(frame),
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        Body::wrap(response)
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(frame) = this.first.take() {
            return Poll::Ready(Some(frame));
        }
        let Some(conn) = &mut this.conn else { return Poll::Ready(None) };
        let frame = ready!(conn.poll_body(&mut this.body, cx));
        match &frame {
            Some(Ok(_)) if !this.body.is_end_stream() => {}
            Some(Err(_)) => this.conn = None,
            Some(Ok(_)) | None => {
                if let Some(conn) = this.conn.take() {
                    this.pool.put(conn);
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        hint_after(first.map_or(0, |data| data.len() as u64), self.body.size_hint())
    }
}
