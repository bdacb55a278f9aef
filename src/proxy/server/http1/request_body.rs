//! The body of a request that did not come with its head. It reads from the connection when it is
//! polled, so the caller sends as fast as the body is used.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

use super::{
    ParseError,
    chunked::{ChunkPart, Chunked},
    head::Framing,
    wire::{Wire, batch},
};
use crate::{
    body::Body,
    error::{BoxError, Error, Kind},
    proxy::server::transport::Transport,
};

/// The body of the request whose head was just parsed.
pub(super) fn request_body<S: Transport>(
    wire: &Arc<Mutex<Wire<S>>>,
    framing: Framing,
    expects_continue: bool,
) -> Body {
    let left = match framing {
        Framing::Empty => return Body::empty(),
        Framing::Length(length) => {
            let read = &mut wire.lock().read;
            // The body came with its head, as most do.
            if let Some(length) =
                usize::try_from(length).ok().filter(|length| *length <= read.len())
            {
                let body = read.split_to(length).freeze();
                if read.is_empty() {
                    *read = bytes::BytesMut::new();
                }
                return Body::full(body);
            }
            Left::Bytes(length)
        }
        Framing::Chunked => Left::Chunks(Box::default()),
    };
    wire.lock().lend();
    Body::wrap(RequestBody { wire: Arc::clone(wire), left, expects_continue })
}

/// See [`request_body`].
struct RequestBody<S: Transport> {
    wire: Arc<Mutex<Wire<S>>>,
    left: Left,
    /// Whether the caller still waits for `100 Continue`.
    expects_continue: bool,
}

/// A body of which only the framing is known.
pub(super) struct Announced(SizeHint);

impl Announced {
    pub(super) fn body(framing: Framing) -> Body {
        match framing {
            Framing::Empty => Body::empty(),
            Framing::Length(length) => Body::wrap(Self(SizeHint::with_exact(length))),
            Framing::Chunked => Body::wrap(Self(SizeHint::new())),
        }
    }
}

impl HttpBody for Announced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        self.0
    }
}

/// The part of a body that was not read.
enum Left {
    Bytes(u64),
    Chunks(Box<Chunked>),
}

impl Left {
    /// The length of the next part in `bytes`, 0 if more of them are needed.
    fn next_part(&mut self, bytes: &[u8]) -> Result<ChunkPart, ParseError> {
        match self {
            Self::Chunks(chunked) => chunked.next(bytes),
            Self::Bytes(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(take as u64);
                Ok(ChunkPart::Data(take))
            }
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Bytes(left) => *left == 0,
            Self::Chunks(chunked) => chunked.is_over(),
        }
    }
}

impl<S: Transport> RequestBody<S> {
    /// The next data; `None` at the end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BoxError>> {
        if std::mem::take(&mut self.expects_continue) && self.wire.lock().read.is_empty() {
            // Not if a part of the body has come (RFC 9110 §10.1.1).
            self.wire.lock().buffer().extend_from_slice(CONTINUE);
            batch(&self.wire, cx);
        }
        let wire = &mut *self.wire.lock();
        while !self.left.is_over() {
            if !wire.is_lent() {
                return Poll::Ready(Err("the call ended before its request".into()));
            }
            match self.left.next_part(&wire.read)? {
                ChunkPart::Data(0) | ChunkPart::Framing(0) => {
                    wire.body_waits(cx);
                    // `100 Continue` may not have left.
                    let flushed = wire.poll_flush(cx).map_err(left_early)?;
                    if flushed.is_ready() && ready!(wire.poll_read(cx)).map_err(left_early)? == 0 {
                        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                        return Poll::Ready(Err(left_early(end).into()));
                    }
                }
                ChunkPart::Framing(length) => wire.read.advance(length),
                ChunkPart::Data(length) => {
                    let data = wire.read.split_to(length).freeze();
                    if self.left.is_over() {
                        wire.complete(cx);
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
            }
        }
        wire.complete(cx);
        Poll::Ready(Ok(None))
    }
}

impl<S: Transport> HttpBody for RequestBody<S> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let data = ready!(self.poll_data(cx));
        if data.is_err() {
            self.wire.lock().take_back();
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Bytes(left) => SizeHint::with_exact(left),
            Left::Chunks(_) => SizeHint::new(),
        }
    }
}

impl<S: Transport> Drop for RequestBody<S> {
    fn drop(&mut self) {
        if !self.left.is_over() {
            self.wire.lock().take_back();
        }
    }
}

/// The error of a connection that ended before the request body did.
fn left_early(cause: io::Error) -> Error {
    Error::new(Kind::CallerGone, "the connection ended before the request body was complete")
        .because(cause)
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
