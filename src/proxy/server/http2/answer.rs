//! Sends the body of an answer, as fast as its caller takes it.
//!
//! A piece stays here until it fits into the caller's window, and the body until its last byte is out: so
//! the record of the call ends with what the caller was really sent, and a place is free when its memory
//! is. A caller gets [`timeouts.write`](crate::proxy::server::ConnectionTimeouts::write) for each
//! [`PIECE`] of an answer, or for all of a shorter one. Only the time counts in which the answer waits for
//! the caller, so one that reads slowly gets a body of any length, and one that takes some bytes now and
//! then does not hold a call for ever.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Frame;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::outbox::Outbox;
use crate::{body::Outgoing, proxy::server::timer::Alarm};

pin_project! {
    /// The body of an answer on its way.
    pub(super) struct Answer<B>
    where
        B: Outgoing,
    {
        #[pin]
        body: B,
        stream: SendStream<Bytes>,
        outbox: Outbox,
        // The rest of the frame that was taken last.
        rest: Bytes,
        // Whether no frame follows it.
        is_last: bool,
        // Whether h2 has the end of the stream.
        is_over: bool,
        patience: Patience,
    }

    impl<B> PinnedDrop for Answer<B>
    where
        B: Outgoing,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let given_up = this.outbox.give_up(this.stream.stream_id().as_u32());
            let unsent = this.rest.len().saturating_add(given_up);
            if unsent > 0 {
                this.body.unsent(unsent as u64);
            }
        }
    }
}

/// Why an answer is not complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum Incomplete {
    #[error("the caller reset the stream")]
    Reset,
    #[error("the caller took too little within the time limit (`timeouts.write`)")]
    TooSlow,
    #[error("the body broke off")]
    Broken,
    #[error("the stream failed")]
    Stream(#[from] h2::Error),
}

impl<B: Outgoing> Answer<B> {
    pub(super) fn new(body: B, stream: SendStream<Bytes>, outbox: Outbox, limit: Duration) -> Self {
        let patience = Patience::new(limit);
        Self { body, stream, outbox, rest: Bytes::new(), is_last: false, is_over: false, patience }
    }

    /// Sends what the caller takes.
    fn poll_send(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Incomplete>> {
        let mut this = self.project();
        let id = this.stream.stream_id().as_u32();
        loop {
            if *this.is_over {
                let out = this.outbox.poll_out(id, cx);
                return this.patience.poll_wait(out, cx)?.map(|()| Ok(()));
            }
            if !this.rest.is_empty() {
                let capacity = match this.outbox.poll_room(cx) {
                    Poll::Ready(()) => {
                        this.stream.reserve_capacity(this.rest.len().min(PIECE));
                        poll_capacity(this.stream, cx)
                    }
                    Poll::Pending => Poll::Pending,
                };
                let capacity = ready!(this.patience.poll_wait(capacity, cx)?)?;
                let piece = this.rest.split_to(capacity.min(this.rest.len()));
                this.patience.took(piece.len());
                *this.is_over = *this.is_last && this.rest.is_empty();
                this.outbox.hand_over(id, piece.len());
                this.stream.send_data(piece, *this.is_over)?;
                continue;
            }
            match ready!(this.body.as_mut().poll_frame(cx)).map(|frame| frame.map(Frame::into_data))
            {
                Some(Ok(Ok(data))) => {
                    *this.is_last = this.body.is_end_stream();
                    if data.is_empty() && *this.is_last {
                        this.stream.send_data(data, true)?;
                        *this.is_over = true;
                    } else {
                        *this.rest = data;
                    }
                }
                Some(Ok(Err(frame))) => {
                    // Any other frame than these is unknown, and not sent.
                    if let Ok(trailers) = frame.into_trailers() {
                        // Give back what was reserved.
                        this.stream.reserve_capacity(0);
                        this.stream.send_trailers(trailers)?;
                        *this.is_over = true;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(error = %crate::error::Chain(&*error), "an answer broke off");
                    return Poll::Ready(Err(Incomplete::Broken));
                }
                None => {
                    this.stream.send_data(Bytes::new(), true)?;
                    *this.is_over = true;
                }
            }
        }
    }
}

impl<B: Outgoing> Future for Answer<B> {
    type Output = Result<(), Incomplete>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sent = self.as_mut().poll_send(cx);
        let this = self.project();
        match &sent {
            // A reset wakes a call that waits for the upstream, too.
            Poll::Pending => {
                return this.stream.poll_reset(cx).map(|_reason| Err(Incomplete::Reset));
            }
            Poll::Ready(Err(Incomplete::TooSlow)) => this.stream.send_reset(Reason::CANCEL),
            Poll::Ready(Err(Incomplete::Broken)) => this.stream.send_reset(Reason::INTERNAL_ERROR),
            Poll::Ready(_) => {}
        }
        sent
    }
}

/// Waits until the caller's window and h2 have room for some bytes.
fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Incomplete>> {
    loop {
        match stream.capacity() {
            // h2 can report a room that another stream has taken meanwhile.
            0 => match ready!(stream.poll_capacity(cx)) {
                Some(room) => drop(room?),
                None => return Poll::Ready(Err(Incomplete::Reset)),
            },
            room => return Poll::Ready(Ok(room)),
        }
    }
}

/// How long an answer waits for its caller.
struct Patience {
    limit: Duration,
    /// What is left of the limit for this piece, at the beginning of this wait.
    left: Duration,
    /// The bytes of this piece that the caller has taken.
    taken: usize,
    /// When this wait began.
    since: Option<Instant>,
    alarm: Alarm,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, left: limit, taken: 0, since: None, alarm: Alarm::default() }
    }

    /// Passes on what is there, and limits the wait for what is not.
    fn poll_wait<T>(
        &mut self,
        ready: Poll<T>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<T>, Incomplete> {
        if ready.is_ready() {
            if let Some(since) = self.since.take() {
                self.left = self.left.saturating_sub(since.elapsed());
            }
            return Ok(ready);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        match self.alarm.poll(since + self.left, cx) {
            Poll::Ready(()) => Err(Incomplete::TooSlow),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Notes bytes that the caller takes. After a whole piece, its time begins again.
    fn took(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= PIECE {
            (self.taken, self.left) = (0, self.limit);
        }
    }
}

/// The bytes that a caller must take within its time.
const PIECE: usize = 16 * 1024;
