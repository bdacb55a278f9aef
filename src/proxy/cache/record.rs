//! Streams a body to its caller and keeps a copy of it on the way.

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

use super::fetch::Reply;
use crate::{
    body::Body,
    error::{BoxError, Error, Kind},
};

/// Replies with a response and calls `finish` with its whole body, or with `None` if it broke off or
/// is over the limit.
///
/// `finish` is called before the last of the body is handed on, so a caller who has seen the end finds
/// it stored. It is called also if the caller leaves: the body is read on, up to the limit. Until
/// then the caller sets no pace; a body over the limit is read as fast as the caller reads.
pub(super) async fn record(
    response: Response<Body>,
    limit: usize,
    finish: impl FnOnce(Option<Bytes>),
    reply: Reply,
) {
    let (parts, body) = response.into_parts();
    let hint = body.size_hint();
    let mut copy = Copy::new(body, limit);
    // What came with the head is taken without a detour; most answers are all there.
    let mut arrived = loop {
        match copy.next().now_or_never() {
            Some(Step::More(_)) => {}
            other => break other,
        }
    };
    if let Some(Step::Last(..) | Step::End(_)) = arrived {
        let bytes = copy.take();
        finish(Some(bytes.clone()));
        let body = match arrived {
            Some(Step::Last(_, Some(trailers)) | Step::End(Some(trailers))) => {
                let trailers = std::future::ready(Some(Ok(trailers)));
                Body::wrap(Full::new(bytes).with_trailers(trailers))
            }
            _ => Body::full(bytes),
        };
        // The caller may have left; the object is stored all the same.
        drop(reply.send(Ok(Response::from_parts(parts, body))));
        return;
    }
    let (pieces, received) = mpsc::unbounded_channel();
    pieces.forward(Piece::Frame(Frame::data(Bytes::copy_from_slice(&copy.kept))));
    let body = Body::wrap(Streamed { pieces: received, rest: None, left: hint.exact() });
    drop(reply.send(Ok(Response::from_parts(parts, body))));
    loop {
        let step = match arrived.take() {
            Some(step) => step,
            None => copy.next().await,
        };
        match step {
            Step::More(data) => pieces.forward(Piece::Frame(Frame::data(data))),
            Step::Last(data, trailers) => {
                finish(Some(copy.take()));
                pieces.forward(Piece::Frame(Frame::data(data)));
                return pieces.end(trailers);
            }
            Step::End(trailers) => {
                finish(Some(copy.take()));
                return pieces.end(trailers);
            }
            Step::Over(data) => {
                finish(None);
                pieces.forward(Piece::Frame(Frame::data(data)));
                return pieces.forward(Piece::Rest(copy.body));
            }
            Step::Broken(error) => {
                finish(None);
                return pieces.forward(Piece::Broken(error));
            }
        }
    }
}

/// A body that is read and kept.
struct Copy {
    body: Body,
    kept: BytesMut,
    limit: usize,
    expected: Option<u64>,
}

enum Step {
    /// These bytes, and there are more.
    More(Bytes),
    /// These bytes, and they are the last.
    Last(Bytes, Option<HeaderMap>),
    /// Nothing more.
    End(Option<HeaderMap>),
    /// These bytes, with which it is over the limit.
    Over(Bytes),
    Broken(BoxError),
}

impl Copy {
    fn new(body: Body, limit: usize) -> Self {
        let expected = body.size_hint().exact();
        let room = expected.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        Self { kept: BytesMut::with_capacity(room.min(limit)), body, limit, expected }
    }

    async fn next(&mut self) -> Step {
        let data = match self.body.frame().await {
            None => return Step::End(None),
            Some(Err(error)) => return Step::Broken(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return Step::End(frame.into_trailers().ok()),
            },
        };
        if self.kept.len() + data.len() > self.limit {
            return Step::Over(data);
        }
        self.kept.extend_from_slice(&data);
        if self.body.is_end_stream() {
            return Step::Last(data, None);
        }
        if self.expected != Some(self.kept.len() as u64) {
            return Step::More(data);
        }
        // All there is was announced and has come, but for the end, which may bring trailers.
        let end = self.body.frame().await.and_then(Result::ok);
        Step::Last(data, end.and_then(|frame| frame.into_trailers().ok()))
    }

    /// The whole body, in memory of its own size.
    fn take(&mut self) -> Bytes {
        let kept = self.kept.split();
        if kept.capacity() == kept.len() { kept.freeze() } else { Bytes::copy_from_slice(&kept) }
    }
}

enum Piece {
    Frame(Frame<Bytes>),
    /// The body itself, to be read by the caller from here.
    Rest(Body),
    End,
    Broken(BoxError),
}

trait HandOn {
    /// To a caller who may have left.
    fn forward(&self, piece: Piece);

    fn end(&self, trailers: Option<HeaderMap>) {
        if let Some(trailers) = trailers {
            self.forward(Piece::Frame(Frame::trailers(trailers)));
        }
        self.forward(Piece::End);
    }
}

impl HandOn for mpsc::UnboundedSender<Piece> {
    fn forward(&self, piece: Piece) {
        drop(self.send(piece));
    }
}

/// The caller's end of a body that is being recorded.
struct Streamed {
    pieces: mpsc::UnboundedReceiver<Piece>,
    rest: Option<Body>,
    /// Bytes to come, if that is known.
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
            match ready!(self.pieces.poll_recv(cx)) {
                // An empty frame says nothing.
                Some(Piece::Frame(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(Piece::Frame(frame)) => break Some(Ok(frame)),
                Some(Piece::Rest(body)) => self.rest = Some(body),
                Some(Piece::End) => break None,
                Some(Piece::Broken(error)) => break Some(Err(error)),
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
