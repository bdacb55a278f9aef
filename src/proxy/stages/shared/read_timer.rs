//! The time limit of a reader that waits for the next frame of a body.
//!
//! The timer is made when a read first has to wait, so a body that is there costs none.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    body::Body,
    error::{BoxError, Error},
};

/// How long reads may wait.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum ReadLimit {
    /// All reads together, until this time.
    Until(Instant),
    /// Each read, this long.
    Each(Duration),
}

/// Measures the reads of one body.
pub(in super::super) struct ReadTimer {
    limit: ReadLimit,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl ReadTimer {
    pub(in super::super) fn new(limit: ReadLimit) -> Self {
        Self { limit, timer: None, is_waiting: false }
    }

    /// Notes that a read has a frame.
    pub(in super::super) fn stop(&mut self) {
        self.is_waiting = false;
    }

    /// Waits until a read that has no frame has waited for too long.
    pub(in super::super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !mem::replace(&mut self.is_waiting, true) {
            let ends = match self.limit {
                ReadLimit::Until(ends) => ends,
                ReadLimit::Each(limit) => Instant::now() + limit,
            };
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(ends),
                None => self.timer = Some(Box::pin(sleep_until(ends))),
            }
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

/// A body that ends with an error when a read takes too long.
pub(in super::super) fn limit_reads(body: Body, limit: ReadLimit, expired: fn() -> Error) -> Body {
    if body.in_memory().is_some() {
        return body;
    }
    Body::wrap(TimedBody { body, timer: ReadTimer::new(limit), expired })
}

struct TimedBody {
    body: Body,
    timer: ReadTimer,
    expired: fn() -> Error,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.timer.stop();
            return Poll::Ready(frame);
        }
        let expired = self.expired;
        self.timer.poll_expired(cx).map(|()| Some(Err(expired().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
