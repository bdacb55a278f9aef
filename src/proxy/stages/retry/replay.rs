//! A request body that can be sent again.
//!
//! The bytes that are read from a streamed body are kept up to a limit, so that another attempt sends
//! the same bytes and continues with the rest. Over the limit none are kept and the body can be sent
//! once. Each read has a time limit, for a caller that stops sending.

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
use tokio::time::Instant;

use crate::{
    body::{Body, hint_after},
    error::{BoxError, Error, Kind, find_kind},
    proxy::stages::shared::read_timer::{ReadLimit, ReadTimer},
};

/// The request body of all attempts.
#[derive(Debug)]
pub(super) enum ReplayBody {
    /// In memory, so that a copy costs nothing.
    Memory(Bytes),
    /// Streamed from the caller.
    Streamed(Arc<StreamedBody>),
}

/// The limits of a streamed body.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayLimits {
    /// Bytes that are kept for another attempt.
    pub(super) keep: usize,
    /// How long the caller may take for the next frame.
    pub(super) read: Duration,
}

impl ReplayBody {
    pub(super) fn new(body: Body, limits: ReplayLimits) -> Self {
        match body.in_memory() {
            Some(bytes) => Self::Memory(bytes),
            None => Self::Streamed(Arc::new(StreamedBody {
                read_limit: limits.read,
                progress: Mutex::new(ReadProgress::new(body, limits.keep)),
            })),
        }
    }

    /// The body of another attempt. The body of the attempt before it ends with an error.
    pub(super) fn attempt(&self) -> Body {
        match self {
            Self::Memory(bytes) => Body::full(bytes.clone()),
            Self::Streamed(streamed) => Body::wrap(AttemptBody::new(Arc::clone(streamed))),
        }
    }

    /// Whether another attempt could send the same bytes.
    pub(super) fn is_repeatable(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Streamed(streamed) => streamed.progress.lock().kept.is_some(),
        }
    }

    /// Why the body failed, if it did. Over HTTP/2 the client's error does not say.
    pub(super) fn failure(&self) -> Option<Kind> {
        match self {
            Self::Memory(_) => None,
            Self::Streamed(streamed) => streamed.progress.lock().failed,
        }
    }

    /// When the client got the last byte; `None` while the caller is still sending.
    pub(super) fn sent_since(&self, began: Instant) -> Option<Instant> {
        match self {
            Self::Memory(_) => Some(began),
            Self::Streamed(streamed) => streamed.progress.lock().sent,
        }
    }
}

/// A body from the caller, shared by the attempts.
pub(super) struct StreamedBody {
    read_limit: Duration,
    progress: Mutex<ReadProgress>,
}

/// How far a streamed body has been read.
struct ReadProgress {
    source: Body,
    keep: usize,
    /// The frames so far; `None` once they are over the limit or the body has failed.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    ended: bool,
    failed: Option<Kind>,
    /// The number of the attempt whose body may read.
    attempt: u32,
    sent: Option<Instant>,
}

impl ReadProgress {
    fn new(source: Body, keep: usize) -> Self {
        Self {
            source,
            keep,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            ended: false,
            failed: None,
            attempt: 0,
            sent: None,
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes = self.kept_bytes.saturating_add(data.len());
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

    /// The kept frames that an attempt at this position has not sent.
    fn kept_from(&self, position: usize) -> &[Bytes] {
        self.kept.as_deref().and_then(|kept| kept.get(position..)).unwrap_or_default()
    }

    fn is_at_end(&self, position: usize) -> bool {
        self.kept_from(position).is_empty() && (self.ended || self.source.is_end_stream())
    }
}

impl fmt::Debug for StreamedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedBody").field("read_limit", &self.read_limit).finish_non_exhaustive()
    }
}

/// The body of one attempt.
struct AttemptBody {
    streamed: Arc<StreamedBody>,
    attempt: u32,
    /// The number of frames that this attempt has sent.
    position: usize,
    timer: ReadTimer,
}

impl AttemptBody {
    fn new(streamed: Arc<StreamedBody>) -> Self {
        let attempt = {
            let mut progress = streamed.progress.lock();
            progress.attempt = progress.attempt.saturating_add(1);
            progress.sent = progress.is_at_end(0).then(Instant::now);
            progress.attempt
        };
        let timer = ReadTimer::new(ReadLimit::Each(streamed.read_limit));
        Self { streamed, attempt, position: 0, timer }
    }
}

impl HttpBody for AttemptBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let progress = &mut *this.streamed.progress.lock();
        if progress.attempt != this.attempt {
            // A connection of a failed attempt may still read; the bytes belong to the next attempt.
            return Poll::Ready(Some(Err("the attempt was given up".into())));
        }
        let data = match progress.kept_from(this.position).first().cloned() {
            Some(data) => data,
            None if progress.ended => return Poll::Ready(None),
            None => match Pin::new(&mut progress.source).poll_frame(cx) {
                Poll::Pending => {
                    return this.timer.poll_expired(cx).map(|()| {
                        progress.fail(Kind::BodyTimeout);
                        Some(Err(stopped().into()))
                    });
                }
                Poll::Ready(None) => {
                    progress.ended = true;
                    progress.sent.get_or_insert_with(Instant::now);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    progress.fail(find_kind(error.as_ref()).unwrap_or(Kind::BodyBroken));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // The receive stage drops trailers.
                    let Ok(data) = frame.into_data() else { return Poll::Ready(None) };
                    progress.keep(&data);
                    data
                }
            },
        };
        this.position = this.position.saturating_add(1);
        this.timer.stop();
        if progress.is_at_end(this.position) {
            progress.sent.get_or_insert_with(Instant::now);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.streamed.progress.lock().is_at_end(self.position)
    }

    fn size_hint(&self) -> SizeHint {
        let progress = self.streamed.progress.lock();
        let kept = progress.kept_from(self.position).iter().map(|data| data.len() as u64).sum();
        let ended = progress.ended.then(|| SizeHint::with_exact(0));
        hint_after(kept, ended.unwrap_or_else(|| progress.source.size_hint()))
    }
}

fn stopped() -> Error {
    let detail = "the caller stopped sending its body (`timeouts.body_read`)";
    Error::new(Kind::BodyTimeout, detail)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;
    use crate::body::collect_limited;

    fn streamed(chunks: Vec<Bytes>) -> Body {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, BoxError>(Frame::data(chunk)));
        Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn limits(keep: usize) -> ReplayLimits {
        ReplayLimits { keep, read: Duration::from_secs(30) }
    }

    proptest! {
        /// Wherever an attempt ends, the next one sends the whole body, if it may.
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
                ReplayBody::new(streamed(chunks.into_iter().map(Bytes::from).collect()), limits(keep));
            runtime.block_on(async {
                let mut first = replay.attempt();
                for _ in 0..read {
                    drop(first.frame().await);
                }
                prop_assert_eq!(replay.is_repeatable(), read_bytes <= keep);
                if replay.is_repeatable() {
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
    async fn the_wait_for_a_caller_that_stops_sending_ends() {
        let begun = futures_util::stream::iter([Ok::<_, BoxError>(Frame::data("half".into()))]);
        let body = Body::wrap(StreamBody::new(begun.chain(futures_util::stream::pending())));
        let replay = ReplayBody::new(body, limits(100));
        let mut attempt = replay.attempt();
        assert!(attempt.frame().await.unwrap().is_ok());
        let began = Instant::now();
        let error = attempt.frame().await.unwrap().unwrap_err();
        assert_eq!(find_kind(&*error), Some(Kind::BodyTimeout));
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        assert_eq!(replay.sent_since(began), None);
    }
}
