//! The answer's body: counts what is sent and closes the call's record at its end.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    guard::{Committing, Guard},
    unavailable,
};
use crate::{
    body::Body,
    error::{BoxError, Kind},
};

/// The answer's body: counts what is sent and closes the call's record at its end.
pub struct RecordedBody {
    body: Body,
    guard: Guard,
    /// Only where the end waits for the record.
    end: Option<Box<End>>,
}

/// The end of a body that waits for its record.
struct End {
    /// The body's length, where the head says it: nothing before it can be the end.
    length: Option<u64>,
    held: VecDeque<Frame<Bytes>>,
    state: State,
}

enum State {
    /// There may be more.
    Open,
    /// What is held is the end.
    Committing(Committing),
    /// What is held may go, and nothing comes after it.
    Over,
}

impl RecordedBody {
    /// A body whose record closes at its end, or is closed already.
    pub(super) fn new(body: Body, guard: Guard) -> Self {
        Self { body, guard, end: None }
    }

    /// A body whose last frame waits for the record.
    pub(super) fn synced(body: Body, guard: Guard, length: Option<u64>) -> Self {
        let length = length.or_else(|| body.size_hint().exact());
        let end = End { length, held: VecDeque::new(), state: State::Open };
        Self { body, guard, end: Some(Box::new(end)) }
    }

    /// The next frame of the answer, counted.
    fn poll_counted(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.guard.response_bytes += length(frame),
            Some(Err(error)) => {
                let kind = crate::error::find_kind(error.as_ref());
                self.guard.fail(kind.unwrap_or(Kind::UpstreamIncomplete));
            }
            None => {}
        }
        Poll::Ready(frame)
    }
}

impl fmt::Debug for RecordedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordedBody({}, {:?})", self.guard.context.id(), self.body)
    }
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
            Some(end) => end.held.is_empty() && matches!(end.state, State::Over),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let held = self.end.as_ref().map_or(0, |end| end.bytes());
        let upper = hint.upper();
        hint.set_lower(hint.lower() + held);
        if let Some(upper) = upper {
            hint.set_upper(upper + held);
        }
        hint
    }
}

impl RecordedBody {
    fn poll_synced(
        &mut self,
        end: &mut End,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match &mut end.state {
                State::Over => return Poll::Ready(end.held.pop_front().map(Ok)),
                State::Committing(committing) => {
                    let outcome = ready!(committing.as_mut().poll(cx));
                    end.state = State::Over;
                    if let Err(unwritable) = outcome {
                        end.held.clear();
                        return Poll::Ready(Some(Err(unavailable(unwritable).into())));
                    }
                }
                State::Open => {
                    let frame = match ready!(self.poll_counted(cx)) {
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        Some(Ok(frame)) => Some(frame),
                        None => None,
                    };
                    let is_last =
                        self.body.is_end_stream() || frame.as_ref().is_none_or(Frame::is_trailers);
                    end.held.extend(frame);
                    if is_last {
                        if let Err(unwritable) = self.guard.edges.trail.admit() {
                            self.guard.fail(Kind::AuditUnavailable);
                            return Poll::Ready(Some(Err(unavailable(unwritable).into())));
                        }
                        end.state = State::Committing(self.guard.commit());
                    } else if let Some(frame) = end.release(self.guard.response_bytes) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
            }
        }
    }
}

impl End {
    /// A frame that cannot be the last one, when so many bytes have come.
    fn release(&mut self, come: u64) -> Option<Frame<Bytes>> {
        let is_short = self.length.is_some_and(|length| come < length);
        if is_short || self.held.len() > 1 { self.held.pop_front() } else { None }
    }

    fn bytes(&self) -> u64 {
        self.held.iter().map(length).sum()
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

impl Drop for RecordedBody {
    fn drop(&mut self) {
        match &self.end {
            // hyper does not ask an empty body, nor one whose end it has seen, for another frame.
            None => self.guard.complete |= self.body.is_end_stream(),
            // What is held was not sent.
            Some(end) => self.guard.response_bytes -= end.bytes(),
        }
    }
}
