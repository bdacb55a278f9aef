//! Holds back what may be a part of the secret as a body streams.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::inspection::{Inspection, echoed};
use crate::{
    body::{Body, hint_after},
    credentials::Lease,
    error::{BoxError, Error, Kind},
    proxy::http_policy::{content_coding::Coding, holds_secret, strip_reserved},
};

/// A body that breaks off before the secret.
pub(super) struct InspectedBody {
    body: Body,
    is_coded: bool,
    inspection: Inspection,
    /// The newest piece, while it is inspected.
    piece: Option<Bytes>,
    /// What came before it and is not sent yet.
    held: Vec<u8>,
    end: End,
}

/// What is left of the inner body.
enum End {
    Open,
    /// What is held, and trailers.
    Over(Option<HeaderMap>),
    /// Nothing, because it was refused.
    Refused,
}

impl InspectedBody {
    pub(super) fn new(
        body: Body,
        coding: Option<Coding>,
        lease: Arc<Lease>,
    ) -> Result<Self, Error> {
        let inspection = Inspection::new(lease, coding)?;
        let is_coded = coding.is_some();
        Ok(Self { body, is_coded, inspection, piece: None, held: Vec::new(), end: End::Open })
    }

    /// The bytes that may be sent after a piece was inspected.
    fn release(&mut self, piece: Bytes) -> Result<Bytes, Error> {
        let doubtful = self.inspection.doubtful();
        if self.held.is_empty() && doubtful == 0 {
            return Ok(piece);
        }
        self.held.extend_from_slice(&piece);
        if self.held.len() > MOST_HELD {
            let detail = "too much of the upstream's answer may be a part of the client secret";
            return Err(Error::new(Kind::UpstreamProtocol, detail));
        }
        let clear = self.held.len().saturating_sub(doubtful);
        let rest = self.held.split_off(clear);
        Ok(std::mem::replace(&mut self.held, rest).into())
    }

    /// Ends with the inner body.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Error> {
        if trailers.as_ref().is_some_and(|fields| holds_secret(fields, self.inspection.lease())) {
            return Err(echoed());
        }
        self.inspection.finish()?;
        self.end = End::Over(trailers);
        Ok(())
    }

    fn refuse(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.end = End::Refused;
        self.piece = None;
        self.held = Vec::new();
        Poll::Ready(Some(Err(error.into())))
    }
}

impl HttpBody for InspectedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.piece.take() {
                let mut budget = DECODED_A_POLL;
                let data = match this.inspection.advance(&mut budget) {
                    Ok(true) => this.release(piece),
                    Ok(false) => {
                        this.piece = Some(piece);
                        return yield_now(cx);
                    }
                    Err(error) => Err(error),
                };
                match data {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(error) => return this.refuse(error),
                }
            }
            let done = match &mut this.end {
                End::Open => match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => this.finish(None),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(piece) => {
                            let pushed = this.inspection.push(&piece);
                            this.piece = Some(piece);
                            pushed
                        }
                        Err(frame) => this.finish(frame.into_trailers().ok()),
                    },
                },
                End::Over(_) if !this.held.is_empty() => {
                    let last = std::mem::take(&mut this.held);
                    return Poll::Ready(Some(Ok(Frame::data(last.into()))));
                }
                End::Over(trailers) => {
                    return Poll::Ready(trailers.take().map(|mut fields| {
                        strip_reserved(&mut fields);
                        Ok(Frame::trailers(fields))
                    }));
                }
                End::Refused => return Poll::Ready(None),
            };
            if let Err(error) = done {
                return this.refuse(error);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.held.is_empty() && self.piece.is_none();
        match &self.end {
            // The end of a coded body is still to be checked.
            End::Open => is_empty && !self.is_coded && self.body.is_end_stream(),
            End::Over(trailers) => is_empty && trailers.is_none(),
            End::Refused => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.len().saturating_add(self.piece.as_ref().map_or(0, Bytes::len));
        hint_after(held as u64, self.body.size_hint())
    }
}

/// Lets the other calls of the worker go on, and comes back.
fn yield_now<T>(cx: &mut Context<'_>) -> Poll<T> {
    // The first poll is never ready. It has the task woken after those that are ready now.
    let _pending = std::pin::pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}

/// The most bytes that are decoded at a time, which takes a fraction of a millisecond.
const DECODED_A_POLL: usize = 64 * 1024;
/// The most bytes that are held back. The longest block of zstd is 128 KiB, and pieces come at its ends.
const MOST_HELD: usize = 1024 * 1024;
