//! Streams a body to its caller and keeps a copy of it for the store.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::mpsc;

use super::outcome::Reply;
use crate::{
    body::Body,
    error::{BoxError, Error, Kind},
};

/// Replies with a response, and calls `finish` with its whole body, or with `None` if the body is
/// incomplete or over the limit.
///
/// `finish` runs before the caller gets the end of the body, so a caller that has the end finds the
/// response stored. It also runs if the caller leaves: the body is read on, up to the limit. Up to the
/// limit the caller exerts no backpressure; beyond it the body is read as fast as the caller reads.
pub(super) async fn record(
    response: Response<Body>,
    limit: usize,
    finish: impl FnOnce(Option<Bytes>),
    reply: Reply,
) {
    let (parts, body) = response.into_parts();
    let hint = body.size_hint();
    let mut copy = BodyCopy::new(body, limit);
    // Most bodies have arrived with the head. They need no channel.
    let mut arrived = loop {
        match copy.read().now_or_never() {
            Some(CopyStep::Data(_)) => {}
            other => break other,
        }
    };
    if let Some(CopyStep::Last(..) | CopyStep::End(_)) = arrived {
        let bytes = copy.take();
        finish(Some(bytes.clone()));
        let body = match arrived {
            Some(CopyStep::Last(_, Some(trailers)) | CopyStep::End(Some(trailers))) => {
                let trailers = std::future::ready(Some(Ok(trailers)));
                Body::wrap(Full::new(bytes).with_trailers(trailers))
            }
            _ => Body::full(bytes),
        };
        // The caller may have left. The response is stored nevertheless.
        drop(reply.send(Ok(Response::from_parts(parts, body))));
        return;
    }
    let (sender, items) = mpsc::unbounded_channel();
    let send = |item| drop(sender.send(item));
    let end = |trailers: Option<HeaderMap>| {
        if let Some(trailers) = trailers {
            send(BodyItem::Frame(Frame::trailers(trailers)));
        }
        send(BodyItem::End);
    };
    send(BodyItem::Frame(Frame::data(Bytes::copy_from_slice(&copy.bytes))));
    let body = Body::wrap(Streamed { items, rest: None, left: hint.exact() });
    drop(reply.send(Ok(Response::from_parts(parts, body))));
    loop {
        let progress = match arrived.take() {
            Some(progress) => progress,
            None => copy.read().await,
        };
        match progress {
            CopyStep::Data(data) => send(BodyItem::Frame(Frame::data(data))),
            CopyStep::Last(data, trailers) => {
                finish(Some(copy.take()));
                send(BodyItem::Frame(Frame::data(data)));
                return end(trailers);
            }
            CopyStep::End(trailers) => {
                finish(Some(copy.take()));
                return end(trailers);
            }
            CopyStep::TooLarge(data) => {
                finish(None);
                send(BodyItem::Frame(Frame::data(data)));
                return send(BodyItem::Rest(copy.body));
            }
            CopyStep::Failed(error) => {
                finish(None);
                return send(BodyItem::Failed(error));
            }
        }
    }
}

/// A body and the copy of what has been read from it.
struct BodyCopy {
    body: Body,
    bytes: BytesMut,
    limit: usize,
    expected: Option<u64>,
}

enum CopyStep {
    /// These bytes, and more will come.
    Data(Bytes),
    /// These bytes, the last ones.
    Last(Bytes, Option<HeaderMap>),
    /// No more bytes.
    End(Option<HeaderMap>),
    /// These bytes, which exceed the limit.
    TooLarge(Bytes),
    Failed(BoxError),
}

impl BodyCopy {
    fn new(body: Body, limit: usize) -> Self {
        let expected = body.size_hint().exact();
        let length = expected.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        Self { bytes: BytesMut::with_capacity(length.min(limit)), body, limit, expected }
    }

    async fn read(&mut self) -> CopyStep {
        let data = match self.body.frame().await {
            None => return CopyStep::End(None),
            Some(Err(error)) => return CopyStep::Failed(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return CopyStep::End(frame.into_trailers().ok()),
            },
        };
        if self.bytes.len().saturating_add(data.len()) > self.limit {
            return CopyStep::TooLarge(data);
        }
        self.bytes.extend_from_slice(&data);
        if self.body.is_end_stream() {
            return CopyStep::Last(data, None);
        }
        if self.expected != Some(self.bytes.len() as u64) {
            return CopyStep::Data(data);
        }
        // All announced bytes have come. Only the end is missing, which may have trailers.
        let end = self.body.frame().await.and_then(Result::ok);
        CopyStep::Last(data, end.and_then(|frame| frame.into_trailers().ok()))
    }

    /// The whole body, without spare capacity.
    fn take(&mut self) -> Bytes {
        let bytes = self.bytes.split();
        if bytes.capacity() == bytes.len() {
            bytes.freeze()
        } else {
            Bytes::copy_from_slice(&bytes)
        }
    }
}

enum BodyItem {
    Frame(Frame<Bytes>),
    /// The body itself. The caller reads it from here on.
    Rest(Body),
    End,
    Failed(BoxError),
}

/// The caller's end of a body that is being recorded.
struct Streamed {
    items: mpsc::UnboundedReceiver<BodyItem>,
    rest: Option<Body>,
    /// The number of bytes to come, if it is known.
    left: Option<u64>,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = loop {
            if let Some(rest) = &mut self.rest {
                break ready!(Pin::new(rest).poll_frame(cx));
            }
            match ready!(self.items.poll_recv(cx)) {
                // An empty frame carries nothing.
                Some(BodyItem::Frame(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(BodyItem::Frame(frame)) => break Some(Ok(frame)),
                Some(BodyItem::Rest(body)) => self.rest = Some(body),
                Some(BodyItem::End) => break None,
                Some(BodyItem::Failed(error)) => break Some(Err(error)),
                None => break Some(Err(lost().into())),
            }
        };
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(left)) = (frame.data_ref(), self.left)
        {
            self.left = Some(left.saturating_sub(data.len() as u64));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn lost() -> Error {
    Error::new(Kind::Internal, "the task that read the upstream's answer has ended")
}
