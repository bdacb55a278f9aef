//! A caller's body that can be sent again.
//!
//! What of a body from the wire has been read is kept up to a bound, so that another attempt begins
//! with the same bytes and goes on with the rest. Over the bound nothing is kept and the body can be
//! sent once, as it streams. On the way it is watched for a caller that stops sending.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    body::Body,
    error::{BoxError, Error, Kind, find_kind},
};

/// A body, for as many attempts as it allows.
#[derive(Debug)]
pub(in crate::proxy::stages) enum Replay {
    /// In memory: a copy costs nothing.
    Memory(Bytes),
    /// From the wire.
    Wire(Arc<Wire>),
}

/// How a body from the wire may be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::stages) struct Reading {
    /// Bytes that are kept for another attempt.
    pub(in crate::proxy::stages) keep: usize,
    /// How long the caller may take for the next piece.
    pub(in crate::proxy::stages) patience: Duration,
}

impl Replay {
    pub(in crate::proxy::stages) fn new(body: Body, reading: Reading) -> Self {
        match body.in_memory() {
            Some(bytes) => Self::Memory(bytes),
            None => Self::Wire(Arc::new(Wire {
                patience: reading.patience,
                state: Mutex::new(State::new(body, reading.keep)),
            })),
        }
    }

    /// The body for another attempt; the one before it yields nothing any more.
    pub(in crate::proxy::stages) fn attempt(&self) -> Body {
        match self {
            Self::Memory(bytes) => Body::full(bytes.clone()),
            Self::Wire(wire) => Body::wrap(ReplayBody::new(Arc::clone(wire))),
        }
    }

    /// Whether another attempt could send the same bytes.
    pub(in crate::proxy::stages) fn repeatable(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Wire(wire) => wire.state.lock().kept.is_some(),
        }
    }

    /// Why the caller's body failed, if it did. HTTP/2 resets the stream and forgets the reason.
    pub(in crate::proxy::stages) fn failure(&self) -> Option<Kind> {
        match self {
            Self::Memory(_) => None,
            Self::Wire(wire) => wire.state.lock().failed,
        }
    }

    /// When the last byte was handed over to be sent; `None` while the caller is still sending.
    pub(in crate::proxy::stages) fn sent_since(&self, began: Instant) -> Option<Instant> {
        match self {
            Self::Memory(_) => Some(began),
            Self::Wire(wire) => wire.state.lock().handed_over,
        }
    }
}

/// A body from the wire, and what of it has been read.
pub(in crate::proxy::stages) struct Wire {
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    source: Body,
    keep: usize,
    /// What has been read; `None` once that was more than may be kept, or failed.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    ended: bool,
    failed: Option<Kind>,
    /// The attempt whose body may read.
    attempt: u32,
    handed_over: Option<Instant>,
}

