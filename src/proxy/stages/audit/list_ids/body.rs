//! A response body whose list is read as it passes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::decoded::DecodedList;
use crate::{
    body::{Body, hint_after},
    error::BoxError,
    proxy::call::CallContext,
};

/// Passes a body on, and notes the objects of its list in the record of the call.
pub(super) struct ListBody {
    body: Body,
    /// `None` when its objects are noted.
    list: Option<DecodedList>,
    /// The newest frame, while it is read.
    frame: Option<Frame<Bytes>>,
    context: CallContext,
}

impl ListBody {
    pub(super) fn new(body: Body, list: DecodedList, context: CallContext) -> Self {
        Self { body, list: Some(list), frame: None, context }
    }

    fn note(&mut self, is_whole: bool) {
        if let Some(list) = self.list.take() {
            let found = Box::new(list.finish(is_whole));
            self.context.note(|facts| facts.list_ids = Some(found));
        }
    }
}

impl HttpBody for ListBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.frame.is_none() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    this.note(false);
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.note(true);
                    return Poll::Ready(None);
                }
            };
            if let (Some(piece), Some(list)) = (frame.data_ref(), &mut this.list) {
                list.push(piece.clone());
            }
            this.frame = Some(frame);
        }
        if this.list.as_mut().is_some_and(|list| !list.advance(READ_A_POLL)) {
            // Lets the other calls of the worker go on: the first poll is never ready, and has the task woken.
            let _pending = std::pin::pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        // The record of a synced call closes when its last frame leaves.
        if this.body.is_end_stream() {
            this.note(true);
        }
        Poll::Ready(this.frame.take().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frame.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held =
            self.frame.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        hint_after(held, self.body.size_hint())
    }
}

impl Drop for ListBody {
    fn drop(&mut self) {
        self.note(false);
    }
}

/// The most bytes that are read at a time, which takes a fraction of a millisecond.
const READ_A_POLL: usize = 64 * 1024;
