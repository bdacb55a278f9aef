//! A stream that is not asked for bytes before it has said that there are some.
//!
//! hyper looks whether the upstream has said something before it writes, after it has written, behind
//! the head of an answer and twice behind its end. Each time that goes through TLS and the runtime,
//! to learn what was known: a stream that had nothing to read wakes when it has.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose reader is always the same: it is told with a waker of its own.
pub(super) struct Unread<S> {
    stream: S,
    bell: Arc<Bell>,
    /// `bell`, for the stream.
    waker: Waker,
}

impl<S> Unread<S> {
    /// Wakes `reader` when there is something to read, whoever polls it.
    pub(super) fn new(stream: S, reader: Waker) -> Self {
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(true), reader });
        let waker = Waker::from(Arc::clone(&bell));
        Self { stream, bell, waker }
    }
}

/// What a stream wakes.
struct Bell {
    /// Whether there may be something to read.
    has_rung: AtomicBool,
    reader: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.reader.wake_by_ref();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.bell.has_rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // First this, for it may ring while it is asked.
        this.bell.has_rung.store(false, Ordering::Release);
        let read =
            Pin::new(&mut this.stream).poll_read(&mut Context::from_waker(&this.waker), buffer);
        if read.is_ready() {
            this.bell.has_rung.store(true, Ordering::Release);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::pipeline::muffle::Sleeper;

    /// Counts how often it is read from.
    struct Counted(DuplexStream, usize);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    fn poll(stream: &mut Unread<Counted>) -> Poll<usize> {
        let (mut memory, cx) = ([0; 8], &mut Context::from_waker(Waker::noop()));
        let mut buffer = ReadBuf::new(&mut memory);
        let read = Pin::new(stream).poll_read(cx, &mut buffer);
        read.map(|done| done.map(|()| buffer.filled().len()).unwrap())
    }

    #[tokio::test]
    async fn what_has_nothing_is_asked_again_when_it_has_said_that_there_is_something() {
        let (mut peer, stream) = tokio::io::duplex(64);
        let reader = Arc::new(Sleeper::default());
        let mut stream = Unread::new(Counted(stream, 0), Waker::from(Arc::clone(&reader)));
        for _ in 0..3 {
            assert_eq!(poll(&mut stream), Poll::Pending);
        }
        assert_eq!((stream.stream.1, reader.woken()), (1, 0));
        peer.write_all(b"twelve bytes").await.unwrap();
        assert_eq!(reader.woken(), 1);
        assert_eq!(poll(&mut stream), Poll::Ready(8));
        assert_eq!(poll(&mut stream), Poll::Ready(4), "there may be more than there was room for");
        for _ in 0..3 {
            assert_eq!(poll(&mut stream), Poll::Pending);
        }
        assert_eq!(stream.stream.1, 4);
        drop(peer);
        assert_eq!(reader.woken(), 2);
        assert_eq!(poll(&mut stream), Poll::Ready(0), "the end");
        assert_eq!(poll(&mut stream), Poll::Ready(0), "the end, again");
    }

    /// Rings while it is asked, as the runtime does where a task has had its share.
    struct Busy(usize);

    impl AsyncRead for Busy {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0 += 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn what_rings_while_it_is_asked_is_asked_again() {
        let mut stream = Unread::new(Busy(0), Waker::noop().clone());
        for _ in 0..3 {
            let reading = stream.read_u8();
            assert!(futures_util::FutureExt::now_or_never(reading).is_none());
        }
        assert_eq!(stream.stream.0, 3);
    }
}