impl State {
    fn new(source: Body, keep: usize) -> Self {
        Self {
            source,
            keep,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            ended: false,
            failed: None,
            attempt: 0,
            handed_over: None,
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        if self.kept_bytes > self.keep {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.push(data.clone());
        }
    }

    fn fail(&mut self, kind: Kind) {
        self.kept = None;
        self.failed.get_or_insert(kind);
    }

    /// What was kept and this attempt has not sent yet.
    fn again(&self, position: usize) -> &[Bytes] {
        self.kept.as_deref().and_then(|kept| kept.get(position..)).unwrap_or_default()
    }

    fn at_end(&self, position: usize) -> bool {
        self.again(position).is_empty() && (self.ended || self.source.is_end_stream())
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// The body of one attempt.
struct ReplayBody {
    wire: Arc<Wire>,
    attempt: u32,
    /// Pieces that this attempt has sent.
    position: usize,
    /// Made only when the caller has to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl ReplayBody {
    fn new(wire: Arc<Wire>) -> Self {
        let attempt = {
            let mut state = wire.state.lock();
            state.attempt += 1;
            state.handed_over = state.at_end(0).then(Instant::now);
            state.attempt
        };
        Self { wire, attempt, position: 0, timer: None, waiting: false }
    }

    /// Whether the caller has been silent for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let ends = Instant::now() + self.wire.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends)));
        if !self.waiting {
            timer.as_mut().reset(ends);
            self.waiting = true;
        }
        timer.as_mut().poll(cx).map(|()| {
            let detail = "the caller stopped sending its body (`timeouts.body_read`)";
            Error::new(Kind::BodyTimeout, detail)
        })
    }
}

impl HttpBody for ReplayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let wire = Arc::clone(&self.wire);
        let mut state = wire.state.lock();
        if state.attempt != self.attempt {
            // A connection that was given up may still ask; the bytes belong to the next attempt.
            return Poll::Ready(Some(Err("the attempt was given up".into())));
        }
        let data = match state.again(self.position).first().cloned() {
            Some(data) => data,
            None if state.ended => return Poll::Ready(None),
            None => match Pin::new(&mut state.source).poll_frame(cx) {
                Poll::Pending => {
                    return self.poll_patience(cx).map(|error| {
                        state.fail(error.kind());
                        Some(Err(error.into()))
                    });
                }
                Poll::Ready(None) => {
                    state.ended = true;
                    state.handed_over.get_or_insert_with(Instant::now);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    state.fail(find_kind(error.as_ref()).unwrap_or(Kind::BodyBroken));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // The stage that received the body has taken the trailers out.
                    let Ok(data) = frame.into_data() else { return Poll::Ready(None) };
                    state.keep(&data);
                    data
                }
            },
        };
        self.position += 1;
        self.waiting = false;
        if state.at_end(self.position) {
            state.handed_over.get_or_insert_with(Instant::now);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.wire.state.lock().at_end(self.position)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.wire.state.lock();
        let again: u64 = state.again(self.position).iter().map(|data| data.len() as u64).sum();
        let rest = if state.ended { SizeHint::with_exact(0) } else { state.source.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(again + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(again + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;
    use crate::body::collect_limited;

    fn wire(chunks: Vec<Bytes>) -> Body {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, BoxError>(Frame::data(chunk)));
        Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn reading(keep: usize) -> Reading {
        Reading { keep, patience: Duration::from_secs(30) }
    }

    proptest! {
        /// Wherever an attempt is given up, the next one sends the whole body, if it may.
        #[test]
        fn another_attempt_sends_the_same(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..8),
            read in 0_usize..10,
            keep in 0_usize..200,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let whole = chunks.concat();
            let read_bytes = chunks.iter().take(read).map(Vec::len).sum::<usize>();
            let replay =
                Replay::new(wire(chunks.into_iter().map(Bytes::from).collect()), reading(keep));
            runtime.block_on(async {
                let mut first = replay.attempt();
                for _ in 0..read {
                    drop(first.frame().await);
                }
                prop_assert_eq!(replay.repeatable(), read_bytes <= keep);
                if replay.repeatable() {
                    let second = replay.attempt();
                    prop_assert!(first.frame().await.is_none_or(|frame| frame.is_err()));
                    let sent = collect_limited(second, 1000).await.unwrap();
                    prop_assert_eq!(&*sent, &*whole);
                    prop_assert!(replay.sent_since(Instant::now()).is_some());
                }
                Ok(())
            })?;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_stops_sending_is_not_waited_for() {
        let begun = futures_util::stream::iter([Ok::<_, BoxError>(Frame::data("half".into()))]);
        let body = Body::wrap(StreamBody::new(begun.chain(futures_util::stream::pending())));
        let replay = Replay::new(body, reading(100));
        let mut attempt = replay.attempt();
        assert!(attempt.frame().await.unwrap().is_ok());
        let began = Instant::now();
        let error = attempt.frame().await.unwrap().unwrap_err();
        assert_eq!(find_kind(&*error), Some(Kind::BodyTimeout));
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        assert_eq!(replay.sent_since(began), None);
    }
}
