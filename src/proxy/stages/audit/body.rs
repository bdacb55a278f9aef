//! The response body: counts what is sent, and closes the record of the call at its end.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    guard::{RecordGuard, Stored},
    unavailable,
};
use crate::{
    body::{Body, Outgoing, hint_after},
    error::{BoxError, Kind},
};

/// A response body that closes the record of its call at its end.
pub struct RecordedBody {
    body: Body,
    guard: RecordGuard,
    /// Of a body whose end waits for the record.
    end: Option<Box<BodyEnd>>,
}

/// The frames at the end of a body that wait for the record.
struct BodyEnd {
    /// The length of the body, if the head states it: no frame before it is the last one.
    length: Option<u64>,
    held: VecDeque<Frame<Bytes>>,
    state: EndState,
}

enum EndState {
    /// More frames may come.
    Streaming,
    /// The held frames are the last ones, and the record is being stored.
    Storing(Stored),
    /// The held frames may be sent, and no others follow.
    Over,
}

impl RecordedBody {
    /// A body whose record closes at its end, or is closed already.
    pub(super) fn new(body: Body, guard: RecordGuard) -> Self {
        Self { body, guard, end: None }
    }

    /// A body whose last frame waits for the record.
    pub(super) fn synced(body: Body, guard: RecordGuard, length: Option<u64>) -> Self {
        let length = length.or_else(|| body.size_hint().exact());
        let end = BodyEnd { length, held: VecDeque::new(), state: EndState::Streaming };
        Self { body, guard, end: Some(Box::new(end)) }
    }

    /// The next frame, counted.
    fn poll_counted(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = &mut self.guard.response_bytes;
                *bytes = bytes.saturating_add(length(frame));
            }
            Some(Err(error)) => {
                let kind = crate::error::find_kind(error.as_ref());
                self.guard.fail(kind.unwrap_or(Kind::UpstreamIncomplete));
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn poll_synced(
        &mut self,
        end: &mut BodyEnd,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match &mut end.state {
                EndState::Over => return Poll::Ready(end.held.pop_front().map(Ok)),
                EndState::Storing(stored) => {
                    let outcome = ready!(stored.as_mut().poll(cx));
                    end.state = EndState::Over;
                    if let Err(unwritable) = outcome {
                        end.held.clear();
                        return Poll::Ready(Some(Err(unavailable(unwritable).into())));
                    }
                }
                EndState::Streaming => {
                    let frame = match ready!(self.poll_counted(cx)) {
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        Some(Ok(frame)) => Some(frame),
                        None => None,
                    };
                    let is_last =
                        self.body.is_end_stream() || frame.as_ref().is_none_or(Frame::is_trailers);
                    end.held.extend(frame);
                    if is_last {
                        if let Err(unwritable) = self.guard.listener.trail.admit() {
                            self.guard.fail(Kind::AuditUnavailable);
                            return Poll::Ready(Some(Err(unavailable(unwritable).into())));
                        }
                        end.state = EndState::Storing(self.guard.commit());
                    } else if let Some(frame) = end.release(self.guard.response_bytes) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
            }
        }
    }
}

impl BodyEnd {
    /// A held frame that cannot be the last one, after `received` bytes of the body.
    fn release(&mut self, received: u64) -> Option<Frame<Bytes>> {
        let is_short = self.length.is_some_and(|length| received < length);
        if is_short || self.held.len() > 1 { self.held.pop_front() } else { None }
    }

    fn bytes(&self) -> u64 {
        self.held.iter().map(length).sum()
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

impl HttpBody for RecordedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut end) = self.end.take() else {
            let frame = ready!(self.poll_counted(cx));
            self.guard.complete = frame.is_none() || self.body.is_end_stream();
            return Poll::Ready(frame);
        };
        let frame = self.poll_synced(&mut end, cx);
        self.end = Some(end);
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.end {
            None => self.body.is_end_stream(),
            Some(end) => end.held.is_empty() && matches!(end.state, EndState::Over),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.end.as_ref().map_or(0, |end| end.bytes());
        hint_after(held, self.body.size_hint())
    }
}

impl Outgoing for RecordedBody {
    fn unsent(mut self: Pin<&mut Self>, bytes: u64) {
        self.guard.response_bytes = self.guard.response_bytes.saturating_sub(bytes);
        // A record of a synced trail is closed before the last bytes leave, and stays as it is.
        self.guard.fail(Kind::CallerGone);
    }
}

impl Drop for RecordedBody {
    fn drop(&mut self) {
        match &self.end {
            // The server does not poll an empty body, nor one that has reached its end.
            None => self.guard.complete |= self.body.is_end_stream(),
            // The held frames were not sent.
            Some(end) => {
                let bytes = &mut self.guard.response_bytes;
                *bytes = bytes.saturating_sub(end.bytes());
            }
        }
    }
}

impl fmt::Debug for RecordedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordedBody({}, {:?})", self.guard.context.id(), self.body)
    }
}
